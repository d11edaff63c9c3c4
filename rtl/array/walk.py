"""The walk over the tiles of a product; whoever works on tiles has its own."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, gated
from rtl.params import CHANNELS_MAX, Config


def _within(value: Value, most: int) -> Value:
    """value <= most, for a small `most`, without a carry chain over all bits."""
    bits = most.bit_length()
    low = value[:bits] <= most
    return low & ~value[bits:].any() if len(value) > bits else low


def _at_most(value: Value, most: int) -> Value:
    """The smaller of both."""
    within = _within(value, most)
    return gated(value, within) | gated(Const(most), ~within)


class TileWalk(wiring.Component):
    """Counts through the tiles: all token tiles of a column tile, then the next column tile. Each head has all of them.

    Who works on column tiles alone gives `tokens` as 1. The walk computes one tile ahead of its outputs:
    `advance` comes late and has a high fan-out, so it only enables registers.

    Parameters
    ----------
    max_more_heads : heads beside the first one; without, there is neither more_heads nor last_head

    Members
    -------
    start : begin; the first tile is out LATENCY cycles later; only while idle, in
    tokens : of the product, steady from the start on, in
    channels, more_heads : of the product, sampled at the start, in
    advance : step to the next tile; only while running, in
    running : the outputs are of a tile, out
    idle : no tile now or to come; without channels from the second cycle after the start on, out
    rows, columns : how many of the tile's rows and columns are in use, out
    next_one_row : the next tile has rows == 1; of the first one in the cycle before it is out, out
    last_tokens : the column tile's last token tile, out
    last_channels : a tile of a head's last column tile, out
    last_head : a tile of the last head, out
    """

    LATENCY = 3  # compare sizes; the tile ahead; the tile

    def __init__(self, config: Config, *, max_more_heads: int = 0) -> None:
        self._config = config
        self._max_more_heads = max_more_heads
        heads = {"more_heads": In(range(max_more_heads + 1)), "last_head": Out(1)} if max_more_heads else {}
        super().__init__(
            {
                "start": In(1),
                "tokens": In(range(config.max_tokens + 1)),
                "channels": In(range(CHANNELS_MAX + 1)),
                **heads,
                "advance": In(1),
                "running": Out(1),
                "idle": Out(1),
                "rows": Out(range(config.rows + 1)),
                "next_one_row": Out(1),
                "columns": Out(range(config.cols + 1)),
                "last_tokens": Out(1),
                "last_channels": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        begun = align(m, self.start, 1, name="begun", reset=True)
        any_channels = Signal(reset_less=True)  # a cycle after the start
        primes = Signal()  # the first tile is ahead
        running = Signal()
        idle = Signal(init=1)
        takes_next = Signal()  # the tile ahead becomes the tile
        takes_first = Signal()  # the tile ahead becomes the first one
        ends = Signal()
        ahead_last = Signal(init=1)  # the tile ahead is the column tile's last token tile
        ahead_channels = Signal(init=1)  # it is of the last column tile
        ahead_head: Value = Const(1)  # it is of the last head
        if self._max_more_heads:
            to_next_head = ahead_last & ahead_channels
            ahead_head = self._heads(m, takes_next, takes_first, to_next_head)
        tile_final = Signal(init=1)  # the last tile of all
        m.d.comb += [
            self.running.eq(running),
            self.idle.eq(idle),
            takes_next.eq(self.advance | ~running),
            takes_first.eq(~running & ~primes),
            ends.eq(self.advance & tile_final),
        ]
        m.d.sync += [
            any_channels.eq(self.channels != 0),
            primes.eq(begun & any_channels),
            running.eq((running | primes) & ~ends),
        ]
        with m.If(takes_next):
            m.d.sync += tile_final.eq(ahead_last & ahead_channels & ahead_head)
        with m.If(self.start):
            m.d.sync += idle.eq(0)
        with m.Elif(ends | (begun & ~any_channels)):
            m.d.sync += idle.eq(1)
        self._token_tiles(m, takes_next, takes_first, ahead_last)
        self._column_tiles(m, takes_next, takes_first, ahead_last, ahead_channels)
        return m

    def _token_tiles(self, m: Module, takes_next: Signal, takes_first: Signal, ahead_last: Signal) -> None:
        """The token tile, the one ahead of it, and a column tile's first."""
        rows = self._config.rows
        first_last = Signal(init=1)
        first_rows = Signal.like(self.rows, reset_less=True)
        first_one = Signal(reset_less=True)
        tokens_left = Signal.like(self.tokens, reset_less=True)
        ahead_rows = Signal.like(self.rows, reset_less=True)
        ahead_one = Signal(reset_less=True)
        tile_last = Signal(init=1)
        tile_rows = Signal.like(self.rows, reset_less=True)
        m.d.comb += [self.last_tokens.eq(tile_last), self.rows.eq(tile_rows), self.next_one_row.eq(ahead_one)]
        m.d.sync += [
            first_last.eq(_within(self.tokens, rows)),
            first_rows.eq(_at_most(self.tokens, rows)),
            first_one.eq((self.tokens == 1) | (rows == 1)),
        ]
        with m.If(takes_next):
            m.d.sync += [tile_last.eq(ahead_last), tile_rows.eq(ahead_rows)]
            with m.If(takes_first | ahead_last):
                m.d.sync += [
                    tokens_left.eq(self.tokens),
                    ahead_last.eq(first_last),
                    ahead_rows.eq(first_rows),
                    ahead_one.eq(first_one),
                ]
            with m.Else():
                m.d.sync += [
                    tokens_left.eq(tokens_left - rows),
                    ahead_last.eq(tokens_left <= 2 * rows),
                    ahead_rows.eq(Mux(tokens_left <= 2 * rows, tokens_left - rows, rows)),
                    ahead_one.eq((tokens_left == rows + 1) | (rows == 1)),
                ]

    def _column_tiles(
        self, m: Module, takes_next: Signal, takes_first: Signal, ahead_last: Signal, ahead_channels: Signal
    ) -> None:
        """The same of columns: behind a last token tile comes the next column tile, or the next head's first one."""
        cols = self._config.cols
        own_channels = Signal.like(self.channels, reset_less=True)
        first_channels = Signal(init=1)
        first_columns = Signal.like(self.columns, reset_less=True)
        channels_left = Signal.like(self.channels, reset_less=True)
        ahead_columns = Signal.like(self.columns, reset_less=True)
        tile_channels = Signal(init=1)
        tile_columns = Signal.like(self.columns, reset_less=True)
        m.d.comb += [self.last_channels.eq(tile_channels), self.columns.eq(tile_columns)]
        first: Value = takes_first
        if self._max_more_heads:
            first = takes_first | (ahead_last & ahead_channels)
        with m.If(self.start):
            m.d.sync += [
                own_channels.eq(self.channels),
                first_channels.eq(_within(self.channels, cols)),
                first_columns.eq(_at_most(self.channels, cols)),
            ]
        with m.If(takes_next):
            m.d.sync += [tile_channels.eq(ahead_channels), tile_columns.eq(ahead_columns)]
            with m.If(first):
                m.d.sync += [
                    channels_left.eq(own_channels),
                    ahead_channels.eq(first_channels),
                    ahead_columns.eq(first_columns),
                ]
            with m.Elif(ahead_last):
                m.d.sync += [
                    channels_left.eq(channels_left - cols),
                    ahead_channels.eq(channels_left <= 2 * cols),
                    ahead_columns.eq(Mux(channels_left <= 2 * cols, channels_left - cols, cols)),
                ]

    def _heads(self, m: Module, takes_next: Signal, takes_first: Signal, to_next_head: Value) -> Signal:
        """Count the heads. Returns whether the tile ahead is of the last one."""
        own_heads = Signal.like(self.more_heads, reset_less=True)
        one_head = Signal(reset_less=True)
        heads_left = Signal.like(self.more_heads, reset_less=True)  # behind the one ahead
        ahead_head = Signal(init=1)
        tile_head = Signal(init=1)
        m.d.comb += self.last_head.eq(tile_head)
        with m.If(self.start):
            m.d.sync += [own_heads.eq(self.more_heads), one_head.eq(self.more_heads == 0)]
        with m.If(takes_next):
            m.d.sync += tile_head.eq(ahead_head)
            with m.If(takes_first):
                m.d.sync += [heads_left.eq(own_heads), ahead_head.eq(one_head)]
            with m.Elif(to_next_head):
                m.d.sync += [heads_left.eq(heads_left - 1), ahead_head.eq(heads_left == 1)]
        return ahead_head
