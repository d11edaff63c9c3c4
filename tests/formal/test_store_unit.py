"""What STORE writes waits unchanged for the memory, and each burst has its beats."""

from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped

import rtl.sta.results.store_unit
from rtl.params import BURST_BEATS
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.params import StaConfig
from rtl.sta.results.store_unit import chunk_bytes
from tests.formal.proof import Z3_STEPS, Change, Inside, changed, held, implies, past, prove

pytestmark = pytest.mark.formal

CONFIG = StaConfig(n=1, m=4, rows=2, cols=2, drain=2, port_bytes=2, max_tokens=4, max_k=64, hidden=32, store_words=64)


class Written(wiring.Component):
    """Any instruction, any pieces, any pattern of ready."""

    def __init__(self, *slips: Change) -> None:
        self._module = changed(rtl.sta.results.store_unit, *slips)
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(CONFIG)),
                "chunks": In(stream.Signature(8 * max(chunk_bytes(CONFIG)))),
                "request_taken": In(1),
                "data_taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writer = self._module.ChunkWriter(CONFIG)
        inside = Inside(m, "writer", writer)
        connect(m, flipped(self.chunks), writer.chunks)
        request, data, pieces = writer.request, writer.data, self.chunks
        busy = Signal()
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(writer.finished):
            m.d.sync += busy.eq(0)
        same = self.instruction.as_value() == past(m, self.instruction.as_value(), "instruction")
        size = Mux(self.instruction.which, self.instruction.channels, self.instruction.groups)
        most = Mux(self.instruction.which, CONFIG.hidden, CONFIG.max_groups)
        m.d.comb += [
            writer.start.eq(self.start),
            writer.instruction.eq(self.instruction),
            request.ready.eq(self.request_taken),
            data.ready.eq(self.data_taken),
            Assume(implies(self.start, ~busy)),
            Assume(self.start | same),
            # What the checker lets through: of the residual so many channels, of the store so many groups.
            Assume((self.instruction.tokens != 0) & (size != 0) & (size <= most)),
            Assume(held(m, pieces.valid, pieces.ready, pieces.payload, "chunks")),
        ]

        asked, sent = Signal(), Signal()
        to_ask, asks, may_ask = (inside.signal(name) for name in ("beats_to_request", "requesting", "may_request"))
        begins = inside.signal("begins_1")
        m.d.comb += Assume(implies(self.start, ~asks & ~inside.signal("may_send")))  # all of the one before is written

        def first(beats: Value) -> Value:
            return Mux(beats < BURST_BEATS, beats, BURST_BEATS)

        due = Signal(range(2 * BURST_BEATS + 1))  # beats of requested bursts
        burst = Signal(range(BURST_BEATS + 1))
        m.d.comb += [
            asked.eq(request.valid & request.ready),
            sent.eq(data.valid & data.ready),
            burst.eq(request.payload.length + 1),
            Assert(inside.signal("due") == due),
            Assert(due <= 2 * BURST_BEATS),
            Assert(implies(data.valid, due != 0)),
            Assert(implies(may_ask, due <= BURST_BEATS)),
            Assert(inside.signal("may_send") == (due != 0)),
            Assert(implies(asks, to_ask != 0)),
            Assert(implies(begins, busy & ~asks & ~inside.signal("may_send"))),
            Assert(implies(busy | asks, inside.signal("row_beats") != 0)),
            Assert(implies(asks & may_ask, inside.signal("burst") == first(to_ask))),
            Assert(implies(asks & may_ask, inside.signal("last_burst") == (to_ask <= BURST_BEATS))),
            Assert(implies(request.valid, (burst != 0) & (burst <= BURST_BEATS))),
            Assert(held(m, request.valid, request.ready, request.payload.as_value(), "r")),
            Assert(held(m, data.valid, data.ready, data.payload.as_value(), "d")),
            Cover(sent & (due == 17) & past(m, sent, "sent")),
        ]
        m.d.sync += due.eq(due + Mux(asked, burst, 0) - sent)
        return m


BREAKS = [
    ("self.data.valid.eq(self.chunks.valid & may_send)", "self.data.valid.eq(self.chunks.valid)"),
]


def test_requests_and_beats_wait(tmp_path: Path) -> None:
    assert prove(Written(), tmp_path, depth=2)
    assert prove(Written(), tmp_path, mode="cover", depth=10, engine=Z3_STEPS)


@pytest.mark.parametrize(("old", "new"), BREAKS)
def test_notices(old: str, new: str, tmp_path: Path) -> None:
    assert not prove(Written((old, new)), tmp_path, mode="bmc", depth=6, engine=Z3_STEPS)
