"""AXI around the accelerator: an AXI4 master behind its memory port, an AXI4-Lite slave before its control port.

AMBA AXI and ACE Protocol Specification, ARM IHI 0022E; section numbers below are of it.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.port import LENGTH_BITS, ControlPort, MemoryPort, Request
from rtl.params import ADDRESS_BITS

PAGE_BYTES = 4096  # no burst crosses a multiple of it (A3.4.1)
OUTSTANDING = 16  # bursts of either direction
INCREMENT = 0b01  # burst type
FULL_STROBE = 0b1111
OKAY, SLAVE_ERROR = 0b00, 0b10


class Axi4(wiring.Signature):
    """AXI4 seen from the master: without lock, cache, protection and quality bits, and with one id, 0.

    Members : by the specification's names, 32-bit addresses, 8·port_bytes bits of data.
    """

    def __init__(self, port_bytes: int) -> None:
        address = {"id": 1, "addr": ADDRESS_BITS, "len": 8, "size": 3, "burst": 2}
        super().__init__(
            {
                **{f"aw{name}": Out(bits) for name, bits in address.items()},
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(8 * port_bytes),
                "wstrb": Out(port_bytes),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                **{f"ar{name}": Out(bits) for name, bits in address.items()},
                "arvalid": Out(1),
                "arready": In(1),
                "rid": In(1),
                "rdata": In(8 * port_bytes),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiLite(wiring.Signature):
    """AXI4-Lite seen from the slave: 8-bit addresses, 32 bits of data. Protection bits are ignored: access control is
    the interconnect's task."""

    def __init__(self) -> None:
        super().__init__(
            {
                "awaddr": In(8),
                "awprot": In(3),
                "awvalid": In(1),
                "awready": Out(1),
                "wdata": In(32),
                "wstrb": In(4),
                "wvalid": In(1),
                "wready": Out(1),
                "bresp": Out(2),
                "bvalid": Out(1),
                "bready": In(1),
                "araddr": In(8),
                "arprot": In(3),
                "arvalid": In(1),
                "arready": Out(1),
                "rdata": Out(32),
                "rresp": Out(2),
                "rvalid": Out(1),
                "rready": In(1),
            }
        )


class PageSplitter(wiring.Component):
    """Cuts bursts where they cross a page: one stream of bursts in, one out, each a cycle later at the earliest.

    Parameters
    ----------
    port_bytes : of a beat
    page_bytes : a power of two

    Members
    -------
    whole : stream of Request, in
    parts : stream of Request, out; no part crosses a page
    """

    whole: In(stream.Signature(Request))
    parts: Out(stream.Signature(Request))

    def __init__(self, port_bytes: int, page_bytes: int = PAGE_BYTES) -> None:
        self._port_bytes = port_bytes
        self._page_bytes = page_bytes
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat_shift = self._port_bytes.bit_length() - 1
        page_beats = self._page_bytes // self._port_bytes
        address = Signal(ADDRESS_BITS)
        left = Signal(LENGTH_BITS + 1)
        page_shift = self._page_bytes.bit_length() - 1
        page = address[page_shift:]
        room = Signal(range(page_beats + 1))  # beats to the end of the page
        first_room = Signal.like(room)
        last = Signal()  # left <= room
        left_behind = Signal.like(left)  # the part
        part = Signal(range((1 << LENGTH_BITS) + 1))
        sent = Signal()
        request = self.whole.payload
        m.d.comb += [
            first_room.eq(page_beats - request.address[beat_shift:page_shift]),
            left_behind.eq(left - room),
            part.eq(Mux(last, left, room)),
            self.parts.valid.eq(left != 0),
            self.parts.payload.address.eq(address),
            self.parts.payload.length.eq(part - 1),
            sent.eq(self.parts.valid & self.parts.ready),
            self.whole.ready.eq((left == 0) | (sent & last)),
        ]
        with m.If(sent):
            m.d.sync += [
                address.eq(Cat(Const(0, len(address) - len(page)), page + 1)),
                left.eq(Mux(last, 0, left_behind)),
                room.eq(page_beats),
                last.eq(left_behind <= page_beats),
            ]
        with m.If(self.whole.valid & self.whole.ready):
            m.d.sync += [
                address.eq(request.address),
                left.eq(request.length + 1),
                room.eq(first_room),
                last.eq(request.length < first_room),
            ]
        return m


class AxiMaster(wiring.Component):
    """The memory port's other side as an AXI4 master.

    Reads and writes keep their order. Up to OUTSTANDING bursts of either direction are in flight.

    Members
    -------
    port : MemoryPort, flipped
    axi : Axi4
    pending : writes are not answered yet: their data may not be in memory, out
    fault : a burst ended in an error in this cycle, out
    fault_address : that burst's address, out
    """

    def __init__(self, port_bytes: int) -> None:
        self._port_bytes = port_bytes
        super().__init__(
            {
                "port": In(MemoryPort(port_bytes)),
                "axi": Out(Axi4(port_bytes)),
                "pending": Out(1),
                "fault": Out(1),
                "fault_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi = self.axi
        size = self._port_bytes.bit_length() - 1
        m.d.comb += [axi.arsize.eq(size), axi.awsize.eq(size), axi.arburst.eq(INCREMENT), axi.awburst.eq(INCREMENT)]

        read_fault, read_address = self._read(m)
        write_fault, write_address = self._write(m)
        m.d.comb += [
            self.fault.eq(read_fault | write_fault),
            self.fault_address.eq(Mux(read_fault, read_address, write_address)),
        ]
        return m

    def _read(self, m: Module) -> tuple[Signal, Value]:
        """Bursts and beats. Returns that a beat is an error, and its burst's address, which is kept until then."""
        axi, port = self.axi, self.port
        m.submodules.read_splitter = splitter = PageSplitter(self._port_bytes)
        m.submodules.read_bursts = bursts = SyncFIFOBuffered(width=ADDRESS_BITS, depth=OUTSTANDING)
        connect(m, flipped(port.read_request), splitter.whole)
        read_beat = Signal()
        read_fault = Signal()
        m.d.comb += [
            axi.arvalid.eq(splitter.parts.valid & bursts.w_rdy),
            splitter.parts.ready.eq(axi.arready & bursts.w_rdy),
            axi.araddr.eq(splitter.parts.payload.address),
            axi.arlen.eq(splitter.parts.payload.length),
            bursts.w_data.eq(splitter.parts.payload.address),
            bursts.w_en.eq(axi.arvalid & axi.arready),
            # A memory may answer before the address is out of the FIFO.
            port.read_data.valid.eq(axi.rvalid & bursts.r_rdy),
            port.read_data.payload.eq(axi.rdata),
            axi.rready.eq(port.read_data.ready & bursts.r_rdy),
            read_beat.eq(axi.rvalid & axi.rready),
            bursts.r_en.eq(read_beat & axi.rlast),
            read_fault.eq(read_beat & axi.rresp[1]),
        ]
        return read_fault, bursts.r_data

    def _write(self, m: Module) -> tuple[Signal, Value]:
        """Bursts, their beats and their answers. Returns that an answer is an error, and its burst's address.

        Address and data are independent, since a slave may wait with one for the other (A3.3.1).
        """
        axi, port = self.axi, self.port
        m.submodules.write_splitter = splitter = PageSplitter(self._port_bytes)
        m.submodules.write_addresses = addresses = SyncFIFOBuffered(width=ADDRESS_BITS + LENGTH_BITS, depth=2)
        m.submodules.write_lengths = lengths = SyncFIFOBuffered(width=LENGTH_BITS, depth=OUTSTANDING)
        m.submodules.write_bursts = bursts = SyncFIFOBuffered(width=ADDRESS_BITS, depth=OUTSTANDING)
        connect(m, flipped(port.write_request), splitter.whole)
        part = splitter.parts.payload
        room = Signal()
        m.d.comb += [
            room.eq(addresses.w_rdy & lengths.w_rdy & bursts.w_rdy),
            splitter.parts.ready.eq(room),
            addresses.w_data.eq(Cat(part.address, part.length)),
            lengths.w_data.eq(part.length),
            bursts.w_data.eq(part.address),
            Cat(addresses.w_en, lengths.w_en, bursts.w_en).eq((splitter.parts.valid & room).replicate(3)),
            axi.awvalid.eq(addresses.r_rdy),
            Cat(axi.awaddr, axi.awlen).eq(addresses.r_data),
            addresses.r_en.eq(axi.awready),
        ]
        self._write_beats(m, lengths)
        write_fault = Signal()
        waiting = Signal(range(OUTSTANDING + 1))  # bursts that are not answered yet
        m.d.comb += [
            axi.bready.eq(bursts.r_rdy),
            bursts.r_en.eq(axi.bvalid),
            write_fault.eq(axi.bvalid & axi.bready & axi.bresp[1]),
            self.pending.eq(splitter.parts.valid | (waiting != 0)),
        ]
        m.d.sync += waiting.eq(waiting + (splitter.parts.valid & room) - (axi.bvalid & axi.bready))
        return write_fault, bursts.r_data

    def _write_beats(self, m: Module, lengths: SyncFIFOBuffered) -> None:
        """Beats of bursts of these lengths, the last one marked."""
        axi, port = self.axi, self.port
        beat = Signal(LENGTH_BITS)
        write_beat = Signal()
        m.d.comb += [
            axi.wvalid.eq(port.write_data.valid & lengths.r_rdy),
            port.write_data.ready.eq(axi.wready & lengths.r_rdy),
            axi.wdata.eq(port.write_data.payload.data),
            axi.wstrb.eq(port.write_data.payload.strobe),
            axi.wlast.eq(beat == lengths.r_data),
            write_beat.eq(axi.wvalid & axi.wready),
            lengths.r_en.eq(write_beat & axi.wlast),
        ]
        with m.If(write_beat):
            m.d.sync += beat.eq(Mux(axi.wlast, 0, beat + 1))


class AxiLiteSlave(wiring.Component):
    """The control port behind AXI4-Lite: one access at a time, whole words.

    A write without all four strobes has no effect and is answered with SLVERR.
    The answer comes a cycle (write) or two (read) after the access, at the earliest.

    Members
    -------
    axi : AxiLite
    control : ControlPort, flipped
    hold : stall accesses, in
    """

    axi: Out(AxiLite())
    control: In(ControlPort())
    hold: In(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, control = self.axi, self.control
        whole = Signal()
        m.d.comb += [
            whole.eq(axi.wstrb == FULL_STROBE),
            control.address.eq(axi.araddr),
            control.write_data.eq(axi.wdata),
        ]
        with m.FSM():
            with m.State("idle"):
                with m.If(axi.awvalid & axi.wvalid & ~self.hold):
                    m.d.comb += [
                        axi.awready.eq(1),
                        axi.wready.eq(1),
                        control.address.eq(axi.awaddr),
                        control.write.eq(whole),
                    ]
                    m.d.sync += axi.bresp.eq(Mux(whole, OKAY, SLAVE_ERROR))
                    m.next = "written"
                with m.Elif(axi.arvalid & ~self.hold):
                    m.d.comb += axi.arready.eq(1)
                    m.next = "read"
            with m.State("written"):
                m.d.comb += axi.bvalid.eq(1)
                with m.If(axi.bready):
                    m.next = "idle"
            with m.State("read"):  # the port's data is there in this cycle alone
                m.d.sync += axi.rdata.eq(control.read_data)
                m.next = "answer"
            with m.State("answer"):
                m.d.comb += axi.rvalid.eq(1)
                with m.If(axi.rready):
                    m.next = "idle"
        return m
