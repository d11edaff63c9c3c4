"""Vision transformers of folders and artefacts: opened, calibrated, scored."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.data.datasets import Images
    from pruning.families.vit.integer import IntegerViT
    from pruning.families.vit.model import ViT

AT_ONCE = 250  # pictures that are scored together
TEST = "test pictures"  # what a score is of


def is_vit(model: str) -> bool:
    """Whether a folder or an artefact holds a ViT.

    Raises
    ------
    InputError, OSError : a file that is no artefact.
    """
    if Path(model).is_file():
        from pruning.files.artefact import read

        return read(model).is_vit
    from pruning.families.vit.model import is_folder

    return is_folder(model)


def open_vit(model: str) -> "ViT":
    """The float ViT of a folder or an artefact."""
    from pruning.families.vit.export import from_artefact
    from pruning.families.vit.model import load
    from pruning.files.artefact import read

    if not Path(model).is_file():
        return load(model)
    try:
        return from_artefact(read(model))
    except InputError as error:
        raise InputError(named(model, error)) from None


def labelled_pictures(folder: Path, model: "ViT") -> "tuple[Images, Images]":
    """(training pictures, test pictures) of a folder of MNIST's kin, which fit a model.

    Raises
    ------
    InputError : a file that is missing or damaged, pictures of another size, a label that the model has not.
    """
    from pruning.data.datasets import labelled

    shape = model.shape
    if shape.channels > 1 or not shape.labels:
        has = f"takes pictures of {shape.channels} channels" if shape.labels else "has no classifier"
        raise InputError(f"{folder} has grey pictures with labels, the model {has}")
    found = labelled(folder)
    for images in found:
        height, width = images.pixels.shape[1:]
        if (height, width) != (shape.image, shape.image):
            raise InputError(f"{folder} has {width} x {height} pixels, the model takes {shape.image} x {shape.image}")
        if (largest := int(images.labels.max())) >= shape.labels:
            raise InputError(f"{folder} has label {largest}, the model has {shape.labels} classes")
    return found


def accuracy(model: "ViT | IntegerViT", images: "Images") -> float:
    """Per cent of the pictures that a model, float or int8, tells right."""
    import torch

    from pruning.families.vit.model import ViT

    right = 0
    with torch.inference_mode():
        for start in range(0, len(images.labels), AT_ONCE):
            part = images.part(start, start + AT_ONCE)
            pictures = part.pixels[:, None]
            logits = model(model.pixels.floats(pictures)) if isinstance(model, ViT) else model.logits(pictures)
            right += int((logits.argmax(dim=1) == part.labels).sum())
    return 100 * right / len(images.labels)


def scores(model: str, folder: Path, pictures: Path | None = None) -> dict[str, Any]:
    """{form: {'accuracy': {'test pictures': per cent}}} of the forms that a model has: an artefact float and int8, a
    folder float and, with pictures to calibrate on, int8."""
    from nmgen.models.model_program import artefact_of
    from pruning.families.vit.integer import IntegerViT
    from pruning.families.vit.parameters import vit_parameters

    vit = open_vit(model)
    test = labelled_pictures(folder, vit)[1]
    forms: dict[str, ViT | IntegerViT] = {"float": vit}
    if pictures or Path(model).is_file():
        forms["int8"] = IntegerViT(vit_parameters(artefact_of(model, None, pictures, lambda _: None)[0]))
    return {form: {"accuracy": {TEST: round(accuracy(one, test), 3)}} for form, one in forms.items()}


def named(model: str, error: InputError) -> str:
    """The message of an error, which begins with the model's name."""
    return str(error) if str(error).startswith(f"{model}: ") else f"{model}: {error}"
