"""Whole models pruned in one shot: what `nmgen prune` does without --data.

OUT/NofM.safetensors   the artefact of a candidate, a whole model     OUT/NofM/   the same in float, a folder
OUT/report.json        what each took and gives
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.progress import Say
from nmgen.models.dense import Dense
from nmgen.training.candidates import facts_of, write_candidate, write_report

if TYPE_CHECKING:
    from pruning.masks.plan import Plan


def prune_one_shot(
    dense: Dense,
    plans: "Mapping[str, Plan]",
    out: Path,
    say: Say,
    facts: Mapping[str, Any],
    method: str = "magnitude",
    *,
    permuted: bool = False,
) -> dict[str, Any]:
    """Write all of the above; returns the report. Everything is computed before anything is written.

    plans : checked for the model, by the names that the candidates' files get
    say : gets what is done now
    facts : what the report says beside
    method : one that trains nothing
    permuted : channels are reordered first

    Raises
    ------
    InputError, OSError : a folder that cannot be written to.
    """
    made, candidates = {}, []
    for name, plan in plans.items():
        say(f"pruning, calibrating and measuring {name}")
        model = dense.pruned(plan, method, permuted=permuted)
        about: dict[str, Any] = {"model": Path(dense.name).name, "method": method, "pattern": str(plan)}
        if permuted:
            about["permuted"] = True
        artefact = dense.artefact(model, plan.layers, about)
        made[name] = model, artefact
        scores = {"float": dense.cosine(model), "int8": dense.cosine(dense.integers(artefact))}
        entry = facts_of(name, plan, model, artefact)
        candidates.append(entry | {form: {"cosine": cosine} for form, cosine in scores.items()})
    for name, (model, artefact) in made.items():
        write_candidate(out, name, model, artefact, dense.save)
    report = {"model": dense.name, "method": method, "permuted": permuted, "dense": {"float": {"cosine": 1.0}}, **facts}
    report |= {"candidates": candidates}
    write_report(report, out)
    return report
