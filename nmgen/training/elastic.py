"""An elastic model: one store that serves several densities, trained and written.

OUT/elastic.safetensors   the artefact of all densities     OUT/run/elastic.pt      checkpoint
OUT/NofM.safetensors      a density of it alone                     elastic.jsonl   metrics, a line a step
OUT/NofM/                 the same in float, a Hugging Face folder
OUT/report.json, OUT/accuracy.png

As of a series (nmgen/training/series.py) what is written depends on the model, the data, the recipe and the seed.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nmgen.console.files import written_whole
from nmgen.console.threads import one_thread
from nmgen.families.recipe import Progress, Recipe
from nmgen.models.dense import one_shot
from nmgen.training.candidates import facts_of, write_candidate, write_report
from nmgen.training.report import PLOT, plot
from nmgen.training.series import Series

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pruning.families.interface import Family, Model
    from pruning.files.artefact import Artefact
    from pruning.files.elastic import Elastic as Store
    from pruning.masks.elastic import Elastic
    from pruning.masks.plan import Plan

NAME = "elastic"


def prune_elastic(recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Write all of the above; returns the report, which only the first process has whole.

    progress : of (what, step, steps, loss), called after each training step

    Raises
    ------
    InputError, OSError : as nmgen.training.series.prune_and_train; densities that no store can hold together.
    """
    from pruning.masks.elastic import Elastic, check_densities, shared
    from pruning.training.elastic import ElasticTask
    from pruning.training.train import train

    series = Series(recipe, out)
    plans = series.plans()
    check_densities(plans)
    progress = series.begin(progress)
    report = series.report()
    method = shared(series.method)
    model = Elastic(series.start, plans, method)
    train(
        model,
        ElasticTask(series.goal.task),
        method=method,
        steps=recipe.steps,
        lr=recipe.lr,
        bf16=series.goal.bf16,
        seed=recipe.seed,
        checkpoint=series.run / f"{NAME}.pt",
        metrics=series.run / f"{NAME}.jsonl",
        on_step=lambda step, line: progress(NAME, step, recipe.steps, line["loss"]),
        **series.loop,
    )
    if not series.first:
        return report
    models = [one.eval().requires_grad_(False) for one in model.plain()]
    with one_thread():
        store = integers(series.family.prunes, model, models, series.goal.calibration.inputs, _about(recipe))
    _write(out, store, models, series)
    for (density, artefact), one, plan in zip(store.densities.items(), models, plans, strict=True):
        report["candidates"].append(_entry(series, density, plan, one, artefact))
    report["store"] = {"artefact": f"{NAME}.safetensors", "bytes": store.weight_bytes}
    write_report(report, out)
    plot(report, out / PLOT)
    return report


def integers(
    family: "Family", elastic: "Elastic", models: "list[Model]", inputs: Any, about: Mapping[str, Any]
) -> "Store":
    """The artefact of an elastic model: weights and scales shared to the bit.

    models : plain, one for each density
    inputs : what scales are made of; every density's are looked at together

    A channel's weights have one scale in all densities but for its gain, which is in mult and shift.
    """
    from pruning.files.elastic import Elastic as Store

    scales = family.calibrate(models[0], inputs, models[1:])
    units = {name: layer.units for name, layer in family.float_layers(models[0], scales).items()}
    first = family.to_artefact(models[0], elastic.plans[0].layers, scales, about, units)
    # Weights as the integers have them, in float: those that the other densities give are then the same integers.
    rounded = dict(family.from_artefact(first).named_modules())
    found, gains = {}, elastic.gains(0)
    for i, (plan, model) in enumerate(zip(elastic.plans, models, strict=True)):
        own = {name: gain / gains[name] for name, gain in elastic.gains(i).items()}
        on_grid = family.compensated(model, scales, inputs, _with_weights(model, rounded, own, elastic.masks(i)))
        own_units = {name: unit * own[name] if name in own else unit for name, unit in units.items()}
        density = "{}:{}".format(*next(iter(plan.layers.values())))
        found[density] = family.to_artefact(on_grid, plan.layers, scales, {**about, "pattern": str(plan)}, own_units)
    return Store(densities=found)


def _with_weights(
    model: "Model", rounded: "Mapping[str, nn.Module]", gains: "Mapping[str, Tensor]", masks: "Mapping[str, Tensor]"
) -> "Model":
    """A copy of a model with these matrices, masked, and its own of all else."""
    import torch
    from torch import nn

    copy = deepcopy(model)
    for name, module in copy.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight = cast(torch.Tensor, rounded[name].weight)
            if name in gains:
                gain = gains[name].reshape(-1, *[1] * (weight.ndim - 1))
                weight = torch.where(masks[name], weight * gain, 0.0)
            module.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return copy


def _about(recipe: Recipe) -> dict[str, Any]:
    return {"model": recipe.model, "method": NAME, "seed": recipe.seed}


def _write(out: Path, store: "Store", models: "list[Model]", series: Series) -> None:
    from pruning.files import elastic

    with written_whole(out / f"{NAME}.safetensors") as file:
        elastic.save(file, store)
    for (density, artefact), model in zip(store.densities.items(), models, strict=True):
        write_candidate(out, _name(density), model, artefact, series.family.prunes.save)


def _name(density: str) -> str:
    return density.replace(":", "of")


def _entry(series: Series, density: str, plan: "Plan", model: "Model", artefact: "Artefact") -> dict[str, Any]:
    """Of the report's candidates."""
    entry = facts_of(_name(density), plan, model, artefact)
    entry |= {"float": series.scores(model), "int8": series.scores(series.family.prunes.integers(artefact))}
    entry["one-shot"] = series.scores(one_shot(series.goal.dense, plan, series.recipe.ragged))
    return entry
