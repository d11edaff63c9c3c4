"""The controller of an SDRAM: chunks of beats in, commands to the chip out."""

from enum import IntEnum

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.parts.sdram.chips import BANKS, CAS_LATENCY, POSTPONED_MAX, REFRESHES_BEFORE_MODE, SdramChip, Timing
from rtl.lib.port import write_beat
from rtl.lib.timing import align
from rtl.params import ADDRESS_BITS

WORD_BITS = 16
ADDRESS_PINS = 13
ALL_BANKS = 1 << 10  # A10 of a PRECHARGE
BURST_MAX = 8  # words of a READ or WRITE
CHUNK_BEATS = 16  # at most
CHUNK_BEATS_BITS = 4
CELL_CYCLES = 2  # registers in the I/O cells, one out and one in
FORCED = POSTPONED_MAX - 2  # refreshes due, at which chunks have to wait


class Command(IntEnum):
    """The chip's commands: pins RAS, CAS and WE, low when active, from the highest bit on."""

    MODE = 0b000
    REFRESH = 0b001
    PRECHARGE = 0b010
    ACTIVATE = 0b011
    WRITE = 0b100
    READ = 0b101
    NOP = 0b111


class ChipPins(wiring.Signature):
    """The pins of a 16-bit SDRAM, seen from the controller; CKE is high and CS low.

    Members
    -------
    command, bank, address : out
    dq_o, dq_enable : a word to write, out
    mask : of each byte of it, 1 if it is not written, out
    dq_i : in
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "command": Out(Command, init=Command.NOP),
                "bank": Out(range(BANKS)),
                "address": Out(ADDRESS_PINS),
                "dq_o": Out(WORD_BITS),
                "dq_enable": Out(1),
                "mask": Out(WORD_BITS // 8),
                "dq_i": In(WORD_BITS),
            }
        )


def chunk_layout(port_bytes: int) -> data.StructLayout:
    """Consecutive beats, which cross no multiple of CHUNK_BEATS.

    write : or read
    beats : less one
    address : in beats
    """
    return data.StructLayout(
        {"write": 1, "beats": CHUNK_BEATS_BITS, "address": ADDRESS_BITS - (port_bytes.bit_length() - 1)}
    )


class SdramController(wiring.Component):
    """Reads and writes chunks in their order, and keeps the chip refreshed.

    A chunk lies in one row of one bank. While one is read or written, the row of the next one is opened if it is in
    another bank, as consecutive rows are: so a stream moves a word a cycle. Rows stay open until another row of the
    bank is asked for, or a refresh comes.

    Refreshes are done when nothing is asked for, else FORCED of them at once.

    Consecutive addresses are the words of a row, then the banks, then the rows.

    Parameters
    ----------
    chip : the memory
    timing : its times in cycles
    port_bytes : of a beat, at least 2; a beat is a burst of the chip, or several of BURST_MAX words

    Members
    -------
    chunks : `chunk_layout`, stream in
    write_beats : those of a write are there when its chunk is, stream in
    read_beat, read_valid : beats in the order of the chunks, which cannot be held back, out
    ready : the chip is set up, out
    pins : `ChipPins`; each passes a register in the I/O cell, CELL_CYCLES in all
    """

    def __init__(self, chip: SdramChip, timing: Timing, port_bytes: int) -> None:
        self._chip = chip
        self._timing = timing
        self._words = 8 * port_bytes // WORD_BITS
        self._burst = min(BURST_MAX, self._words)
        super().__init__(
            {
                "chunks": In(stream.Signature(chunk_layout(port_bytes))),
                "write_beats": In(stream.Signature(write_beat(port_bytes))),
                "read_beat": Out(8 * port_bytes),
                "read_valid": Out(1),
                "ready": Out(1),
                "pins": Out(ChipPins()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip, t, pins = self._chip, self._timing, self.pins
        bursts = self._words // self._burst
        slot = data.StructLayout(
            {
                "write": 1,
                "last": range(CHUNK_BEATS * bursts),  # bursts left after this one
                "column": chip.column_bits,
                "bank": range(BANKS),
                "row": chip.row_bits,
            }
        )

        # Two chunks: one is active, its bursts are issued; of the one ahead the row is opened.
        active, ahead = Signal(slot), Signal(slot)
        active_valid, ahead_valid = Signal(), Signal()
        opened = Signal(BANKS)
        rows = [Signal(chip.row_bits, name=f"row_{i}") for i in range(BANKS)]
        # Cycles until the bank may be closed, and until a READ or a WRITE may be issued.
        close_wait = [Signal(range(max(t.ras, self._burst + t.wr)), name=f"close_wait_{i}") for i in range(BANKS)]
        read_wait = Signal(range(self._burst + 1))
        write_wait = Signal(range(CAS_LATENCY + self._burst + 1))
        for counter in (*close_wait, read_wait, write_wait):
            with m.If(counter != 0):
                m.d.sync += counter.eq(counter - 1)

        m.d.sync += pins.command.eq(Command.NOP)

        # The active chunk: a burst as soon as the one before it is through.
        issue = Signal()
        finishing = Signal()
        m.d.comb += [
            issue.eq(active_valid & Mux(active.write, write_wait == 0, read_wait == 0)),
            finishing.eq(issue & (active.last == 0)),
        ]
        with m.If(issue):
            m.d.sync += [
                pins.command.eq(Mux(active.write, Command.WRITE, Command.READ)),
                pins.bank.eq(active.bank),
                pins.address.eq(active.column),
                active.column.eq(active.column + self._burst),
                active.last.eq(active.last - 1),
                read_wait.eq(self._burst - 1),
                # A cycle in which nobody drives the data pins lies between words read and words written.
                write_wait.eq(Mux(active.write, self._burst - 1, CAS_LATENCY + self._burst)),
            ]
            for i in range(BANKS):
                with m.If(active.bank == i):
                    self._at_least(m, close_wait[i], Mux(active.write, self._burst - 2 + t.wr, self._burst - 1))

        # The chunk ahead: its row is looked up, the bank closed if another row is open there, the row opened.
        running, wants_refresh = Signal(), Signal()
        checked, hit, closed = Signal(), Signal(), Signal()
        ahead_wait = Signal(range(max(t.rcd, t.rp)))
        moves = Signal()
        m.d.comb += [
            moves.eq(ahead_valid & checked & hit & (ahead_wait == 0) & (~active_valid | finishing)),
            self.chunks.ready.eq(running & ~wants_refresh & (~ahead_valid | moves)),
        ]
        with m.If(moves):
            m.d.sync += [active_valid.eq(1), active.eq(ahead)]
        with m.Elif(finishing):
            m.d.sync += active_valid.eq(0)
        with m.If(self.chunks.ready):
            m.d.sync += [ahead_valid.eq(self.chunks.valid), ahead.eq(self._slot(slot)), checked.eq(0)]
        with m.Elif(moves):
            m.d.sync += ahead_valid.eq(0)
        with m.If(ahead_wait != 0):
            m.d.sync += ahead_wait.eq(ahead_wait - 1)
        with m.If(ahead_valid & ~checked):
            is_open = opened.bit_select(ahead.bank, 1)
            m.d.sync += [checked.eq(1), hit.eq(is_open & (Array(rows)[ahead.bank] == ahead.row)), closed.eq(~is_open)]
        with m.If(ahead_valid & checked & ~hit & (ahead_wait == 0) & ~issue):
            for i in range(BANKS):
                with m.If(ahead.bank == i):
                    with m.If(closed):
                        m.d.sync += [
                            pins.command.eq(Command.ACTIVATE),
                            pins.bank.eq(i),
                            pins.address.eq(ahead.row),
                            opened[i].eq(1),
                            rows[i].eq(ahead.row),
                            hit.eq(1),
                            ahead_wait.eq(max(t.rcd - 2, 0)),  # one cycle to become active, one to be issued
                        ]
                        self._at_least(m, close_wait[i], t.ras - 1)
                    with m.Elif((close_wait[i] == 0) & ~(active_valid & (active.bank == i))):
                        m.d.sync += [
                            pins.command.eq(Command.PRECHARGE),
                            pins.bank.eq(i),
                            pins.address.eq(0),
                            opened[i].eq(0),
                            closed.eq(1),
                            ahead_wait.eq(t.rp - 1),
                        ]

        # Refreshes: `due` counts them; the first ones are part of the set-up.
        due = Signal(range(2 * REFRESHES_BEFORE_MODE), init=REFRESHES_BEFORE_MODE)
        interval = Signal(range(t.refi))
        refreshes = Signal()
        due_again = Signal()
        m.d.comb += [
            due_again.eq(self.ready & (interval == 0)),
            wants_refresh.eq((due >= FORCED) | ((due != 0) & ~self.chunks.valid)),
        ]
        m.d.sync += [
            interval.eq(Mux(interval == 0, t.refi - 1, interval - 1)),
            due.eq(due + due_again - refreshes),
        ]
        pause = Signal(range(t.power_up), init=t.power_up - 1)
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        with m.FSM():
            with m.State("close"):
                with m.If((pause == 0) & ~Cat(*close_wait).any()):
                    m.d.sync += [
                        pins.command.eq(Command.PRECHARGE),
                        pins.address.eq(ALL_BANKS),
                        opened.eq(0),
                        pause.eq(t.rp - 1),
                    ]
                    m.next = "refresh"
            with m.State("refresh"):
                with m.If(pause == 0):
                    m.d.comb += refreshes.eq(1)
                    m.d.sync += [pins.command.eq(Command.REFRESH), pause.eq(t.rfc - 1)]
                    with m.If((due == 1) & ~due_again):
                        m.next = "refreshed"
            with m.State("refreshed"):
                with m.If(pause == 0):
                    m.next = "run"
                    with m.If(~self.ready):
                        m.d.sync += [
                            pins.command.eq(Command.MODE),
                            pins.bank.eq(0),
                            pins.address.eq(CAS_LATENCY << 4 | (self._burst.bit_length() - 1)),
                            self.ready.eq(1),
                            pause.eq(t.mrd - 1),
                        ]
                        m.next = "refreshed"
            with m.State("run"):
                m.d.comb += running.eq(1)
                with m.If(wants_refresh & ~ahead_valid & ~active_valid):
                    m.next = "close"

        self._write_words(m, issue & active.write)
        self._read_words(m, issue & ~active.write)
        return m

    @staticmethod
    def _at_least(m: Module, counter: Signal, cycles: ValueLike) -> None:
        """The counter goes down, but not below `cycles`."""
        least = Signal.like(counter, name=f"{counter.name}_least")
        m.d.comb += least.eq(cycles)
        m.d.sync += counter.eq(Mux(counter > least, counter - 1, least))

    def _slot(self, slot: data.StructLayout) -> data.View:
        """The chunk that is offered, by row, bank and column."""
        chunk = self.chunks.payload
        bursts = self._words // self._burst
        word = Cat(Const(0, (self._words - 1).bit_length()), chunk.address)
        last = Cat(Const(bursts - 1, (bursts - 1).bit_length()), chunk.beats)
        row = self._chip.column_bits + (BANKS - 1).bit_length()
        return data.View(slot, Cat(chunk.write, last, word[: row + self._chip.row_bits]))

    def _write_words(self, m: Module, issue: Value) -> None:
        """Words at the pins, the first with its WRITE."""
        pins, beat = self.pins, self.write_beats
        bytes_a_word = WORD_BITS // 8
        rest = Signal.like(beat.payload)
        words_left = Signal(range(self._burst))  # of the burst
        beat_left = Signal(range(self._words // self._burst))  # bursts of the beat
        source = Signal.like(beat.payload)
        writes = Signal()
        m.d.comb += [
            beat.ready.eq(issue & (beat_left == 0)),
            source.eq(Mux(beat.ready, beat.payload.as_value(), rest.as_value())),
            writes.eq(issue | (words_left != 0)),
        ]
        m.d.sync += [pins.dq_enable.eq(writes), pins.mask.eq(0)]
        with m.If(writes):
            m.d.sync += [
                pins.dq_o.eq(source.data),
                pins.mask.eq(~source.strobe[:bytes_a_word]),
                rest.data.eq(source.data >> WORD_BITS),
                rest.strobe.eq(source.strobe >> bytes_a_word),
                words_left.eq(words_left - 1),
            ]
        with m.If(issue):
            m.d.sync += [
                words_left.eq(self._burst - 1),
                beat_left.eq(Mux(beat_left == 0, self._words // self._burst - 1, beat_left - 1)),
            ]

    def _read_words(self, m: Module, issue: Value) -> None:
        """Beats of the words that come back, CAS_LATENCY after a READ is at the chip."""
        words_left = Signal(range(self._burst))
        reads = Signal()
        m.d.comb += reads.eq(issue | (words_left != 0))
        with m.If(issue):
            m.d.sync += words_left.eq(self._burst - 1)
        with m.Elif(words_left != 0):
            m.d.sync += words_left.eq(words_left - 1)
        arrives = align(m, reads, 1 + CAS_LATENCY + CELL_CYCLES, name="arrives", reset=True)
        word = Signal(range(self._words))
        m.d.sync += self.read_valid.eq(0)
        with m.If(arrives):
            m.d.sync += [
                self.read_beat.eq(Cat(self.read_beat, self.pins.dq_i)[WORD_BITS:]),
                word.eq(Mux(word == self._words - 1, 0, word + 1)),
                self.read_valid.eq(word == self._words - 1),
            ]
