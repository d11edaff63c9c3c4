"""The array as one measures its clock: fed from block RAM, its results consumed, no long wires but its own."""

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.grid import Array
from rtl.array.row_reader import RowReader
from rtl.array.steps import column_step, row_step
from rtl.lib.timing import align, hard_register, relay
from rtl.params import Config, ceil_div

ADDRESS_BITS = 9  # of an operand memory: 512 steps
BLOCK_WIDTH = 18  # of a block RAM of an ECP5
XOR_INPUTS = 4  # of a LUT


class OperandMemory(wiring.Component):
    """A row's or a column's operands in block RAM with its output register, written bit by bit.

    Everything that it takes it passes on a cycle later, so that memories in a chain need no wire but to the next one.
    What a word that is being written reads as is nobody's concern.

    Members
    -------
    serial : shifted into the word to be written, in
    write : the word is written at the address of the cycle before, in
    address : of the step to be read, in
    serial_out, write_out, address_out : for the next memory; serial_out comes a whole word later
    data : the step, `LATENCY` cycles after its address, out
    """

    LATENCY = 6  # two address registers, block RAM, its output register, two registers on the way to the array

    def __init__(self, width: int, family: str) -> None:
        self._width = width
        self._family = family
        super().__init__(
            {
                "serial": In(1),
                "write": In(1),
                "address": In(ADDRESS_BITS),
                "serial_out": Out(1),
                "write_out": Out(1),
                "address_out": Out(ADDRESS_BITS),
                "data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = Signal(self._width, reset_less=True)
        write = Signal()
        passed = Signal(ADDRESS_BITS, reset_less=True)
        # For these blocks alone: only another initial value keeps synthesis from making one register of the two.
        address = Signal(ADDRESS_BITS, init=-1, reset_less=True)
        write_here = Signal(init=1, reset_less=True)  # with a reset it was placed far from its blocks: 154 MHz
        m.d.sync += [
            word.eq(Cat(self.serial, word)),
            write.eq(self.write),
            write_here.eq(self.write),
            passed.eq(self.address),
            address.eq(passed),
        ]
        m.d.comb += [self.serial_out.eq(word[-1]), self.write_out.eq(write), self.address_out.eq(passed)]
        if self._family == "ecp5":
            read = self._blocks(m, word, write_here, address)
        else:
            m.submodules.words = words = memory.Memory(shape=self._width, depth=1 << ADDRESS_BITS, init=[])
            writer, reader = words.write_port(), words.read_port()
            m.d.comb += [writer.addr.eq(address), writer.data.eq(word), writer.en.eq(write_here)]
            m.d.comb += reader.addr.eq(address)
            read = hard_register(m, reader.data, name="read")
        m.d.comb += self.data.eq(relay(m, read, cycles=2, name="step"))
        return m

    def _blocks(self, m: Module, word: Signal, write: Signal, address: Signal) -> Signal:
        """The word in block RAMs of an ECP5; yosys would not use their output registers. Two cycles."""
        read = Signal(self._width)
        for number in range(ceil_div(self._width, BLOCK_WIDTH)):
            part = slice(number * BLOCK_WIDTH, min((number + 1) * BLOCK_WIDTH, self._width))
            written = Signal(BLOCK_WIDTH, name=f"written_{number}")
            got = Signal(BLOCK_WIDTH, name=f"got_{number}")
            m.d.comb += [written.eq(word[part]), read[part].eq(got)]
            ports = {f"i_DIA{bit}": written[bit] for bit in range(BLOCK_WIDTH)}
            ports |= {f"o_DOB{bit}": got[bit] for bit in range(BLOCK_WIDTH)}
            for port, low in (("A", 0b0011), ("B", 0)):  # of A: both bytes are written
                ports |= {f"i_AD{port}{bit}": low >> bit & 1 for bit in range(4)}
                ports |= {f"i_AD{port}{4 + bit}": address[bit] for bit in range(ADDRESS_BITS)}
                ports[f"i_AD{port}{4 + ADDRESS_BITS}"] = 0
                ports |= {f"i_CS{port}{bit}": 0 for bit in range(3)}
                ports |= {f"i_CLK{port}": ClockSignal(), f"i_CE{port}": 1, f"i_OCE{port}": 1, f"i_RST{port}": 0}
            m.submodules[f"block_{number}"] = Instance(
                "DP16KD",
                p_DATA_WIDTH_A=BLOCK_WIDTH,
                p_DATA_WIDTH_B=BLOCK_WIDTH,
                p_REGMODE_A="NOREG",
                p_REGMODE_B="OUTREG",
                p_WRITEMODE_A="READBEFOREWRITE",
                p_WRITEMODE_B="READBEFOREWRITE",
                p_GSR="DISABLED",
                p_RESETMODE="SYNC",
                i_WEA=write,
                i_WEB=0,
                **ports,
            )
        return read


class ArrayHarness(wiring.Component):
    """An array between memories for its operands and a checksum of its results; three pins beside clock and reset.

    ::

        serial ─►[memory]─►[memory]─ … one a column
                    │          │
        [memory]─►┌─────────────────┐
           ▼      │      array      │─►[row reader]─►[parity of each column]─► … ─► checksum
        [memory]─►└─────────────────┘
           …

    Row r and column c get their operands r and c cycles after the first ones, as the array wants them.

    Parameters
    ----------
    family : "ecp5" for its block RAM with output registers; else memories and registers that synthesis maps

    Members
    -------
    serial, write : fill the memories, in
    checksum : of all results, a bit a cycle, out
    """

    def __init__(self, config: Config, family: str) -> None:
        self._config = config
        self._family = family
        self.array = Array(config)
        super().__init__({"serial": In(1), "write": In(1), "checksum": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.array = array = self.array
        m.submodules.reader = reader = RowReader(c)

        serial, write = self.serial, self.write
        for side, inputs, layout in (("row", array.rows, row_step(c)), ("column", array.columns, column_step(c))):
            # Equal counters would be made one, with a wire from one side of the array to the other.
            counter = Signal(ADDRESS_BITS, init=side == "column", name=f"{side}_counter")
            m.d.sync += counter.eq(counter + 1)
            address = counter
            for number, operands in enumerate(inputs):
                held = OperandMemory(layout.size, self._family)
                m.submodules[f"{side}_memory_{number}"] = held
                m.d.comb += [
                    held.serial.eq(serial),
                    held.write.eq(write),
                    held.address.eq(address),
                    operands.as_value().eq(held.data),
                ]
                serial, write, address = held.serial_out, held.write_out, held.address_out
            write = align(m, write, 2, name=f"write_after_{side}s")

        row = Signal(range(c.rows))
        m.d.sync += row.eq(row + 1)
        with m.If(row == c.rows - 1):
            m.d.sync += row.eq(0)
        m.d.comb += reader.row.eq(row)
        for r in range(c.rows):
            m.d.comb += [reader.results[r][k].eq(array.results[r][k]) for k in range(c.cols)]

        checksum = self.checksum
        parity: Signal | None = None
        for column in range(c.cols):
            bit = self._parity(m, reader.outputs[column], f"parity_{column}")
            total = Signal(name=f"checksum_{column}", reset_less=True)
            m.d.sync += total.eq(bit if parity is None else bit ^ parity)
            parity = total
        m.d.comb += checksum.eq(parity)
        return m

    @staticmethod
    def _parity(m: Module, value: Signal, name: str) -> Signal:
        """The parity of a value some cycles ago: a register behind every LUT."""
        level, depth = list(value), 0
        while len(level) > 1:
            parts = [level[i : i + XOR_INPUTS] for i in range(0, len(level), XOR_INPUTS)]
            register = Signal(unsigned(len(parts)), name=f"{name}_{depth}", reset_less=True)
            m.d.sync += register.eq(Cat(Cat(part).xor() for part in parts))
            level, depth = list(register), depth + 1
        return level[0]
