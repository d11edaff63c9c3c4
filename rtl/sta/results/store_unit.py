"""STORE: rows of the activation store or of the residual into memory."""

from dataclasses import replace

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.divider import ceil_shift
from rtl.lib.port import Request, write_beat
from rtl.lib.rows import count_rows
from rtl.lib.timing import align, lookahead, preload, registered, relay, replicate, tally
from rtl.params import BURST_BEATS, ceil_div
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.groups import own_first_token
from rtl.sta.isa import Op
from rtl.sta.latencies import STORE_AHEAD
from rtl.sta.operands.store import CopyPort
from rtl.sta.operands.word_walk import WordWalk
from rtl.sta.params import RESIDUAL_BITS, StaConfig
from rtl.sta.results.residual import Residual, ResidualRead, residual_address


def chunk_bytes(config: StaConfig) -> tuple[int, int]:
    """Bytes of a chunk of a row, of the store and of the residual: whole beats and whole words."""
    return config.store_word_bytes, max(config.drain_lanes * RESIDUAL_BITS // 8, config.port_bytes)


def chunk_stream(config: StaConfig) -> stream.Signature:
    """Chunks, row after row; each row begins with a new chunk. What lies behind its end is undefined."""
    return stream.Signature(8 * max(chunk_bytes(config)))


def one_bank(config: StaConfig) -> StaConfig:
    """A STORE reads one bank at a time, however many keys and values are copied from."""
    return replace(config, groups=1)


class ChunkReader(wiring.Component):
    """Reads the rows of a STORE.

    Members
    -------
    start, instruction : of a STORE, in
    copy : `CopyPort`, out; no bank is busy during a STORE
    residual : `ResidualRead`, out; residual_group : where there are several groups of rows, which one is read, out
    chunks : `chunk_stream`, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "copy": Out(CopyPort(one_bank(config))),
                "residual": Out(ResidualRead(config.row_group)),
                **({"residual_group": Out(range(config.groups))} if config.groups > 1 else {}),
                "chunks": Out(chunk_stream(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        words_a_chunk = chunk_bytes(c)[1] // (c.drain_lanes * RESIDUAL_BITS // 8)  # of the residual
        groups_a_word = c.store_word_bytes // c.m
        m.submodules.walk = walk = WordWalk(c, max(c.residual_words, ceil_div(c.max_groups, groups_a_word)))
        # A cycle after the start, in time for the first read.
        which = relay(m, self.instruction.which, name="which", reset=True)
        advance = Signal()  # a word is read
        number = Signal(range(words_a_chunk), reset_less=True)  # of the word in its chunk
        first, last = Signal(name="chunk_first"), Signal(name="chunk_last")
        m.d.comb += [
            first.eq(~which | (number == 0)),
            last.eq(~which | (number == words_a_chunk - 1) | walk.row_last),
        ]
        no_room = tally(m, STORE_AHEAD, advance & first, self.chunks.valid & self.chunks.ready, name="ahead").full
        m.d.comb += advance.eq(walk.running & (~no_room | ~first))
        with m.If(advance):
            m.d.sync += number.eq(Mux(last, 0, number + 1))
        with preload(m, ~walk.running):
            m.d.sync += number.eq(0)
        self._walk(m, walk, advance, groups_a_word)
        self._address_store(m, walk, advance, which)
        self._address_residual(m, walk, advance)
        self._collect(m, advance, which, number, last)
        return m

    def _walk(self, m: Module, walk: WordWalk, advance: Signal, groups_a_word: int) -> None:
        """Row after row, of as many words each: of the residual as well."""
        instruction = self.instruction
        m.d.comb += [
            walk.start.eq(self.start),
            walk.tokens.eq(instruction.tokens),
            walk.words.eq(
                Mux(
                    instruction.which,
                    ceil_shift(instruction.channels, self._config.drain_lanes),
                    ceil_shift(instruction.groups, groups_a_word),
                )
            ),
            walk.base.eq(instruction.x_base),
            walk.pitch.eq(instruction.x_pitch),
            walk.advance.eq(advance),
        ]

    def _address_store(self, m: Module, walk: WordWalk, advance: Signal, which: Signal) -> None:
        """The next word of the activation store; relays, since the memories lie all over the chip."""
        m.d.comb += [
            self.copy.request.valid.eq(relay(m, advance & ~which, name="copy_valid", reset=True)),
            self.copy.request.bank.eq(relay(m, walk.bank, name="copy_bank")),
            self.copy.request.address.eq(relay(m, walk.address, name="copy_address")),
        ]

    def _address_residual(self, m: Module, walk: WordWalk, advance: Signal) -> None:
        """The next word of the residual; behind a relay, too."""
        c = self._config
        if c.groups > 1:
            self._address_groups(m, walk, advance)
            return
        base = Signal.like(self.residual.address, name="residual_base", reset_less=True)  # of the token
        address = Signal.like(self.residual.address, name="residual_next", reset_less=True)
        next_base = Signal.like(self.residual.address, name="residual_next_base")
        first = Signal.like(self.residual.address, name="residual_first", reset_less=True)
        m.d.sync += first.eq(residual_address(c, self.instruction.first_token, Value.cast(0)))
        m.d.comb += [
            self.residual.address.eq(relay(m, address, name="residual_address")),
            next_base.eq(base + c.residual_words),
        ]
        with m.If(advance):
            m.d.sync += address.eq(address + 1)
            with m.If(walk.row_last):
                m.d.sync += [base.eq(next_base), address.eq(next_base)]
        with preload(m, ~walk.running):
            m.d.sync += [base.eq(first), address.eq(first)]

    def _address_groups(self, m: Module, walk: WordWalk, advance: Signal) -> None:
        """The same of several groups of rows, each with the tokens of its own: group after group of a token tile."""
        c, own = self._config, self._config.row_group
        base = Signal.like(self.residual.address, name="residual_base", reset_less=True)  # of the token
        tile_base = Signal.like(base, name="tile_base", reset_less=True)
        address = Signal.like(base, name="residual_next", reset_less=True)
        first = Signal.like(base, name="residual_first", reset_less=True)
        row = Signal(range(c.group_rows))
        group = Signal(range(c.groups))
        next_base = Signal.like(base, name="residual_next_base")
        next_tile = Signal.like(base, name="next_tile_base")
        token = own_first_token(c, self.instruction.first_token)
        m.d.sync += first.eq(residual_address(own, token, Value.cast(0)))
        m.d.comb += [
            self.residual.address.eq(relay(m, address, name="residual_address")),
            self.residual_group.eq(relay(m, group, name="residual_group")),
            next_tile.eq(tile_base + c.group_rows * c.residual_words),
            next_base.eq(base + c.residual_words),
        ]
        with m.If(advance):
            m.d.sync += address.eq(address + 1)
            with m.If(walk.row_last):
                m.d.sync += [row.eq(row + 1), base.eq(next_base), address.eq(next_base)]
                with m.If(row == c.group_rows - 1):
                    m.d.sync += [row.eq(0), group.eq(group + 1), base.eq(tile_base), address.eq(tile_base)]
                    with m.If(group == c.groups - 1):
                        m.d.sync += [group.eq(0), tile_base.eq(next_tile), base.eq(next_tile), address.eq(next_tile)]
        with preload(m, ~walk.running):
            m.d.sync += [row.eq(0), group.eq(0), base.eq(first), tile_base.eq(first), address.eq(first)]

    def _collect(self, m: Module, advance: Signal, which: Signal, number: Signal, last: Signal) -> None:
        """Words into chunks: those of the store are chunks, those of the residual are gathered into one."""
        c = self._config
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=len(self.chunks.payload), depth=STORE_AHEAD)
        copying = Signal(range(STORE_AHEAD + 1))  # requested and to come: copies of others do not count
        copied = Signal()
        m.d.comb += copied.eq(self.copy.valid & (copying != 0))
        m.d.sync += copying.eq(copying + (advance & ~which) - copied)
        latency = 1 + Residual.LATENCY + 1  # the relay of the address, the residual, `word`
        arrives = align(m, advance & which, latency, name="arrives", reset=True)
        arrived_number = align(m, number, latency, name="arrived_number")
        completes = align(m, last, latency, name="completes")
        word = replicate(m, self.residual.word.as_value(), name="word", enable=which)
        word_bits = c.drain_lanes * RESIDUAL_BITS
        words_a_chunk = chunk_bytes(c)[1] * 8 // word_bits
        gathered = Signal(words_a_chunk * word_bits, reset_less=True)
        chunk = Signal.like(gathered)
        m.d.comb += chunk.eq(gathered)
        for i in cases(m, arrived_number, words_a_chunk):
            m.d.comb += chunk.word_select(i, word_bits).eq(word)
        with m.If(arrives):
            m.d.sync += gathered.eq(chunk)
        complete = Mux(which, arrives & completes, copied)
        m.d.comb += [
            fifo.w_stream.valid.eq(registered(m, complete, name="chunk_valid", reset=True)),
            fifo.w_stream.payload.eq(registered(m, Mux(which, chunk, self.copy.data), name="chunk")),
        ]
        wiring.connect(m, fifo.r_stream, wiring.flipped(self.chunks))


def _burst(beats: Value) -> Value:
    """Beats of the first burst of so many."""
    return Mux(beats < BURST_BEATS, beats, BURST_BEATS)


class ChunkWriter(wiring.Component):
    """Writes the rows: each begins with a new beat, right behind the row before.

    Members
    -------
    start, instruction : of a STORE, in
    chunks : `chunk_stream`, in
    request, data : the write half of the memory port; a burst's beats come after its request
    finished : the last beat was accepted, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "chunks": In(chunk_stream(config)),
                "request": Out(stream.Signature(Request)),
                "data": Out(stream.Signature(write_beat(config.port_bytes))),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        row_bytes = Signal(range(max(c.hidden * (RESIDUAL_BITS // 8), c.max_groups * c.m) + 1))
        row_beats = Signal.like(row_bytes, reset_less=True)
        begins = align(m, self.start, 1, name="begins", reset=True)  # when that is known
        m.d.comb += row_bytes.eq(
            Mux(instruction.which, instruction.channels * (RESIDUAL_BITS // 8), instruction.groups << c.index_bits)
        )
        m.d.sync += row_beats.eq(ceil_shift(row_bytes, c.port_bytes))

        # Requests are at most two bursts ahead of the beats.
        requesting = Signal()
        may_request = Signal(init=1)
        requested = Signal()
        may_send = Signal()
        sent = Signal()
        idle = ~requesting & ~may_send
        m.d.comb += [
            self.request.valid.eq(requesting & may_request),
            requested.eq(self.request.valid & self.request.ready),
            self.data.valid.eq(self.chunks.valid & may_send),
            sent.eq(self.data.valid & self.data.ready),
        ]
        burst = self._request_rows(m, row_beats, idle, begins, requesting, requested)
        due = Signal(range(2 * BURST_BEATS + 1))  # beats requested and not yet sent
        m.d.sync += due.eq(due + Mux(requested, burst, 0) - sent)
        lookahead(m, may_request, Mux(sent, due <= BURST_BEATS + 1, due <= BURST_BEATS) & ~requested & ~begins)
        lookahead(m, may_send, requested | Mux(sent, due > 1, due != 0))
        ends = count_rows(m, instruction.tokens, row_beats, idle=idle, advance=sent)
        m.d.sync += self.finished.eq(sent & ends.row_last & ends.last_row)
        self._cut(m, sent, ends.row_last)
        self._strobe(m, row_bytes, ends.row_last)
        return m

    def _request_rows(
        self, m: Module, row_beats: Signal, idle: Value, begins: Signal, requesting: Signal, requested: Signal
    ) -> Signal:
        """Bursts of row after row; the beats of the next one."""
        instruction = self.instruction
        address = Signal.like(self.request.payload.address, reset_less=True)
        rows_left = Signal.like(instruction.tokens, name="rows_to_request")  # not 0 while requesting
        beats_left = Signal.like(row_beats, name="beats_to_request", reset_less=True)
        burst = Signal(range(BURST_BEATS + 1), reset_less=True)
        last_burst = Signal(reset_less=True)  # it is the row's last; both lag beats_left by a cycle
        rest = Signal.like(beats_left)
        m.d.sync += [burst.eq(_burst(beats_left)), last_burst.eq(beats_left <= BURST_BEATS)]
        m.d.comb += [
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(burst - 1),
            rest.eq(beats_left - burst),
        ]
        with m.If(requested):
            m.d.sync += [
                address.eq(address + (burst << self._config.port_bytes.bit_length() - 1)),
                beats_left.eq(rest),
            ]
            with m.If(last_burst):
                m.d.sync += [
                    beats_left.eq(row_beats),
                    rows_left.eq(rows_left - 1),
                    requesting.eq(rows_left != 1),
                ]
        with preload(m, idle):
            m.d.sync += [
                address.eq(instruction.address),
                rows_left.eq(instruction.tokens),
                requesting.eq(begins),
                beats_left.eq(row_beats),
            ]
        return burst

    def _strobe(self, m: Module, row_bytes: Signal, last_beat: Signal) -> None:
        """Of a row's last beat its bytes alone."""
        c = self._config
        strobe = self.data.payload.strobe
        m.d.comb += strobe.eq(-1)
        if c.port_bytes > 1:
            left_over = row_bytes[: c.port_bytes.bit_length() - 1]  # bytes of the last beat, 0 for all of them
            last_strobe = Signal.like(strobe, reset_less=True)
            whole = left_over == 0
            m.d.sync += last_strobe.eq(Cat(*((left_over > i) | whole for i in range(c.port_bytes - 1)), whole))
            with m.If(last_beat):
                m.d.comb += strobe.eq(last_strobe)

    def _cut(self, m: Module, sent: Signal, last_beat: Signal) -> None:
        """Chunks into beats."""
        port_bytes = self._config.port_bytes
        parts = [size // port_bytes for size in chunk_bytes(self._config)]
        part = Signal(range(max(parts)))
        last_part = Signal()
        m.d.comb += [
            last_part.eq(last_beat | (part == Mux(self.instruction.which, parts[1], parts[0]) - 1)),
            self.chunks.ready.eq(sent & last_part),
        ]
        with m.If(sent):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
        for i in cases(m, part, max(parts)):
            m.d.comb += self.data.payload.data.eq(self.chunks.payload.word_select(i, 8 * port_bytes))


class StoreUnit(wiring.Component):
    """`ChunkReader` and `ChunkWriter`.

    ::

        store, residual ─► reader ─► chunks ─► writer ─► memory

    Members
    -------
    start : a STORE begins, in; `Sta` starts it for nothing else, which would be ignored
    instruction : steady from start to finished, in
    copy : `CopyPort`, out; no bank is busy meanwhile
    residual : `ResidualRead`, out; residual_group : where there are several groups of rows, which one is read, out
    request, data : the write half of the memory port
    finished : the last beat was accepted, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "copy": Out(CopyPort(one_bank(config))),
                "residual": Out(ResidualRead(config.row_group)),
                **({"residual_group": Out(range(config.groups))} if config.groups > 1 else {}),
                "request": Out(stream.Signature(Request)),
                "data": Out(stream.Signature(write_beat(config.port_bytes))),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reader = reader = ChunkReader(self._config)
        m.submodules.writer = writer = ChunkWriter(self._config)
        for part in (reader, writer):
            m.d.comb += [
                part.start.eq(self.start & (self.instruction.opcode == Op.STORE)),
                part.instruction.eq(self.instruction),
            ]
        m.d.comb += [
            self.finished.eq(writer.finished),
        ]
        wiring.connect(m, reader.residual, wiring.flipped(self.residual))
        if self._config.groups > 1:
            m.d.comb += self.residual_group.eq(reader.residual_group)
        wiring.connect(m, reader.copy, wiring.flipped(self.copy))
        wiring.connect(m, reader.chunks, writer.chunks)
        wiring.connect(m, writer.request, wiring.flipped(self.request))
        wiring.connect(m, writer.data, wiring.flipped(self.data))
        return m
