"""What is written of a candidate: its artefact, its folder, its entry in the report."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import written_whole

if TYPE_CHECKING:
    from pruning.families.interface import Model
    from pruning.files.artefact import Artefact
    from pruning.masks.plan import Plan

    Save = Callable[[Model, Path], None]


def facts_of(name: str, plan: "Plan", model: "Model", artefact: "Artefact") -> dict[str, Any]:
    """What the report says of a candidate beside its scores."""
    linears = model.linears()
    layers = [artefact.layers[layer] for layer in linears]
    weights = sum(layer.weights.size for layer in layers)
    return {
        "name": name,
        "plan": {layer: f"{n}:{m}" for layer, (n, m) in plan.layers.items()},
        "artefact": f"{name}.safetensors",
        "folder": name,
        "density": sum(int(linear.weight.count_nonzero()) for linear in linears.values()) / weights,
        "bytes": sum(layer.packed_bytes for layer in layers),
        "dense_bytes": weights,
    }


def write_candidate(out: Path, name: str, model: "Model", artefact: "Artefact", save: "Save") -> None:
    """out/NAME.safetensors and out/NAME/; save : of the family, writes a Hugging Face folder"""
    from pruning.files import artefact as artefacts

    with written_whole(out / f"{name}.safetensors") as file:
        artefacts.save(file, artefact.layers.values(), artefact.model)
    write_folder(save, model, out / name)


def write_folder(save: "Save", model: "Model", folder: Path) -> None:
    """Replace a model's Hugging Face folder, whole; save(model, folder) writes a new one."""
    with written_whole(folder, replace=True) as scratch:
        scratch.mkdir()
        save(model, scratch)


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """out/report.json"""
    with written_whole(out / "report.json") as file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
