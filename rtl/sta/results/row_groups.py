"""The post-processors of several groups of rows, side by side: each has the tokens of its rows."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.timing import align, relay
from rtl.params import ceil_div
from rtl.sta.control.instruction import own_instruction
from rtl.sta.groups import own_first_token
from rtl.sta.isa import Op
from rtl.sta.latencies import pool_join_cycles
from rtl.sta.operands.columns import ChannelParameterRead
from rtl.sta.operands.store import store_write
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import Slots
from rtl.sta.results.gather_switch import GatherSwitch, gather_job
from rtl.sta.results.post_processor import PostProcessor, members
from rtl.sta.results.residual import Residual, ResidualRead
from rtl.sta.results.writer import row_maximum


def group_instruction(m: Module, config: StaConfig, group: int, instruction: data.View) -> dict[str, Value]:
    """The fields that differ in a group.

    own_tokens : those in its rows, as `StaConfig.own_tokens`
    tokens : those that it walks through. Of a PRODUCT, where it has none of a tile that others have, one more, a
        phantom, which it writes nowhere: so all groups begin and end each column tile. Of a NORM one at least, for the
        same reason. Of a POOL those of the first group, as all are in step
    first_token : in its own count
    normalise : not without tokens of its own
    """
    rows, own_rows = config.rows, config.group_rows
    tiles = _divided(instruction.tokens, rows, config.max_tokens)
    rest = Signal(range(rows), name=f"rest_{group}")
    m.d.comb += rest.eq(instruction.tokens - tiles * rows)
    whole = tiles * own_rows

    def clipped(number: int) -> Value:
        """Of the last tile's rows those of a group."""
        first = number * own_rows
        return Mux(rest >= first + own_rows, own_rows, Mux(rest > first, rest - first, 0))

    own = whole + clipped(group)
    walked = Mux(
        instruction.opcode == Op.PRODUCT,
        whole + Mux((rest != 0) & (clipped(group) == 0), 1, clipped(group)),
        Mux(
            instruction.opcode == Op.POOL,
            whole + clipped(0),
            Mux((instruction.opcode == Op.NORM) & (own == 0), 1, own),
        ),
    )
    return {
        "own_tokens": own,
        "tokens": walked,
        "first_token": own_first_token(config, instruction.first_token),
        "normalise": instruction.normalise & (own != 0),
    }


def _divided(value: Value, divisor: int, most: int) -> Value:
    """value ÷ divisor, rounded down, of values up to `most`: by a factor that is exact for all of these."""
    if divisor & (divisor - 1) == 0:
        return value >> (divisor.bit_length() - 1)
    shift = most.bit_length() + divisor.bit_length()
    factor = ceil_div(1 << shift, divisor)
    assert all(one * factor >> shift == one // divisor for one in range(most + 1))
    return (value * Const(factor)) >> shift


class PoolJoin(wiring.Component):
    """POOL: the sum of all groups' sums, which they have in the same cycle. The first group takes it.

    Members
    -------
    sums : of each group, `Slots` with the destination that the first group gives, in
    slots : `latencies.pool_join_cycles` later, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        own = config.row_group
        super().__init__({"sums": In(Slots(own)).array(config.groups), "slots": Out(Slots(own))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        cycles = pool_join_cycles(c)
        first = self.sums[0]
        m.d.comb += [
            self.slots.valid.eq(align(m, first.valid, cycles, name="valid", reset=True)),
            self.slots.destination.eq(align(m, first.destination, cycles, name="destination")),
        ]
        for lane in range(c.drain_lanes):
            # Relays from the groups, then a tree, a level a cycle.
            values = [relay(m, one.values[lane], name=f"of_{k}_{lane}") for k, one in enumerate(self.sums)]
            level = 0
            while len(values) > 1:
                pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
                values = []
                for i, pair in enumerate(pairs):
                    total = Signal(signed(c.accumulator_bits), name=f"total_{level}_{i}_{lane}", reset_less=True)
                    m.d.sync += total.eq(sum(pair))
                    values.append(total)
                level += 1
            m.d.comb += self.slots.values[lane].eq(values[0])
        return m


class RowGroups(wiring.Component):
    """A `PostProcessor` for each group of rows, and what they share.

    ::

        ids, rows ─► gather switch ─┬─► post-processor 0 ─► banks and softmax of rows 0 …
                                    ├─► post-processor 1 ─► banks and softmax of rows group_rows …
                                    └─► …        │ sums of a POOL
                                                 └─► pool join ─► post-processor 0

    An instruction begins in all groups at once; each walks through its own tokens, and it is finished when all are.

    Members
    -------
    As those of `PostProcessor`, but one for each group: `channels`, `store_write`, `row_maximum`. Rows of results and
    factors are those of the array. Of the residual a read names the group.
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        own, groups = config.row_group, config.groups
        super().__init__(
            members(config)
            | {
                "channels": Out(ChannelParameterRead(config)).array(groups),
                "store_write": Out(store_write(own)).array(groups),
                "row_maximum": Out(row_maximum(own)).array(groups),
                "residual": In(ResidualRead(own)),
                "residual_group": In(range(groups)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, own = self._config, self._config.row_group
        switch = GatherSwitch(c)
        m.submodules.pool_join = join = PoolJoin(c)
        reset, groups = self.reset, []
        for k in range(c.groups):
            group = PostProcessor(own)
            m.submodules[f"group_{k}"] = group
            reset = relay(m, reset, name=f"reset_{k}", reset=True)
            groups.append(group)
            self._begin(m, k, group)
            self._operands(m, k, group)
            m.d.comb += [
                group.reset.eq(reset),
                self.store_write[k].eq(group.store_write),
                self.row_maximum[k].eq(group.row_maximum),
                group.residual.address.eq(self.residual.address),
                # All load the tables alike, so one says when they take a beat.
                group.table.valid.eq(self.table.valid),
                group.table.payload.eq(self.table.payload),
            ]
            connect(m, group.channels, flipped(self.channels[k]))
            connect(m, group.pool_sums, join.sums[k])
            connect(m, switch.ids[k], group.ids)
            connect(m, switch.rows[k], group.rows)
            connect(m, group.row_segment, switch.segments[k])
        m.submodules.gather_switch = ResetInserter(reset)(switch)
        connect(m, join.slots, groups[0].pool_slots)
        self._gather(m, switch, groups)
        read = align(m, self.residual_group, Residual.LATENCY, name="read_group")
        m.d.comb += [
            self.table.ready.eq(groups[0].table.ready),
            self.exponential.eq(groups[0].exponential),
            self.residual.word.eq(Array(group.residual.word.as_value() for group in groups)[read]),
        ]
        self._finish(m, groups)
        return m

    def _begin(self, m: Module, k: int, group: PostProcessor) -> None:
        """Its own instruction: combinational, since parts take it two cycles behind."""
        fields = group_instruction(m, self._config, k, self.instruction)
        m.d.comb += group.begins.eq(self.begins)
        for name in group.instruction.shape().members:
            m.d.comb += group.instruction[name].eq(fields.get(name, getattr(self.instruction, name, 0)))

    def _operands(self, m: Module, k: int, group: PostProcessor) -> None:
        """Its rows' results: those of row r are r cycles behind those of row 0."""
        c = self._config
        first = k * c.group_rows
        tile_end = align(m, self.tile_end, first, name=f"tile_end_{k}", reset=True) if first else self.tile_end
        m.d.comb += [group.tile_end.eq(tile_end), group.parameters_loaded.eq(self.parameters_loaded)]
        for r in range(c.group_rows):
            m.d.comb += group.row_factors[r].eq(self.row_factors[first + r])
            m.d.comb += [group.results[r][i].eq(self.results[first + r][i]) for i in range(c.cols)]

    def _gather(self, m: Module, switch: GatherSwitch, groups: list[PostProcessor]) -> None:
        job = Signal(gather_job(self._config))
        m.d.comb += [
            job.tokens.eq(self.instruction.tokens),
            job.beats.eq(self.instruction.beats),
            *(job.own[k].eq(group.instruction.own_tokens) for k, group in enumerate(groups)),
        ]
        start, own = own_instruction(m, self.begins & (self.instruction.opcode == Op.GATHER), job, name="switch")
        m.d.comb += [switch.start.eq(start), switch.job.eq(own)]
        connect(m, flipped(self.ids), switch.ids_in)
        connect(m, flipped(self.rows), switch.rows_in)
        connect(m, switch.segment, flipped(self.row_segment))

    def _finish(self, m: Module, groups: list[PostProcessor]) -> None:
        """When all that work on the instruction are finished: on a POOL or a TABLE the first says so for all."""
        c, instruction = self._config, self.instruction
        working = Signal(c.groups)
        of_all = (instruction.opcode == Op.PRODUCT) | (instruction.opcode == Op.NORM)
        works = [Const(1)]
        for group in groups[1:]:
            gathers = (instruction.opcode == Op.GATHER) & (group.instruction.own_tokens != 0)
            works.append(of_all | gathers)
        ended = Cat(group.finished for group in groups)
        left = working & ~ended
        m.d.comb += self.finished.eq((working & ended).any() & ~left.any())
        with m.If(self.begins):
            m.d.sync += working.eq(Cat(works))
        with m.Else():
            m.d.sync += working.eq(left)
