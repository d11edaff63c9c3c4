"""`make bench-cost`: cells by Component, the fit, and what it says of a check."""

import json
import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from nmgen.bench import cost as bench
from nmgen.bench.cost import (
    check_table,
    checked_configs,
    components,
    config_of,
    fit,
    fitted_configs,
    left_out_table,
    nonnegative,
)
from nmgen.cost.model import TABLE, cost_of, kind_of
from rtl.params import Config


def cells(**kinds: int) -> dict[str, Any]:
    return {"num_cells_by_type": kinds}


def test_cells_by_component() -> None:
    """Of the top, with what is below them; twice what is there twice; what is in none is the design's own."""
    modules = {
        "\\engine_pins": cells(engine=1, LUT4=7, TRELLIS_FF=9),
        "\\engine": cells(engine_array=1, engine_drain=2, LUT4=3, CCU2C=1, DP16KD=1),
        "\\engine_array": cells(LUT4=10, engine_pe=4),
        "\\engine_pe": cells(LUT4=5, TRELLIS_FF=2, TRELLIS_DPR16X4=1),
        "\\engine_drain": cells(CCU2C=3, TRELLIS_FF=1, MULT18X18D=2),
    }
    assert components(modules) == {
        "array": {"luts": 10 + 4 * (5 + 4), "registers": 8},
        "drain": {"luts": 2 * 6, "registers": 2},
        "own": {"luts": 7 + 3 + 2, "registers": 9},
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_recovers_known_coefficients(seed: int) -> None:
    """Of terms that tell designs apart; one that nothing needs has none, and none is negative."""
    rng = np.random.default_rng(seed)
    wanted = {"1": 40.0, "lanes": 12.5, "bits": 0.75}
    rows = [{"1": 1.0, **dict(zip(("lanes", "bits", "idle"), rng.uniform(1, 200, 3), strict=True))} for _ in range(9)]
    found = nonnegative(rows, [sum(wanted[name] * row[name] for name in wanted) for row in rows])
    assert all(number > 0 for number in found.values())
    assert {name: number for name, number in found.items() if number > 1e-6} == pytest.approx(wanted, rel=1e-3)


def test_the_fit_is_of_relative_errors() -> None:
    """Of two designs that disagree, a tenth more of the large is as bad as a tenth more of the small."""
    found = nonnegative([{"a": 1.0}, {"a": 1.0}, {"a": 100.0}], [100.0, 100.0, 20_000.0])
    assert found["a"] == pytest.approx((1 / 100 + 1 / 100 + 1 / 200) / (2 / 100**2 + 1 / 200**2), rel=1e-4)


def test_a_term_that_falls_is_no_term() -> None:
    rows = [{"up": float(i), "down": 10.0 - i} for i in range(1, 9)]
    assert nonnegative(rows, [3.0 * row["up"] for row in rows]) == {"up": 3.0}
    assert nonnegative(rows, [0.0] * 8) == {}


def test_designs_of_a_check_are_others() -> None:
    found = checked_configs(7)
    assert found == checked_configs(7)
    assert found != checked_configs(8)
    assert [kind_of(config) for config in found] == ["engine"] * 8 + ["core"] * 2
    fitted = [*fitted_configs("engine"), *fitted_configs("core")]
    assert not {*found} & {*fitted}
    for config in found:
        assert config_of({"kind": kind_of(config), "config": asdict(config)}) == config


def measured(config: Config, **off: float) -> dict[str, Any]:
    """As predicted, but for some factors."""
    cost = cost_of(config)
    flat = {
        what: round(getattr(cost, what) * off.get(what, 1)) + int(off.get(f"{what}_more", 0))
        for what in ("luts", "registers", "block_rams", "multipliers")
    }
    return {"flat": flat, "mhz": [0, cost.mhz * off.get("mhz", 1)]}


@pytest.mark.parametrize(
    ("every", "one", "held"),
    [
        ({}, {}, True),
        ({"luts": 1.04, "registers": 0.96, "mhz": 1.08}, {}, True),
        ({}, {"luts": 1.11, "registers": 0.91, "mhz": 2.0}, True),
        ({"luts": 1.06}, {}, False),
        ({"registers": 0.94}, {}, False),
        ({"mhz": 1.2}, {}, False),
        ({}, {"luts": 1.15}, False),
        ({}, {"registers": 0.85}, False),
        ({}, {"block_rams_more": 1}, False),
        ({}, {"multipliers_more": -1}, False),
        ({}, {"luts": 30.0}, False),
    ],
)
def test_bounds_of_a_check(every: dict[str, float], one: dict[str, float], held: bool) -> None:
    """Median and worst of the errors; block RAM and multipliers to the last one; whether it fits."""
    configs = checked_configs(7)[:5]
    found = [(config, measured(config, **(every | (one if i == 2 else {})))) for i, config in enumerate(configs)]
    text, said = check_table("--check 7", found)
    assert said is held
    last = text.splitlines()[-1]
    assert last.endswith(f"are {'met' if held else '**missed**'}.")
    assert f"of 5, what fits right in {4 if one.get('luts') == 30 else 5}." in last
    assert text.count("\n| engine ") == 5


def test_without_a_clock() -> None:
    """One that does not route says nothing of the clock; where none was measured, its bound is not met."""
    first, second, *_ = checked_configs(7)
    unrouted = first, measured(first) | {"mhz": []}
    text, held = check_table("--check 7", [unrouted, (second, measured(second))])
    assert held
    assert " of – |" in text
    text, held = check_table("--check 7 --no-place", [unrouted])
    assert not held
    assert "clocks not measured" in text
    assert text.endswith("are met, as far as they were measured.")
    assert text.startswith("`python -m nmgen.bench.cost --check 7 --no-place` writes")


def test_left_out_one_by_one() -> None:
    """Each error is that of a fit that has not seen the design; the largest come first."""
    table: list[dict[str, Any]] = json.loads(TABLE.read_text())["designs"]
    engines, cores = ([one for one in table if one["kind"] == kind] for kind in ("engine", "core"))
    flats = [*engines[:9], *cores[:3]]
    rest = [{name: value for name, value in one.items() if name != "flat"} for one in table if one not in flats]
    odd = {**flats[4], "flat": {**flats[4]["flat"], "luts": 2 * flats[4]["flat"]["luts"]}}
    records = [*flats[:4], odd, *flats[5:], *rest]
    unseen = cost_of(config_of(odd), fit([one for one in records if one is not odd])).luts / odd["flat"]["luts"] - 1
    seen = cost_of(config_of(odd), fit(records)).luts / odd["flat"]["luts"] - 1
    assert f"{unseen:+.1%}" != f"{seen:+.1%}"
    luts, registers = (line for line in left_out_table(records).splitlines() if line.startswith("| engine"))
    c = config_of(odd)
    assert luts.startswith("| engine | LUT-eq | 9 |")
    assert f" {unseen:+.1%} {c.rows}×{c.cols}, N = {c.n}, M = {c.m}, {c.pe}; " in luts
    largest = [abs(float(off)) for off in re.findall(r"([+-][0-9.]+)%", luts)]
    assert largest == sorted(largest, reverse=True)
    assert f"| {largest[0]}% | " in luts
    assert registers.startswith("| engine | registers | 9 |")


def test_records_have_no_place_without_a_clock() -> None:
    assert bench.record(fitted_configs("engine")[0], None, None).keys() == {"kind", "config"}
