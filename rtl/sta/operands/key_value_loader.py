"""Keys and values from the activation store into the column buffer; values are transposed on the way."""

from math import gcd
from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.steps import WEIGHT_BITS
from rtl.lib.cases import cases
from rtl.lib.timing import align, lookahead, registered
from rtl.params import Config
from rtl.sta.operands.column_job import column_job
from rtl.sta.operands.store import CopyPort
from rtl.sta.params import StaConfig


def pieces(config: Config) -> int:
    """Words of a token, at most, that hold the bytes of one column tile of values.

    A tile begins at a multiple of cols, so within a word at a multiple of their greatest common divisor.
    """
    word = config.store_word_bytes
    return (word - gcd(config.cols, word) + config.cols - 1) // word + 1


class Sizes(NamedTuple):
    """What ends a token or a tile: registers, but for `one_read`."""

    one_read: Signal  # a token has one read
    last_piece: Signal  # values
    last_column: Signal  # keys: that is in use
    before_last_group: Signal  # keys
    one_key: Signal  # values


class CopyWalk(wiring.Component):
    """Address generator for the reads of one column tile after another.

    Keys: for each column, a token, for each group one read. A column beyond the last channel is walked as well, but
    with `skip`: nothing is read, it is filled with zeros.
    Values: for each key, a read for each word that holds bytes of the tile.
    A read is of copy_lanes neighbouring banks: columns, keys, banks and positions are those of the first, and count
    in steps of so many.

    Members
    -------
    restart : go to the first tile of a job or head, at least two cycles before that tile's begin, in
    begin : a tile begins, in
    job : `column_job`, steady from restart on but for c_base, which counts at restart, in
    columns : columns of the tile that are in use, steady from the cycle before begin to the tile's end, in
    advance : step to the next read, in
    running : there is a read, or one to skip, out
    skip : nothing is read, out
    last : the tile's last read, out
    bank, address : of the read, out
    next_bank, to_next_bank : the bank after this one, and that the next read is of it, out
    part : keys: the group within the word, out
    column : keys: the column that it is for, out
    group : keys and values: the group that it is for, out
    position : values: where in that group, out
    offset : values: the byte within its word that column 0 takes, out
    piece : values: which of the words that hold the tile's bytes, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "restart": In(1),
                "begin": In(1),
                "job": In(column_job(config)),
                "columns": In(range(config.cols + 1)),
                "advance": In(1),
                "running": Out(1),
                "skip": Out(1),
                "last": Out(1),
                "bank": Out(range(config.rows // config.copy_lanes)),
                "address": Out(range(config.store_words)),
                "next_bank": Out(range(config.rows // config.copy_lanes)),
                "to_next_bank": Out(1),
                "part": Out(range(config.store_word_bytes // config.m)),
                "column": Out(range(config.cols // config.copy_lanes)),
                "group": Out(range(config.max_groups)),
                "position": Out(range(config.m // config.copy_lanes)),
                "offset": Out(range(config.store_word_bytes)),
                "piece": Out(range(pieces(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = self._sizes(m)
        last_of_token, last_token = self._count(m, sizes)
        self._address(m, last_of_token, last_token)
        m.d.comb += [
            self.last.eq(last_of_token & last_token),
            self.to_next_bank.eq(self.advance & last_of_token),
        ]
        return m

    def _sizes(self, m: Module) -> Sizes:
        """What ends a token or a tile."""
        c, job = self._config, self.job
        word_bits, lane_bits = c.store_word_bytes.bit_length() - 1, c.copy_lanes.bit_length() - 1
        one_read = Signal()
        last_piece = Signal(range(pieces(c)), reset_less=True)
        last_column = Signal.like(self.columns, reset_less=True)
        one_group = Signal(reset_less=True)
        before_last_group = Signal(len(job.groups) + 1, reset_less=True)
        one_key = Signal(reset_less=True)
        m.d.sync += [
            last_piece.eq((self.offset + self.columns - 1) >> word_bits),
            last_column.eq(self.columns - 1),
            one_group.eq(job.groups == 1),
            before_last_group.eq(job.groups - 2),
            one_key.eq(job.keys <= c.copy_lanes if lane_bits else job.keys == 1),
        ]
        m.d.comb += one_read.eq(Mux(job.values, last_piece == 0, one_group))
        return Sizes(one_read, last_piece, last_column, before_last_group, one_key)

    def _count(self, m: Module, sizes: Sizes) -> tuple[Signal, Signal]:
        """Count the reads of a token and the tokens of a tile: whether each is at its last, registered."""
        c, job = self._config, self.job
        lanes, lane_bits = c.copy_lanes, c.copy_lanes.bit_length() - 1
        positions, columns = c.m // lanes, c.cols // lanes
        keys = job.keys if lanes == 1 else (job.keys + lanes - 1) >> lane_bits
        last_of_token = Signal()
        last_token = Signal()  # values: the last key; keys: the last column
        last_position = Signal(init=positions == 1)  # position == positions - 1
        keys_left = Signal.like(job.keys, reset_less=True)
        with m.If(self.advance):
            with m.If(job.values):
                m.d.sync += self.piece.eq(self.piece + 1)
                m.d.sync += last_of_token.eq(self.piece + 1 == sizes.last_piece)
            with m.Else():
                m.d.sync += [self.group.eq(self.group + 1), self.part.eq(self.part + 1)]
                m.d.sync += last_of_token.eq(self.group == sizes.before_last_group)
                with m.If(self._last_part):
                    m.d.sync += self.part.eq(0)
            with m.If(last_of_token):
                m.d.sync += last_of_token.eq(sizes.one_read)
                with m.If(job.values):
                    m.d.sync += [self.piece.eq(0), self.position.eq(self.position + 1)]
                    m.d.sync += last_position.eq(self.position == positions - 2)
                    m.d.sync += [keys_left.eq(keys_left - 1), last_token.eq(keys_left == 2)]
                    with m.If(last_position):
                        m.d.sync += [self.position.eq(0), self.group.eq(self.group + 1)]
                        if positions == 1:
                            m.d.sync += last_position.eq(1)
                with m.Else():
                    m.d.sync += [self.group.eq(0), self.part.eq(0), self.column.eq(self.column + 1)]
                    m.d.sync += self.skip.eq(self.skip | (self.column == sizes.last_column[lane_bits:]))
                    m.d.sync += last_token.eq(self.column == columns - 2)
            with m.If(self.last):
                m.d.sync += self.running.eq(0)
                with m.If(job.values):
                    m.d.sync += [self.position.eq(0), last_position.eq(positions == 1), self.group.eq(0)]
                with m.Else():
                    m.d.sync += [self.column.eq(0), self.skip.eq(0)]
        with m.If(~self.running):  # the next tile's
            m.d.sync += [
                self.running.eq(self.begin),
                keys_left.eq(keys),
                last_of_token.eq(sizes.one_read),
                last_token.eq(Mux(job.values, sizes.one_key, columns == 1)),
            ]
        return last_of_token, last_token

    @property
    def _last_part(self) -> Value:
        return self.part == self._config.store_word_bytes // self._config.m - 1

    def _address(self, m: Module, last_of_token: Signal, last_token: Signal) -> None:
        """Bank and address of the read.

        All addresses that may be next are computed before they are needed: the token's first read, that of the tokens
        behind the last bank, and that of the next tile's first token (values).
        """
        c, job = self._config, self.job
        word_bits = c.store_word_bytes.bit_length() - 1
        base = Signal.like(self.address, reset_less=True)
        base_behind = Signal.like(self.address, reset_less=True)
        origin = Signal.like(self.address, reset_less=True)  # values: of the first token's first read
        next_origin = Signal.like(self.address, reset_less=True)
        origin_behind = Signal.like(self.address, reset_less=True)
        next_tile = Signal(range(c.store_word_bytes + c.cols))  # values: the next tile's first byte, from this word's
        banks = c.rows // c.copy_lanes
        last_bank = Signal(init=banks == 1)  # registered when the walk steps to it, as all that a read ends
        next_base = Signal.like(self.address)
        m.d.comb += [
            next_tile.eq(self.offset + c.cols),
            self.next_bank.eq(Mux(last_bank, 0, self.bank + 1)),
            next_base.eq(Mux(job.values & last_token, next_origin, Mux(last_bank, base_behind, base))),
        ]
        m.d.sync += [
            next_origin.eq(origin + (next_tile >> word_bits)),
            origin_behind.eq(next_origin + job.c_pitch),
        ]
        # Whether it steps is an enable, where to is a mux: neither waits for the other.
        with m.If(self.advance & (job.values | self._last_part | last_of_token)):
            m.d.sync += self.address.eq(self.address + 1)
            with m.If(last_of_token):
                m.d.sync += self.address.eq(next_base)
        with m.If(self.advance & last_of_token):
            m.d.sync += [
                self.bank.eq(self.next_bank),
                last_bank.eq(self.next_bank == banks - 1),
                base.eq(next_base),
            ]
            with m.If(last_bank):
                m.d.sync += base_behind.eq(base_behind + job.c_pitch)
        with m.If(self.advance & self.last & job.values):
            m.d.sync += [
                self.offset.eq(next_tile[:word_bits]),
                origin.eq(next_origin),
                self.bank.eq(0),
                last_bank.eq(banks == 1),
                base_behind.eq(origin_behind),
            ]
        with m.If(self.restart):
            m.d.sync += [
                self.bank.eq(0),
                last_bank.eq(banks == 1),
                base.eq(job.c_base),
                base_behind.eq(job.c_base + job.c_pitch),
                origin.eq(job.c_base),
                self.address.eq(job.c_base),
                self.offset.eq(0),
            ]


class KeyValueLoader(wiring.Component):
    """Copies one column tile of keys or values at a time.

    Keys: a group of one column a cycle. Values: a key a cycle, one byte for each column, where the key's bytes of
    the tile are in one word; else a cycle for each word. With copy_lanes it is as many neighbouring columns, or keys, a
    cycle. Answers come in the order of the requests, after any latency, without back-pressure.

    Members
    -------
    restart, begin, job, columns : as of `CopyWalk`, begin a cycle earlier, in
    copy : `CopyPort`, out
    done : the tile's last answer is here, out
    enable : columns that are written, a cycle after an answer, out
    word : that is written, out
    strobe : bytes that are written, the same in every column, out
    transposed : write a column's byte of `bytes`, else `group`, out
    bytes : copy_lanes for each column, of neighbouring keys, out
    group : of each of copy_lanes neighbouring columns, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "restart": In(1),
                "begin": In(1),
                "job": In(column_job(config)),
                "columns": In(range(config.cols + 1)),
                "copy": Out(CopyPort(config)),
                "done": Out(1),
                "enable": Out(config.cols),
                "word": Out(range(config.max_groups)),
                "strobe": Out(config.m),
                "transposed": Out(1),
                "bytes": Out(WEIGHT_BITS * config.copy_lanes).array(config.cols),
                "group": Out(WEIGHT_BITS * config.m * config.copy_lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Two walks, so that no tag travels with a read: one makes the requests, the other follows the answers.
        m.submodules.asks = asks = CopyWalk(self._config)
        m.submodules.takes = takes = CopyWalk(self._config)
        begins = align(m, self.begin, 1, name="begins", reset=True)  # when it is known how many words a key has
        for walk in (asks, takes):
            m.d.comb += [
                walk.restart.eq(self.restart),
                walk.begin.eq(begins),
                walk.job.eq(self.job),
                walk.columns.eq(self.columns),
            ]
        self._request(m, asks)
        m.d.comb += [
            takes.advance.eq(takes.running & (takes.skip | self.copy.valid)),
            self.done.eq(takes.advance & takes.last),
        ]
        self._write(m, takes)
        self._transpose(m, takes)
        return m

    def _request(self, m: Module, asks: CopyWalk) -> None:
        """Request a word when its bank is free."""
        c, copy = self._config, self.copy
        # Whether the bank is free, for both banks that may be next.
        ready = Signal()
        this_free = Signal()
        next_free = Signal()
        banks = c.rows // c.copy_lanes
        for r in cases(m, asks.bank, banks):
            m.d.comb += this_free.eq(~copy.next_cycle_busy[r])
        for r in cases(m, asks.next_bank, banks):
            m.d.comb += next_free.eq(~copy.next_cycle_busy[r])
        lookahead(m, ready, Mux(asks.to_next_bank, next_free, this_free))
        m.d.comb += [
            copy.request.valid.eq(asks.running & ~asks.skip & ready),
            copy.request.bank.eq(asks.bank),
            copy.request.address.eq(asks.address),
            asks.advance.eq(asks.running & (asks.skip | ready)),
        ]

    def _write(self, m: Module, takes: CopyWalk) -> None:
        """Write a group of keys, or a byte in each column, a cycle later."""
        c, values, lanes = self._config, self.job.values, self._config.copy_lanes
        group = Signal.like(self.group, reset_less=True)
        strobe = Signal.like(self.strobe)
        group_bits = WEIGHT_BITS * c.m
        for lane, word in enumerate(self._words()):
            own = group.word_select(lane, group_bits)
            for part in cases(m, takes.part, c.store_word_bytes // c.m):
                m.d.sync += own.eq(word.word_select(part, group_bits))
            # A column without a key gets zeros.
            skip = takes.skip if lanes == 1 else takes.column * lanes + lane >= self.columns
            with m.If(skip):
                m.d.sync += own.eq(0)
        at = ((1 << lanes) - 1) << (takes.position * lanes) if lanes > 1 else 1 << takes.position
        m.d.comb += [
            strobe.eq(Mux(values, at, -1)),
            self.word.eq(align(m, takes.group, 1, name="word")),
            self.strobe.eq(registered(m, strobe, name="strobe")),
            self.transposed.eq(align(m, values, 1, name="transposed")),
            self.group.eq(group),
        ]

    def _words(self) -> list[Value]:
        """The words of an answer, of one bank each."""
        bits = WEIGHT_BITS * self._config.store_word_bytes
        return [self.copy.data[i * bits : (i + 1) * bits] for i in range(self._config.copy_lanes)]

    def _transpose(self, m: Module, takes: CopyWalk) -> None:
        """Give each column its byte of a key's values, and say which columns are written."""
        c, values, lanes = self._config, self.job.values, self._config.copy_lanes
        word_bytes = c.store_word_bytes
        in_words = []
        for lane, word in enumerate(self._words()):
            # Rotate column 0's byte to the front. Tiles begin at multiples of the common divisor: no need of low bits.
            turned = word
            for bit in range(gcd(c.cols, word_bytes).bit_length() - 1, word_bytes.bit_length() - 1):
                turned = Mux(takes.offset[bit], turned.rotate_right(WEIGHT_BITS << bit), turned)
            in_word = Signal(WEIGHT_BITS * word_bytes, name="in_word" if lanes == 1 else f"in_word_{lane}")
            m.d.comb += in_word.eq(turned)
            in_words.append(in_word)
        for column in range(c.cols):
            # A column that is not in use gets a zero with every word.
            unused = Signal(name=f"unused_{column}", reset_less=True)
            in_piece = Signal(name=f"in_piece_{column}")  # its byte is in this word
            byte = Signal(WEIGHT_BITS * lanes, name=f"byte_{column}", reset_less=True)
            m.d.sync += unused.eq(column >= self.columns)
            m.d.comb += [
                in_piece.eq(((takes.offset + column) >> (word_bytes.bit_length() - 1)) == takes.piece),
                self.bytes[column].eq(byte),
            ]
            m.d.sync += [
                byte.eq(Mux(unused, 0, Cat(word.word_select(column % word_bytes, WEIGHT_BITS) for word in in_words))),
                self.enable[column].eq(takes.advance & Mux(values, unused | in_piece, takes.column == column // lanes)),
            ]
