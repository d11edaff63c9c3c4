"""`nmgen inspect`: what an artefact holds."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nmgen.console import tables
from nmgen.console.options import ELASTIC_ARTEFACT, add_density
from nmgen.models.layers import describe, describe_store
from pruning.files.artefact import read, read_elastic
from pruning.files.elastic import Elastic

NAME = "inspect"
HELP = (
    "List the layers of an artefact, checked: pattern, shape, coding, density, bytes; of several densities, by plane."
)
EXAMPLE = """\
nmgen inspect build/minilm/2of8.safetensors
  nmgen inspect build/elastic/elastic.safetensors --density 1:8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artefact", metavar="A.safetensors", type=Path, help="the artefact")
    add_density(parser, ELASTIC_ARTEFACT)


def run(args: argparse.Namespace) -> int:
    store = read_elastic(args.artefact) if args.density is None else None
    if store:
        return _show_store(args, store)
    artefact = read(args.artefact, args.density)
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


def _show_store(args: argparse.Namespace, store: Elastic) -> int:
    """Bytes of each layer by plane: what each density reads beyond the sparser one."""
    facts = describe_store(store)
    if args.json:
        print(json.dumps({"file": str(args.artefact), "version": 3, **facts}, indent=2))
        return 0
    sparsest, *denser = reversed(facts["densities"])
    rows = []
    for layer in facts["layers"]:
        planes = [f"{plane['bytes']:,} ({plane['n']}:{layer['m']})" for plane in layer["planes"]]
        planes += [""] * (1 + len(denser) - len(planes))
        rows.append((layer["name"], f"{layer['k']} → {layer['channels']}", *planes, f"{layer['bytes']:,}"))
    alone = ", ".join(f"{name} {size:,}" for name, size in facts["alone_bytes"].items())
    tables.show(
        ("layer", "K → channels", sparsest, *(f"{name} also" for name in denser), "bytes"),
        rows,
        title=f"{args.artefact}, version 3: a whole model at densities {', '.join(facts['densities'])}",
        caption=f"{facts['store_bytes']:,} bytes of weights; a density alone: {alone}",
    )
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
