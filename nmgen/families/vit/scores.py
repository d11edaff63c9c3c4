"""How many test pictures a ViT tells right."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.families.interface import ScoredOn, Scores, Scoring
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.data.datasets import Images
    from pruning.encoder.forms import PictureForm
    from pruning.families.vit.model import ViT

AT_ONCE = 250  # pictures that are scored together
TEST = "test pictures"  # what a score is of


def scoring(name: str, model: "ViT", on: ScoredOn) -> Scoring:
    """Per cent of the test pictures of a folder."""
    if on.images is None or on.sts or on.classify:
        raise InputError(f"{name} is a ViT: give --images, and neither --sts nor --classify")
    from pruning.encoder.spread import spread

    test = labelled_pictures(on.images, model)[1]
    return Scoring(scored_on(test), test.pixels[spread(len(test.labels))][:, None])


def scored_on(test: "Images") -> "Callable[[PictureForm], Scores]":
    return lambda form: {"accuracy": {TEST: round(accuracy(form, test), 3)}}


def labelled_pictures(folder: Path, model: "ViT") -> "tuple[Images, Images]":
    """(training pictures, test pictures) of a folder of MNIST-format IDX files, which fit a model.

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


def accuracy(form: "PictureForm", images: "Images") -> float:
    """Per cent of the pictures that a model, float or int8, tells right."""
    from pruning.training.scores import checked

    right = 0
    for start in range(0, len(images.labels), AT_ONCE):
        part = images.part(start, start + AT_ONCE)
        right += int((checked(form.logits(part.pixels[:, None])).argmax(dim=1) == part.labels).sum())
    return 100 * right / len(images.labels)
