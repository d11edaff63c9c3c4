"""GATHER in several groups of rows: ids to the groups that ask for their rows, and the rows to those that asked."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.gearbox import Gearbox
from rtl.sta.isa import FIELDS
from rtl.sta.latencies import ROW_FIFO_BEATS
from rtl.sta.params import StaConfig
from rtl.sta.results.gather import ID_BITS, RowSegment


def gather_job(config: StaConfig) -> data.StructLayout:
    """What a GATHER is, for the switch.

    tokens, own : of all groups, and of each
    beats : of a row
    """
    own = data.ArrayLayout(range(config.row_group.max_tokens + 1), config.groups)
    return data.StructLayout({"tokens": range(config.max_tokens + 1), "own": own, "beats": FIELDS["beats"].bits})


class GatherSwitch(wiring.Component):
    """Between memory and the groups' `Gather`.

    ::

        ids ─► one by one, to the group of their token
        segments of all groups, in turns ─► (fetch) ─► rows, in the same turns ─► a FIFO for each group

    In turns all groups cut rows at the same time: a row waits in the FIFO while the next group's comes. Groups have
    as many tokens as the one before, or fewer: a round of turns ends with the first that has none left.

    Members
    -------
    start : of a GATHER, in
    job : `gather_job`, steady from the start on, in
    ids_in, rows_in : beats of the memory port, streams in
    segment : the beats that are read next, stream out
    ids : of each group, stream of `ID_BITS` out
    segments : of each group, stream in
    rows : of each group, beats, stream out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        groups = config.groups
        beats = stream.Signature(8 * config.port_bytes)
        super().__init__(
            {
                "start": In(1),
                "job": In(gather_job(config)),
                "ids_in": In(beats),
                "rows_in": In(beats),
                "segment": Out(stream.Signature(RowSegment)),
                "ids": Out(stream.Signature(ID_BITS)).array(groups),
                "segments": In(stream.Signature(RowSegment)).array(groups),
                "rows": Out(beats).array(groups),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._deal_ids(m)
        asked = Signal()
        turn, running = self._turns(m, asked, name="segment")
        m.d.comb += [
            self.segment.valid.eq(running & Array(one.valid for one in self.segments)[turn]),
            self.segment.payload.eq(Array(one.payload.as_value() for one in self.segments)[turn]),
            asked.eq(self.segment.valid & self.segment.ready),
        ]
        for k, one in enumerate(self.segments):
            m.d.comb += one.ready.eq(running & (turn == k) & self.segment.ready)
        self._deal_rows(m)
        return m

    def _deal_ids(self, m: Module) -> None:
        """In the order of the tokens: group_rows to each group, round and round."""
        c = self._config
        m.submodules.gearbox = gearbox = Gearbox(8 * c.port_bytes, [ID_BITS])
        units = gearbox.units
        connect(m, flipped(self.ids_in), gearbox.beats)
        left = Signal(range(c.max_tokens + 1), name="ids_left")
        row, group = Signal(range(c.group_rows), name="id_row"), Signal(range(c.groups), name="id_group")
        taken = Signal(name="id_taken")
        m.d.comb += [
            units.ready.eq((left != 0) & Array(one.ready for one in self.ids)[group]),
            taken.eq(units.valid & units.ready),
            gearbox.last.eq(left == 1),
        ]
        for k, one in enumerate(self.ids):
            m.d.comb += [one.valid.eq(units.valid & (left != 0) & (group == k)), one.payload.eq(units.payload)]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), row.eq(row + 1)]
            with m.If(row == c.group_rows - 1):
                m.d.sync += [row.eq(0), group.eq(Mux(group == c.groups - 1, 0, group + 1))]
        with m.If(self.start):
            m.d.sync += [left.eq(self.job.tokens), row.eq(0), group.eq(0)]

    def _turns(self, m: Module, advance: Value, *, name: str) -> tuple[Signal, Signal]:
        """The group whose turn it is, and whether there is one."""
        c = self._config
        turn, running = Signal(range(c.groups), name=f"{name}_turn"), Signal(name=f"{name}_running")
        left = [Signal(range(c.row_group.max_tokens + 1), name=f"{name}s_left_{k}") for k in range(c.groups)]
        next_turn, more = Signal.like(turn, name=f"{name}_next_turn"), Signal(name=f"{name}_more")
        has_more = [one != 0 for one in left[1:]]  # of the next group, in this round
        m.d.comb += [
            more.eq(Array([*has_more, 0])[turn]),
            next_turn.eq(Mux(more, turn + 1, 0)),
        ]
        with m.If(advance):
            for k, one in enumerate(left):
                with m.If(turn == k):
                    m.d.sync += one.eq(one - 1)
            m.d.sync += turn.eq(next_turn)
            # The first group has no row left: it had its turn in this round, or has it now.
            with m.If(~more & Mux(turn == 0, left[0] == 1, left[0] == 0)):
                m.d.sync += running.eq(0)
        with m.If(self.start):
            m.d.sync += [turn.eq(0), running.eq(1), *(one.eq(self.job.own[k]) for k, one in enumerate(left))]
        return turn, running

    def _deal_rows(self, m: Module) -> None:
        c = self._config
        beats_left = Signal.like(self.job.beats, reset_less=True)
        row_taken = Signal()
        taken = Signal()
        turn, running = self._turns(m, row_taken, name="row")
        fifos = []
        for k, one in enumerate(self.rows):
            m.submodules[f"fifo_{k}"] = fifo = SyncFIFOBuffered(width=8 * c.port_bytes, depth=ROW_FIFO_BEATS)
            connect(m, fifo.r_stream, flipped(one))
            m.d.comb += [
                fifo.w_stream.valid.eq(self.rows_in.valid & running & (turn == k)),
                fifo.w_stream.payload.eq(self.rows_in.payload),
            ]
            fifos.append(fifo)
        m.d.comb += [
            self.rows_in.ready.eq(running & Array(fifo.w_stream.ready for fifo in fifos)[turn]),
            taken.eq(self.rows_in.valid & self.rows_in.ready),
            row_taken.eq(taken & (beats_left == 1)),
        ]
        with m.If(taken):
            m.d.sync += beats_left.eq(Mux(row_taken, self.job.beats, beats_left - 1))
        with m.If(self.start):
            m.d.sync += beats_left.eq(self.job.beats)
