"""The memory port's other side on block RAM: for tests and for boards without a memory of their own."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from rtl.lib.port import LENGTH_BITS, MemoryPort
from rtl.params import InputError


class OnChipRam(wiring.Component):
    """Block RAM behind a memory port, and a second way to read it.

    One read and one write port, each a beat wide. Bursts are served in order, a beat a cycle without a gap between
    bursts, and as slowly as the accelerator's ready asks for.

    Latency: a read burst's first beat is offered `READ_LATENCY` cycles after the cycle its request was accepted, if
    it was accepted before the burst ahead of it had left. A write burst's first beat is accepted at the earliest a
    cycle after its request.

    `peek` shares the read port, so that block RAM is not doubled: use it while no read burst is on its way (the
    accelerator is not busy). While `peek.enable` is high no read request is accepted; `peek.data` is the beat at
    `peek.beat` one cycle before.

    Addresses beyond the end wrap around; the lowest bits, within a beat, are ignored.

    Parameters
    ----------
    port_bytes : bytes of a beat, a power of two
    depth : beats, a power of two, at least 2
    init : first contents, from beat 0 on; at most depth · port_bytes bytes, the rest is zero

    Members
    -------
    port : MemoryPort, flipped
    peek : enable (in), beat (in, ⌈log₂ depth⌉ bits), data (out, 8·port_bytes bits)
    """

    READ_LATENCY = 2

    def __init__(self, port_bytes: int, depth: int, init: bytes = b"") -> None:
        if depth < 2 or depth & (depth - 1):
            raise InputError(f"depth of the on-chip RAM is {depth}, must be a power of two, at least 2")
        if len(init) > depth * port_bytes:
            raise InputError(f"contents of the on-chip RAM are {len(init)} bytes, must be at most {depth * port_bytes}")
        self._port_bytes = port_bytes
        self._depth = depth
        self._init = init
        peek = {"enable": Out(1), "beat": Out(ceil_log2(depth)), "data": In(8 * port_bytes)}
        super().__init__({"port": In(MemoryPort(port_bytes)), "peek": In(wiring.Signature(peek))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self._port_bytes
        beats = [int.from_bytes(self._init[i : i + size], "little") for i in range(0, len(self._init), size)]
        m.submodules.memory = cells = memory.Memory(shape=8 * size, depth=self._depth, init=beats)
        self._read(m, cells.read_port())
        self._write(m, cells.write_port(granularity=8))
        return m

    def _beat(self, address: Signal) -> Signal:
        """The beat that a byte address names."""
        return address[ceil_log2(self._port_bytes) :][: ceil_log2(self._depth)]

    def _read(self, m: Module, cells: memory.ReadPort) -> None:
        """Two registers in a row: the burst being read, and the beat on offer (the block RAM's own output)."""
        request, data, peek = self.port.read_request, self.port.read_data, self.peek
        active = Signal()
        beat = Signal(ceil_log2(self._depth))
        left = Signal(LENGTH_BITS)
        step = Signal()  # the block RAM reads: the beat on offer is taken, or there is none

        m.d.comb += [
            step.eq(data.ready | ~data.valid),
            request.ready.eq((~active | (step & (left == 0))) & ~peek.enable),
            cells.addr.eq(Mux(peek.enable, peek.beat, beat)),
            cells.en.eq(step | peek.enable),
            data.payload.eq(cells.data),
            peek.data.eq(cells.data),
        ]
        with m.If(step):
            m.d.sync += [data.valid.eq(active), beat.eq(beat + 1), left.eq(left - 1)]
            with m.If(left == 0):
                m.d.sync += active.eq(0)
        with m.If(request.valid & request.ready):
            m.d.sync += [active.eq(1), beat.eq(self._beat(request.payload.address)), left.eq(request.payload.length)]

    def _write(self, m: Module, cells: memory.WritePort) -> None:
        request, data = self.port.write_request, self.port.write_data
        active = Signal()
        beat = Signal(ceil_log2(self._depth))
        left = Signal(LENGTH_BITS)
        step = Signal()

        m.d.comb += [
            data.ready.eq(active),
            step.eq(data.valid & active),
            request.ready.eq(~active | (step & (left == 0))),
            cells.addr.eq(beat),
            cells.data.eq(data.payload.data),
            cells.en.eq(Mux(step, data.payload.strobe, 0)),
        ]
        with m.If(step):
            m.d.sync += [beat.eq(beat + 1), left.eq(left - 1)]
            with m.If(left == 0):
                m.d.sync += active.eq(0)
        with m.If(request.valid & request.ready):
            m.d.sync += [active.eq(1), beat.eq(self._beat(request.payload.address)), left.eq(request.payload.length)]
