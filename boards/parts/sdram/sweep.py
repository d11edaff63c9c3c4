"""The start-up test of a memory: at which phases of its clock it works, and the best of them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.port import MemoryPort

BURST_BEATS = 4
BURST_BYTES_BIT = 8  # the lowest bit of an address that bursts differ in
SEED = 0xACE1
STEP_CYCLES = 16  # between two edges of `step`


class WidestRange(wiring.Component):
    """The middle of the widest range of ones in a ring of bits, looked at bit after bit, twice round.

    Parameters
    ----------
    size : bits

    Members
    -------
    bits : in
    start : look at them, in
    done : out, 2·size + 1 cycles later, for a cycle
    width, middle : of the range; the higher one of two middles, the first of equal ranges, out
    """

    def __init__(self, size: int) -> None:
        self._size = size
        super().__init__(
            {
                "bits": In(size),
                "start": In(1),
                "done": Out(1),
                "width": Out(range(size + 1)),
                "middle": Out(range(size)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self._size
        at = Signal(range(size))
        ring = Signal(size)  # from bit `at` on
        second = Signal()
        busy = Signal()
        counts = Signal()  # `width` and `middle` are of a bit of this ring
        ends = Signal()
        # Of the range that ends at the bit before, and with this bit.
        width = Signal(range(size + 1))
        middle = Signal(range(size))
        next_width = Signal.like(width)
        next_middle = Signal.like(middle)
        m.d.comb += next_middle.eq(middle)
        with m.If(ring[0]):
            m.d.comb += next_width.eq(width + (width != size))
            with m.If(width == 0):
                m.d.comb += next_middle.eq(at)
            with m.Elif(width[0] & (width != size)):
                m.d.comb += next_middle.eq(_after(middle, size))
        m.d.sync += [counts.eq(busy), ends.eq(0), self.done.eq(ends)]
        with m.If(counts & (width > self.width)):
            m.d.sync += [self.width.eq(width), self.middle.eq(middle)]
        with m.If(busy):
            m.d.sync += [at.eq(_after(at, size)), ring.eq(ring.rotate_right(1))]
            m.d.sync += [width.eq(next_width), middle.eq(next_middle)]
            with m.If(at == size - 1):
                m.d.sync += [second.eq(~second), busy.eq(~second), ends.eq(second)]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), ring.eq(self.bits), width.eq(0), self.width.eq(0), self.middle.eq(0)]
        return m


class PhaseSweep(wiring.Component):
    """Tests the memory at each phase of the clock at its pin, and stays at the middle of the widest range that works.

    A test writes a burst to address 0 and to each power of two, and reads them back. So each address pin and each data
    pin is seen at both levels. The chip is set up again after each step, as a wrong phase spoils commands, too.

    Parameters
    ----------
    phases : steps of the PLL's output in a period of the memory's clock
    memory_bytes, port_bytes : of the memory, of a beat

    Members
    -------
    memory : `MemoryPort`, used until `done`, out
    initialised : the memory is set up, in
    restart : set it up again, out
    step : to the PLL, out; a falling edge moves its output by a phase, later
    done : out
    works : bit i: the memory works at phase i, counted in steps from where the PLL begins, out
    phase : out, that was chosen
    """

    def __init__(self, phases: int, memory_bytes: int, port_bytes: int) -> None:
        self._phases = phases
        self._top = memory_bytes.bit_length() - 1  # bits of an address
        self._port_bytes = port_bytes
        super().__init__(
            {
                "memory": Out(MemoryPort(port_bytes)),
                "initialised": In(1),
                "restart": Out(1),
                "step": Out(1, init=1),
                "done": Out(1),
                "works": Out(phases),
                "phase": Out(range(phases)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phases = self._phases
        m.submodules.widest = widest = WidestRange(phases)
        right = Signal()
        wrong = Signal(self._port_bytes // 2)  # words of the beat before
        chosen = Signal()
        at = Signal(range(phases))  # phase of the output
        wait = Signal(range(2 * STEP_CYCLES))
        m.d.comb += [widest.bits.eq(self.works), self.phase.eq(at)]
        m.d.sync += [wait.eq(0), wrong.eq(0), widest.start.eq(0)]
        with m.If(wrong.any()):
            m.d.sync += right.eq(0)
        with m.FSM():
            with m.State("set up"):
                m.d.sync += right.eq(1)
                with m.If(self.initialised):
                    m.next = "request"
                    with m.If(chosen):
                        m.next = "done"
            self._test(m, wrong)
            with m.State("tested"):
                m.d.sync += self.works.eq(Cat(self.works[1:], right))
                m.next = "step"
            with m.State("step"):
                m.d.sync += [wait.eq(wait + 1), self.step.eq(wait < STEP_CYCLES)]
                with m.If(wait == 2 * STEP_CYCLES - 1):
                    m.d.sync += [at.eq(_after(at, phases)), self.step.eq(1)]
                    m.next = "restart"
                    with m.If(chosen):
                        m.next = "seek"
                    with m.Elif(at == phases - 1):
                        m.d.sync += widest.start.eq(1)
                        m.next = "choose"
            with m.State("choose"):
                with m.If(widest.done):
                    m.d.sync += chosen.eq(1)
                    m.next = "seek"
            with m.State("seek"):
                m.next = "step"
                with m.If(at == widest.middle):
                    m.next = "restart"
            with m.State("restart"):
                m.d.comb += self.restart.eq(1)
                with m.If(~self.initialised):
                    m.next = "set up"
            with m.State("done"):
                m.d.comb += self.done.eq(1)
        return m

    def _test(self, m: Module, wrong: Signal) -> None:
        """All bursts are written, then all read: `wrong` are, behind each beat, its words that are not as written."""
        memory = self.memory
        last = self._top - BURST_BYTES_BIT  # number of the last burst; number 0 is at address 0
        number = Signal(range(last + 1))
        beat = Signal(range(BURST_BEATS))
        noise = Signal(16, init=SEED)
        seed = Signal(16, init=SEED)
        reads = Signal()
        moves = Signal()
        pattern = Cat(noise.rotate_left(i) ^ (0xFFFF if i % 2 else 0) for i in range(len(wrong)))
        for channel in (memory.read_request, memory.write_request):
            m.d.comb += [
                channel.payload.address.eq(Cat(Const(0, BURST_BYTES_BIT), (Const(1) << number)[1:])),
                channel.payload.length.eq(BURST_BEATS - 1),
            ]
        m.d.comb += [
            memory.write_data.payload.data.eq(pattern),
            memory.write_data.payload.strobe.eq(-1),
            memory.read_data.ready.eq(1),  # beats come behind a request alone
        ]
        with m.State("request"):
            m.d.comb += [memory.write_request.valid.eq(~reads), memory.read_request.valid.eq(reads)]
            with m.If(Mux(reads, memory.read_request.ready, memory.write_request.ready)):
                m.next = "beats"
        with m.State("beats"):
            m.d.comb += [
                memory.write_data.valid.eq(~reads),
                moves.eq(Mux(reads, memory.read_data.valid, memory.write_data.ready)),
            ]
            with m.If(moves):
                m.d.sync += [beat.eq(beat + 1), noise.eq(_next(noise))]
                with m.If(reads):
                    found = memory.read_data.payload
                    m.d.sync += wrong.eq(
                        Cat(found.word_select(i, 16) != pattern.word_select(i, 16) for i in range(len(wrong)))
                    )
                with m.If(beat == BURST_BEATS - 1):
                    m.d.sync += number.eq(number + 1)
                    m.next = "request"
                    with m.If(number == last):
                        m.d.sync += [number.eq(0), reads.eq(~reads), noise.eq(seed)]
                        with m.If(reads):  # other words at the next phase, for these are there
                            m.d.sync += [noise.eq(_next(noise)), seed.eq(_next(noise))]
                            m.next = "compared"
        with m.State("compared"):  # the last beat
            m.next = "tested"


def _after(at: Value, size: int) -> Value:
    """The next position in a ring."""
    return Mux(at == size - 1, 0, at + 1)


def _next(noise: Signal) -> Value:
    """A shift register with feedback: x^16 + x^14 + x^13 + x^11 + 1."""
    return Cat(noise[1:], noise[0] ^ noise[2] ^ noise[3] ^ noise[5])
