"""The feeder of STA: issues the steps of a product's tiles, one a cycle, and never overwrites a result."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.walk import TileWalk
from rtl.lib.cases import cases
from rtl.lib.timing import align, cleared, lookahead, tally
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import COLUMN_LATENCY, ROW_CYCLES, drain_start, drain_window
from rtl.sta.operands.columns import column_address
from rtl.sta.operands.store import store_step
from rtl.sta.operands.tiles import token_tile
from rtl.sta.params import StaConfig


class Feeder(wiring.Component):
    """Issues the steps of every tile as soon as its columns are loaded, without a gap but before a tile's last step.

    The last step of a tile waits until the results of the tile before, and with softmax its rows' reciprocals, are
    drained far enough (`latencies.drain_window`). So the drain never stalls.

    Columns may be loaded before the start: they count for the next product.

    Members
    -------
    start : an instruction begins; anything but PRODUCT is ignored, in
    instruction : steady from start until the last results have left, in
    loaded : the column buffer has another tile of steps, in
    step : `store_step` for row 0; registered, a cycle after the decision, out
    column_address : of the step for column 0, COLUMN_LATENCY cycles before the array has the step, out
    column_done : with a column tile's last column_address, out
    tile_end : with a tile's last step, out
    running : there are steps to come, out
    no_columns, no_drain : it waits in this cycle for columns alone, or for the drain alone, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "loaded": In(1),
                "step": Out(store_step(config)),
                "column_address": Out(column_address(config)),
                "column_done": Out(1),
                "tile_end": Out(1),
                "running": Out(1),
                "no_columns": Out(1),
                "no_drain": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        start = Signal()
        m.submodules.walk = walk = TileWalk(c)
        m.d.comb += [
            start.eq(self.start & (instruction.opcode == Op.PRODUCT)),
            walk.start.eq(start),
            walk.tokens.eq(instruction.tokens),
            walk.channels.eq(instruction.channels),
            self.running.eq(walk.running),
        ]

        # Decoded from the instruction: a cycle after the start, in time for the first tile of the walk.
        last_sub = Signal(range(c.steps_a_group), reset_less=True)
        softmax = Signal()
        m.d.sync += softmax.eq(instruction.columns == Columns.VALUES)
        given_sub = Signal.like(last_sub)
        for i in cases(m, instruction.pattern, c.m + 1):
            m.d.comb += given_sub.eq((max(i, 1) - 1) // c.n)
        one_sub = Signal(reset_less=True)
        one_group = Signal(reset_less=True)
        two_groups = Signal(reset_less=True)
        one_step = Signal(reset_less=True)
        m.d.sync += [
            last_sub.eq(given_sub),
            one_sub.eq(given_sub == 0),
            one_group.eq(instruction.groups == 1),
            two_groups.eq(instruction.groups == 2),
            one_step.eq(one_sub & one_group),
        ]

        # Position in the tile: step of the group, group of the word, word of the token.
        sub = Signal.like(last_sub, reset_less=True)
        position = Signal.like(instruction.groups, reset_less=True)
        group = Signal.like(self.step.group, reset_less=True)
        word = Signal.like(self.step.word, reset_less=True)
        groups_left = Signal(range(c.max_groups + 1), reset_less=True)
        first_word = Signal.like(word, reset_less=True)  # of the token tile
        tile = Signal.like(self.step.tile, reset_less=True)
        first_tile = Signal.like(tile)
        m.d.comb += first_tile.eq(token_tile(c, instruction.first_token))
        first = Signal()
        last = Signal()
        column = Signal.like(self.column_address)  # the half is never reset
        # sub == last_sub, groups_left == 1, both, and groups_left == 2, registered when the counts change: `go` depends
        # on them, and most registers on `go`.
        is_last_sub = Signal()
        is_last_group = Signal()
        before_last_group = Signal()

        # A tile waits for its columns, its last step for the drain.
        starts = [drain_start(c, mode) for mode in (False, True)]
        windows = [drain_window(c, mode) for mode in (False, True)]
        slots = c.rows * c.slots_a_row
        hold = Signal(range(max(starts) + slots + max(windows) + 1))
        held = Signal()  # hold != 0
        columns_there = Signal()
        drain_there = Signal()
        go = Signal()
        tile_goes = Signal()
        columns_ready = tally(m, 2, self.loaded, tile_goes & walk.last_tokens, name="columns_ready")
        another = Signal()  # a column tile is loaded after this cycle, if none is used up
        m.d.comb += [
            another.eq(~columns_ready.none | self.loaded),
            drain_there.eq(~last | ~held),
            go.eq(walk.running & columns_there & drain_there),
            self.no_columns.eq(walk.running & ~columns_there & drain_there),
            self.no_drain.eq(walk.running & columns_there & ~drain_there),
            tile_goes.eq(walk.running & columns_there & last & ~held),  # go & last, in one step
            walk.advance.eq(tile_goes),
        ]

        here = Signal.like(position)  # cleared by `first`, not by the end of the tile before
        m.d.comb += here.eq(Mux(first, 0, position))
        groups_a_word = c.store_word_bytes // c.m
        next_word = Signal.like(word)
        m.d.comb += next_word.eq(Mux(walk.last_tokens, instruction.x_base, first_word + instruction.x_pitch))
        lookahead(m, columns_there, ~first | another)
        with m.If(go):
            lookahead(m, columns_there, 1)
            m.d.sync += position.eq(here + is_last_sub)
            m.d.sync += [first.eq(0), sub.eq(sub + 1), is_last_sub.eq(sub + 1 == last_sub)]
            m.d.sync += last.eq((sub + 1 == last_sub) & is_last_group)
            # After the last step comes the first one.
            next_column = Signal.like(column)
            m.d.comb += [next_column.sub.eq(column.sub + 1), next_column.word.eq(column.word)]
            with m.If(column.sub == c.steps_a_group - 1):
                m.d.comb += [next_column.sub.eq(0), next_column.word.eq(column.word + 1)]
            for part in ("sub", "word"):
                m.d.sync += column[part].eq(cleared(next_column[part], last))
            with m.If(is_last_sub):
                m.d.sync += [
                    sub.eq(0),
                    is_last_sub.eq(one_sub),
                    groups_left.eq(groups_left - 1),
                    is_last_group.eq(before_last_group),
                    before_last_group.eq(groups_left == 3),
                    last.eq(one_sub & before_last_group),
                    group.eq(group + 1),
                ]
                with m.If(group == groups_a_word - 1):
                    m.d.sync += [group.eq(0), word.eq(word + 1)]
        with m.If(tile_goes):
            more_than_one = columns_ready.full | (self.loaded & ~columns_ready.none)
            lookahead(m, columns_there, Mux(walk.last_tokens, more_than_one, another))
            m.d.sync += [
                first.eq(1),
                groups_left.eq(instruction.groups),
                is_last_group.eq(one_group),
                before_last_group.eq(two_groups),
                last.eq(one_step),
                group.eq(0),
                word.eq(next_word),
                first_word.eq(next_word),
                tile.eq(tile + 1),
            ]
            with m.If(walk.last_tokens):
                m.d.sync += [tile.eq(first_tile), column.half.eq(~column.half)]
        # Between products, wait at the first step of the next one.
        with m.If(~walk.running):
            lookahead(m, columns_there, another)
            m.d.sync += [
                first.eq(1),
                sub.eq(0),
                is_last_sub.eq(one_sub),
                groups_left.eq(instruction.groups),
                is_last_group.eq(one_group),
                before_last_group.eq(two_groups),
                last.eq(one_step),
                group.eq(0),
                word.eq(instruction.x_base),
                first_word.eq(instruction.x_base),
                tile.eq(first_tile),
            ]

        # If the tile's last step were issued now, its results would begin to drain `late` cycles after they are ready,
        # behind those of the tile before.
        late = Signal(range(2 * slots + 1), reset_less=True)
        is_late = Signal()  # late != 0
        safe_in = [starts[mode] + windows[mode] - 1 for mode in (False, True)]  # cycles, where it is not late
        m.d.sync += [
            hold.eq(Mux(held, hold - 1, 0)),
            held.eq(hold[1:].any()),
            late.eq(Mux(is_late, late - 1, 0)),
            is_late.eq(late[1:].any()),
        ]
        with m.If(start):
            m.d.sync += [hold.eq(0), held.eq(0), late.eq(0), is_late.eq(0)]
        with m.If(tile_goes):
            next_hold = Signal.like(hold)
            next_late = Signal.like(late)
            m.d.comb += [
                next_hold.eq(late + Mux(softmax, safe_in[True], safe_in[False])),
                next_late.eq(late + slots - 1),
            ]
            m.d.sync += [hold.eq(next_hold), held.eq(is_late | Mux(softmax, safe_in[True] != 0, safe_in[False] != 0))]
            m.d.sync += [late.eq(next_late), is_late.eq(next_late != 0)]

        step = self.step
        m.d.sync += [
            step.valid.eq(go),
            step.first.eq(first & go),
            step.last.eq(tile_goes),
            step.read.eq(go & (group == 0) & (sub == 0)),
            step.word.eq(word),
            step.group.eq(group),
            step.sub.eq(sub),
            step.softmax.eq(softmax),
            step.tile.eq(tile),
            step.position.eq(here),
            self.tile_end.eq(tile_goes),
        ]
        lead = ROW_CYCLES - COLUMN_LATENCY  # the columns' path is shorter than the rows'
        m.d.comb += [
            self.column_address.eq(align(m, column, lead, name="column_address")),
            self.column_done.eq(align(m, tile_goes & walk.last_tokens, lead, name="column_done", reset=True)),
        ]
        return m
