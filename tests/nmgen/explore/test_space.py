"""The configurations that a search chooses from."""

from dataclasses import fields
from math import prod
from pathlib import Path

import pytest

from nmgen.explore.space import CORE, KINDS, SHAPES, Space, space_for
from nmgen.fpga.targets import find_target
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

ULX3S, XILINX = find_target("ulx3s-85f"), find_target("xilinx")
GIVEN = {"max_k": (96,), "hidden": (24,)}


def written(path: Path, text: str) -> Path:
    file = path / "space.toml"
    file.write_text(text)
    return file


def test_defaults() -> None:
    """What follows from the model stands as it is; DSP slices are for those who have them."""
    space = space_for("core", ULX3S, GIVEN, [7])
    assert space.values == SHAPES | CORE | {"pe": ("ecp5", "portable"), "max_k": (96,), "hidden": (24,)}
    assert list(space.values) == [one.name for one in fields(StaConfig) if one.name in space.values]
    engine = space_for("engine", XILINX, GIVEN, [7])
    assert engine.values == SHAPES | {"pe": ("portable",), "max_k": (96,)}


def test_every_combination_once() -> None:
    space = space_for("engine", ULX3S, GIVEN, [7])
    combinations = [tuple(chosen.items()) for chosen in space]
    assert len(set(combinations)) == len(combinations) == space.size == 2 * prod(map(len, SHAPES.values()))
    configs = {space.configuration(dict(one), "LFE5U-85F") for one in combinations}
    assert len(configs) == space.size
    assert {config.device for config in configs if config.pe == "ecp5"} == {"LFE5U-85F"}
    assert {config.device for config in configs if config.pe == "portable"} == {""}


def test_a_file_overrides(tmp_path: Path) -> None:
    file = written(tmp_path, 'rows = [2, 3, 2]\nmax_k = 64\nmax_tokens = 8\npe = "portable"\ngroups = [1, 2]\n')
    space = space_for("core", ULX3S, GIVEN, [99], file)
    assert space.values["rows"] == (2, 3)
    assert space.values["max_k"] == (64,)
    assert space.values["pe"] == ("portable",)
    assert space.values["groups"] == (1, 2)
    assert space.values["cols"] == SHAPES["cols"]
    assert all(space.configuration(chosen, "").max_tokens == 8 for chosen in space if chosen["rows"] == 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("row = [2]", "row is no parameter of a configuration (core), must be one of n, m, rows"),
        ("device = ['LFE5U-85F']", "device is no parameter"),
        ("rows = []", "rows has no values: the space is empty"),
        ("rows = [2, '4']", "rows has '4', must be an integer"),
        ("rows = [2.0]", "rows has 2.0, must be an integer"),
        ("rows = [true]", "rows has True, must be an integer"),
        ("rows = [[2]]", "rows has [2], must be an integer"),
        ("pe = [1]", "pe has 1, must be a name"),
        ("pe = [true]", "pe has True, must be a name"),
        ("[rows]\nx = 1", "rows has {'x': 1}, must be an integer"),
        ("rows = [2", "is not a TOML file"),
        ("rows = [2]\nrows = [3]", "is not a TOML file"),
        ("rows = [nan]", "rows has nan, must be an integer"),
        ("rows = [\ud800]", "is not UTF-8 text"),
    ],
)
def test_a_file_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(InputError) as raised:
        space_for("core", ULX3S, GIVEN, [7], file)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)


def test_what_only_a_core_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store_words is no parameter of a configuration \(engine\)"):
        space_for("engine", ULX3S, GIVEN, [7], written(tmp_path, "store_words = [64]"))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"n": 8, "m": 4}, "n is 8, must be at most m = 4"),
        ({"rows": 4, "groups": 3}, "groups is 3, must divide rows = 4"),
        ({"pe": "portable", "soft_rows": 1}, "soft_rows is 1"),
        ({"pe": "wood"}, "pe is 'wood'"),
        ({"store_words": 10**6}, "store_words is 1000000"),
    ],
)
def test_what_is_no_configuration_says_why(chosen: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Space("core", {}).configuration(chosen, "LFE5U-85F")


@pytest.mark.parametrize(
    ("kind", "rows", "lengths", "tokens"),
    [
        ("core", 4, [7], 8),
        ("core", 16, [128], 128),
        ("core", 12, [32, 32, 32, 32], 256),  # 36 · 3 + 32: each begins with a row of the array
        ("core", 8, [32, 32, 32, 32], 128),
        ("core", 2, [5, 1], 8),
        ("core", 12, [20, 8], 32),  # the last needs no whole row
        ("engine", 4, [5, 1, 1], 8),
        ("engine", 12, [32, 32, 32, 32], 128),
        ("core", 8, [4000, 4000], 4096),
        ("engine", 8, [1], 1),
    ],
)
def test_room_for_sequences(kind: str, rows: int, lengths: list[int], tokens: int) -> None:
    space = space_for(kind, ULX3S, GIVEN, lengths)
    config = space.configuration({"rows": rows}, "")
    assert config.max_tokens == tokens
    assert isinstance(config, KINDS[kind])


def test_kinds() -> None:
    assert {"engine": Config, "core": StaConfig} == KINDS
