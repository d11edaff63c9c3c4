"""The processes of one run, which torchrun starts, and what they tell one another. Alone, all of it does nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@contextmanager
def distributed() -> Iterator[bool]:
    """Joins the processes that torchrun started, for as long as the block lasts; gives whether this is the first."""
    if "RANK" not in os.environ:
        yield True
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def world() -> tuple[int, int]:
    """(rank, number) of this process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def of_first(value: T) -> T:
    """What the first process has, in all: what they computed may differ in its last bits."""
    if world()[1] == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes' x, in their order: [rows, …] → [processes · rows, …].

    Gradients pass to this process's own rows, times the number of processes. What each of them computes from all rows
    then has, as the mean of their gradients, the gradient of one process that has all rows.
    """
    rank, processes = world()
    if processes == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(processes)]
    dist.all_gather(parts, x.detach().contiguous())
    parts[rank] = x.detach() + processes * (x - x.detach())
    return torch.cat(parts)
