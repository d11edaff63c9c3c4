"""Unpacks the steps of a column tile: the units that its beats are cut into, and what the array makes of them."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.selection import RANKED_AT_ONCE, BitmapDecoder, BitmapRanks
from rtl.array.steps import WEIGHT_BITS, column_step
from rtl.lib.cases import cases
from rtl.lib.gearbox import Gearbox
from rtl.lib.timing import registered, replicate
from rtl.params import PARAMETER_BYTES, Config, ceil_div


def value_units(config: Config) -> list[int]:
    """Bits of each kind: parameters of a slot; values of a step of one lane, of two … They never come together."""
    return [8 * PARAMETER_BYTES * config.drain_lanes, *(WEIGHT_BITS * config.cols * n for n in range(1, config.n + 1))]


def selection_units(config: Config) -> list[int]:
    """Bits of each kind: bitmaps of a group; indices of a step of one lane, of two …"""
    return [config.cols * config.m, *(config.cols * config.index_bits * n for n in range(1, config.n + 1))]


class StepUnpacker(wiring.Component):
    """From a step's values and selection to what enters each column of the array.

    Parameters
    ----------
    pipelined : in three stages, for a fast clock: the bitmaps' ranks; positions decoded from these; the step. Ranks in
        groups of more than `RANKED_AT_ONCE` take two, and what is made of the third has no register here: one has to
        follow. Indices are undefined where the selection is counted. Else in one stage, the step

    Members
    -------
    value_unit, selection_unit : of `value_units` and of `selection_units`, in
    step : of the group, in
    lanes : that the step fills; the others get a weight of 0; steady while a tile is unpacked, in
    bitmap, counted : the selection's coding, index where neither; steady, in
    columns : `column_step` for each column, three cycles later or one, out
    """

    def __init__(self, config: Config, *, pipelined: bool) -> None:
        self._config = config
        self._pipelined = pipelined
        self._long = pipelined and config.m > RANKED_AT_ONCE  # ranks take two cycles
        super().__init__(
            {
                "value_unit": In(max(value_units(config))),
                "selection_unit": In(max(selection_units(config))),
                "step": In(range(ceil_div(config.m, config.n))),
                "lanes": In(range(config.n + 1)),
                "bitmap": In(1),
                "counted": In(1),
                "columns": Out(data.ArrayLayout(column_step(config), config.cols)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config

        def stage(value: Any, name: str) -> Any:
            return registered(m, value, name=name) if self._pipelined else value

        code = stage(self.selection_unit, "code")
        index_code = stage(code, "index_code")
        values = stage(stage(self.value_unit, "values"), "values_unpacked")
        step = stage(self.step, "step_unpacked")
        if self._long:
            code, index_code = stage(code, "code_ranked"), stage(index_code, "index_code_decoded")
            values = stage(values, "values_decoded")
        columns = Signal.like(self.columns, reset_less=True)
        domain = m.d.comb if self._long else m.d.sync
        m.d.comb += self.columns.eq(columns)
        for column in range(c.cols):
            m.submodules[f"bitmap_ranks_{column}"] = ranks = BitmapRanks(c, pipelined=self._long)
            m.submodules[f"bitmap_decoder_{column}"] = decoder = BitmapDecoder(c)
            own_step = step
            if self._long:  # from a register beside the column; as many differ as there are steps
                own_step = replicate(m, step, name=f"step_{column}", distinct_init=column % ceil_div(c.m, c.n))
            m.d.comb += [
                ranks.bitmap.eq(self.selection_unit[c.m * column :]),
                decoder.bitmap.eq(code[c.m * column :]),
                decoder.step.eq(own_step),
            ]
            for position, rank in enumerate(ranks.ranks):
                m.d.comb += decoder.ranks[position].eq(stage(rank, f"rank_{column}_{position}"))
            decoded = stage(Cat(decoder.indices), f"decoded_{column}")
            target = columns[column]
            for lane in range(c.n):
                byte = lane * c.cols + column
                domain += target.weights[lane].eq(values.word_select(byte, WEIGHT_BITS).as_signed())
                with m.If(lane >= self.lanes):
                    domain += target.weights[lane].eq(0)
                with m.If(self.bitmap):
                    domain += target.indices[lane].eq(decoded.word_select(lane, c.index_bits))
                if not self._pipelined:
                    with m.Elif(self.counted):
                        for i in cases(m, step, ceil_div(c.m, c.n)):
                            domain += target.indices[lane].eq(i * c.n + lane)
                with m.Else():
                    domain += target.indices[lane].eq(index_code.word_select(byte, c.index_bits))
        return m


def cut_into_units(m: Module, config: Config, unpacker: StepUnpacker, beat: Value) -> tuple[Gearbox, Gearbox]:
    """The gearboxes that cut the beats of a column tile into values (parameters at first) and selections.

    The unpacker gets their units. Which of them a beat is for, and when units are taken, is left to decide.
    """
    port_bits = 8 * config.port_bytes
    m.submodules.values = values = Gearbox(port_bits, value_units(config))
    m.submodules.selections = selections = Gearbox(port_bits, selection_units(config))
    m.d.comb += [
        values.beats.payload.eq(beat),
        selections.beats.payload.eq(beat),
        unpacker.value_unit.eq(values.units.payload),
        unpacker.selection_unit.eq(selections.units.payload),
    ]
    return values, selections
