"""Which layer gets which pattern: a table, written and read as TOML.

[layers]
"encoder.layer.0.output.dense" = "2:8"
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pruning.files.reading import TOML_MAX, parse_toml, read_text, shown
from pruning.masks.masked import live_weight, masked_layers
from rtl.format import check_pattern, parse_pattern
from rtl.params import InputError

Filter = Callable[[nn.Module, str], bool]
RAGGED = ("error", "skip", "pad")


def prunable(model: nn.Module) -> dict[str, nn.Module]:
    """The Linear and Conv2d layers by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}


@dataclass(frozen=True)
class Plan:
    """Patterns (n, m) of layers by name. A layer that is not named stays as it is."""

    layers: Mapping[str, tuple[int, int]]

    def __post_init__(self) -> None:
        for n, m in self.layers.values():
            check_pattern(n, m)

    @classmethod
    def uniform(cls, model: nn.Module, pattern: str, filter_fn: Filter | None = None, ragged: str = "error") -> "Plan":
        """One pattern for every Linear and Conv2d that filter_fn(layer, name) lets through; see `checked`."""
        n, m = parse_pattern(pattern)
        names = [name for name, layer in prunable(model).items() if filter_fn is None or filter_fn(layer, name)]
        if not names:
            raise InputError("the model has no layer to prune: no Linear or Conv2d passes the filter")
        return cls(dict.fromkeys(names, (n, m))).checked(model, ragged)

    def checked(self, model: nn.Module, ragged: str = "error") -> "Plan":
        """The plan for that model.

        ragged says what becomes of a layer whose input is no multiple of M: 'error', 'skip' (left dense), or 'pad'
        (the last group is filled up with zeros and keeps n of what it has, or all).

        Raises
        ------
        InputError : a layer that the model lacks, or a ragged one.
        """
        if ragged not in RAGGED:
            raise InputError(f"ragged is {ragged!r}, must be one of {', '.join(RAGGED)}")
        there, layers = prunable(model), {}
        for name, (n, m) in self.layers.items():
            if name not in there:
                raise InputError(f"the plan names layer {name}, which is no Linear or Conv2d of the model")
            k = live_weight(there[name]).shape[1]
            if k % m and ragged == "error":
                raise InputError(f"layer {name} has {k} inputs, no multiple of {m}: choose to skip or to pad it")
            if k % m == 0 or ragged == "pad":
                layers[name] = n, m
        return Plan(layers)

    def __str__(self) -> str:
        """How many layers of which pattern, such as '24 × 2:8'."""
        counts = Counter(f"{n}:{m}" for n, m in self.layers.values())
        return ", ".join(f"{count} × {pattern}" for pattern, count in sorted(counts.items())) or "dense"

    def to_toml(self) -> str:
        # A JSON string is a TOML string where only ordinary characters occur.
        lines = [f'{json.dumps(name)} = "{n}:{m}"' for name, (n, m) in self.layers.items()]
        return "\n".join(["[layers]", *lines]) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> "Plan":
        """InputError where it is no such table."""
        try:
            table = parse_toml(text)
        except InputError as error:
            raise InputError(f"plan is not TOML: {error}") from None
        layers = table.get("layers")
        if not isinstance(layers, dict) or len(table) != 1 or not layers:
            raise InputError("plan has no table [layers], or something beside it")
        for name, pattern in layers.items():
            if not isinstance(pattern, str):
                is_ = shown(pattern)
                raise InputError(f"plan: layer {name} is {is_}, must be a pattern such as '2:8'; quote its name")
        return cls({name: parse_pattern(pattern) for name, pattern in layers.items()})

    @classmethod
    def read(cls, path: Path) -> "Plan":
        if not path.is_file():
            raise InputError(f"plan {path} is missing")
        try:
            return cls.from_toml(read_text(path, TOML_MAX))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def plan_of(model: nn.Module) -> Plan:
    """The patterns of a model's masked layers."""
    return Plan({name: (masked.n, masked.m) for name, (_, masked) in masked_layers(model).items()})
