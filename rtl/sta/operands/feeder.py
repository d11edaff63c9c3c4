"""The feeder of STA: issues the steps of a product's tiles, one a cycle, and never overwrites a result."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.walk import TileWalk
from rtl.lib.cases import cases
from rtl.lib.timing import align, cleared, gated, lookahead, registered, tally
from rtl.sta.control.instruction import instruction_layout, max_more_heads, operand_words
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import COLUMN_LATENCY, ROW_CYCLES, drain_start, drain_window
from rtl.sta.legality import most_weight_groups
from rtl.sta.operands.columns import ColumnReads
from rtl.sta.operands.store import store_step
from rtl.sta.params import StaConfig


class Sizes(NamedTuple):
    """What a tile's steps need of the instruction, registered: a cycle after the start, in time for the first tile."""

    last_sub: Signal  # steps of a group, less one
    one_sub: Signal
    groups: Signal  # of the weights of a column
    one_group: Signal
    two_groups: Signal
    one_token_group: Signal  # a token has one group
    one_step: Signal  # in a tile
    softmax: Signal  # the rows hold scores


class Step(NamedTuple):
    """The step that is issued next: as `store_step` has it."""

    first: Signal
    last: Signal
    sub: Signal
    position: Signal
    group: Signal
    word: Signal
    tile: Signal


class Feeder(wiring.Component):
    """Issues the steps of every tile as soon as its columns are loaded, without a gap but before a tile's last step.

    The last step of a tile waits until the results of the tile before, and with softmax its rows' reciprocals, are
    drained far enough (`latencies.drain_window`). So the drain never stalls.

    Columns may be loaded before the start: they count for the next product.

    Members
    -------
    start : a PRODUCT begins, in; `Sta` starts it for nothing else, which would be ignored
    instruction : steady from start until the last results have left, in
    columns : `ColumnReads`; addresses come COLUMN_LATENCY cycles before the array has the step, out
    step : `store_step` for row 0; registered, a cycle after the decision, out
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
                "columns": Out(ColumnReads(config)),
                "step": Out(store_step(config)),
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
        advance = Signal()  # a step is issued
        tile_advance = Signal()  # a tile's last one
        m.submodules.walk = walk = TileWalk(c, max_more_heads=max_more_heads(c))
        m.d.comb += [
            start.eq(self.start & (instruction.opcode == Op.PRODUCT)),
            walk.start.eq(start),
            walk.tokens.eq(instruction.tokens),
            walk.channels.eq(instruction.channels),
            walk.more_heads.eq(instruction.more_heads),
            walk.advance.eq(tile_advance),
            self.running.eq(walk.running),
        ]
        sizes = self._sizes(m)
        step = self._step(m, walk, sizes, advance, tile_advance)

        # A tile waits for its columns, its last step for the drain.
        columns_ready = self._columns_ready(m, walk, step.first, advance, tile_advance)
        held = self._held(m, start, tile_advance, sizes.softmax)
        drain_ready = Signal()
        m.d.comb += [
            drain_ready.eq(~step.last | ~held),
            advance.eq(walk.running & columns_ready & drain_ready),
            tile_advance.eq(walk.running & columns_ready & step.last & ~held),  # advance & last, in one step
            self.no_columns.eq(walk.running & ~columns_ready & drain_ready),
            self.no_drain.eq(walk.running & columns_ready & ~drain_ready),
        ]

        self._issue(m, step, sizes.softmax, advance, tile_advance)
        self._columns(m, walk, step.last, advance, tile_advance)
        return m

    def _sizes(self, m: Module) -> Sizes:
        """Decode the instruction."""
        c, instruction = self._config, self.instruction
        last_sub = Signal(range(c.steps_a_group))
        for i in cases(m, instruction.pattern_n, c.m + 1):
            m.d.comb += last_sub.eq((max(i, 1) - 1) // c.n)
        one_sub = registered(m, last_sub == 0, name="one_sub")
        groups = Signal(range(most_weight_groups(c) + 1))
        m.d.comb += groups.eq(Mux(instruction.weight_groups.any(), instruction.weight_groups, instruction.groups))
        one_group = registered(m, groups == 1, name="one_group")
        return Sizes(
            last_sub=registered(m, last_sub, name="last_sub"),
            one_sub=one_sub,
            groups=registered(m, groups, name="groups"),
            one_group=one_group,
            two_groups=registered(m, groups == 2, name="two_groups"),
            one_token_group=registered(m, instruction.groups == 1, name="one_token_group"),
            one_step=registered(m, one_sub & one_group, name="one_step"),
            softmax=registered(m, instruction.columns == Columns.VALUES, name="softmax", reset=True),
        )

    def _step(self, m: Module, walk: TileWalk, sizes: Sizes, advance: Signal, tile_advance: Signal) -> Step:
        """Count the steps of a tile."""
        first = Signal()
        sub = Signal.like(sizes.last_sub, reset_less=True)
        counted = Signal.like(self.instruction.groups, reset_less=True)
        groups_left = Signal.like(sizes.groups, reset_less=True)
        position = Signal.like(counted)  # cleared by `first`, not by the end of the tile before
        # sub == last_sub, groups_left == 1, both, and groups_left == 2, registered when the counts change: `advance`
        # depends on them, and most registers on `advance`.
        is_last_sub = Signal()
        is_last_group = Signal()
        last = Signal()
        before_last_group = Signal()
        m.d.comb += position.eq(Mux(first, 0, counted))
        with m.If(advance):
            m.d.sync += counted.eq(position + is_last_sub)
            m.d.sync += [first.eq(0), sub.eq(sub + 1), is_last_sub.eq(sub + 1 == sizes.last_sub)]
            m.d.sync += last.eq((sub + 1 == sizes.last_sub) & is_last_group)
            with m.If(is_last_sub):
                m.d.sync += [
                    sub.eq(0),
                    is_last_sub.eq(sizes.one_sub),
                    groups_left.eq(groups_left - 1),
                    is_last_group.eq(before_last_group),
                    before_last_group.eq(groups_left == 3),
                    last.eq(sizes.one_sub & before_last_group),
                ]
        # Between products, wait at the first step of the next one.
        with m.If(tile_advance | ~walk.running):
            m.d.sync += [
                first.eq(1),
                groups_left.eq(sizes.groups),
                is_last_group.eq(sizes.one_group),
                before_last_group.eq(sizes.two_groups),
                last.eq(sizes.one_step),
            ]
        with m.If(~walk.running):
            m.d.sync += [sub.eq(0), is_last_sub.eq(sizes.one_sub)]
        group, word, tile = self._token_groups(m, walk, sizes, advance & is_last_sub, tile_advance)
        return Step(first, last, sub, position, group, word, tile)

    def _token_groups(
        self, m: Module, walk: TileWalk, sizes: Sizes, group_advance: Value, tile_advance: Signal
    ) -> tuple[Signal, Signal, Signal]:
        """Count (group of the word, word of the token, token tile counted through all heads).

        Where weights lie in planes, the groups of a token come again for each plane. A head's first token tile comes
        again for each of its column tiles.
        """
        c, instruction = self._config, self.instruction
        group = Signal.like(self.step.group, reset_less=True)
        word = Signal.like(self.step.word, reset_less=True)
        first_word = Signal.like(word, reset_less=True)  # of the token tile
        next_word = Signal.like(word)
        tile = Signal.like(self.step.tile, reset_less=True)
        head_word = Signal.like(word, reset_less=True)  # the head's first
        words = registered(m, operand_words(c, instruction)[: len(word)], name="head_words")
        head_tile = Signal.like(tile, reset_less=True)
        to_next_head = Signal()  # if it steps
        groups_left = Signal(range(c.max_groups + 1), name="token_groups_left", reset_less=True)
        is_last = Signal(name="is_last_token_group")  # groups_left == 1, registered when it changes
        m.d.comb += [
            to_next_head.eq(walk.last_tokens & walk.last_channels),
            next_word.eq(
                Mux(
                    walk.last_tokens,
                    head_word + gated(words, walk.last_channels),
                    first_word + instruction.x_pitch,
                )
            ),
        ]
        first_group = [group.eq(0), groups_left.eq(instruction.groups), is_last.eq(sizes.one_token_group)]
        with m.If(group_advance):
            m.d.sync += [group.eq(group + 1), groups_left.eq(groups_left - 1), is_last.eq(groups_left == 2)]
            with m.If(group == c.store_word_bytes // c.m - 1):
                m.d.sync += [group.eq(0), word.eq(word + 1)]
            with m.If(is_last):
                m.d.sync += [*first_group, word.eq(first_word)]
        with m.If(tile_advance):
            m.d.sync += [*first_group, word.eq(next_word), first_word.eq(next_word), tile.eq(tile + 1)]
            with m.If(to_next_head):
                m.d.sync += [head_word.eq(next_word), head_tile.eq(tile + 1)]
            with m.Elif(walk.last_tokens):
                m.d.sync += tile.eq(head_tile)
        with m.If(~walk.running):
            m.d.sync += [
                *first_group,
                *(one.eq(instruction.x_base) for one in (word, first_word, head_word)),
                tile.eq(0),
                head_tile.eq(0),
            ]
        return group, word, tile

    def _columns_ready(self, m: Module, walk: TileWalk, first: Signal, advance: Signal, tile_advance: Signal) -> Signal:
        """The step's columns are loaded, registered."""
        ready = Signal(name="columns_ready")
        tiles = tally(m, 2, self.columns.loaded, tile_advance & walk.last_tokens, name="columns_loaded")
        any_loaded = Signal()  # after this cycle, if none is used up
        m.d.comb += any_loaded.eq(~tiles.none | self.columns.loaded)
        lookahead(m, ready, ~first | any_loaded)
        with m.If(advance):
            lookahead(m, ready, 1)
        with m.If(tile_advance):
            two_loaded = tiles.full | (self.columns.loaded & ~tiles.none)
            lookahead(m, ready, Mux(walk.last_tokens, two_loaded, any_loaded))
        with m.If(~walk.running):
            lookahead(m, ready, any_loaded)
        return ready

    def _held(self, m: Module, start: Signal, tile_advance: Signal, softmax: Signal) -> Signal:
        """A tile's last step has to wait for the drain, registered."""
        c = self._config.row_group  # all drain alike, each some cycles behind the first
        slots = c.rows * c.slots_a_row
        starts = [drain_start(c, mode) for mode in (False, True)]
        windows = [drain_window(c, mode) for mode in (False, True)]
        safe_in = [starts[mode] + windows[mode] - 1 for mode in (False, True)]  # cycles, where it is not late
        hold = Signal(range(max(starts) + slots + max(windows) + 1))
        held = Signal()  # hold != 0
        # If the tile's last step were issued now, its results would begin to drain `late` cycles after they are ready,
        # behind those of the tile before.
        late = Signal(range(2 * slots + 1), reset_less=True)
        is_late = Signal()  # late != 0
        next_hold = Signal.like(hold)
        next_late = Signal.like(late)
        m.d.comb += [
            next_hold.eq(late + Mux(softmax, safe_in[True], safe_in[False])),
            next_late.eq(late + slots - 1),
        ]
        m.d.sync += [
            hold.eq(Mux(held, hold - 1, 0)),
            held.eq(hold[1:].any()),
            late.eq(Mux(is_late, late - 1, 0)),
            is_late.eq(late[1:].any()),
        ]
        with m.If(start):
            m.d.sync += [hold.eq(0), held.eq(0), late.eq(0), is_late.eq(0)]
        with m.If(tile_advance):
            m.d.sync += [hold.eq(next_hold), held.eq(is_late | Mux(softmax, safe_in[True] != 0, safe_in[False] != 0))]
            m.d.sync += [late.eq(next_late), is_late.eq(next_late != 0)]
        return held

    def _issue(self, m: Module, step: Step, softmax: Signal, advance: Signal, tile_advance: Signal) -> None:
        """To the store, a cycle later."""
        issued = Signal(store_step(self._config), name="issued")
        m.d.comb += [
            issued.valid.eq(advance),
            issued.first.eq(step.first & advance),
            issued.last.eq(tile_advance),
            issued.read.eq(advance & (step.group == 0) & (step.sub == 0)),
            issued.word.eq(step.word),
            issued.group.eq(step.group),
            issued.sub.eq(step.sub),
            issued.softmax.eq(softmax),
            issued.tile.eq(step.tile),
            issued.position.eq(step.position),
            self.step.eq(registered(m, issued, name="step", reset=True)),
            self.tile_end.eq(registered(m, tile_advance, name="tile_end", reset=True)),
        ]

    def _columns(self, m: Module, walk: TileWalk, last: Signal, advance: Signal, tile_advance: Signal) -> None:
        """Address the columns' operands, so that they meet the rows' in the array."""
        address = Signal.like(self.columns.address, name="column")  # the half is never reset
        next_address = Signal.like(address)
        m.d.comb += [next_address.sub.eq(address.sub + 1), next_address.word.eq(address.word)]
        with m.If(address.sub == self._config.steps_a_group - 1):
            m.d.comb += [next_address.sub.eq(0), next_address.word.eq(address.word + 1)]
        with m.If(advance):
            for part in ("sub", "word"):  # after the last step comes the first one
                m.d.sync += address[part].eq(cleared(next_address[part], last))
        with m.If(tile_advance & walk.last_tokens):
            m.d.sync += address.half.eq(~address.half)
        lead = ROW_CYCLES - COLUMN_LATENCY  # the columns' path is shorter than the rows'
        m.d.comb += [
            self.columns.address.eq(align(m, address, lead, name="column_address")),
            self.columns.tile_done.eq(align(m, tile_advance & walk.last_tokens, lead, name="column_done", reset=True)),
        ]
