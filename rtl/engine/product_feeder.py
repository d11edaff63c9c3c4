"""The feeder: walks the array through the tiles, a step a cycle, and sees that no result is overwritten."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.latencies import drain_start, drain_window
from rtl.array.walk import TileWalk
from rtl.engine.activation_store import row_address
from rtl.engine.product_registers import descriptor
from rtl.lib.timing import align, registered
from rtl.params import RESULT_TILES, Config


class Feeder(wiring.Component):
    """Issues the steps of every tile as soon as its operands are there, without a gap inside a tile but one.

    The last step of a tile waits until the results of the tile before are out of its way
    (`latencies.drain_window`) and until the result buffer has room for the tile. So the drain never
    has to stop, whatever the memory does.

    Members
    -------
    start, product : in
    column_loaded : the column buffer has another tile, in
    tiles_loaded : token tiles that the activation store has, in
    step : `row_address` for row 0; registered, a cycle after the decision, out
    column_address : for column 0, out
    column_done : with a column tile's last step, out
    tile_end : with a tile's last step, out
    written : the result buffer has given a tile to memory, in
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "column_loaded": In(1),
                "tiles_loaded": In(range(config.max_token_tiles + 1)),
                "step": Out(row_address(config)),
                "column_address": Out(range(2 * config.max_steps)),
                "column_done": Out(1),
                "tile_end": Out(1),
                "written": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, product = self._config, self.product
        m.submodules.walk = walk = TileWalk(c)
        first = Signal(init=1)  # the next step is the first, the last of its tile
        last = Signal()
        loaded = Signal()  # the tile's operands are there
        result_room = Signal()  # its results may come
        issue = Signal()
        issue_last = Signal()
        m.d.comb += [
            walk.start.eq(self.start),
            walk.tokens.eq(product.tokens),
            walk.channels.eq(product.channels),
            issue.eq(walk.running & (~first | loaded) & (~last | result_room)),
            issue_last.eq(issue & last),
            walk.advance.eq(issue_last),
        ]
        m.d.comb += [
            self.step.valid.eq(registered(m, issue, name="valid", reset=True)),
            self.step.first.eq(registered(m, first & issue, name="first", reset=True)),
            self.step.last.eq(registered(m, issue_last, name="last", reset=True)),
            self.tile_end.eq(registered(m, issue_last, name="tile_end", reset=True)),
            self.column_done.eq(registered(m, issue_last & walk.last_tokens, name="column_done", reset=True)),
        ]
        with m.If(issue):
            m.d.sync += first.eq(0)
        with m.If(issue_last):
            m.d.sync += first.eq(1)
        self._rows(m, issue, issue_last, walk.last_tokens, last)
        self._columns(m, issue, issue_last, walk.last_tokens)
        self._wait_for_operands(m, loaded, issue_last, walk.last_tokens)
        self._wait_for_results(m, result_room, issue_last)
        return m

    def _rows(self, m: Module, issue: Signal, issue_last: Signal, last_tokens: Value, last: Signal) -> None:
        """Where the step is in its rows: step of the group, group of the word, word of the token."""
        c, product = self._config, self.product
        step = Signal.like(product.steps)
        groups_left = Signal.like(product.groups, reset_less=True)
        group = Signal.like(self.step.group, reset_less=True)
        word = Signal.like(self.step.word, reset_less=True)
        next_base = Signal.like(word)
        groups_a_word = c.store_word_bytes // c.m
        m.d.comb += last.eq((groups_left == 1) & (step == product.steps))
        m.d.comb += [
            next_base.eq(Mux(last_tokens, 0, word + 1)),
            self.step.word.eq(align(m, word, 1, name="word", reset=True)),
            self.step.group.eq(align(m, group, 1, name="group", reset=True)),
        ]
        with m.If(issue):
            m.d.sync += step.eq(step + 1)
            with m.If(step == product.steps):
                m.d.sync += [step.eq(0), groups_left.eq(groups_left - 1), group.eq(group + 1)]
                with m.If(group == groups_a_word - 1):
                    m.d.sync += [group.eq(0), word.eq(word + 1)]
        with m.If(issue_last):
            m.d.sync += [groups_left.eq(product.groups), group.eq(0), word.eq(next_base)]
        with m.If(self.start):
            m.d.sync += [groups_left.eq(product.groups), group.eq(0), word.eq(0)]

    def _columns(self, m: Module, issue: Signal, issue_last: Signal, last_tokens: Value) -> None:
        """Where it is in the column buffer: each token tile goes through the half again."""
        half = Signal()
        column_address = Signal.like(self.column_address, reset_less=True)
        column_base = Signal.like(self.column_address)
        m.d.comb += column_base.eq(Mux(half, self._config.max_steps, 0))
        m.d.comb += self.column_address.eq(align(m, column_address, 1, name="column_address", reset=True))
        with m.If(issue):
            m.d.sync += column_address.eq(column_address + 1)
        with m.If(issue_last):
            m.d.sync += column_address.eq(column_base)
            with m.If(last_tokens):
                m.d.sync += [half.eq(~half), column_address.eq(Mux(half, 0, self._config.max_steps))]
        with m.If(self.start):
            m.d.sync += [half.eq(0), column_address.eq(0)]

    def _wait_for_operands(self, m: Module, loaded: Signal, issue_last: Signal, last_tokens: Value) -> None:
        token_tile = Signal.like(self.tiles_loaded)
        columns_ready = Signal(range(3))
        m.d.comb += loaded.eq((columns_ready != 0) & (token_tile < self.tiles_loaded))
        m.d.sync += columns_ready.eq(columns_ready + self.column_loaded - (issue_last & last_tokens))
        with m.If(issue_last):
            m.d.sync += token_tile.eq(token_tile + 1)
            with m.If(last_tokens):
                m.d.sync += token_tile.eq(0)
        with m.If(self.start):
            m.d.sync += token_tile.eq(0)

    def _wait_for_results(self, m: Module, result_room: Signal, issue_last: Signal) -> None:
        """The results of the tile before are out of the way, and the result buffer has room for this one's."""
        c = self._config
        start_in, window = drain_start(c), drain_window(c)
        slots = c.rows * c.slots_a_row
        in_flight = Signal(range(RESULT_TILES + 1))
        hold = Signal(range(start_in + slots + window + 1))
        drain_free = Signal(range(start_in + 2 * slots + 1))
        drain_begins = Signal.like(drain_free)  # cycles from now until this tile's results begin to drain
        m.d.comb += [
            result_room.eq((hold == 0) & (in_flight != RESULT_TILES)),
            drain_begins.eq(Mux(drain_free > start_in, drain_free, start_in)),
        ]
        m.d.sync += [
            in_flight.eq(in_flight + issue_last - self.written),
            hold.eq(Mux(hold == 0, 0, hold - 1)),
            drain_free.eq(Mux(drain_free == 0, 0, drain_free - 1)),
        ]
        with m.If(self.start):
            m.d.sync += [hold.eq(0), drain_free.eq(0)]
        with m.If(issue_last):
            m.d.sync += [hold.eq(drain_begins + (window - 1)), drain_free.eq(drain_begins + (slots - 1))]
