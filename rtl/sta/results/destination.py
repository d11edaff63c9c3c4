"""Destinations of results, and the walks that generate them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.walk import TileWalk
from rtl.lib.timing import align, cleared, gated, preload, registered, relay
from rtl.params import CHANNELS_MAX, ceil_div
from rtl.sta.control.instruction import instruction_layout, result_words
from rtl.sta.isa import FIELDS
from rtl.sta.params import RESIDUAL_BITS, StaConfig


def destination(config: StaConfig) -> data.StructLayout:
    """Destination of a slot: drain_lanes neighbouring channels of one token, which pass the pipeline in one cycle.

    row, slot : within the tile; a row has slots_a_row slots
    tile : token tile, counted through all heads of the instruction
    token : in the residual, absolute
    piece : channels drain_lanes · piece …; the residual's word of the token
    base : the token tile's first word in the store
    keep : which of the channels exist; the slot is written if the first does
    column_last : the last slot of a column tile
    last : the last slot of the instruction
    """
    pieces = ceil_div(CHANNELS_MAX, config.cols) * config.slots_a_row
    return data.StructLayout(
        {
            "row": range(config.rows),
            "slot": range(config.slots_a_row),
            "tile": range(config.maxima_tiles),
            "token": range(config.max_tokens),
            "piece": range(pieces),
            "base": range(config.store_words),
            "keep": config.drain_lanes,
            "column_last": 1,
            "last": 1,
        }
    )


class Slots(wiring.Signature):
    """Values with their destination, seen from their source, without back-pressure.

    Parameters
    ----------
    bits : of a value; None: of a sum of the array

    Members
    -------
    valid : out
    destination : of the values, out
    values : signed, one a lane, out
    """

    def __init__(self, config: StaConfig, bits: int | None = None) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "destination": Out(destination(config)),
                "values": Out(signed(bits or config.accumulator_bits)).array(config.drain_lanes),
            }
        )


class Results(wiring.Signature):
    """Results with their destination, seen from the pipeline, without back-pressure.

    Members
    -------
    valid : out
    destination : of the results, out
    wide : 16 bits each, out
    narrow : the same in 8 bits, for the activation store, out
    """

    def __init__(self, config: StaConfig) -> None:
        lanes = config.drain_lanes
        super().__init__(
            {
                "valid": Out(1),
                "destination": Out(destination(config)),
                "wide": Out(signed(RESIDUAL_BITS)).array(lanes),
                "narrow": Out(signed(8)).array(lanes),
            }
        )


class SlotWalk(wiring.Component):
    """Walks the slots of a product: head, column tile, token tile, row, slot.

    Parameters
    ----------
    max_more_heads : heads beside the first one

    Members
    -------
    start : begin at the first slot; only while there is none, in
    instruction : in
    advance : step to the next slot, in
    running : there is a slot, out
    destination : of the slot, without tile and base, out
    tile, base : of the slot one cycle before, out
    row_last : the last slot of a row, out
    tile_last : the last slot of a tile, out
    """

    def __init__(self, config: StaConfig, *, max_more_heads: int = 0) -> None:
        self._config = config
        self._max_more_heads = max_more_heads
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "advance": In(1),
                "running": Out(1),
                "destination": Out(destination(config)),
                "tile": Out(range(config.maxima_tiles)),
                "base": Out(range(config.store_words)),
                "row_last": Out(1),
                "tile_last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, own = self._config, self.instruction, self.destination
        m.submodules.tiles = tiles = TileWalk(c, max_more_heads=self._max_more_heads)
        last_head: Value = Const(1)
        if self._max_more_heads:
            m.d.comb += tiles.more_heads.eq(instruction.more_heads)
            last_head = tiles.last_head
        slot = Signal.like(own.slot)
        token = Signal.like(own.token, reset_less=True)
        tile_piece = Signal.like(own.piece, reset_less=True)  # of the column tile's first slot
        tile_advance = Signal()
        keep: Value = Cat(tiles.columns > slot * c.drain_lanes + lane for lane in range(c.drain_lanes))
        if c.is_group:  # a token that is not the group's own is alone in its last tile, and written nowhere
            phantom = registered(m, instruction.tokens != instruction.own_tokens, name="phantom")
            keep = gated(keep, ~(phantom & tiles.last_tokens))
        m.d.comb += [
            tiles.start.eq(self.start),
            tiles.tokens.eq(instruction.tokens),
            tiles.channels.eq(instruction.channels),
            tiles.advance.eq(tile_advance),
            self.running.eq(tiles.running),
            tile_advance.eq(self.advance & self.tile_last),
            own.slot.eq(slot),
            own.token.eq(token),
            own.piece.eq(tile_piece + slot),
            own.keep.eq(keep),
            own.column_last.eq(self.tile_last & tiles.last_tokens),
            own.last.eq(own.column_last & tiles.last_channels & last_head),
        ]
        with m.If(tile_advance & tiles.last_tokens):
            m.d.sync += tile_piece.eq(cleared(tile_piece + c.slots_a_row, tiles.last_channels))
        with preload(m, ~tiles.running):
            m.d.sync += tile_piece.eq(0)
        # Whether it steps is an enable, where to is a mux: neither waits for the other.
        to_first_token = Signal()  # if it steps
        m.d.comb += to_first_token.eq(~tiles.running | (self.tile_last & tiles.last_tokens))
        with m.If(~tiles.running | (self.advance & self.row_last)):
            m.d.sync += token.eq(Mux(to_first_token, instruction.first_token, token + 1))
        self._count_slots(m, tiles, slot)
        self._place_tiles(m, tiles, tile_advance | ~tiles.running, to_first_token)
        return m

    def _count_slots(self, m: Module, tiles: TileWalk, slot: Signal) -> None:
        """Slot and row within the tile, and whether they are the last: registered when the walk steps to them."""
        one_slot, before_last = self._config.slots_a_row == 1, self._config.slots_a_row - 2
        row = Signal.like(self.destination.row)
        last_slot = Signal(init=one_slot)  # of the row
        last_row = Signal(reset_less=True)  # of the tile
        last = Signal(reset_less=True)  # both
        m.d.comb += [self.destination.row.eq(row), self.row_last.eq(last_slot), self.tile_last.eq(last)]
        with m.If(self.advance):
            m.d.sync += [slot.eq(slot + 1), last_slot.eq(slot == before_last)]
            with m.If(last_slot):
                m.d.sync += [slot.eq(0), last_slot.eq(one_slot), row.eq(Mux(last, 0, row + 1))]
        # Both outcomes are computed; `advance` comes late and selects.
        next_row_last = Mux(last, tiles.next_one_row, row + 2 == tiles.rows)  # of the row behind this one
        next_last = Mux(last_slot, next_row_last & one_slot, (slot == before_last) & last_row)
        first_row_last = ~tiles.running & tiles.next_one_row
        m.d.sync += [
            last_row.eq(
                Mux(self.advance, Mux(last_slot, next_row_last, last_row), (tiles.running & last_row) | first_row_last)
            ),
            last.eq(Mux(self.advance, next_last, (tiles.running & last) | (first_row_last & one_slot))),
        ]

    def _place_tiles(self, m: Module, tiles: TileWalk, advance: Value, to_first: Signal) -> None:
        """Number and first word of the token tile: wide, and not urgent, so behind relays, a cycle after the others."""
        instruction = self.instruction
        tile = Signal.like(self.tile, reset_less=True)
        base = Signal.like(self.base, reset_less=True)
        m.d.comb += [self.tile.eq(tile), self.base.eq(base)]
        to_first = relay(m, to_first, name="tile_to_first")
        with m.If(relay(m, advance, name="tile_advance")):
            m.d.sync += [tile.eq(tile + 1), base.eq(base + instruction.y_pitch)]
            with m.If(to_first):
                m.d.sync += [tile.eq(0), base.eq(instruction.y_base)]
                if self._max_more_heads:
                    self._place_heads(m, tiles, tile, base)

    def _place_heads(self, m: Module, tiles: TileWalk, tile: Signal, base: Signal) -> None:
        """The same of a column tile's first token tile: of this head, or of the next one."""
        instruction = self.instruction
        first_tile = Signal.like(tile, reset_less=True)
        first_base = Signal.like(base, reset_less=True)
        next_base = Signal.like(base)
        words = registered(m, result_words(self._config, instruction)[: len(base)], name="head_words")
        to_next_head = relay(m, tiles.last_channels, name="tile_to_next_head")
        m.d.comb += next_base.eq(first_base + gated(words, to_next_head))
        with m.If(relay(m, tiles.running, name="tile_running")):
            m.d.sync += [base.eq(next_base), first_base.eq(next_base)]
            with m.If(to_next_head):
                m.d.sync += [tile.eq(tile + 1), first_tile.eq(tile + 1)]
            with m.Else():
                m.d.sync += tile.eq(first_tile)
        with m.Else():
            m.d.sync += [first_tile.eq(0), first_base.eq(instruction.y_base)]


def destination_after(m: Module, walk: SlotWalk, cycles: int) -> data.View:
    """The complete destination of the slot, `cycles` later, at least 2."""
    later = Signal(walk.destination.shape(), name="destination_after")
    m.d.comb += [
        later.eq(align(m, walk.destination, cycles, name="destination")),
        later.tile.eq(align(m, walk.tile, cycles - 1, name="tile")),
        later.base.eq(align(m, walk.base, cycles - 1, name="base")),
    ]
    return later


class PieceWalk(wiring.Component):
    """Walks the pieces of a token's row, over and over.

    Members
    -------
    start : go to the first piece, may last several cycles, in
    channels : steady from the cycle before the last one of start on, in
    advance : step to the next piece, from the last one to the first, in
    piece, keep : as in `destination`, out
    last : the last piece of a row, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._lanes = config.drain_lanes
        layout = destination(config)
        super().__init__(
            {
                "start": In(1),
                "channels": In(FIELDS["channels"].bits),
                "advance": In(1),
                "piece": Out(layout["piece"].shape),
                "keep": Out(layout["keep"].shape),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self._lanes
        left = Signal.like(self.channels, reset_less=True)
        piece = Signal.like(self.piece, reset_less=True)
        keep = Signal.like(self.keep, reset_less=True)  # these two are registered when the walk steps
        last = Signal(reset_less=True)
        first_keep = Signal.like(self.keep, reset_less=True)  # those of the first piece, ready beforehand
        first_last = Signal(reset_less=True)
        m.d.comb += [self.piece.eq(piece), self.keep.eq(keep), self.last.eq(last)]
        m.d.sync += [
            first_keep.eq(Cat(self.channels > lane for lane in range(lanes))),
            first_last.eq(self.channels <= lanes),
        ]
        with m.If(self.start | self.advance):
            to_first = Signal()
            m.d.comb += to_first.eq(self.start | last)
            m.d.sync += [
                left.eq(Mux(to_first, self.channels, left - lanes)),
                piece.eq(Mux(to_first, 0, piece + 1)),
                keep.eq(Mux(to_first, first_keep, Cat(left > lanes + lane for lane in range(lanes)))),
                last.eq(Mux(to_first, first_last, left <= 2 * lanes)),
            ]
        return m
