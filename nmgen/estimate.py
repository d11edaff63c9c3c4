"""Cycles of a program without simulating it: each instruction in closed form.

An instruction's time is the larger of what its engines need, plus what nothing hides: the start, the first tile of
columns as far as it was not read while the instruction before executed, and the drain of the last tile. The constants
below are those of the hardware; tests/ compare the sum with simulations.
"""

from dataclasses import dataclass
from typing import Any

from nmgen.program import Program
from rtl.params import REQUANTISER_LATENCY, Pattern, Product, ceil_div
from rtl.sta.isa import Columns, Op
from rtl.sta.params import TABLE_ENTRIES, StaConfig
from rtl.sta.timing import drain_start, drain_window
from sim.unpack import parameter_beats

Fields = dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What the closed forms take from the hardware: cycles.

    Parameters
    ----------
    memory : from a request to its first beat
    instruction : from the end of one to its successor's first cycle of work; the code is there by then
    load : of a column tile, beside its beats and steps
    drain : behind the last slot: requantise, table, rescale, write
    copy : of a column tile of keys or values, beside its reads
    statistics : of a token; begin: until the first token's are there, and behind the last element
    row : of a GATHER, POOL or STORE, beside its words
    """

    memory: int = 30
    instruction: int = 4
    load: int = 4
    drain: int = REQUANTISER_LATENCY + 8
    copy: int = 8
    statistics: int = 21
    begin: int = 84
    row: int = 3


@dataclass(frozen=True)
class Estimate:
    """Of one instruction: cycles, beats that it reads or writes, multiplies that its pattern needs."""

    name: str
    op: Op
    cycles: int
    beats: int
    multiplies: int


def estimate(program: Program, constants: Constants | None = None) -> list[Estimate]:
    """Every instruction of a program, in order, END left out."""
    constants = constants or Constants()
    model = _Model(program.config, constants)
    found = []
    before = 0  # cycles in which the columns of the next product may be read
    for name, partial in zip(program.names, program.instructions, strict=True):
        f = dict.fromkeys(("columns", "which", "groups", "channels", "tokens"), 0) | partial
        op = Op(f["opcode"])
        cycles, beats, multiplies = model.of(op, f, before)
        before = 0 if op == Op.GATHER else cycles
        found.append(Estimate(name, op, cycles + constants.instruction, beats, multiplies))
    return found


def total(program: Program, estimates: list[Estimate]) -> dict[str, Any]:
    """Cycles of all, and what share of the multipliers' slots the model's patterns need."""
    c = program.config
    cycles = sum(one.cycles for one in estimates)
    multiplies = sum(one.multiplies for one in estimates)
    by_op = {op.name: sum(one.cycles for one in estimates if one.op == op) for op in Op}
    return {
        "cycles": cycles,
        "multiplies": multiplies,
        "utilisation": multiplies / (cycles * c.rows * c.cols * c.n),
        "beats": sum(one.beats for one in estimates),
        "cycles_by_opcode": {name: count for name, count in by_op.items() if count},
    }


class _Model:
    def __init__(self, config: StaConfig, constants: Constants) -> None:
        self._c, self._k = config, constants

    def of(self, op: Op, f: Fields, before: int) -> tuple[int, int, int]:
        """(cycles, beats, multiplies), the start left out. before: cycles of the instruction before."""
        c = self._c
        slots = ceil_div(f["channels"], c.drain_lanes)
        wide_row = ceil_div(2 * f["channels"], c.port_bytes)
        if op == Op.PRODUCT:
            return self._product(f, before)
        if op == Op.NORM:
            load = self._k.memory + f["tile_beats"] + c.slots_a_row
            # The first column tile goes at the pace of the statistics.
            first = f["tokens"] * max(c.slots_a_row, self._k.statistics)
            others = f["tokens"] * (ceil_div(f["channels"], c.cols) - 1) * c.slots_a_row
            return max(0, load - before) + self._k.begin + first + others, f["beats"], 0
        if op == Op.POOL:
            return f["tokens"] * slots + self._k.row + self._k.drain, 0, 0
        if op == Op.GATHER:
            ids = ceil_div(4 * f["tokens"], c.port_bytes)
            rows = f["tokens"] * (max(wide_row, slots) + self._k.row)
            return 2 * self._k.memory + ids + rows + self._k.drain, ids + f["tokens"] * wide_row, 0
        if op == Op.TABLE:
            return max(0, self._k.memory - before) + max(f["beats"], TABLE_ENTRIES), f["beats"], 0
        narrow_row = ceil_div(f["groups"] * c.m, c.port_bytes)
        row = wide_row if f["which"] else narrow_row
        beats = f["tokens"] * row
        return f["tokens"] * (max(row, slots) + self._k.row), beats, 0

    def _product(self, f: Fields, before: int) -> tuple[int, int, int]:
        c, source = self._c, Columns(f["columns"])
        pattern = Pattern(config=c, n=f["pattern"])
        softmax = source == Columns.VALUES
        steps = f["groups"] * pattern.steps
        token_tiles, column_tiles = ceil_div(f["tokens"], c.rows), ceil_div(f["channels"], c.cols)
        drained = c.rows * c.slots_a_row
        # The last steps of two tiles are as far apart as the longest of: the steps, the drain, and its latency.
        interval = max(steps, drained, drain_start(c, softmax) + drain_window(c, softmax))
        fed = token_tiles * interval
        load, exposed, beats = self._load(f, source, before)
        tail = drain_start(c, softmax) + drained + self._k.drain
        cycles = exposed + (column_tiles - 1) * max(fed, load) + fed - interval + steps + tail
        multiplies = f["tokens"] * f["channels"] * f["groups"] * f["pattern"]
        return cycles, beats, multiplies

    def _load(self, f: Fields, source: Columns, before: int) -> tuple[int, int, int]:
        """(cycles of a column tile, cycles that the first one is waited for, beats of all)."""
        c, k = self._c, self._k
        if source == Columns.MEMORY:
            product = Product(config=c, tokens=1, k=f["groups"] * c.m, channels=f["channels"], pattern_n=f["pattern"])
            unpacked = parameter_beats(c) + c.slots_a_row + product.steps
            load = max(f["tile_beats"], unpacked) + k.load
            return load, max(0, k.memory + load - before), f["beats"]
        if source == Columns.KEYS:
            load = c.cols * f["groups"] + k.copy
        else:
            pieces = 1 + (c.cols - 1) // c.store_word_bytes + (c.store_word_bytes % c.cols != 0)
            load = f["keys"] * pieces + k.copy
        return load, load, 0
