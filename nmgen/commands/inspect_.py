"""`nmgen inspect`: what an artefact holds."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nmgen.console import tables
from nmgen.models.layers import describe
from pruning.files.artefact import read

NAME = "inspect"
HELP = "List the layers of an artefact, checked: pattern, shape, coding, density, bytes."
EXAMPLE = "nmgen inspect build/minilm/2of8.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artefact", metavar="A.safetensors", type=Path, help="the artefact")


def run(args: argparse.Namespace) -> int:
    artefact = read(args.artefact)
    layers = [describe(layer) for layer in artefact.layers.values()]
    about = dict(artefact.model.about) if artefact.model else {}
    if args.json:
        found = {"file": str(args.artefact), "version": artefact.version, "layers": layers}
        print(json.dumps(found | ({"model": about} if artefact.model else {}), indent=2))
    else:
        title = f"{args.artefact}, version {artefact.version}"
        facts = ", ".join(f"{key} {value}" for key, value in about.items() if isinstance(value, str | int | float))
        show(f"{title}: a whole model, {facts}" if about else title, layers)
    return 0


def show(title: str, layers: Iterable[dict[str, Any]]) -> None:
    """Print a table of what describe gave."""
    headings = ("layer", "pattern", "K → channels", "coding", "result bits", "density", "bytes", "of dense")
    rows = [
        (
            layer["name"],
            layer["pattern"],
            f"{layer['k']} → {layer['channels']}",
            layer["coding"],
            str(layer["out_bits"]),
            f"{layer['density']:.1%}",
            f"{layer['bytes']:,}",
            f"{layer['bytes'] / layer['dense_bytes']:.1%}",
        )
        for layer in layers
    ]
    tables.show(headings, rows, title=title, left=("coding",))
