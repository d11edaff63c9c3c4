"""The activation function: a look-up table of 256 entries, exact for any function of an 8-bit value."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.gearbox import Gearbox
from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import align, registered, relay, replicate
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.latencies import ACTIVATION_LATENCY
from rtl.sta.params import RESIDUAL_BITS, TABLE_ENTRIES, StaConfig

ENTRY_BITS = 16
PART = 32  # entries in one memory of the table


def activate(table: Sequence[int], y: int) -> int:
    """The table's entry for an 8-bit result."""
    return table[y & 0xFF]


class TableEntry(data.Struct):
    """An entry that is written into a table."""

    enable: 1
    address: range(TABLE_ENTRIES)
    data: ENTRY_BITS


class TableLoader(wiring.Component):
    """Cuts the beats of a TABLE instruction into 256 entries, 16 bits each, little-endian.

    Members
    -------
    start : of a TABLE instruction, in
    instruction : in
    beats : stream in; those of TABLE instructions alone
    activation, exponential : `TableEntry` for either table, out
    finished : the last entry was written in the cycle before, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "activation": Out(TableEntry),
                "exponential": Out(TableEntry),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # 512 bytes are whole beats, and a beat holds whole entries or an entry takes whole beats: there is no padding.
        m.submodules.gearbox = gearbox = Gearbox(8 * self._config.port_bytes, [ENTRY_BITS])
        wiring.connect(m, wiring.flipped(self.beats), gearbox.beats)
        loading = Signal()
        address = Signal(range(TABLE_ENTRIES))
        entry = Signal()
        m.d.comb += [
            gearbox.units.ready.eq(loading),
            entry.eq(gearbox.units.valid & loading),
        ]
        last = Signal()
        m.d.comb += [
            last.eq(entry & (address == TABLE_ENTRIES - 1)),
            self.finished.eq(align(m, last, 1, name="finished", reset=True)),
        ]
        for which, table in enumerate((self.activation, self.exponential)):
            m.d.comb += [
                table.enable.eq(entry & (self.instruction.which == which)),
                table.address.eq(address),
                table.data.eq(gearbox.units.payload),
            ]
        with m.If(entry):
            m.d.sync += address.eq(address + 1)
        with m.If(self.start):
            m.d.sync += loading.eq(1)
        with m.Elif(last):
            m.d.sync += loading.eq(0)
        return m


class Activation(wiring.Component):
    """Looks 8-bit results up in the table, or passes results unchanged.

    Members
    -------
    write : `TableEntry`, in; reaches lane i in i + 1 cycles, its memory a cycle after that
    look_up : in the table, else pass, in; may change with every input
    inputs : 16 bits signed each, in
    outputs : `LATENCY` cycles later, out
    """

    LATENCY = ACTIVATION_LATENCY

    compute = staticmethod(activate)

    def __init__(self, config: StaConfig) -> None:
        self._lanes = config.drain_lanes
        super().__init__(
            {
                "write": In(TableEntry),
                "look_up": In(1),
                "inputs": In(signed(RESIDUAL_BITS)).array(self._lanes),
                "outputs": Out(signed(RESIDUAL_BITS)).array(self._lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A memory for each lane, of LUTs: block RAMs would be nearly empty. Entries go from lane to lane, in registers
        # with an enable, so that these are not merged with the chain of the softmax tables.
        entry = self.write
        looks_up = align(m, self.look_up, LutMemory.LATENCY, name="looks_up")
        for lane, value in enumerate(self.inputs):
            own = Signal(TableEntry, name=f"entry_{lane}")
            m.d.comb += own.enable.eq(relay(m, entry.enable, name=f"enable_{lane}"))
            for part in ("address", "data"):
                m.d.comb += own[part].eq(replicate(m, entry[part], name=f"{part}_{lane}", enable=entry.enable))
            entry = own
            m.submodules[f"memory_{lane}"] = memory = LutMemory(width=ENTRY_BITS, depth=TABLE_ENTRIES, part=PART)
            m.d.comb += [memory.write.eq(entry), memory.read_address.eq(value[:8])]
            passed = align(m, value, LutMemory.LATENCY, name=f"passed_{lane}")
            looked_up = Mux(looks_up, memory.read_data.as_signed(), passed)
            m.d.comb += self.outputs[lane].eq(registered(m, looked_up, name=f"output_{lane}"))
        return m
