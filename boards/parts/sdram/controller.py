"""The controller of an SDRAM: chunks of beats in, commands to the chip out."""

from enum import IntEnum

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.parts.sdram.chips import BANKS, CAS_LATENCY, POSTPONED_MAX, REFRESHES_BEFORE_MODE, SdramChip, Timing
from rtl.lib.port import write_beat
from rtl.lib.timing import align, relay
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
    dq_o, dq_idle : a word to write; the data pins are not driven, as an I/O cell wants to know it, out
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
                "dq_idle": Out(1, init=1),
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


class _Signals:
    """What the controller's sections share.

    Attributes
    ----------
    active, ahead : chunks: the one whose bursts are issued, and the next one, whose row is opened
    issue, finishing : a burst of the active chunk in this cycle; its last one
    checked, hit, closed : of the chunk ahead: the bank was looked at; its row is open; no row is
    opened, rows : of each bank
    close_wait, read_wait, write_wait, ahead_wait, pause : cycles until a bank may be closed, a READ or a WRITE issued,
        something done for the chunk ahead, a refresh go on. Each is a number of ones: the lowest bit says if any are
    running : chunks may be taken
    """

    def __init__(self, chip: SdramChip, t: Timing, bursts: int, burst: int) -> None:
        slot = data.StructLayout(
            {
                "write": 1,
                "last": range(CHUNK_BEATS * bursts),  # bursts left after this one
                "column": chip.column_bits,
                "bank": range(BANKS),
                "row": chip.row_bits,
            }
        )
        self.active, self.ahead = Signal(slot, name="active"), Signal(slot, name="ahead")
        self.active_valid, self.ahead_valid = Signal(name="active_valid"), Signal(name="ahead_valid")
        self.issue, self.finishing = Signal(name="issue"), Signal(name="finishing")
        self.checked, self.hit, self.closed = Signal(name="checked"), Signal(name="hit"), Signal(name="closed")
        self.opened = Signal(BANKS, name="opened")
        self.rows = [Signal(chip.row_bits, name=f"row_{i}") for i in range(BANKS)]
        self.close_wait = [Signal(max(t.ras, burst + t.wr), name=f"close_wait_{i}") for i in range(BANKS)]
        self.read_wait = Signal(burst, name="read_wait")
        self.write_wait = Signal(CAS_LATENCY + burst, name="write_wait")
        self.ahead_wait = Signal(max(t.rcd, t.rp), name="ahead_wait")
        self.pause = Signal(max(t.rp, t.rfc, t.mrd), name="pause")
        self.running = Signal(name="running")


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
    initialised : the chip is set up, out
    restart : set the chip up again, behind the chunks that were taken, in; held until it is no longer `initialised`
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
                "initialised": Out(1),
                "restart": In(1),
                "pins": Out(ChipPins()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s = _Signals(self._chip, self._timing, self._words // self._burst, self._burst)
        for wait in (*s.close_wait, s.read_wait, s.write_wait, s.ahead_wait, s.pause):
            m.d.sync += wait.eq(wait >> 1)
        m.d.sync += self.pins.command.eq(Command.NOP)
        self._issue(m, s)
        self._move(m, s)
        self._open_row(m, s)
        self._refresh(m, s)
        self._write_words(m, s.issue & s.active.write)
        self._read_words(m, s.issue & ~s.active.write)
        return m

    def _issue(self, m: Module, s: "_Signals") -> None:
        """The active chunk: a burst as soon as the one before it is through."""
        active, t = s.active, self._timing
        m.d.comb += [
            s.issue.eq(s.active_valid & ~Mux(active.write, s.write_wait[0], s.read_wait[0])),
            s.finishing.eq(s.issue & (active.last == 0)),
        ]
        with m.If(s.issue):
            m.d.sync += [
                self.pins.command.eq(Mux(active.write, Command.WRITE, Command.READ)),
                self.pins.bank.eq(active.bank),
                self.pins.address.eq(active.column),
                active.column.eq(active.column + self._burst),
                active.last.eq(active.last - 1),
                s.read_wait.eq(_ones(self._burst - 1)),
                # A cycle in which nobody drives the data pins lies between words read and words written.
                s.write_wait.eq(Mux(active.write, _ones(self._burst - 1), _ones(CAS_LATENCY + self._burst))),
            ]
            for i in range(BANKS):
                with m.If(active.bank == i):
                    wait = s.close_wait[i]
                    least = Mux(active.write, _ones(self._burst - 2 + t.wr), _ones(self._burst - 1))
                    m.d.sync += wait.eq(wait >> 1 | least)

    def _move(self, m: Module, s: "_Signals") -> None:
        """Chunks move up: the one that is offered is next, the next one active."""
        moves = Signal()
        m.d.comb += [
            moves.eq(s.ahead_valid & s.checked & s.hit & ~s.ahead_wait[0] & (~s.active_valid | s.finishing)),
            self.chunks.ready.eq(s.running & ~s.ahead_valid),  # not with `moves`, which comes late in the cycle
        ]
        with m.If(moves):
            m.d.sync += [s.active_valid.eq(1), s.active.eq(s.ahead)]
        with m.Elif(s.finishing):
            m.d.sync += s.active_valid.eq(0)
        with m.If(self.chunks.ready):
            m.d.sync += [s.ahead_valid.eq(self.chunks.valid), s.ahead.eq(self._slot(s.ahead.shape())), s.checked.eq(0)]
        with m.Elif(moves):
            m.d.sync += s.ahead_valid.eq(0)

    def _open_row(self, m: Module, s: "_Signals") -> None:
        """The row of the chunk ahead is looked up, the bank closed if another row is open there, the row opened."""
        pins, t, ahead = self.pins, self._timing, s.ahead
        is_open = s.opened.bit_select(ahead.bank, 1)
        # Each is compared: less logic than to select one.
        same = Cat(row == ahead.row for row in s.rows).bit_select(ahead.bank, 1)
        long_open = ~Cat(wait[0] for wait in s.close_wait).bit_select(ahead.bank, 1)
        with m.If(s.ahead_valid & ~s.checked):
            m.d.sync += [s.checked.eq(1), s.hit.eq(is_open & same), s.closed.eq(~is_open)]
        with m.If(s.ahead_valid & s.checked & ~s.hit & ~s.ahead_wait[0] & ~s.issue):
            with m.If(s.closed):
                m.d.sync += [
                    pins.command.eq(Command.ACTIVATE),
                    pins.bank.eq(ahead.bank),
                    pins.address.eq(ahead.row),
                    is_open.eq(1),
                    Array(s.rows)[ahead.bank].eq(ahead.row),
                    s.hit.eq(1),
                    s.ahead_wait.eq(_ones(t.rcd - 2)),  # one cycle to become active, one to be issued
                ]
                for i in range(BANKS):
                    with m.If(ahead.bank == i):
                        m.d.sync += s.close_wait[i].eq(s.close_wait[i] >> 1 | _ones(t.ras - 1))
            with m.Elif(long_open & ~(s.active_valid & (s.active.bank == ahead.bank))):
                m.d.sync += [
                    pins.command.eq(Command.PRECHARGE),
                    pins.bank.eq(ahead.bank),
                    pins.address.eq(0),
                    is_open.eq(0),
                    s.closed.eq(1),
                    s.ahead_wait.eq(_ones(t.rp - 1)),
                ]

    def _refresh(self, m: Module, s: "_Signals") -> None:
        """Set-up, and refreshes when they cost least. `due` counts them; the first ones are part of the set-up."""
        pins, t = self.pins, self._timing
        power_up = Signal(range(t.power_up), init=t.power_up - 2)
        powered = Signal()
        with m.If(power_up != 0):
            m.d.sync += power_up.eq(power_up - 1)
        interval = Signal(range(t.refi))
        elapsed = Signal(init=1)
        due = Signal(range(2 * REFRESHES_BEFORE_MODE), init=REFRESHES_BEFORE_MODE)
        # What is asked of these counters, in registers in step with them.
        any_due = Signal(init=1)
        last_due = Signal()
        forced = Signal()
        next_due = Signal.like(due)
        refreshes = Signal()
        due_again = Signal()
        wants_refresh = Signal()
        m.d.comb += [
            due_again.eq(self.initialised & elapsed),
            next_due.eq(due + due_again - refreshes),
            wants_refresh.eq(forced | (any_due & ~self.chunks.valid)),
        ]
        m.d.sync += [
            powered.eq(power_up == 0),
            interval.eq(Mux(elapsed, t.refi - 1, interval - 1)),
            elapsed.eq(interval == 1),
            due.eq(next_due),
            any_due.eq(next_due != 0),
            last_due.eq(next_due == 1),
            forced.eq(next_due >= FORCED),
        ]
        with m.FSM():
            with m.State("close"):
                # A restart on the way to a refresh is seen in "run", behind it. One that was seen is over first.
                still_open = Cat(wait[0] for wait in s.close_wait).any()
                with m.If(powered & ~still_open & (self.initialised | ~self.restart)):
                    m.d.sync += [
                        pins.command.eq(Command.PRECHARGE),
                        pins.address.eq(ALL_BANKS),
                        s.opened.eq(0),
                        s.pause.eq(_ones(t.rp - 1)),
                    ]
                    m.next = "refresh"
            with m.State("refresh"):
                with m.If(~s.pause[0]):
                    m.d.comb += refreshes.eq(1)
                    m.d.sync += [pins.command.eq(Command.REFRESH), s.pause.eq(_ones(t.rfc - 1))]
                    with m.If(last_due & ~due_again):
                        m.next = "refreshed"
            with m.State("refreshed"):
                with m.If(~s.pause[0]):
                    m.next = "run"
                    with m.If(~self.initialised):
                        m.d.sync += [
                            pins.command.eq(Command.MODE),
                            pins.bank.eq(0),
                            pins.address.eq(CAS_LATENCY << 4 | (self._burst.bit_length() - 1)),
                            self.initialised.eq(1),
                            s.pause.eq(_ones(t.mrd - 1)),
                        ]
                        m.next = "refreshed"
            with m.State("run"):
                m.d.comb += s.running.eq(~wants_refresh & ~self.restart)
                with m.If(~s.running & ~s.ahead_valid & ~s.active_valid):
                    m.next = "close"
                    with m.If(self.restart):
                        m.d.comb += next_due.eq(REFRESHES_BEFORE_MODE)
                        m.d.sync += self.initialised.eq(0)

    def _slot(self, slot: data.StructLayout) -> data.View:
        """The chunk that is offered, by row, bank and column."""
        chunk = self.chunks.payload
        bursts = self._words // self._burst
        word = Cat(Const(0, (self._words - 1).bit_length()), chunk.address)
        last = Cat(Const(bursts - 1, (bursts - 1).bit_length()), chunk.beats)
        row = self._chip.column_bits + (BANKS - 1).bit_length()
        return data.View(slot, Cat(chunk.write, last, word[: row + self._chip.row_bits]))

    def _write_words(self, m: Module, issue: Value) -> None:
        """Words at the pins, the first with its WRITE. A beat is taken with its last word."""
        pins, beat = self.pins, self.write_beats
        words_left = Signal(self._burst)  # of the burst, as many ones
        word = Signal(range(self._words))  # of the beat
        writes = Signal()
        m.d.comb += writes.eq(issue | words_left[0])
        if self._words > 1:  # known a word before, as a burst does not pause: from a register to all of the beat's
            m.d.sync += beat.ready.eq(writes & (word == self._words - 2))
        else:
            m.d.comb += beat.ready.eq(writes)
        m.d.sync += [pins.dq_idle.eq(~writes), pins.mask.eq(0), words_left.eq(words_left >> 1)]
        with m.If(writes):
            m.d.sync += [
                pins.dq_o.eq(beat.payload.data.word_select(word, WORD_BITS)),
                pins.mask.eq(~beat.payload.strobe.word_select(word, WORD_BITS // 8)),
                word.eq(word + 1),
            ]
        with m.If(issue):
            m.d.sync += words_left.eq(_ones(self._burst - 1))

    def _read_words(self, m: Module, issue: Value) -> None:
        """Beats of the words that come back, CAS_LATENCY after a READ is at the chip."""
        words_left = Signal(self._burst)
        reads = Signal()
        m.d.comb += reads.eq(issue | words_left[0])
        m.d.sync += words_left.eq(Mux(issue, _ones(self._burst - 1), words_left >> 1))
        way = 1  # from the pins, which lie all along an edge
        arrived = relay(m, self.pins.dq_i, cycles=way, name="arrived")
        arrives = align(m, reads, 1 + CAS_LATENCY + CELL_CYCLES + way, name="arrives", reset=True)
        word = Signal(range(self._words))
        m.d.sync += self.read_valid.eq(0)
        with m.If(arrives):
            m.d.sync += [
                self.read_beat.eq(Cat(self.read_beat, arrived)[WORD_BITS:]),
                word.eq(Mux(word == self._words - 1, 0, word + 1)),
                self.read_valid.eq(word == self._words - 1),
            ]


def _ones(cycles: int) -> int:
    """A wait of so many cycles; none of fewer than one."""
    return (1 << max(cycles, 0)) - 1
