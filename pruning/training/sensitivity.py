"""How much a model loses with one layer alone pruned that is then trained for a few steps.

Much of what pruning breaks a few steps mend, and not the same share in each layer. So the loss after them may rank
layers otherwise than the loss of the model as it is pruned (`pruning.masks.sensitivity.sensitivities`), and cost
minutes instead of seconds. Our choice, as all of layer-wise patterns.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from pruning.masks.methods import Method
from pruning.masks.plan import Plan
from pruning.masks.sensitivity import Table
from pruning.masks.sparsify import sparsify
from pruning.training.train import Metrics, Task, train
from rtl.params import InputError

STEPS = 8
MEASURED = 256  # examples whose loss is compared


class _Measured:
    """A task some examples of which, drawn, are not trained on: its loss over them is what it says of a model."""

    def __init__(self, task: Task) -> None:
        self._task = task
        order = torch.randperm(task.size, generator=torch.Generator().manual_seed(0))  # always the same
        kept = min(MEASURED, task.size // 2)
        self._trained_on, self._examples = order[kept:], order[:kept] if kept else order
        self.size = len(self._trained_on)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return self._task.loss(model, self._trained_on[batch])

    def validate(self, model: nn.Module) -> Metrics:
        return {"loss": float(self._task.loss(model, self._examples))}


def trained_sensitivities(
    model: nn.Module,
    task: Task,
    names: Sequence[str],
    options: Sequence[int],
    m: int,
    *,
    method: Method,
    ragged: str = "error",
    on_step: Callable[[int, float], None] | None = None,
    **recipe: Any,
) -> Table:
    """The loss with each layer alone at n:m over that of the dense model, both trained for STEPS steps; 0 where n = m.

    A pattern harms no less than a denser one: where the loss says so, that is the noise of few steps.

    Parameters
    ----------
    model : may be trained; stays as it is
    method : one that trains
    on_step : of (steps done of (1 + layers · options below m) · STEPS, loss)
    recipe : the rest of what `train` takes

    Raises
    ------
    InputError : as sparsify and train; a loss that is no number.
    """
    measured, done = _Measured(task), 0

    def note(_step: int, line: Metrics) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(done, line["loss"])

    def loss(layers: dict[str, tuple[int, int]]) -> float:
        trained = deepcopy(model)
        sparsify(trained, Plan(layers), method=method, ragged=ragged)
        found = train(trained, measured, method=method, steps=STEPS, on_step=note, **recipe)["loss"]
        if not math.isfinite(found):
            raise InputError(f"the loss after {STEPS} steps with {layers or 'no layer'} pruned is {found}")
        return found

    base = loss({})
    table: dict[str, dict[int, float]] = {}
    for name in names:
        rises, least = {}, 0.0
        for n in sorted(options, reverse=True):
            least = rises[n] = max(least, loss({name: (n, m)}) - base) if n < m else 0.0
        table[name] = {n: rises[n] for n in options}
    return table
