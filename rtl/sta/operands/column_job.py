"""The column buffer's job: what it needs of an instruction, decoded and held."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.product import Pattern
from rtl.sta.control.instruction import instruction_layout, operand_words, result_words
from rtl.sta.isa import Columns, Op
from rtl.sta.legality import most_weight_groups
from rtl.sta.params import StaConfig


def column_job(config: StaConfig) -> data.StructLayout:
    """Fields of the instruction, and what follows from its opcode, columns and pattern.

    copy : keys or values from the store, else packed tiles from memory
    values : of the two, values
    parameters_only : NORM, a tile has no steps
    steps : steps a group takes in memory, less one
    lanes : lanes that such a step fills
    bitmap, counted : the selection's coding; index where neither
    groups : of packed weights those of a column tile; of keys along a token
    c_base : of the head
    """
    return data.StructLayout(
        {
            "copy": 1,
            "values": 1,
            "parameters_only": 1,
            "steps": range(config.steps_a_group),
            "lanes": range(config.n + 1),
            "bitmap": 1,
            "counted": 1,
            "groups": range(most_weight_groups(config) + 1),
            "keys": range(config.max_tokens + 1),
            "c_base": range(config.store_words),
            "c_pitch": range(config.store_words),
        }
    )


class ColumnJob(wiring.Component):
    """Decodes an instruction for the column buffer and holds it, so that the sequencer may go on.

    Members
    -------
    start : take the instruction of this cycle, in
    next_head : c_base goes on to the next head, in; not in the cycle of the start
    instruction : `instruction_layout`, in
    job : `column_job`, from the cycle after the start to the next start, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "next_head": In(1),
                "job": Out(column_job(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, job = self._config, self.instruction, self.job
        product = instruction.opcode == Op.PRODUCT
        values = instruction.columns == Columns.VALUES
        words = Signal.like(job.c_base, reset_less=True)  # of a key's or value's head
        with m.If(self.next_head):
            m.d.sync += job.c_base.eq(job.c_base + words)
        with m.If(self.start):
            m.d.sync += [
                job.copy.eq(product & (instruction.columns != Columns.MEMORY)),
                job.values.eq(values),
                words.eq(Mux(values, result_words(c, instruction), operand_words(c, instruction))),
                job.parameters_only.eq(~product),
                job.groups.eq(Mux(instruction.weight_groups.any(), instruction.weight_groups, instruction.groups)),
                *(job[name].eq(instruction[name]) for name in ("keys", "c_base", "c_pitch")),
            ]
            with m.Switch(instruction.pattern_n):
                for n in range(1, c.m + 1):
                    pattern = Pattern(config=c, n=n)
                    with m.Case(n):
                        m.d.sync += [
                            job.steps.eq(pattern.steps - 1),
                            job.lanes.eq(pattern.lanes),
                            job.bitmap.eq(pattern.coding == "bitmap"),
                            job.counted.eq(pattern.coding == "counted"),
                        ]
        return m
