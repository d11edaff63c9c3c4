"""The configurations that a search chooses from: some values of each parameter, all combined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from nmgen.fpga.targets import ECP5, Target
from pruning.files.reading import TOML_MAX, parse_toml, read_text
from rtl.params import Config, InputError, power_of_two_at_least, round_up
from rtl.sta.params import StaConfig

KINDS: dict[str, type[Config]] = {"engine": Config, "core": StaConfig}
# What follows from other parameters; of what no cost is known.
NO_CHOICE = ("device", "soft_rows")
TOKENS_MAX = 4096  # that a configuration may be made for

# Around what an LFE5U-85F holds: 156 multipliers, 208 block RAMs.
SHAPES: dict[str, tuple[Any, ...]] = {
    "n": (1, 2, 4),
    "rows": (4, 6, 8, 12, 16),
    "cols": (6, 8, 12, 16),
    "drain": (4, 8),
    "port_bytes": (8, 16, 32),
}
CORE: dict[str, tuple[Any, ...]] = {"store_words": (1024, 1536, 2048)}


@dataclass(frozen=True)
class Space:
    """Values of each parameter.

    Parameters
    ----------
    kind : "engine" or "core"
    values : by the name of the parameter, in the order of the kind's; what is missing has its default
    lengths : tokens of sequences that there is to be room for, where max_tokens has no values: in a core each begins
        with a row of the array
    """

    kind: str
    values: Mapping[str, tuple[Any, ...]]
    lengths: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Combinations, legal or not."""
        return prod(len(values) for values in self.values.values())

    def configuration(self, chosen: Mapping[str, Any], device: str) -> Config:
        """Of one value of each.

        device : of which the DSP slices are, where elements are made of these

        Raises
        ------
        InputError : there is no such configuration.
        """
        given = {**chosen, "device": device if chosen.get("pe") == "ecp5" else ""}
        if "max_tokens" not in given and self.lengths:
            rows = given.get("rows", KINDS[self.kind]().rows) if self.kind == "core" else 1
            tokens = sum(round_up(length, max(rows, 1)) for length in self.lengths[:-1]) + self.lengths[-1]
            given["max_tokens"] = min(TOKENS_MAX, power_of_two_at_least(tokens))
        return KINDS[self.kind](**given)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for combination in product(*self.values.values()):
            yield dict(zip(self.values, combination, strict=True))


def space_for(
    kind: str, target: Target, given: Mapping[str, tuple[int, ...]], lengths: Sequence[int], file: Path | None = None
) -> Space:
    """The values of a file, else those that a target's part has room for.

    given : values of what follows from the model
    lengths : tokens of all sequences

    Raises
    ------
    InputError : an unknown key, a value that is none, no values.
    """
    values: dict[str, tuple[Any, ...]] = dict(SHAPES)
    if kind == "core":
        values |= CORE
    values["pe"] = ("ecp5", "portable") if target.family is ECP5 else ("portable",)
    values |= given
    if file is not None:
        values |= read_space(file, kind)
    own = [field.name for field in fields(KINDS[kind])]
    return Space(kind, {name: values[name] for name in own if name in values}, tuple(lengths))


def read_space(path: Path, kind: str) -> dict[str, tuple[Any, ...]]:
    """The values in a TOML file of lines such as: rows = [4, 8].

    Raises
    ------
    InputError : as space_for.
    """
    try:
        table = parse_toml(read_text(path, TOML_MAX))
    except InputError as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None
    known = {field.name: field.type for field in fields(KINDS[kind]) if field.name not in NO_CHOICE}
    found: dict[str, tuple[Any, ...]] = {}
    for key, value in table.items():
        if key not in known:
            raise InputError(
                f"{path}: {key} is no parameter of a configuration ({kind}), must be one of {', '.join(known)}"
            )
        values = value if isinstance(value, list) else [value]
        if not values:
            raise InputError(f"{path}: {key} has no values: the space is empty")
        wanted = str if known[key] in (str, "str") else int
        for one in values:
            if not isinstance(one, wanted) or isinstance(one, bool):
                raise InputError(f"{path}: {key} has {one!r}, must be {'a name' if wanted is str else 'an integer'}")
        found[key] = tuple(dict.fromkeys(values))
    return found
