"""What is trained, and how; who is told how far it is."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rtl.sta.params import StaConfig

Progress = Callable[[str, int, int, float], None]
"""Told of a training step: what is trained, the step's number, of how many, its loss."""


SENSITIVITIES = ("one-shot", "trained")  # how the harm of a pattern is measured, the usual one first


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the cycles are of: a configuration, the tokens of each sequence, a memory.

    lengths : none where a model has its own, as a ViT
    """

    config: StaConfig
    lengths: list[int]
    mem_latency: int = 30


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Plans that are asked for.

    cycles : of each plan's program at most
    sensitivity : one of SENSITIVITIES
    """

    cycles: tuple[int, ...]
    target: Target
    sensitivity: str = SENSITIVITIES[0]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, on what, and how. `nmgen prune --help` says what each is."""

    model: str
    data: tuple[Path, ...]
    teacher: str | None = None  # None: the model itself, as it is before it is pruned
    method: str = "idp"
    patterns: tuple[str, ...] = ()
    plan: Path | None = None
    budgets: Budgets | None = None
    layers: str = "all"
    ragged: str = "error"
    nested: bool = False
    permute: bool = False
    elastic: bool = False  # patterns are the densities of one model
    classify: bool = False
    head_steps: int = 0
    steps: int = 1000
    qat: int = 0
    batch: int = 128
    lr: float = 3e-4
    seed: int = 0
    checkpoint_every: int = 100
    calibrate: Path | None = None
    sts: tuple[Path, ...] = ()
    resume: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """All of it but resume, ready for JSON."""
        return {key: _plain(value) for key, value in asdict(self).items() if key != "resume"}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
