"""The training loop: one for every model, task and method.

AdamW, a cosine schedule after a linear warm-up, gradients clipped to a norm. The paper (arXiv 2208.06118) leaves all of
this open, so it is our choice, and the same for every method.

Everything random is a function of (seed, step): the batches, and what a model draws in a step. A run that was killed
and goes on from its checkpoint is therefore the uninterrupted run, bit for bit, on the same machine with the same
number of threads. Nothing of a generator's state has to be stored.
"""

import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rtl.params import InputError

Metrics = dict[str, float]


class Task(Protocol):
    """What a model is trained for."""

    size: int  # training examples, numbered from 0

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """The mean loss, a scalar, over the examples whose numbers are in batch (int64 [examples])."""

    def validate(self, model: nn.Module) -> Metrics:
        """How good the model is on what it is not trained on. It comes in evaluation mode, without gradients."""


class Hooks(Protocol):
    """What the loop asks of a pruning method (pruning/methods.py)."""

    @property
    def name(self) -> str: ...

    def after_step(self, model: nn.Module) -> None:
        """The weights have just changed: masks may have to."""


class Diverged(InputError):
    """The loss or a gradient is no number. The checkpoint on disk, if any, is the last good one."""


def train(
    model: nn.Module,
    task: Task,
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int = 0,
    method: Hooks | None = None,
    weight_decay: float = 0.01,
    warm_up: float = 0.1,
    clip: float = 1.0,
    bf16: bool | None = None,
    validate_every: int = 0,
    checkpoint: Path | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    metrics: Path | None = None,
    on_step: Callable[[int, Metrics], None] | None = None,
) -> Metrics:
    """Trains a model in place and returns what `task.validate` says of it in the end.

    Under `distributed()` every process takes its part of each batch, and all end with the same weights.

    Parameters
    ----------
    steps, batch : optimiser steps, examples a step (over all processes)
    lr : the highest learning rate, reached after warm_up · steps steps; it falls to 0 along half a cosine
    method : its masks follow the weights after every step; None trains whatever parameters there are
    weight_decay : of matrices and kernels; biases and norms have none
    clip : largest norm of the gradient over all parameters
    bf16 : products in bfloat16; None: where the hardware has it
    validate_every : steps between validations, 0: only in the end
    checkpoint : file that holds the whole state; replaced whole every checkpoint_every steps and in the end
    resume : go on from the checkpoint if it is there
    metrics : file of JSON lines, one a step {step, loss, lr, norm} and one a validation {step, …}
    on_step : called after each step with its number, from 1, and its line

    Raises
    ------
    Diverged : a loss or gradient that is no number; nothing of that step is kept
    InputError : a checkpoint of another model or recipe, or a damaged one; bounds of steps, batch, lr
    """
    raise NotImplementedError
