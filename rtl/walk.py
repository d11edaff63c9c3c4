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
    start : begin at the first tile, in
    tokens, channels : of the product, steady, in
    advance : go on to the next tile, in
    running : there is a tile, out
    rows, columns : how many of the tile's rows and columns are in use, out
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
                "columns": Out(range(config.cols + 1)),
                "last_tokens": Out(1),
                "last_channels": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, cols = self._config.rows, self._config.cols
        tokens_left = Signal.like(self.tokens, reset_less=True)
        channels_left = Signal.like(self.channels)
        # Whether a tile is the last is compared when the walk steps to it: much hangs on it, and comparing is slow.
        last_tokens = Signal(init=1)
        last_channels = Signal(init=1)
        m.d.comb += [
            self.running.eq(channels_left != 0),
            self.last_tokens.eq(last_tokens),
            self.last_channels.eq(last_channels),
            self.rows.eq(Mux(last_tokens, tokens_left, rows)),
            self.columns.eq(Mux(last_channels, channels_left, cols)),
        ]
        with m.If(self.start):
            m.d.sync += [
                tokens_left.eq(self.tokens),
                last_tokens.eq(self.tokens <= rows),
                channels_left.eq(self.channels),
                last_channels.eq(self.channels <= cols),
            ]
        with m.Elif(self.advance):
            m.d.sync += [tokens_left.eq(tokens_left - rows), last_tokens.eq(tokens_left <= 2 * rows)]
            with m.If(last_tokens):
                m.d.sync += [
                    tokens_left.eq(self.tokens),
                    last_tokens.eq(self.tokens <= rows),
                    channels_left.eq(Mux(last_channels, 0, channels_left - cols)),
                    last_channels.eq(channels_left <= 2 * cols),
                ]
        return m
