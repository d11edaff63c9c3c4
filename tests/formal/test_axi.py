"""The AXI master keeps the protocol's rules, and the port's beats come through as they are."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

import rtl.lib.axi
from rtl.lib.axi import INCREMENT, OUTSTANDING, PAGE_BYTES, Axi4
from rtl.lib.port import MemoryPort
from tests.formal.fifo import Fifo
from tests.formal.proof import Inside, changed, held, implies, prove

formal = pytest.mark.formal  # all but one quick proof, so that `make test` keeps the flow from rotting


def crosses(address: Value, length: Value, port_bytes: int) -> Value:
    """A burst leaves the page that it begins in."""
    return address[: PAGE_BYTES.bit_length() - 1] + ((length + 1) << port_bytes.bit_length() - 1) > PAGE_BYTES


def room_is_right(inside: Inside, path: str, left: Value, address: Value, port_bytes: int) -> list[Assert]:
    """The splitter's registers say how far the page of an address reaches."""
    room, last = inside.signal(f"{path}room"), inside.signal(f"{path}last")
    to_come = room << port_bytes.bit_length() - 1
    return [
        Assert(implies(left != 0, address[: PAGE_BYTES.bit_length() - 1] + to_come == PAGE_BYTES)),
        Assert(implies(left != 0, last == (left <= room))),
    ]


class Pages(wiring.Component):
    """The splitter: bursts in and bursts out have as many beats, at the same addresses, and none out crosses a page.

    Beats of 64 bytes: a burst of 256 of them lies in five pages.
    """

    PORT_BYTES = 64

    def __init__(self, module: ModuleType = rtl.lib.axi) -> None:
        self._module = module
        super().__init__({"port": In(MemoryPort(self.PORT_BYTES)), "taken": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        splitter = self._module.PageSplitter(self.PORT_BYTES)
        inside = Inside(m, "splitter", splitter)
        whole, parts = splitter.whole, splitter.parts
        connect(m, flipped(self.port.read_request), whole)
        m.d.comb += parts.ready.eq(self.taken)
        shift = self.PORT_BYTES.bit_length() - 1

        left, address = Signal(9), Signal(32)  # of the burst that is being cut
        taken, gone = Signal(), Signal()
        beats = Signal(9)
        m.d.comb += [
            taken.eq(whole.valid & whole.ready),
            gone.eq(parts.valid & parts.ready),
            beats.eq(parts.payload.length + 1),
            Assume(whole.payload.address[:shift] == 0),
        ]
        with m.If(gone):
            m.d.sync += [left.eq(left - beats), address.eq(address + (beats << shift))]
        with m.If(taken):
            m.d.sync += [left.eq(whole.payload.length + 1), address.eq(whole.payload.address)]
        m.d.comb += [
            Assert(left <= 256),
            Assert(inside.signal("left") == left),
            *room_is_right(inside, "", left, address, self.PORT_BYTES),
            Assert(parts.valid == (left != 0)),
            Assert(implies(parts.valid, parts.payload.address == address)),
            Assert(address[:shift] == 0),
            Assert(implies(parts.valid, beats <= left)),
            Assert(implies(taken, (left == 0) | (gone & (beats == left)))),
            Assert(implies(parts.valid, ~crosses(address, parts.payload.length, self.PORT_BYTES))),
            Assert(held(m, parts.valid, parts.ready, parts.payload.as_value(), "parts")),
            Cover(gone & (left == 70) & (beats == 6)),
            Cover(gone & taken),
        ]
        return m


class Master(wiring.Component):
    """The master between an accelerator and a memory that keep to their own rules. Bursts of any length, 1 … 256.

    `mark` is free: any one burst is followed through every FIFO.
    """

    PORT_BYTES = 4

    def __init__(self, module: ModuleType = rtl.lib.axi) -> None:
        self._module = module
        super().__init__({"port": In(MemoryPort(self.PORT_BYTES)), "axi": Out(Axi4(self.PORT_BYTES)), "mark": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        master = self._module.AxiMaster(self.PORT_BYTES)
        inside = Inside(m, "master", master)
        connect(m, flipped(self.port), master.port)
        connect(m, flipped(self.axi), master.axi)
        self._rules(m, inside, master)
        return m

    def _rules(self, m: Module, inside: Inside, master: Any) -> None:
        raise NotImplementedError

    def _addresses(self, m: Module, request: Any, channel: str) -> None:
        """The accelerator keeps to the port's rules, the master to the protocol's."""
        m.d.comb += [
            Assume(held(m, request.valid, request.ready, request.payload.as_value(), "request")),
            Assume(request.payload.address[: self.PORT_BYTES.bit_length() - 1] == 0),
        ]
        valid, ready, address, length, size, burst = (
            getattr(self.axi, f"{channel}{name}") for name in ("valid", "ready", "addr", "len", "size", "burst")
        )
        m.d.comb += [
            Assert(held(m, valid, ready, Cat(address, length), channel)),
            Assert(implies(valid, ~crosses(address, length, self.PORT_BYTES))),
            Assert(implies(valid, address[: self.PORT_BYTES.bit_length() - 1] == 0)),
            Assert((1 << size) == self.PORT_BYTES),
            Assert(burst == INCREMENT),
        ]

    def _cut(self, m: Module, inside: Inside, name: str, request: Any, goes: Value, burst: Value) -> None:
        """What the port asks for goes on, all of it, as one or more bursts."""
        left, address = Signal(9, name="left_to_ask"), Signal(32, name="address_to_ask")
        beats = Signal(9, name="beats_to_go")
        m.d.comb += [
            beats.eq(burst[32:40] + 1),
            Assert(left <= 256),
            Assert(address[: self.PORT_BYTES.bit_length() - 1] == 0),
            Assert(inside.signal(f"{name}.left") == left),
            *room_is_right(inside, f"{name}.", left, address, self.PORT_BYTES),
            Assert(implies(left != 0, inside.signal(f"{name}.address") == address)),
            Assert(implies(goes, (beats <= left) & (burst[:32] == address))),
        ]
        with m.If(goes):
            m.d.sync += [left.eq(left - beats), address.eq(address + beats * self.PORT_BYTES)]
        with m.If(request.valid & request.ready):
            m.d.sync += [left.eq(request.payload.length + 1), address.eq(request.payload.address)]


class Reads(Master):
    """Its half that reads."""

    def _rules(self, m: Module, inside: Inside, master: Any) -> None:
        axi, port = self.axi, self.port
        self._addresses(m, port.read_request, "ar")
        asked, beat, end = Signal(), Signal(), Signal()
        outstanding = Signal(range(OUTSTANDING + 1), name="reads_outstanding")
        m.d.comb += [
            asked.eq(axi.arvalid & axi.arready),
            beat.eq(axi.rvalid & axi.rready),
            end.eq(beat & axi.rlast),
            # The memory answers nothing but what was asked.
            Assume(implies(axi.rvalid, outstanding != 0)),
            Assume(held(m, axi.rvalid, axi.rready, Cat(axi.rdata, axi.rlast, axi.rresp), "r")),
        ]
        m.d.sync += outstanding.eq(outstanding + asked - end)

        self._cut(m, inside, "read_splitter", port.read_request, asked, Cat(axi.araddr, axi.arlen))
        bursts = Fifo(m, inside, "read_bursts", OUTSTANDING, buffered=True)
        m.d.comb += [bursts.push.eq(asked), bursts.pop.eq(end)]
        burst = bursts.follow("burst", self.mark, axi.araddr)
        error = Signal(name="read_error")
        answers = burst.on_its_way & (burst.ahead == 0)
        m.d.comb += [
            error.eq(beat & axi.rresp[1]),
            Assert(outstanding == bursts.level),
            Assert(implies(outstanding == OUTSTANDING, ~axi.arvalid)),
            # A beat that one side takes is a beat that the other gives, in the same cycle.
            Assert(beat == (port.read_data.valid & port.read_data.ready)),
            Assert(implies(beat, port.read_data.payload == axi.rdata)),
            Assert(implies(axi.rvalid & port.read_data.ready & bursts.valid, axi.rready)),
            # An error is reported with the address of its burst.
            Assert(implies(error, master.fault)),
            Assert(implies(error & answers, master.fault_address == burst.value)),
            Cover(error & answers & (burst.value == 0x1230) & axi.rlast),
            Cover(outstanding == 3),
        ]


class Writes(Master):
    """Its half that writes."""

    def _rules(self, m: Module, inside: Inside, master: Any) -> None:
        axi, port = self.axi, self.port
        self._addresses(m, port.write_request, "aw")
        left, address = inside.signal("write_splitter.left"), inside.signal("write_splitter.address")
        data = port.write_data
        m.d.comb += Assume(held(m, data.valid, data.ready, data.payload.as_value(), "write_data"))
        room = inside.signal("room")
        entered, asked, beat, end, answered = (
            Signal(name=name) for name in ("entered", "aw_asked", "w_beat", "w_end", "b_answered")
        )
        m.d.comb += [
            entered.eq((left != 0) & room),
            asked.eq(axi.awvalid & axi.awready),
            beat.eq(axi.wvalid & axi.wready),
            end.eq(beat & axi.wlast),
            answered.eq(axi.bvalid & axi.bready),
        ]

        # The memory answers a burst when its address and its last beat have come.
        addresses = Fifo(m, inside, "write_addresses", 2, buffered=True)
        lengths = Fifo(m, inside, "write_lengths", OUTSTANDING, buffered=True)
        bursts = Fifo(m, inside, "write_bursts", OUTSTANDING, buffered=True)
        m.d.comb += [
            addresses.push.eq(entered),
            addresses.pop.eq(asked),
            lengths.push.eq(entered),
            lengths.pop.eq(end),
            bursts.push.eq(entered),
            bursts.pop.eq(answered),
        ]
        whole = Signal(range(OUTSTANDING + 1), name="writes_whole")  # both have come, the answer has not
        addressed, ended = Signal.like(whole, name="addressed"), Signal.like(whole, name="ended")
        m.d.sync += [addressed.eq(addressed + asked - answered), ended.eq(ended + end - answered)]
        m.d.comb += [
            whole.eq(Mux(addressed < ended, addressed, ended)),
            Assume(implies(axi.bvalid, whole != 0)),
            Assume(held(m, axi.bvalid, axi.bready, axi.bresp, "b")),
            Assert(addressed + addresses.level == bursts.level),
            Assert(ended + lengths.level == bursts.level),
            Assert(bursts.level <= OUTSTANDING),
        ]
        addresses.every(lambda entry: ~crosses(entry[:32], entry[32:40], self.PORT_BYTES))
        addresses.every(lambda entry: entry[: self.PORT_BYTES.bit_length() - 1] == 0)

        # Any one burst: its address, its number of beats, its answer.
        entry = Signal(40)
        m.d.comb += entry.eq(Cat(address, inside.signal("write_splitter.part") - 1))
        self._cut(m, inside, "write_splitter", port.write_request, entered, entry)
        on_aw = addresses.follow("burst", self.mark, entry)
        on_w = lengths.follow("burst", self.mark, entry[32:])
        on_b = bursts.follow("burst", self.mark, address)
        beats = Signal(8, name="beats_of_burst")  # that went, of the burst that is going
        with m.If(beat):
            m.d.sync += beats.eq(Mux(axi.wlast, 0, beats + 1))
        goes = on_w.on_its_way & (on_w.ahead == 0)
        error = Signal(name="write_error")
        m.d.comb += [
            Assert(held(m, axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb, axi.wlast), "w")),
            Assert(implies(on_aw.goes, Cat(axi.awaddr, axi.awlen) == on_aw.value)),
            Assert(beats == inside.signal("beat")),
            Assert(implies(goes & axi.wvalid, axi.wlast == (beats == on_w.value))),
            Assert(beats <= Mux(lengths.valid, lengths.head, 0)),
            # A beat that one side takes is a beat that the other gives, in the same cycle.
            Assert(beat == (port.write_data.valid & port.write_data.ready)),
            Assert(implies(beat, Cat(axi.wdata, axi.wstrb) == port.write_data.payload.as_value())),
            # An error is reported with the address of its burst.
            error.eq(answered & axi.bresp[1]),
            Assert(implies(error, master.fault)),
            Assert(
                implies(
                    error & on_b.goes & ~(axi.rvalid & axi.rready & axi.rresp[1]), master.fault_address == on_b.value
                )
            ),
            # What is on its way is seen.
            Assert(inside.signal("waiting") == bursts.level),
            Assert(implies((bursts.level != 0) | (left != 0), master.pending)),
            Cover(end & goes & (on_w.value == 3)),
            Cover(error & on_b.goes & (on_b.value == 0x1230)),
            Cover(whole == 2),
        ]


BREAKS = [
    (Pages, "room.eq(page_beats -", "room.eq(page_beats + 1 -"),
    (Pages, "left.eq(request.length + 1)", "left.eq(request.length)"),
    (Pages, "page + 1)),", "page)),"),
    (Writes, "axi.wlast.eq(beat == lengths.r_data)", "axi.wlast.eq((beat == lengths.r_data) & axi.wready)"),
    (Writes, "axi.wvalid.eq(port.write_data.valid & lengths.r_rdy)", "axi.wvalid.eq(port.write_data.valid)"),
    (Reads, "axi.arvalid.eq(splitter.parts.valid & bursts.w_rdy)", "axi.arvalid.eq(splitter.parts.valid & axi.rready)"),
]  # fmt: skip
DEPTH = 2


def test_bursts_are_cut_at_pages(tmp_path: Path) -> None:
    assert prove(Pages(), tmp_path)
    assert prove(Pages(), tmp_path, mode="cover", depth=8)


@formal
@pytest.mark.parametrize("half", [Reads, Writes])
def test_master_keeps_the_rules(half: type, tmp_path: Path) -> None:
    assert prove(half(), tmp_path, depth=1)
    assert prove(half(), tmp_path, mode="cover", depth=12)


@formal
@pytest.mark.parametrize(("harness", "old", "new"), BREAKS)
def test_notices(harness: type, old: str, new: str, tmp_path: Path) -> None:
    assert not prove(harness(changed(rtl.lib.axi, (old, new))), tmp_path, mode="bmc", depth=12)
