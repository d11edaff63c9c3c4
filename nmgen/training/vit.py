"""A series of N:M candidates of a ViT, trained on labelled pictures: nmgen/training/text.py has what is written.

Trained for the labels, measured on the test pictures. The last VALIDATION-th of the training pictures is kept back for
the validation that the loop reports.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import written_whole
from nmgen.console.threads import one_thread
from nmgen.models.dense import chosen
from nmgen.models.pictures import read_pictures
from nmgen.models.vits import TEST, accuracy, labelled_pictures, open_vit
from nmgen.training.text import Progress, Recipe, noting, patterns_of, plot, write_folder
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pruning.data.datasets import Images
    from pruning.families.vit.integer import IntegerViT
    from pruning.families.vit.model import ViT
    from pruning.masks.plan import Filter
    from pruning.training.series import Candidate

VALIDATION = 12
CALIBRATION = 128  # training pictures that scales, and Wanda's norms, are of


def prune_and_train_vit(recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Write it all; returns the report, which only the first process has whole.

    recipe : its data is one folder of MNIST's kin; without text: no classify, no sts, no qat
    progress : of (what, step, steps, loss), called after each training step

    Raises
    ------
    InputError, OSError : whatever is wrong with the model, the pictures, the recipe or the folder.
    """
    from pruning.masks.methods import input_norms, method_of
    from pruning.masks.plan import Plan
    from pruning.training.image_task import ImageTask
    from pruning.training.processes import world
    from pruning.training.series import series

    _check(recipe)
    method = method_of(recipe.method, nested=recipe.nested)
    patterns = patterns_of(recipe, method.inherits)
    model = open_vit(recipe.model)
    training, test = labelled_pictures(recipe.data[0], model)
    filter_fn = _filter(model, recipe.layers)
    for pattern in patterns:  # what would be refused only after the training of those before it
        if isinstance(pattern, Plan):
            pattern.checked(model, recipe.ragged)
        else:
            Plan.uniform(model, pattern, filter_fn, recipe.ragged)
    pictures = _calibration(recipe, model, training)
    if method.weighs:
        names = list(Plan.uniform(model, "1:2", filter_fn, "pad").layers)
        norms = input_norms(model, names, lambda: model(model.pixels.floats(pictures)))
        method = method_of(recipe.method, norms=norms)
    first = world()[0] == 0
    run = out / "run"
    if first:
        progress = noting(recipe, run, progress)
    kept = len(training.labels) - len(training.labels) // VALIDATION
    task = ImageTask(training.part(0, kept), training.part(kept, len(training.labels)), model.pixels)
    report: dict[str, Any] = {
        "recipe": recipe.facts,
        "pictures": kept,
        "dense": {"float": _score(model, test)} if first else {},
        "candidates": [],
    }
    candidates = series(
        deepcopy(model).requires_grad_(True),
        patterns,
        task,
        method=method,
        filter_fn=filter_fn,
        ragged=recipe.ragged,
        seed=recipe.seed,
        folder=run,
        on_step=lambda name, step, line: progress(name, step, recipe.steps, line["loss"]),
        steps=recipe.steps,
        batch=recipe.batch,
        lr=recipe.lr,
        bf16=False,
        checkpoint_every=recipe.checkpoint_every,
        resume=recipe.resume,
        about={"task": "ImageTask", "pictures": str(recipe.data[0])},
    )
    for candidate in candidates:
        if first:
            report["candidates"].append(_export(candidate, model, pictures, test, recipe, out))
            with written_whole(out / "report.json") as file:
                file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if first:
        plot(report, out / "accuracy.png")
    return report


def _check(recipe: Recipe) -> None:
    from pruning.training.train import check_numbers

    check_numbers(recipe.steps, recipe.batch, recipe.lr)
    flags = ("--classify", "--head-steps", "--sts", "--qat")
    for flag, given in zip(flags, (recipe.classify, recipe.head_steps, recipe.sts, recipe.qat), strict=True):
        if given:
            raise InputError(f"{recipe.model} is a ViT: it takes no {flag}")
    if len(recipe.data) != 1:
        raise InputError(f"{recipe.model} is a ViT: it takes one folder as --data, not {len(recipe.data)} places")


def _filter(model: "ViT", layers: str) -> "Filter":
    """The linear layers of the blocks whose names match."""
    from torch import nn

    from pruning.families.vit.model import encoder_layers

    names = [
        name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and encoder_layers(layer, name)
    ]
    found = set(chosen(names, layers))

    def chosen_layers(_layer: "nn.Module", name: str) -> bool:
        return name in found

    return chosen_layers


def _calibration(recipe: Recipe, model: "ViT", training: "Images") -> "Tensor":
    """uint8 [pictures, 1, side, side]"""
    import torch

    if recipe.calibrate:
        return torch.from_numpy(read_pictures(recipe.calibrate, model.shape.channels, model.shape.image, CALIBRATION))
    count = len(training.labels)
    chosen = [i * count // CALIBRATION for i in range(CALIBRATION)] if count > CALIBRATION else list(range(count))
    return training.pixels[chosen][:, None]


def _export(
    candidate: "Candidate", dense: "ViT", pictures: "Tensor", test: "Images", recipe: Recipe, out: Path
) -> dict[str, Any]:
    """Write a candidate's artefact and folder; returns its entry in the report."""
    from pruning.families.vit.calibrate import calibrate
    from pruning.families.vit.export import to_artefact
    from pruning.families.vit.integer import IntegerViT
    from pruning.families.vit.model import ViT
    from pruning.families.vit.model import save as save_folder
    from pruning.families.vit.parameters import vit_parameters
    from pruning.files.artefact import save
    from pruning.masks.sparsify import finalize, sparsify

    model = candidate.model
    assert isinstance(model, ViT)
    model.eval().requires_grad_(False)
    name = "dense" if recipe.method == "dense" else candidate.name.replace("-", "of") if recipe.patterns else "plan"
    about = {"model": recipe.model, "method": recipe.method, "pattern": str(candidate.plan), "seed": recipe.seed}
    with one_thread():
        artefact = to_artefact(model, candidate.plan.layers, calibrate(model, pictures), about)
        integers = IntegerViT(vit_parameters(artefact))
    with written_whole(out / f"{name}.safetensors") as file:
        save(file, artefact.layers.values(), artefact.model)
    write_folder(save_folder, model, out / name)
    linears = [layer for layer in artefact.layers.values() if layer.name.startswith("encoder.")]
    weights = sum(layer.weights.size for layer in linears)
    entry: dict[str, Any] = {
        "name": name,
        "plan": {layer: f"{n}:{m}" for layer, (n, m) in candidate.plan.layers.items()},
        "artefact": f"{name}.safetensors",
        "folder": name,
        "density": sum(int((layer.weights != 0).sum()) for layer in linears) / weights,
        "bytes": sum(layer.packed_bytes for layer in linears),
        "dense_bytes": weights,
        "float": _score(model, test),
        "int8": _score(integers, test),
    }
    if candidate.plan.layers:
        shot = deepcopy(dense)
        sparsify(shot, candidate.plan, method="magnitude", ragged=recipe.ragged)
        finalize(shot)
        entry["one-shot"] = _score(shot, test)
    return entry


def _score(model: "ViT | IntegerViT", test: "Images") -> Mapping[str, Any]:
    with one_thread():
        return {"accuracy": {TEST: round(accuracy(model, test), 3)}}
