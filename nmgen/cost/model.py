"""The cost of a configuration on an ECP5: cells by Component, and the clock. No tool is run.

Multipliers and memories are exact (`nmgen.cost.exact`). LUTs and registers of each Component are sums of terms
(`nmgen.cost.terms`), with numbers of cells that `make bench-cost` fits to synthesised designs and keeps in ecp5.json.
Synthesis of the flat design leaves a share of them, fitted to flat designs; the clock is fitted to placed ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nmgen.cost.exact import block_rams, multipliers
from nmgen.cost.terms import Terms, flat_terms, grown
from nmgen.fpga.targets import ECP5, Target
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

TABLE = Path(__file__).with_name("ecp5.json")
# device → LUTs; as many registers. The multipliers and block RAMs are the board's.
LUTS = {"LFE5U-25F": 24_288, "LFE5U-45F": 43_848, "LFE5U-85F": 83_640}
# Components of an engine that have a share of their own in the flat design; all the rest has one for each kind of
# elements.
ALONE = ("array", "column_buffer", "activation_store")
GROWN = "columns × M³"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a configuration.

    Attributes
    ----------
    luts : LUT equivalents, of which a carry cell is two and a LUT RAM four
    registers, block_rams, multipliers : cells
    mhz : the median of seeds
    by_component : LUT equivalents
    """

    luts: int
    registers: int
    block_rams: int
    multipliers: int
    mhz: float
    by_component: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a part has."""

    luts: int
    registers: int
    block_rams: int
    multipliers: int

    def lacks(self, cost: Cost) -> tuple[str, int, int] | None:
        """(what, needed, there) of what there is too little of, the worst; None where all fits."""
        names = {"multipliers": "multipliers", "block RAM": "block_rams", "LUTs": "luts", "registers": "registers"}
        missing = [(what, getattr(cost, name), getattr(self, name)) for what, name in names.items()]
        return max((one for one in missing if one[1] > one[2]), key=lambda one: one[1] / one[2], default=None)


def room_of(target: Target) -> Room:
    """InputError of a target of which nothing is known."""
    if target.family is not ECP5 or target.device not in LUTS:
        raise InputError(f"target is {target.name}, which has no cost model: must be a board with an ECP5")
    assert target.block_rams is not None
    assert target.multipliers is not None
    luts = LUTS[target.device]
    return Room(luts=luts, registers=luts, block_rams=target.block_rams, multipliers=target.multipliers)


@cache
def fitted() -> dict[str, Any]:
    """What `make bench-cost` keeps."""
    found: dict[str, Any] = json.loads(TABLE.read_text())["coefficients"]
    return found


def cost_of(config: Config, coefficients: Mapping[str, Any] | None = None) -> Cost:
    """Of a core where the configuration is one, else of an engine.

    coefficients : those of another fit
    """
    known = coefficients or fitted()
    own, by_term = known[kind_of(config)], flat_terms(config)
    cells = {what: _flat(own, what, by_term, config) for what in ("luts", "registers")}
    luts, registers = (round(sum(cells[what].values())) for what in ("luts", "registers"))
    ns = max(total(own["ns"], clock_terms(config)) + portable_ns(config), softmax_ns(config))
    return Cost(
        luts=luts,
        registers=registers,
        block_rams=block_rams(config),
        multipliers=multipliers(config),
        mhz=1000 / ns,
        by_component={name: round(number) for name, number in cells["luts"].items()},
    )


def kind_of(config: Config) -> str:
    return "core" if isinstance(config, StaConfig) else "engine"


def by_component(own: Mapping[str, Any], what: str, by_term: Mapping[str, Terms]) -> dict[str, float]:
    """Cells of each Component synthesised on its own. what : luts or registers"""
    return {name: total(own[what].get(name, {}), found) for name, found in by_term.items()}


def share_of(component: str, config: Config) -> str:
    """The name of the share that a Component leaves in the flat design."""
    if isinstance(config, StaConfig):  # mapped otherwise with DSP slices: docs/timing.md, "Map for the average path"
        return f"all {config.pe}"
    return component if component in ALONE else f"rest {config.pe}"


def _flat(own: Mapping[str, Any], what: str, by_term: Mapping[str, Terms], config: Config) -> dict[str, float]:
    """Cells of each Component in the flat design."""
    shares = own["flat"][what]
    cells = {
        name: shares.get(share_of(name, config), 0.0) * number
        for name, number in by_component(own, what, by_term).items()
    }
    cells["column_buffer"] += shares.get(GROWN, 0.0) * grown(config)
    return cells


def clock_terms(config: Config) -> Terms:
    """Of the period, in ns, but for the softmax's. The longest paths of an engine are wires, as long as it is large."""
    return {"1": 1.0} | (
        {} if isinstance(config, StaConfig) else {"lanes": float(config.rows * config.cols * config.n)}
    )


# What a core of portable elements takes longer. Not fitted: 8x8 of them do not route now; when they did, at commit
# 605c357, two seeds of three had 132 and 134 MHz, beside 143 with DSP slices.
PORTABLE_NS = 0.5


def portable_ns(config: Config) -> float:
    """Of the period, in ns."""
    return PORTABLE_NS * (isinstance(config, StaConfig) and config.pe == "portable")


# Of the longest path of a softmax: the running sum of a group's exponentials, lane behind lane, from its table to a
# register. Of a core with N = 4 that was placed.
SOFTMAX_NS, SOFTMAX_LANE_NS = 2.1, 1.93


def softmax_ns(config: Config) -> float:
    """The least period, in ns, of a core's softmaxes; 0 of an engine, which has none."""
    return SOFTMAX_NS + SOFTMAX_LANE_NS * config.n if isinstance(config, StaConfig) else 0.0


def total(coefficients: Mapping[str, float], values: Terms) -> float:
    return sum(number * values.get(name, 0.0) for name, number in coefficients.items())
