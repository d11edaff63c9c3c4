"""The task of an elastic model: any other task, at several densities in each step.

Each step trains the densest, the sparsest and, where there are more, one between that is drawn: the ends pull all that
lies between along, and three passes are what a step can take (ELSA, arXiv 2312.06872, trains all).
"""

from typing import cast

import torch
from torch import Tensor, nn

from pruning.masks.elastic import Elastic
from pruning.training.processes import gathered, of_first
from pruning.training.train import Metrics, Task

BETWEEN = 1 / 2  # weight of the density between in the mean; the ends count 1
LEAST = 0.01  # of the largest loss
TINY = 1e-12  # where all are zero


class ElasticTask:
    """loss = exp(weighted mean over the densities of a step of log L)       L the task's own loss

    By the geometric mean a hundredth less is worth the same for each density; by the plain mean the sparsest, whose
    loss is several times that of the densest, decides alone where a matrix cannot suit both. One whose loss is less
    than LEAST of the largest is left as it is: nothing is to be gained there. The density between gains by what both
    ends do, and counts less.

    Each density has examples of its own: what all share learns from as many in a step as all have, at the same cost.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self.size = task.size

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        models = cast(Elastic, model).models
        between = len(models) - 2
        # `train` seeds the generator for every step and process; what is drawn is the first one's.
        drawn = [1 + int(torch.randint(between, ()))] if between else []
        densities = (0, *of_first(drawn), len(models) - 1)
        first = of_first(torch.randint(self.size, (len(densities),)))
        own = [(batch + each) % self.size for each in first]
        losses = torch.stack([self._task.loss(models[i], one) for i, one in zip(densities, own, strict=True)])
        losses = gathered(losses[None]).mean(0)
        least = max(LEAST * float(losses.detach().max()), TINY)
        weights = losses.new_tensor([1.0, *[BETWEEN] * len(drawn), 1.0])
        return ((weights * losses.clamp(min=least).log()).sum() / weights.sum()).exp()

    def validate(self, model: nn.Module) -> Metrics:
        """What the task says of each density, behind whose number it stands: 0 is the densest."""
        return {
            f"{name} {i}": value
            for i, one in enumerate(cast(Elastic, model).models)
            for name, value in self._task.validate(one).items()
        }
