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
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pruning.files.reading import parse_json, read_text
from pruning.files.writing import write_whole, writing
from pruning.masks.plan import plan_of
from pruning.training import checkpoint as checkpoints
from pruning.training.processes import world
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
    """What the loop asks of a pruning method (pruning/masks/methods.py)."""

    @property
    def name(self) -> str: ...

    def before_step(self, model: nn.Module, passed: float) -> None:
        """A step begins; passed : share of all steps that are done, 0 before the first."""

    def after_step(self, model: nn.Module) -> None:
        """The weights have just changed: masks may have to."""


class DivergedError(InputError):
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
    about: Mapping[str, str] | None = None,
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
    about : what else the result depends on, such as the text; a checkpoint that says otherwise is of another run

    Raises
    ------
    DivergedError : a loss or gradient that is no number; nothing of that step is kept
    InputError : a checkpoint of another model or recipe, or a damaged one; bounds of steps, batch, lr
    """
    rank, processes = world()
    check_numbers(steps, batch, lr)
    if task.size < 1:
        raise InputError("there is no training example, must be at least 1")
    if checkpoint and rank == 0:
        checkpoints.check_place(checkpoint)
    device = next(model.parameters()).device
    bf16 = has_bf16(device) if bf16 is None else bf16
    first = rank == 0  # the process that writes

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = _optimiser(parameters, lr, weight_decay)
    run = {
        **(about or {}),
        "method": method.name if method else "none",
        "plan": str(plan_of(model)),
        "examples": task.size,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "weight decay": weight_decay,
        "warm-up": warm_up,
        "clip": clip,
        "bf16": bf16,
        "state": _shapes(model),
        "start": checkpoints.digest(model) if checkpoint else "",
    }
    state = _State(checkpoint, run, model, optimiser)
    if resume:
        state.load()
    if processes > 1:
        dist.barrier()  # all have read before the first writes
    done = state.saved
    log = _Log(metrics if first else None, done)

    objective = _objective(model, task, processes)
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), log:
        for step in range(done, steps):
            torch.manual_seed(mixed(seed, step, rank))
            numbers = batch_numbers(task.size, batch, seed, step).chunk(processes)[rank]
            rate = lr * schedule(step, steps, warm_up)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            if method:
                method.before_step(model, step / steps)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = objective(numbers)
            loss.backward()
            norm = float(nn.utils.clip_grad_norm_(parameters, clip))
            mean = _mean(loss.detach().float(), processes)
            if not (math.isfinite(mean) and math.isfinite(norm)):
                raise DivergedError(_diverged(step + 1, mean, norm, state.saved, checkpoint))
            optimiser.step()
            if method:
                method.after_step(model)

            line = {"loss": mean, "lr": rate, "norm": norm}
            log.write(step + 1, line)
            last = step + 1 == steps
            if last or (validate_every and (step + 1) % validate_every == 0):
                state.found = _validated(model, task)
                log.write(step + 1, state.found)
            if last or (step + 1) % checkpoint_every == 0:
                state.save(step + 1, log if first else None)
            if on_step:
                on_step(step + 1, line)
    model.eval()
    return state.found


class _State:
    """What a checkpoint holds; without a path it is not kept.

    Attributes
    ----------
    saved : the step that the last checkpoint is of
    found : what the last validation said
    """

    def __init__(
        self, path: Path | None, run: Mapping[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer
    ) -> None:
        self._path, self._run, self._model, self._optimiser = path, run, model, optimiser
        self.saved = 0
        self.found: Metrics = {}

    def load(self) -> None:
        """Goes on from the checkpoint, if it is there; InputError where it is of another run."""
        if self._path is None or not self._path.exists():
            return
        state = checkpoints.load(self._path, self._run)
        self._model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.saved, self.found = state["step"], state["found"]

    def save(self, step: int, log: "_Log | None") -> None:
        """Replaces the checkpoint; log : of the process that writes, others only count"""
        self.saved = step
        if self._path and log:
            log.flush()
            tensors = {"model": self._model.state_dict(), "optimiser": self._optimiser.state_dict()}
            checkpoints.save(self._path, {"run": self._run, "step": step, "found": self.found, **tensors})


# --- functions of the step -------------------------------------------------------------------------------------------


def schedule(step: int, steps: int, warm_up: float) -> float:
    """The share of the highest learning rate in a step, counted from 0: a line up, then half a cosine down to 0."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return (1 + math.cos(math.pi * (step + 1 - rising) / (steps + 1 - rising))) / 2


def batch_numbers(size: int, batch: int, seed: int, step: int) -> Tensor:
    """int64 [batch]: the examples of a step. Every epoch has each of the `size` examples once, in an order of its own;
    a batch may end one epoch and begin the next."""
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = positions // size
    return torch.cat([_order(size, seed, int(epoch))[positions[epochs == epoch] % size] for epoch in epochs.unique()])


def mixed(*numbers: int) -> int:
    """A seed made of several numbers, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:6], "little")


@lru_cache(maxsize=2)
def _order(size: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(mixed(seed, epoch))
    return torch.randperm(size, generator=generator)


# --- hardware and processes ------------------------------------------------------------------------------------------


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware itself multiplies bfloat16; torch would also emulate it, slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # Torch has no public name for these.
    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    avx = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return bool(amx or avx)


class _Objective(nn.Module):
    """Task and model as one module whose forward is the loss, so that a task may call the model as it likes."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self._task = (task,)  # in a tuple: its tensors are none of this module's parameters

    def forward(self, numbers: Tensor) -> Tensor:
        return self._task[0].loss(self.model, numbers)


def _objective(model: nn.Module, task: Task, processes: int) -> Callable[[Tensor], Tensor]:
    whole = _Objective(model, task)
    if processes == 1:
        return whole
    # Gradients become the mean over the processes; a task may leave parameters unused.
    return cast(Callable[[Tensor], Tensor], DistributedDataParallel(whole, find_unused_parameters=True))


def _mean(loss: Tensor, processes: int) -> float:
    if processes > 1:
        dist.all_reduce(loss)
    return float(loss) / processes


# --- details ---------------------------------------------------------------------------------------------------------


def check_numbers(steps: int, batch: int, lr: float) -> None:
    """InputError where they are none to train with."""
    processes = world()[1]
    if steps < 1:
        raise InputError(f"steps are {steps}, must be at least 1")
    if batch < 1 or batch % processes:
        raise InputError(f"batch is {batch}, must be a multiple of the {processes} processes")
    if not (math.isfinite(lr) and lr > 0):
        raise InputError(f"learning rate is {lr}, must be above 0")


def _optimiser(parameters: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, fused=True)


def _shapes(model: nn.Module) -> str:
    """Number of tensors and of their elements: enough to tell models apart in one line."""
    tensors = list(model.state_dict().values())
    return f"{len(tensors)} tensors of {sum(tensor.numel() for tensor in tensors)} elements"


def _validated(model: nn.Module, task: Task) -> Metrics:
    model.eval()
    with torch.no_grad():
        found = task.validate(model)
    model.train()
    return found


def _diverged(step: int, loss: float, norm: float, saved: int, checkpoint: Path | None) -> str:
    what = f"loss is {loss}" if not math.isfinite(loss) else f"norm of the gradient is {norm}"
    kept = f"the last good checkpoint is of step {saved}: {checkpoint}" if checkpoint and saved else "no checkpoint yet"
    return f"{what} in step {step}: stopped; {kept}"


class _Log:
    """JSON lines of a run. One that goes on from a step drops what an earlier one wrote beyond it."""

    def __init__(self, path: Path | None, done: int) -> None:
        self._file = None
        if path is None:
            return
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(path) if line["step"] <= done]
        with writing(path):
            write_whole(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Metrics) -> None:
        if self._file:
            with writing(self._path):
                self._file.write(json.dumps({"step": step, **values}) + "\n")

    def flush(self) -> None:
        if self._file:
            with writing(self._path):
                self._file.flush()

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            with writing(self._path):
                self._file.close()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a kill may have cut the last."""
    if not path.exists():
        return
    for line in read_text(path).splitlines():
        try:
            found = parse_json(line)
        except InputError:
            return
        if not isinstance(found, dict) or type(found.get("step")) is not int:
            return
        yield found
