"""The task of an elastic model: any other task, at several densities in each step.

Each step trains the densest, the sparsest and, where there are more, one between that is drawn: the ends pull all that
lies between along, and three passes are what a step can take (ELSA, arXiv 2312.06872, trains all).
"""

from typing import cast

import torch
from torch import Tensor, nn

from pruning.masks.elastic import Elastic
from pruning.training.train import Metrics, Task

LEAST = 0.01  # of the largest loss
TINY = 1e-12  # where all are zero


class ElasticTask:
    """loss = geometric mean over the densities of a step of the task's own loss

    So a hundredth less is worth the same for each. By the mean the sparsest, whose loss is several times that of the
    densest, decides alone where a matrix cannot suit both. One whose loss is less than LEAST of the largest is left as
    it is: nothing is to be gained there.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.size = task.size

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        models = cast(Elastic, model).models
        between = len(models) - 2
        # `train` seeds the generator for every step.
        drawn = [1 + int(torch.randint(between, ()))] if between else []
        losses = torch.stack([self._task.loss(models[i], batch) for i in (0, *drawn, len(models) - 1)])
        least = max(LEAST * float(losses.detach().max()), TINY)
        return losses.clamp(min=least).log().mean().exp()

    def validate(self, model: nn.Module) -> Metrics:
        """What the task says of each density, behind whose number it stands: 0 is the densest."""
        return {
            f"{name} {i}": value
            for i, one in enumerate(cast(Elastic, model).models)
            for name, value in self._task.validate(one).items()
        }
