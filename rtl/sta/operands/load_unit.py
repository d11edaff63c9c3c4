"""LOAD: rows from memory into the activation store."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.divider import ceil_shift
from rtl.lib.timing import align, preload, relay
from rtl.params import ceil_div
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import Op
from rtl.sta.latencies import LOAD_END_CYCLES
from rtl.sta.operands.store import store_write
from rtl.sta.operands.word_walk import WordWalk
from rtl.sta.params import StaConfig


class LoadUnit(wiring.Component):
    """Writes the tokens' rows from memory, whole beats, to the addresses of the instruction.

    Members
    -------
    start : a LOAD begins, in; `Sta` starts it for nothing else, which would be ignored
    instruction : steady from start to finished, in
    rows : beats, token after token, stream in; always ready from two cycles after the start to finished, never
        otherwise
    write : `store_write`, a cycle after the beat, out
    finished : all is readable from the next cycle on, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "rows": In(stream.Signature(8 * config.port_bytes)),
                "write": Out(store_write(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, write = self._config, self.instruction, self.write
        groups_a_word = c.store_word_bytes // c.m
        beats_a_word = c.store_word_bytes // c.port_bytes
        m.submodules.walk = walk = WordWalk(c, ceil_div(c.max_groups, groups_a_word))
        part = Signal(beats_a_word, init=1, reset_less=True)  # of the word, one-hot
        taken = Signal()
        m.d.comb += [
            walk.start.eq(self.start & (instruction.opcode == Op.LOAD)),
            walk.tokens.eq(instruction.tokens),
            walk.words.eq(ceil_shift(instruction.groups, groups_a_word)),
            walk.base.eq(instruction.y_base),
            walk.pitch.eq(instruction.y_pitch),
            walk.advance.eq(taken & part[-1]),
            self.rows.ready.eq(walk.running),
            taken.eq(self.rows.valid & self.rows.ready),
            self.finished.eq(align(m, walk.advance & walk.last, LOAD_END_CYCLES, name="finished", reset=True)),
        ]
        with m.If(taken):
            m.d.sync += part.eq(part.rotate_left(1))
        with preload(m, ~walk.running):
            m.d.sync += part.eq(1)

        # Relays before the store, which lies all over the chip.
        m.d.comb += [
            write.enable.eq(relay(m, taken, name="enable", reset=True)),
            write.bank.eq(relay(m, walk.bank, name="bank")),
            write.address.eq(relay(m, walk.address, name="address")),
            write.data.eq(relay(m, self.rows.payload.replicate(beats_a_word), name="data")),
            write.strobe.eq(relay(m, Cat(bit.replicate(c.port_bytes) for bit in part), name="strobe")),
        ]
        return m
