"""Layers alone, pruned by magnitude, with the activations that they get: `nmgen prune --layers` without --data.

OUT/NofM.safetensors for each pattern     OUT/activations/LAYER.npy     OUT/report.json
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmgen.console.files import written_whole
from nmgen.console.threads import one_thread
from nmgen.families.known import halves_of
from nmgen.models.dense import chosen
from nmgen.models.layers import describe
from nmgen.training.candidates import write_report
from pruning.files.artefact import Layer, save
from pruning.files.folders import folder_of
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

METHOD = "magnitude"
TOKENS = 32  # of activations, unless told otherwise


def prune_layers(
    model: str,
    patterns: Sequence[tuple[int, int]],
    out: Path,
    *,
    layers: str = "all",
    sentences: Path | None = None,
    tokens: int = TOKENS,
) -> dict[str, Any]:
    """Write all of the above; returns the report. Everything is computed before anything is written."""
    from rich.console import Console
    from rich.progress import Progress

    quiet = not sys.stderr.isatty()
    with one_thread(), Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        folder, family = folder_of(model), halves_of(model)
        encoder = family.prunes.load(folder)
        linears = encoder.linears()
        linears = {name: linears[name] for name in chosen(linears, layers)}
        inputs, facts, warning = family.compiles.layer_inputs(
            model, encoder, list(linears), sentences, lambda lines: progress.track(lines, description="sentences")
        )
        found = min(len(x) for x in inputs.values())
        if found < tokens:
            raise InputError(f"tokens is {tokens}, must be at most the {found} that the sentences give")
        made: dict[tuple[int, int], list[tuple[Layer, dict[str, float]]]] = {pattern: [] for pattern in patterns}
        activations = {}
        for name in progress.track(linears, description="layers"):
            for n, m in patterns:
                made[n, m].append(_one(name, linears[name], inputs[name], n, m, tokens))
            activations[name] = _operands(inputs[name][:tokens], made[n, m][-1][0])

    report = {
        "model": model,
        "method": METHOD,
        **facts,
        "calibration_tokens": found,
        "tokens": tokens,
        "activations": {name: f"activations/{name}.npy" for name in activations},
        "artefacts": [
            {
                "pattern": f"{n}:{m}",
                "file": f"{n}of{m}.safetensors",
                "layers": [describe(layer) | errors for layer, errors in pairs],
            }
            for (n, m), pairs in made.items()
        ],
    }
    if warning:
        report["warning"] = warning
    _write(out, {f"{n}of{m}": [layer for layer, _ in pairs] for (n, m), pairs in made.items()}, activations)
    write_report(report, out)
    return report


def _write(out: Path, artefacts: Mapping[str, list[Layer]], activations: Mapping[str, NDArray[np.int8]]) -> None:
    for name, layers in artefacts.items():
        with written_whole(out / f"{name}.safetensors") as file:
            save(file, layers)
    for name, array in activations.items():
        with written_whole(out / "activations" / f"{name}.npy") as file, file.open("wb") as stream:
            np.save(stream, array)


def _one(
    name: str, linear: "nn.Linear", inputs: "Tensor", n: int, m: int, tokens: int
) -> tuple[Layer, dict[str, float]]:
    """A layer pruned and quantised, and how far its results on the first tokens are from the float layer's.

    Errors are root mean squares, as a share of the float results': of pruning alone, and of the integer layer.
    """
    from pruning.integers.layer import golden
    from pruning.integers.quantise import quantise_linear
    from pruning.masks.patterns import METHODS

    pruned = linear.weight * METHODS[METHOD](linear.weight, n, m)
    layer = quantise_linear(name, pruned, linear.bias, inputs, n, m, extras={"method": METHOD})
    x, bias = inputs[:tokens].double(), linear.bias.double()
    exact = (x @ linear.weight.double().T + bias).numpy()
    results = {
        "pruning_error": (x @ pruned.double().T + bias).numpy(),
        "error": golden(layer, _operands(inputs[:tokens], layer)) * layer.extras["y_scale"],
    }
    size = np.linalg.norm(exact) or 1.0  # of weights that are all zero
    return layer, {what: float(np.linalg.norm(result - exact) / size) for what, result in results.items()}


def _operands(inputs: "Tensor", layer: Layer) -> NDArray[np.int8]:
    """int8 [tokens, k], what the integer layer gets for these float inputs."""
    from pruning.integers.quantise import quantise_activations

    operands: NDArray[np.int8] = quantise_activations(inputs, layer.extras["x_scale"]).numpy()
    return operands
