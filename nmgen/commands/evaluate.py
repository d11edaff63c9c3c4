"""`nmgen evaluate`: what a model or an artefact scores, an artefact in float and in int8, and how near these are."""

import argparse
import json
from pathlib import Path
from typing import Any

from nmgen.console import tables
from nmgen.console.options import ELASTIC_ARTEFACT, add_density
from nmgen.console.threads import one_thread
from nmgen.families.interface import ScoredOn, split_title
from nmgen.families.known import Named
from nmgen.models.forms import open_forms
from nmgen.models.model_program import warn
from rtl.params import InputError

NAME = "evaluate"
HELP = (
    "Score a model or an artefact: Spearman on scored pairs, accuracy on labelled text or pictures; in float, in int8, "
    "and the cosine between the two."
)
EXAMPLE = "nmgen evaluate build/minilm/2of8.safetensors --sts pairs.tsv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL_OR_ARTEFACT", help="an artefact of nmgen prune, a Hugging Face folder, or minilm"
    )
    parser.add_argument(
        "--sts",
        metavar="FILE",
        type=Path,
        nargs="+",
        default=[],
        help="score<TAB>sentence<TAB>sentence a row; of a folder, its *.tsv. Scores 100 · Spearman, and their mean",
    )
    parser.add_argument(
        "--classify", metavar="DIR", type=Path, help="dev.txt and test.txt with rows 'label sentence': accuracy in %%"
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="a folder of MNIST-format IDX files: a ViT's accuracy on its test pictures in %%",
    )
    add_density(parser, ELASTIC_ARTEFACT)
    parser.add_argument(
        "--calibrate", metavar="FILE", type=Path, help="score a folder in int8 too, calibrated on this text or pictures"
    )


def run(args: argparse.Namespace) -> int:
    if not args.sts and args.classify is None and args.images is None:
        raise InputError("nothing to score on: give --sts or --classify or, of a ViT, --images")
    warnings: list[str] = []
    try:
        with one_thread():
            found = _scored(args, warnings)
    except ModuleNotFoundError as missing:
        raise InputError(f"evaluate needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None
    if args.json:
        print(json.dumps({"model": args.model, **found}, indent=2))
    else:
        _show(args.model, found)
    for line in warnings:
        warn(line)
    return 0


def _scored(args: argparse.Namespace, warnings: list[str]) -> dict[str, dict[str, Any]]:
    """Scores by form; of a model in both forms, 'cosine' between their outputs."""
    on = ScoredOn(sts=tuple(args.sts), classify=args.classify, images=args.images)
    model = Named(args.model, args.density)
    family = model.family.compiles
    score, inputs = family.scoring(args.model, model.float_model, on)
    forms = open_forms(model, args.calibrate, warnings.append)
    found: dict[str, dict[str, Any]] = {form: score(one) for form, one in forms.items()}
    if len(forms) == 2:
        exact, rounded = (family.outputs(one, inputs) for one in forms.values())
        cosines = (exact * rounded).sum(dim=1)
        mean, lowest = float(cosines.mean()), float(cosines.min())
        found["cosine"] = {"inputs": len(cosines), "mean": round(mean, 5), "lowest": round(lowest, 5)}
    return found


def _show(model: str, found: dict[str, dict[str, Any]]) -> None:
    """A row for each file and split, a column for each form."""
    forms = {name: scores for name, scores in found.items() if name != "cosine"}
    rows = []
    for name in found["float"].get("sts", {}):
        rows.append((name, *(f"{scores['sts'][name]:.2f}" for scores in forms.values())))
    if "mean" in found["float"]:
        rows.append(("mean of the files", *(f"{scores['mean']:.2f}" for scores in forms.values())))
    for split in found["float"].get("accuracy", {}):
        rows.append((split_title(split), *(f"{scores['accuracy'][split]:.2f}" for scores in forms.values())))
    tables.show(("set", *forms), rows, title=model)
    if cosine := found.get("cosine"):
        of_what = "1 input" if cosine["inputs"] == 1 else f"{cosine['inputs']} inputs"
        near = f"mean {cosine['mean']:.4f}, lowest {cosine['lowest']:.4f}"
        print(f"cosine of int8 to float, {of_what}: {near}")
