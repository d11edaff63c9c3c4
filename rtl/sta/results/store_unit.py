"""STORE: rows of the activation store or of the residual into memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.port import Request, write_beat
from rtl.lib.timing import align, lookahead, preload, registered, relay, replicate, tally
from rtl.params import BURST_BEATS, ceil_div
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.isa import Op
from rtl.sta.latencies import STORE_AHEAD
from rtl.sta.operands.store import store_copy
from rtl.sta.params import RESIDUAL_BITS, StaConfig
from rtl.sta.results.destination import residual_address
from rtl.sta.results.residual import Residual, residual_depth, residual_word


def chunk_bytes(config: StaConfig) -> tuple[int, int]:
    """Bytes of a chunk of a row, of the store and of the residual: whole beats and whole words."""
    return config.store_word_bytes, max(config.drain_lanes * RESIDUAL_BITS // 8, config.port_bytes)


def chunk_stream(config: StaConfig) -> stream.Signature:
    """Chunks, row after row; each row begins with a new chunk. What lies behind its end is undefined."""
    return stream.Signature(8 * max(chunk_bytes(config)))


class ChunkReader(wiring.Component):
    """Reads the rows of a STORE.

    Members
    -------
    start, instruction : of a STORE, in
    copy_request, copy_valid, copy_data : see `store.ActivationStore`; no row reads during a STORE
    residual_address, residual_data : see `residual.Residual`; out, in
    chunks : `chunk_stream`, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "copy_request": Out(store_copy(config)),
                "copy_valid": In(1),
                "copy_data": In(8 * config.store_word_bytes),
                "residual_address": Out(range(residual_depth(config))),
                "residual_data": In(residual_word(config)),
                "chunks": Out(chunk_stream(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        which = Signal()  # a cycle after the start, in time for the first read
        m.d.sync += which.eq(instruction.which)
        groups_a_word = c.store_word_bytes // c.m
        words_a_chunk = chunk_bytes(c)[1] // (c.drain_lanes * RESIDUAL_BITS // 8)  # of the residual

        most = max(c.residual_words, ceil_div(c.max_groups, groups_a_word))
        words = Signal(range(most + 1), reset_less=True)  # of a row
        begins = align(m, self.start, 1, name="begins", reset=True)  # when that is known
        tokens_left = Signal.like(instruction.tokens, reset_less=True)
        words_left = Signal.like(words, reset_less=True)
        runs = Signal()
        last_token = Signal()  # these are registered when the counts change
        last_word = Signal()
        one_word = Signal()
        word_in_chunk = Signal(range(words_a_chunk), reset_less=True)  # of the word in its chunk
        starts = Signal()  # the word is the first of a chunk
        ends = Signal()
        goes = Signal()
        m.d.sync += words.eq(
            Mux(
                instruction.which,
                (instruction.channels + (c.drain_lanes - 1)) >> (c.drain_lanes.bit_length() - 1),
                (instruction.groups + (groups_a_word - 1)) >> (groups_a_word.bit_length() - 1),
            )
        )
        m.d.comb += [
            starts.eq(~which | (word_in_chunk == 0)),
            ends.eq(~which | (word_in_chunk == words_a_chunk - 1) | last_word),
        ]

        no_room = tally(m, STORE_AHEAD, goes & starts, self.chunks.valid & self.chunks.ready, name="ahead").full
        m.d.comb += goes.eq(runs & (~no_room | ~starts))
        m.d.sync += one_word.eq(words == 1)

        # Where the next word is; relays, since the memories lie all over the chip.
        bank = Signal.like(self.copy_request.bank, reset_less=True)
        base = Signal.like(self.copy_request.address, reset_less=True)  # of the token tile
        address = Signal.like(base, reset_less=True)
        next_base = Signal.like(base)
        residual_base = Signal.like(self.residual_address, reset_less=True)  # of the token
        residual_at = Signal.like(self.residual_address, reset_less=True)
        next_residual = Signal.like(self.residual_address)
        m.d.comb += [
            self.copy_request.valid.eq(relay(m, goes & ~which, name="asks", reset=True)),
            self.copy_request.bank.eq(relay(m, bank, name="asked_bank")),
            self.copy_request.address.eq(relay(m, address, name="asked_address")),
            self.residual_address.eq(relay(m, residual_at, name="residual_address")),
            next_base.eq(base + instruction.x_pitch),
            next_residual.eq(residual_base + c.residual_words),
        ]
        with m.If(goes):
            m.d.sync += [
                words_left.eq(words_left - 1),
                last_word.eq(words_left == 2),
                word_in_chunk.eq(Mux(ends, 0, word_in_chunk + 1)),
                address.eq(address + 1),
                residual_at.eq(residual_at + 1),
            ]
            with m.If(last_word):
                m.d.sync += [
                    words_left.eq(words),
                    last_word.eq(one_word),
                    tokens_left.eq(tokens_left - 1),
                    last_token.eq(tokens_left == 2),
                    runs.eq(~last_token),
                    bank.eq(bank + 1),
                    address.eq(base),
                    residual_base.eq(next_residual),
                    residual_at.eq(next_residual),
                ]
                with m.If(bank == c.rows - 1):
                    m.d.sync += [bank.eq(0), base.eq(next_base), address.eq(next_base)]
        first = Signal.like(self.residual_address, reset_less=True)
        m.d.sync += first.eq(residual_address(c, instruction.first_token, Value.cast(0)))
        with preload(m, ~runs):
            m.d.sync += [
                tokens_left.eq(instruction.tokens),
                last_token.eq(instruction.tokens == 1),
                runs.eq(begins),
                words_left.eq(words),
                last_word.eq(words == 1),
                word_in_chunk.eq(0),
                bank.eq(0),
                base.eq(instruction.x_base),
                address.eq(instruction.x_base),
                residual_base.eq(first),
                residual_at.eq(first),
            ]

        # Words of the store are chunks; words of the residual are gathered into one.
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=len(self.chunks.payload), depth=STORE_AHEAD)
        copying = Signal(range(STORE_AHEAD + 1))  # requested and not yet here: copies of others do not count
        copied = Signal()
        m.d.comb += copied.eq(self.copy_valid & (copying != 0))
        m.d.sync += copying.eq(copying + (goes & ~which) - copied)
        arrives_in = 1 + Residual.LATENCY + 1  # the relay of the address, the residual, `word`
        arrives = align(m, goes & which, arrives_in, name="arrives", reset=True)
        arrives_at = align(m, word_in_chunk, arrives_in, name="arrives_at")
        completes = align(m, ends, arrives_in, name="completes")
        word = replicate(m, self.residual_data.as_value(), name="word", enable=which)
        word_bits = c.drain_lanes * RESIDUAL_BITS
        gathered = Signal(words_a_chunk * word_bits, reset_less=True)
        chunk = Signal.like(gathered)
        m.d.comb += chunk.eq(gathered)
        for i in cases(m, arrives_at, words_a_chunk):
            m.d.comb += chunk.word_select(i, word_bits).eq(word)
        with m.If(arrives):
            m.d.sync += gathered.eq(chunk)
        m.d.comb += [
            fifo.w_stream.valid.eq(registered(m, Mux(which, arrives & completes, copied), name="comes", reset=True)),
            fifo.w_stream.payload.eq(registered(m, Mux(which, chunk, self.copy_data), name="came")),
        ]
        wiring.connect(m, fifo.r_stream, wiring.flipped(self.chunks))
        return m


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
        beat_shift = c.port_bytes.bit_length() - 1
        row_bytes = Signal(range(max(c.hidden * (RESIDUAL_BITS // 8), c.max_groups * c.m) + 1))
        row_beats = Signal.like(row_bytes, reset_less=True)
        begins = align(m, self.start, 1, name="begins", reset=True)  # when that is known
        m.d.comb += row_bytes.eq(
            Mux(instruction.which, instruction.channels * (RESIDUAL_BITS // 8), instruction.groups << c.index_bits)
        )
        m.d.sync += row_beats.eq((row_bytes + (c.port_bytes - 1)) >> beat_shift)

        # Requests, row after row, at most two bursts ahead of the beats.
        address = Signal.like(self.request.payload.address, reset_less=True)
        rows_to_ask = Signal.like(instruction.tokens)
        beats_to_ask = Signal.like(row_beats, reset_less=True)
        asks = Signal()  # rows_to_ask != 0
        burst = Signal(range(BURST_BEATS + 1), reset_less=True)  # the next one's beats
        last_burst = Signal(reset_less=True)  # it is the row's last; both lag beats_to_ask by a cycle
        rest = Signal.like(beats_to_ask)
        asked = Signal()
        due = Signal(range(2 * BURST_BEATS + 1))  # beats requested and not yet sent
        may_ask = Signal(init=1)
        may_send = Signal()
        m.d.sync += [burst.eq(_burst(beats_to_ask)), last_burst.eq(beats_to_ask <= BURST_BEATS)]
        m.d.comb += [
            self.request.valid.eq(asks & may_ask),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(burst - 1),
            asked.eq(self.request.valid & self.request.ready),
            rest.eq(beats_to_ask - burst),
        ]
        with m.If(asked):
            m.d.sync += [
                address.eq(address + (burst << beat_shift)),
                beats_to_ask.eq(rest),
            ]
            with m.If(last_burst):
                m.d.sync += [
                    beats_to_ask.eq(row_beats),
                    rows_to_ask.eq(rows_to_ask - 1),
                    asks.eq(rows_to_ask != 1),
                ]

        # Beats.
        rows_left = Signal.like(instruction.tokens, reset_less=True)
        beats_left = Signal.like(row_beats, reset_less=True)
        last_beat, one_beat, last_row = (Signal(name=name) for name in ("last_beat", "one_beat", "last_row"))
        sent = Signal()
        m.d.comb += [
            self.data.valid.eq(self.chunks.valid & may_send),
            sent.eq(self.data.valid & self.data.ready),
        ]
        m.d.sync += due.eq(due + Mux(asked, burst, 0) - sent)
        lookahead(m, may_ask, Mux(sent, due <= BURST_BEATS + 1, due <= BURST_BEATS) & ~asked & ~begins)
        lookahead(m, may_send, asked | Mux(sent, due > 1, due != 0))
        m.d.sync += [self.finished.eq(sent & last_beat & last_row), one_beat.eq(row_beats == 1)]
        with m.If(sent):
            m.d.sync += [beats_left.eq(beats_left - 1), last_beat.eq(beats_left == 2)]
            with m.If(last_beat):
                m.d.sync += [beats_left.eq(row_beats), last_beat.eq(one_beat)]
                m.d.sync += [rows_left.eq(rows_left - 1), last_row.eq(rows_left == 2)]
        self._cut(m, sent, last_beat)
        m.d.comb += self.data.payload.strobe.eq(-1)
        if beat_shift:
            left_over = row_bytes[:beat_shift]  # bytes of a row's last beat, 0 for all of them
            last_strobe = Signal.like(self.data.payload.strobe, reset_less=True)
            whole = left_over == 0
            m.d.sync += last_strobe.eq(Cat(*((left_over > i) | whole for i in range(c.port_bytes - 1)), whole))
            with m.If(last_beat):
                m.d.comb += self.data.payload.strobe.eq(last_strobe)

        with preload(m, ~asks & ~may_send):
            m.d.sync += [
                address.eq(instruction.address),
                rows_to_ask.eq(instruction.tokens),
                asks.eq(begins),
                beats_to_ask.eq(row_beats),
                rows_left.eq(instruction.tokens),
                last_row.eq(instruction.tokens == 1),
                beats_left.eq(row_beats),
                last_beat.eq(row_beats == 1),
            ]
        return m

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
    start : an instruction begins; anything but STORE is ignored, in
    instruction : steady from start to finished, in
    copy_request, copy_valid, copy_data : see `store.ActivationStore`; no row reads meanwhile; out, in, in
    residual_address : out
    residual_data : its word, Residual.LATENCY cycles later, in
    request, data : the write half of the memory port
    finished : the last beat was accepted, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "copy_request": Out(store_copy(config)),
                "copy_valid": In(1),
                "copy_data": In(8 * config.store_word_bytes),
                "residual_address": Out(range(residual_depth(config))),
                "residual_data": In(residual_word(config)),
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
            self.copy_request.eq(reader.copy_request),
            reader.copy_valid.eq(self.copy_valid),
            reader.copy_data.eq(self.copy_data),
            self.residual_address.eq(reader.residual_address),
            reader.residual_data.eq(self.residual_data),
            self.finished.eq(writer.finished),
        ]
        wiring.connect(m, reader.chunks, writer.chunks)
        wiring.connect(m, writer.request, wiring.flipped(self.request))
        wiring.connect(m, writer.data, wiring.flipped(self.data))
        return m
