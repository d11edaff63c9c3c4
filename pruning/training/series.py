"""The series: N:M candidates from one dense model, N stepping down (arXiv 2208.06118, sparsity inheritance).

    dense ─► 4:8 ─► 2:8 ─► 1:8        a method that inherits: each from the live weights of the one before it
    dense ─► 4:8, dense ─► 2:8, …     any other method

Our choices, on which the paper is silent: every candidate gets the same number of steps, an optimiser and a learning
rate schedule of its own, and batches in an order of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruning.masks.methods import Method
from pruning.masks.plan import Filter, Plan
from pruning.masks.sparsify import finalize, sparsify, verify
from pruning.training.train import Metrics, Task, mixed, train
from rtl.params import InputError


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model of a series."""

    name: str  # such as 2-8; of a plan, plan-1
    plan: Plan
    model: nn.Module  # plain layers with exact zeros
    masks: dict[str, Tensor]  # by layer name, bool of the weight's shape
    metrics: Metrics


def series(
    dense: nn.Module,
    patterns: Sequence[str | Plan],
    task: Task,
    *,
    method: Method,
    filter_fn: Filter | None = None,
    ragged: str = "error",
    seed: int = 0,
    folder: Path | None = None,
    on_step: Callable[[str, int, Metrics], None] | None = None,
    **recipe: Any,
) -> Iterator[Candidate]:
    """The candidates one after another, each verified. The dense model stays as it is.

    Parameters
    ----------
    patterns : from dense to sparse, such as 4:8, 2:8, 1:8
    folder : gets NAME.pt and NAME.jsonl of each candidate: its checkpoint and its metrics; None: nothing is written
    on_step : of (candidate's name, step, metrics)
    recipe : the rest of what `train` takes; resume = True goes on where the folder's checkpoints end

    Raises
    ------
    InputError : as sparsify and train; patterns that do not step down although the method inherits.
    """
    names = [_name(i, pattern) for i, pattern in enumerate(patterns)]
    model = deepcopy(dense)
    before: Plan | None = None
    for i, (name, pattern) in enumerate(zip(names, patterns, strict=True)):
        if not method.inherits:
            model = deepcopy(dense)
        chosen = None if isinstance(pattern, Plan) else filter_fn
        plan = sparsify(model, pattern, method=method, filter_fn=chosen, ragged=ragged)
        if method.inherits and before:
            _check_steps_down(before, plan)
        before = plan
        files: dict[str, Any] = {}
        if folder:
            files = {"checkpoint": folder / f"{name}.pt", "metrics": folder / f"{name}.jsonl"}
        if method.trains:
            report = None if on_step is None else lambda step, line, name=name: on_step(name, step, line)
            metrics = train(model, task, method=method, seed=mixed(seed, i), on_step=report, **files, **recipe)
        else:
            model.eval()
            with torch.no_grad():
                metrics = task.validate(model)
        verify(model, plan)
        plain = deepcopy(model)
        yield Candidate(name=name, plan=plan, masks=finalize(plain), model=plain, metrics=metrics)


def _name(i: int, pattern: str | Plan) -> str:
    return f"plan-{i + 1}" if isinstance(pattern, Plan) else pattern.replace(":", "-")


def _check_steps_down(before: Plan, after: Plan) -> None:
    for name, (n, m) in after.layers.items():
        n_before, m_before = before.layers.get(name, (1, 1))
        if n * m_before > n_before * m:
            raise InputError(f"layer {name} steps from {n_before}:{m_before} up to {n}:{m}, must step down in a series")
