"""The flash that the FPGA starts from, as the place of a program: read into memory after power-on, if there is one."""

import struct

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.port import MemoryPort

MAGIC = b"NMP1"
HEADER = struct.Struct("<4sII")  # MAGIC, bytes of the program, their CRC-32; the program comes right behind
READ = 0x03  # of all SPI flashes, up to 50 MHz: a 24-bit address, then bytes for as long as the clock runs
COMMAND_BITS = 32
WAKE_BITS = 32  # clocked with no chip selected: an ECP5 hands its flash clock over during the first few


class FlashPins(wiring.Signature):
    """An SPI flash, seen from its reader.

    Members
    -------
    clk, select, copi : clock, high while it is selected, data out
    cipo : data in
    """

    def __init__(self) -> None:
        super().__init__({"clk": Out(1), "select": Out(1), "copi": Out(1), "cipo": In(1)})


class FlashReader(wiring.Component):
    """The bytes of an SPI flash from an offset on, one behind the other, in mode 0.

    A bit takes four cycles. The clock at the flash stops while a byte is not taken.

    Parameters
    ----------
    offset : of the first byte, 24 bits

    Members
    -------
    start : from now on, in
    words : of 8 bits, stream out
    pins : `FlashPins`, out
    """

    def __init__(self, offset: int) -> None:
        self._offset = offset
        super().__init__(
            {
                "start": In(1),
                "words": Out(stream.Signature(8)),
                "pins": Out(FlashPins()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command = Signal(COMMAND_BITS, init=READ << 24 | self._offset)
        before = Signal(range(WAKE_BITS + COMMAND_BITS + 1), init=WAKE_BITS + COMMAND_BITS)  # bits to go
        phase = Signal(2)
        bit = Signal(3)
        byte = Signal(8)
        m.d.comb += [
            self.pins.clk.eq(phase[1]),
            self.pins.copi.eq(command[-1]),
            self.words.payload.eq(byte),
        ]
        with m.If(self.words.valid):
            with m.If(self.words.ready):
                m.d.sync += self.words.valid.eq(0)
        with m.Elif(self.start):
            m.d.sync += phase.eq(phase + 1)
        with m.If(phase == 3):  # the flash has had half a period, and the way to it and back, for the bit
            with m.If(before != 0):
                m.d.sync += before.eq(before - 1)
                with m.If(self.pins.select):
                    m.d.sync += command.eq(command << 1)
                with m.Elif(before == COMMAND_BITS + 1):
                    m.d.sync += self.pins.select.eq(1)
            with m.Else():
                m.d.sync += [byte.eq(Cat(self.pins.cipo, byte[:-1])), bit.eq(bit + 1), self.words.valid.eq(bit == 7)]
        return m


class FlashLoader(wiring.Component):
    """Copies a program from flash to the begin of memory, and compares its CRC-32.

    Parameters
    ----------
    offset : byte of the flash at which HEADER is
    memory_bytes, port_bytes : of the memory, of a beat

    Members
    -------
    start : the memory can be used, in
    done : nothing more is read or written, out
    loaded, damaged : a program is in memory; there is one in flash with another CRC, out
    pins : `FlashPins`, out
    memory : `MemoryPort`, only written, out
    """

    def __init__(self, offset: int, memory_bytes: int, port_bytes: int) -> None:
        self._reader = FlashReader(offset)
        self._memory_bytes = memory_bytes
        self._port_bytes = port_bytes
        super().__init__(
            {
                "start": In(1),
                "done": Out(1),
                "loaded": Out(1),
                "damaged": Out(1),
                "pins": Out(FlashPins()),
                "memory": Out(MemoryPort(port_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = self._reader
        m.submodules.crc = crc = CRC32_ETHERNET(data_width=8).create()
        connect(m, reader.pins, flipped(self.pins))
        beats = self._memory_bytes // self._port_bytes
        shift = self._port_bytes.bit_length() - 1
        layout = data.StructLayout({"magic": 32, "size": 32, "checksum": 32})
        header = Signal(layout)
        beat = Signal(8 * self._port_bytes)
        count = Signal(range(max(HEADER.size, self._port_bytes)))  # bytes of either
        address = Signal(range(beats))
        left = Signal(range(beats + 1))
        memory, byte = self.memory, reader.words.payload
        m.d.comb += [
            memory.write_request.payload.address.eq(address << shift),
            memory.write_data.payload.data.eq(beat),
            memory.write_data.payload.strobe.eq(-1),
            crc.data.eq(byte),
        ]
        with m.FSM():
            with m.State("header"):
                m.d.comb += [reader.start.eq(self.start), reader.words.ready.eq(1)]
                with m.If(reader.words.valid):
                    m.d.sync += [header.eq(Cat(header.as_value(), byte)[8:]), count.eq(count + 1)]
                    with m.If(count == HEADER.size - 1):
                        m.d.sync += count.eq(0)
                        m.next = "check"
            with m.State("check"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += left.eq(header.size >> shift)
                whole = (header.size[:shift] == 0) & (header.size != 0) & (header.size <= self._memory_bytes)
                m.next = "done"
                with m.If((header.magic == int.from_bytes(MAGIC, "little")) & whole):
                    m.next = "gather"
            with m.State("gather"):
                m.d.comb += [reader.start.eq(1), reader.words.ready.eq(1), crc.valid.eq(reader.words.valid)]
                with m.If(reader.words.valid):
                    m.d.sync += [beat.eq(Cat(beat, byte)[8:]), count.eq(count + 1)]
                    with m.If(count == self._port_bytes - 1):
                        m.d.sync += count.eq(0)
                        m.next = "request"
            with m.State("request"):
                m.d.comb += memory.write_request.valid.eq(1)
                with m.If(memory.write_request.ready):
                    m.next = "write"
            with m.State("write"):
                m.d.comb += memory.write_data.valid.eq(1)
                with m.If(memory.write_data.ready):
                    m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
                    m.next = "gather"
                    with m.If(left == 1):
                        m.next = "compare"
            with m.State("compare"):
                right = crc.crc == header.checksum
                m.d.sync += [self.loaded.eq(right), self.damaged.eq(~right)]
                m.next = "done"
            with m.State("done"):
                m.d.comb += self.done.eq(1)
        return m
