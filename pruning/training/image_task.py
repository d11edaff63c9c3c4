"""Classifies pictures: cross entropy with the labels and, where a dense model is given, squared error to its logits."""

from copy import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from pruning.data.datasets import Images
from pruning.encoder.pixels import Pixels
from pruning.training.train import Metrics

AT_ONCE = 500  # pictures that a validation looks at together


class ImageTask:
    """Trains on some pictures and is validated on others, a train.Task for any model: pixels → logits.

    loss = mean cross entropy + LOGITS · mean((z − z')²)       logits z, the dense model's z'

    Pixels go in as float [images, 1, height, width], as a ViT takes them or, unless that is given, with the mean and
    the deviation of the training pictures' made 0 and 1. They are kept as bytes: 60,000 pictures of 28 × 28 are 47 MB
    so, and four times as much in float.
    """

    LOGITS = 1.0

    def __init__(self, training: Images, validation: Images, pixels: Pixels | None = None) -> None:
        self.training, self.validation = training, validation
        self.size = len(training.labels)
        if pixels is None:
            floats = training.pixels.to(torch.float32)
            pixels = Pixels((float(floats.mean()),), (float(floats.std()),))
        self._pixels = pixels
        self._dense: nn.Module | None = None

    def distilled(self, dense: nn.Module) -> "ImageTask":
        """The same task, with the logits of a dense model as well."""
        task = copy(self)
        task._dense = dense
        return task

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        pixels, labels = self.training.pixels[batch], self.training.labels[batch]
        inputs = self.inputs(pixels)
        logits = model(inputs)
        loss = cross_entropy(logits, labels)
        if self._dense is not None:
            with torch.no_grad():
                wanted = self._dense(inputs)  # computed in each step: the same batch gives the same bits
            loss = loss + self.LOGITS * mse_loss(logits, wanted)
        return loss

    def validate(self, model: nn.Module) -> Metrics:
        right = 0
        parts = zip(self.validation.pixels.split(AT_ONCE), self.validation.labels.split(AT_ONCE), strict=True)
        for pixels, labels in parts:
            right += int((model(self.inputs(pixels)).argmax(dim=1) == labels).sum())
        return {"accuracy": 100 * right / len(self.validation.labels)}

    def inputs(self, pixels: Tensor) -> Tensor:  # uint8 [images, height, width] → float [images, 1, height, width]
        return self._pixels.floats(pixels[:, None])
