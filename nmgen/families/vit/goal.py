"""What a series of ViTs is trained for: labels of pictures and the dense model's logits, measured on test pictures.

The last VALIDATION-th of the training pictures is kept back for the validation that the loop reports.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.families.interface import Calibration, Scores
from nmgen.families.recipe import Progress, Recipe
from nmgen.families.vit.pictures import read_for
from nmgen.families.vit.scores import labelled_pictures, scored_on
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.encoder.forms import PictureForm
    from pruning.families.vit.model import ViT
    from pruning.training.image_task import ImageTask

VALIDATION = 12


class PictureGoal:
    """Attributes as nmgen.families.interface.Goal has them."""

    task: "ImageTask"
    bf16 = False

    def __init__(self, recipe: Recipe, model: "ViT") -> None:
        from pruning.encoder.spread import spread

        flags = ("--classify", "--head-steps", "--sts", "--teacher")
        for flag, given in zip(flags, (recipe.classify, recipe.head_steps, recipe.sts, recipe.teacher), strict=True):
            if given:
                raise InputError(f"{recipe.model} is a ViT: it takes no {flag}")
        if len(recipe.data) != 1:
            raise InputError(f"{recipe.model} is a ViT: it takes one folder as --data, not {len(recipe.data)}")
        self._folder, self.dense = recipe.data[0], model
        self._training, test = labelled_pictures(self._folder, model)
        self._kept = len(self._training.labels) - len(self._training.labels) // VALIDATION
        self.facts = {"pictures": self._kept}
        if recipe.calibrate:
            pictures = read_for(model.shape, recipe.calibrate)
        else:
            pictures = self._training.pixels[spread(len(self._training.labels))][:, None]
        self.calibration = Calibration(pictures, "")
        self._score = scored_on(test)
        self._distils = recipe.method != "dense"  # which makes the dense model

    def begin(self, run: Path, progress: Progress) -> bool:
        from pruning.training.image_task import ImageTask

        count, kept = len(self._training.labels), self._kept
        training, validation = self._training.part(0, kept), self._training.part(kept, count)
        task = ImageTask(training, validation, self.dense.pixels)
        self.task = task.distilled(self.dense) if self._distils else task
        return False

    def about(self) -> dict[str, str]:
        task = "ImageTask, distilled" if self._distils else "ImageTask"
        return {"task": task, "pictures": str(self._folder)}

    def look(self) -> object:
        return self.dense.logits(self.calibration.inputs)

    def scores(self, form: "PictureForm") -> Scores:
        return self._score(form)
