"""The softmax of a row of scores, computed on the way into the array.

A score becomes exp((score − maximum) · scale) in 8 bits unsigned; the rounding error is carried to the next score of
the row. The array multiplies by what was emitted, and its sum divides the result, so weights sum to one exactly.
"""

from collections.abc import Sequence
from math import exp

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.array.requantise import SHIFT_BITS
from rtl.array.steps import ACTIVATION_BITS, row_step
from rtl.lib.cases import cases
from rtl.lib.divider import Divider
from rtl.lib.lut_ram import LUT_RAM, DelayLine
from rtl.lib.timing import align, hard_register, registered, relay
from rtl.params import MULT_BITS, power_of_two_at_least
from rtl.sta.latencies import RECIPROCAL_CYCLES, SOFTMAX_LATENCY
from rtl.sta.operands.store_row import store_row
from rtl.sta.params import EXP_BITS, EXP_CARRIED_BITS, EXP_ONE, TABLE_ENTRIES, StaConfig

HALF = 1 << (EXP_CARRIED_BITS - 1)
HALTS = (8, 4)  # the normalising shifter has a register behind the shifts by these distances


def exponential_table(scale: float) -> list[int]:
    """exp(−d · scale) for each distance d of a score from the row's maximum, 1 being EXP_ONE."""
    return [round(EXP_ONE * exp(-distance * scale)) for distance in range(TABLE_ENTRIES)]


def emit(scores: Sequence[int], keys: int, table: Sequence[int]) -> list[int]:
    """The array's operands for int8 scores: 0 … 255 each, 0 from position `keys` on, 1 ≤ keys ≤ len(scores)."""
    top = max(scores[:keys])
    emitted = []
    total = HALF
    for score in scores[:keys]:
        before = total >> EXP_CARRIED_BITS
        total += table[top - score]
        emitted.append((total >> EXP_CARRIED_BITS) - before)
    return emitted + [0] * (len(scores) - keys)


def reciprocal(total: int, mult: int, shift: int, sum_bits: int) -> tuple[int, int]:
    """(mult, shift) by which a row's results are requantised: mult / 2^shift ÷ total, total of `sum_bits` bits.

    mult has 16 bits and should use them all. A total of 0 gives (0, shift).
    """
    if total == 0:
        return 0, shift
    bits = total.bit_length()
    divisor = total << (sum_bits - bits)
    quotient = ((mult << (sum_bits - 1)) + (divisor >> 1)) // divisor
    return min(65535, quotient), shift + bits - 1


def maximum_write(config: StaConfig) -> data.StructLayout:
    """The maximum of a row's scores, of the token tile that `store_row` names."""
    return data.StructLayout({"enable": 1, "tile": range(config.maxima_tiles), "value": signed(8)})


def table_write() -> data.StructLayout:
    """An entry of the exponential's table."""
    return data.StructLayout({"enable": 1, "address": range(TABLE_ENTRIES), "data": EXP_BITS})


class RowFactor(data.Struct):
    """What a row's results are multiplied by, mult / 2^shift: it is divided by the row's own sum."""

    mult: unsigned(MULT_BITS)
    shift: unsigned(SHIFT_BITS)


class Reciprocal(wiring.Component):
    """`reciprocal` in hardware, a bit a cycle. Results are held until the next ones are complete.

    Members
    -------
    start : total is valid, in; while the unit works it starts again
    total : sum_bits, in
    mult, shift : steady, in
    factor : new LATENCY cycles after start, out
    """

    LATENCY = RECIPROCAL_CYCLES + 1  # normalise (three), load, a bit a cycle, results

    compute = staticmethod(reciprocal)

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "total": In(config.sum_bits),
                "mult": In(MULT_BITS),
                "shift": In(SHIFT_BITS),
                "factor": Out(RowFactor),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._config.sum_bits
        normal, halted, shifts = self._normalise(m)
        divisor = Signal(bits, reset_less=True)
        moved_by = Signal(len(shifts), reset_less=True)
        shift_next = Signal(SHIFT_BITS, reset_less=True)
        shift_most = Signal(SHIFT_BITS, reset_less=True)  # where the total is 1
        none = Signal(reset_less=True)
        normalised = align(m, self.start, len(HALTS), name="normalised", reset=True)
        load = align(m, normalised, 1, name="load", reset=True)
        m.d.sync += shift_most.eq(self.shift + (bits - 1))
        with m.If(normalised):
            m.d.sync += [divisor.eq(normal), none.eq(halted == 0), moved_by.eq(Cat(*reversed(shifts)))]

        # mult << (bits − 1) and divisor >> 1 do not overlap. The quotient is at most mult, so it has as many bits.
        m.submodules.divider = divider = Divider(bits, MULT_BITS)
        left = Signal(range(MULT_BITS + 1))
        done = Signal()
        m.d.comb += [
            divider.load.eq(load),
            divider.dividend.eq(Cat(divisor[1:], self.mult)),
            divider.step.eq(1),  # without a division nobody looks
            divider.divisor.eq(divisor),
        ]
        m.d.sync += [done.eq((left == 1) & ~load), left.eq(Mux(left == 0, 0, left - 1))]
        with m.If(load):
            m.d.sync += [left.eq(MULT_BITS), shift_next.eq(Mux(none, self.shift, shift_most - moved_by))]

        factor = Signal(RowFactor, reset_less=True)
        with m.If(done):
            m.d.sync += [factor.mult.eq(Mux(none, 0, divider.quotient)), factor.shift.eq(shift_next)]
        m.d.comb += self.factor.eq(factor)
        return m

    def _normalise(self, m: Module) -> tuple[Signal, Signal, list[Signal]]:
        """The total with its highest bit at the top, len(HALTS) cycles later.

        Returns
        -------
        tuple : it; not shifted all the way, but 0 if and only if the total is; the number of leading zeros, highest bit
            first
        """
        bits = self._config.sum_bits
        normal = halted = self.total
        shifts: list[Signal] = []
        distance = max(power_of_two_at_least(bits) >> 1, *HALTS)
        while distance:
            zeros = Signal(name=f"zeros_{distance}")
            moved = Signal(bits, name=f"moved_{distance}")
            m.d.comb += [zeros.eq(normal[bits - distance :] == 0), moved.eq(Mux(zeros, normal << distance, normal))]
            shifts.append(zeros)
            normal = moved
            if distance in HALTS:
                normal = halted = registered(m, normal, name=f"moved_{distance}")
                shifts = [align(m, one, 1, name=f"{one.name}_later") for one in shifts]
            distance >>= 1
        return normal, halted, shifts


class RowSoftmax(wiring.Component):
    """One row's way from the store into the array: activations as they are, scores as exponentials.

    A step takes the exponentials of its own N positions, sub·N … sub·N + N − 1, and puts each at every position
    congruent to its own modulo N: the columns select no others. Positions from `keys` on become 0.

    Writes into the two tables count for rows that come in after them; while the exponential's is written no scores may
    be in flight.

    Members
    -------
    row : `store_row`, in
    keys : valid scores of a row, steady while rows with scores come, in
    maximum : `maximum_write`, in
    table : `table_write`, in
    step : `row_step`, LATENCY cycles after row, out
    mult, shift : the factor of the results before the division; steady, in
    factor : `reciprocal` of the sum of the last row of scores, new RECIPROCAL_LATENCY cycles after that row's last
        step came out, out
    """

    # Select scores and maximum; distance; exponential, and a register behind the memory; sums within the step; sums of
    # the row; what they grow by.
    LATENCY = SOFTMAX_LATENCY
    RECIPROCAL_LATENCY = RECIPROCAL_CYCLES  # the row's sum is there a cycle before its last step

    compute = staticmethod(emit)

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "row": In(store_row(config)),
                "keys": In(range(config.max_tokens + 1)),
                "maximum": In(maximum_write(config)),
                "table": In(table_write()),
                "step": Out(row_step(config)),
                "mult": In(MULT_BITS),
                "shift": In(SHIFT_BITS),
                "factor": Out(RowFactor),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, row = self._config, self.row
        distances, weighs = self._distances(m)
        exponentials = self._exponentials(m, distances)

        # Sums over the lanes up to each one.
        sum_shape = unsigned(EXP_BITS + (c.n - 1).bit_length())
        sums = []
        so_far: Signal | Const = Const(0)
        for lane in range(c.n):
            up_to = Signal(sum_shape, name=f"up_to_{lane}")
            weighs_now = align(m, weighs[lane], 2, name=f"weighs_{lane}")
            m.d.comb += up_to.eq(so_far + Mux(weighs_now, exponentials[lane], 0))
            sums.append(registered(m, up_to, name=f"sum_{lane}"))
            so_far = up_to

        # The row's running sum; the increment of its integer part is emitted.
        first = align(m, row.first, 5, name="first_in")
        scores = align(m, row.valid & row.softmax, 5, name="scores", reset=True)
        total = Signal(c.sum_bits + EXP_CARRIED_BITS, reset_less=True)
        before = Signal.like(total)
        totals = []
        m.d.comb += before.eq(Mux(first, HALF, total))
        lowest = align(m, before, 1, name="lowest")
        for lane in range(c.n - 1):
            after = Signal.like(total, name=f"total_{lane}", reset_less=True)
            m.d.sync += after.eq(before + sums[lane])
            totals.append(after)
        with m.If(scores):
            m.d.sync += total.eq(before + sums[-1])
        totals.append(total)
        emits = align(m, scores, 1, name="emits", reset=True)

        m.submodules.plain = delay = DelayLine(row.group.shape().size, self.LATENCY - 1)
        plain = data.View(row.group.shape(), delay.output)
        m.d.comb += delay.input.eq(row.group)
        group = Signal.like(self.step.group, reset_less=True)
        lower = [lowest, *totals[:-1]]
        for position in range(c.m):
            lane = position % c.n
            emitted = Signal(ACTIVATION_BITS, name=f"emitted_{position}")
            m.d.comb += emitted.eq(totals[lane][EXP_CARRIED_BITS:] - lower[lane][EXP_CARRIED_BITS:])
            m.d.sync += group[position].eq(Mux(emits, emitted, plain[position]))
        m.d.comb += [self.step.group.eq(group), self.step.unsigned.eq(registered(m, emits, name="unsigned"))]
        for mark in ("valid", "first", "last"):
            m.d.comb += self.step[mark].eq(align(m, row[mark], self.LATENCY, name=mark, reset=mark == "valid"))

        m.submodules.reciprocal = division = Reciprocal(c)
        m.d.comb += [
            division.start.eq(emits & align(m, row.last, self.LATENCY - 1, name="last_in")),
            division.total.eq(total[EXP_CARRIED_BITS:]),
            division.mult.eq(self.mult),
            division.shift.eq(self.shift),
            self.factor.eq(division.factor),
        ]
        return m

    def _distances(self, m: Module) -> tuple[list[Signal], list[Signal]]:
        """Of each lane, two cycles after the row: the score's distance from the maximum, and whether it is a key's."""
        c, row = self._config, self.row
        m.submodules.maxima = maxima = Memory(shape=signed(8), depth=c.maxima_tiles, init=[], attrs=LUT_RAM)
        write, read = maxima.write_port(), maxima.read_port()
        m.d.comb += [
            write.en.eq(self.maximum.enable),
            write.addr.eq(self.maximum.tile),
            write.data.eq(self.maximum.value),
            read.addr.eq(row.tile),
        ]
        keys = relay(m, self.keys, name="keys")
        distances = []
        weighs = []
        for lane in range(c.n):
            score = Signal(signed(8), name=f"score_{lane}", reset_less=True)
            index = Signal(c.index_bits, name=f"index_{lane}")
            within = Signal(name=f"within_{lane}")  # M may end in the middle of a group's last step
            for sub in cases(m, row.sub, c.steps_a_group):
                position = sub * c.n + lane
                if position < c.m:
                    m.d.sync += score.eq(row.group[position])
                    m.d.comb += [index.eq(position), within.eq(1)]
            weigh = Signal(name=f"weigh_{lane}", reset_less=True)
            distance = Signal(range(TABLE_ENTRIES), name=f"distance_{lane}", reset_less=True)
            key = registered(m, Cat(index, row.position, ~within), name=f"key_{lane}")  # too high where it is none
            m.d.sync += [weigh.eq(key < keys), distance.eq(read.data - score)]
            distances.append(distance)
            weighs.append(weigh)
        return distances, weighs

    def _exponentials(self, m: Module, distances: list[Signal]) -> list[Signal]:
        """The table's entries, two cycles later.

        A block RAM has two ports: a table serves two lanes, and is written through the first one's port. Both read in
        every cycle, so that their output registers can be the block RAM's.
        """
        write = self.table
        exponentials = []
        for lane in range(0, len(distances), 2):
            m.submodules[f"table_{lane // 2}"] = table = Memory(shape=EXP_BITS, depth=TABLE_ENTRIES, init=[])
            into = table.write_port()
            address = Signal(range(TABLE_ENTRIES), name=f"address_{lane}")
            m.d.comb += [
                address.eq(Mux(write.enable, write.address, distances[lane])),
                into.en.eq(write.enable),
                into.addr.eq(address),
                into.data.eq(write.data),
            ]
            for i, distance in enumerate(distances[lane : lane + 2]):
                read = table.read_port()
                m.d.comb += read.addr.eq(distance if i else address)
                exponentials.append(hard_register(m, read.data, name=f"exponential_{lane + i}"))
        return exponentials
