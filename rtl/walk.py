"""The walk over the tiles of a product, which every engine makes for itself."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .params import CHANNELS_MAX, Config


class TileWalk(wiring.Component):
    """Counts through the tiles: all token tiles of a column tile, then the next column tile.

    An engine that works on column tiles alone gives `tokens` as 1.

    Members
    -------
    start : begin at the first tile; only while there is none, in
    tokens, channels : of the product, steady from the start on, in
    advance : go on to the next tile, in
    running : there is a tile, out
    rows, columns : how many of the tile's rows and columns are in use, out
    one_row : rows == 1, out
    last_tokens : the column tile's last token tile, out
    last_channels : a tile of the last column tile, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "tokens": In(range(config.max_tokens + 1)),
                "channels": In(range(CHANNELS_MAX + 1)),
                "advance": In(1),
                "running": Out(1),
                "rows": Out(range(config.rows + 1)),
                "one_row": Out(1),
                "columns": Out(range(config.cols + 1)),
                "last_tokens": Out(1),
                "last_channels": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, cols = self._config.rows, self._config.cols
        tokens_left = Signal.like(self.tokens, reset_less=True)
        channels_left = Signal.like(self.channels, reset_less=True)
        # What a tile is, is compared when the walk steps to it: much hangs on it, and comparing is slow.
        running = Signal()
        last_tokens = Signal(init=1)
        last_channels = Signal(init=1)
        tile_rows = Signal.like(self.rows, reset_less=True)
        tile_columns = Signal.like(self.columns, reset_less=True)
        one_row = Signal(reset_less=True)
        m.d.comb += [
            self.running.eq(running),
            self.last_tokens.eq(last_tokens),
            self.last_channels.eq(last_channels),
            self.rows.eq(tile_rows),
            self.columns.eq(tile_columns),
            self.one_row.eq(one_row),
        ]
        # While there is no tile the first one's are loaded: what they hang on is here, and no start from far away.
        with m.If(~running | (self.advance & last_tokens)):
            m.d.sync += [
                tokens_left.eq(self.tokens),
                last_tokens.eq(self.tokens <= rows),
                tile_rows.eq(Mux(self.tokens <= rows, self.tokens, rows)),
                one_row.eq((self.tokens == 1) | (rows == 1)),
            ]
        with m.Elif(self.advance):
            m.d.sync += [
                tokens_left.eq(tokens_left - rows),
                last_tokens.eq(tokens_left <= 2 * rows),
                tile_rows.eq(Mux(tokens_left <= 2 * rows, tokens_left - rows, rows)),
                one_row.eq((tokens_left == rows + 1) | (rows == 1)),
            ]
        with m.If(~running):
            m.d.sync += [
                channels_left.eq(self.channels),
                last_channels.eq(self.channels <= cols),
                tile_columns.eq(Mux(self.channels <= cols, self.channels, cols)),
            ]
        with m.Elif(self.advance & last_tokens):
            m.d.sync += [
                channels_left.eq(channels_left - cols),
                last_channels.eq(channels_left <= 2 * cols),
                tile_columns.eq(Mux(channels_left <= 2 * cols, channels_left - cols, cols)),
            ]
        with m.If(self.start):
            m.d.sync += running.eq(self.channels != 0)
        with m.Elif(self.advance & last_tokens & last_channels):
            m.d.sync += running.eq(0)
        return m
