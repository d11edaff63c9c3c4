"""Whole models pruned in one shot, by magnitude: what `nmgen prune` does without --data.

OUT/NofM.safetensors   the artefact of a candidate, a whole model     OUT/NofM/   the same in float, a folder
OUT/report.json        what each took and gives
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import written_whole
from nmgen.console.progress import Say
from nmgen.models.dense import Dense
from nmgen.training.text import write_folder

if TYPE_CHECKING:
    from pruning.masks.plan import Plan


def prune_one_shot(
    dense: Dense[Any], plans: "Mapping[str, Plan]", out: Path, say: Say, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write all of the above; returns the report. Everything is computed before anything is written.

    plans : checked for the model, by the names that the candidates' files get
    say : gets what is done now
    facts : what the report says beside

    Raises
    ------
    InputError, OSError : a folder that cannot be written to.
    """
    from pruning.files.artefact import save

    made, candidates = {}, []
    for name, plan in plans.items():
        say(f"pruning, calibrating and measuring {name}")
        model = dense.pruned(plan)
        artefact = dense.artefact(
            model, plan.layers, {"model": Path(dense.name).name, "method": "magnitude", "pattern": str(plan)}
        )
        made[name] = model, artefact
        layers = [artefact.layers[layer] for layer in dense.linears()]
        floats = dict(model.named_modules())
        weights = sum(layer.weights.size for layer in layers)
        candidates.append(
            {
                "name": name,
                "plan": {layer: f"{n}:{m}" for layer, (n, m) in plan.layers.items()},
                "artefact": f"{name}.safetensors",
                "folder": name,
                "density": sum(int(floats[layer.name].weight.count_nonzero()) for layer in layers) / weights,
                "bytes": sum(layer.packed_bytes for layer in layers),
                "dense_bytes": weights,
                "float": {"cosine": dense.cosine(model)},
                "int8": {"cosine": dense.cosine(artefact)},
            }
        )
    for name, (model, artefact) in made.items():
        with written_whole(out / f"{name}.safetensors") as file:
            save(file, artefact.layers.values(), artefact.model)
        write_folder(dense.save, model, out / name)
    report = {"model": dense.name, "method": "magnitude", "dense": {"float": {"cosine": 1.0}}, **facts}
    report |= {"candidates": candidates}
    with written_whole(out / "report.json") as file:
        file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report
