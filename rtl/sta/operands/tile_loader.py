"""Unpacks column tiles from memory: packed weights and the channels' parameters."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.step_unpacker import StepUnpacker, cut_into_units
from rtl.array.steps import column_step
from rtl.lib.gearbox import Gearbox
from rtl.lib.timing import align, lookahead, preload, relay
from rtl.params import PARAMETER_BYTES
from rtl.sta.operands.column_job import column_job
from rtl.sta.params import StaConfig


class TileLoader(wiring.Component):
    """Unpacks one column tile at a time: the parameters of its channels, then a step a cycle.

    Beats come in the order of `product.Product.tile_plan`: each before the first step that uses it. They are accepted
    from the cycle after `begin` on, exactly the tile's.

    Members
    -------
    begin : a tile begins, in
    job : `column_job`, steady from begin to done, in
    beats : the packed tile, stream in
    done : the tile's last unit is taken in this cycle, out
    parameters, parameters_enable : 64 bits for each channel of a slot of the drain, out
    step, word, sub, step_enable : operands of a step for every column, and its address, three cycles after it was
        unpacked: the last one three cycles after done, out. Where the selection is counted the indices are undefined
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "begin": In(1),
                "job": In(column_job(config)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "done": Out(1),
                "parameters": Out(8 * PARAMETER_BYTES * config.drain_lanes),
                "parameters_enable": Out(1),
                "step": Out(data.ArrayLayout(column_step(config), config.cols)),
                "word": Out(range(config.max_groups)),
                "sub": Out(range(config.steps_a_group)),
                "step_enable": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, job = self._config, self.job
        m.submodules.unpacker = unpacker = StepUnpacker(c, pipelined=True)
        values, selections = cut_into_units(m, c, unpacker, self.beats.payload)
        # Relays of the job beside the gearboxes.
        bitmap, counted, lanes = (relay(m, job[name], name=name) for name in ("bitmap", "counted", "lanes"))
        selection_kind = relay(m, Mux(job.bitmap, 0, job.lanes), name="selection_kind")
        step = Signal.like(job.steps)  # of the group
        m.d.comb += [
            selections.kind.eq(selection_kind),
            self.parameters.eq(values.units.payload),
            unpacker.step.eq(step),
            unpacker.lanes.eq(lanes),
            unpacker.bitmap.eq(bitmap),
            self.step.eq(unpacker.columns),
        ]
        both = Signal()  # values and selection of a step are valid
        runs = Signal()  # units are taken
        self._control(m, values, selections, step, both, runs, bitmap=bitmap, counted=counted)
        self._address(m, both, runs)
        return m

    def _control(
        self,
        m: Module,
        values: Gearbox,
        selections: Gearbox,
        step: Signal,
        both: Signal,
        runs: Signal,
        *,
        bitmap: Value,
        counted: Value,
    ) -> None:
        """Which gearbox a beat is for, and when units are taken; what comes late only drives muxes."""
        c, job = self._config, self.job
        kind = Signal.like(values.kind, reset_less=True)
        slot = Signal(range(c.slots_a_row))
        groups_left = Signal.like(job.groups, reset_less=True)
        last_step = Signal()  # registered when it changes: `beats.ready` depends on it
        next_last_step = Signal()
        selected = Signal()  # the step is the last one of the selection's unit
        last_group = Signal()
        last = Signal()  # next is the last slot of the parameters, or the last step of the tile
        parameters = Signal()  # units are parameters
        loads = Signal()  # units are of steps
        takes_selections = Signal()  # units are of steps, with a selection that is not counted
        selects = Signal()  # the next beat is of the selection
        m.d.sync += both.eq(loads & values.next_valid & (selections.next_valid | counted))
        m.d.comb += [
            values.kind.eq(kind),
            selects.eq(takes_selections & selections.beats.ready),
            selections.beats.valid.eq(self.beats.valid & selects),
            values.beats.valid.eq(self.beats.valid & runs & ~selects),
            self.beats.ready.eq(selects | (runs & values.beats.ready)),
            values.units.ready.eq(parameters | both),
            selections.units.ready.eq(both & selected),
            values.last.eq(last),
            selections.last.eq(last),
            next_last_step.eq(last_step),
        ]
        lookahead(m, last_step, next_last_step)
        lookahead(m, selected, ~bitmap | next_last_step)
        with preload(m, ~runs):
            m.d.sync += [groups_left.eq(job.groups), last_group.eq(job.groups == 1)]
            m.d.comb += next_last_step.eq(job.steps == 0)
            m.d.sync += [last.eq(c.slots_a_row == 1), kind.eq(0), parameters.eq(self.begin), runs.eq(self.begin)]
        m.d.comb += self.parameters_enable.eq(parameters & values.units.valid)
        with m.If(self.parameters_enable):
            m.d.sync += [slot.eq(slot + 1), last.eq(slot == c.slots_a_row - 2)]
            with m.If(last):
                m.d.comb += self.done.eq(job.parameters_only)
                m.d.sync += last.eq((job.steps == 0) & last_group)
                m.d.sync += [slot.eq(0), kind.eq(job.lanes)]
                m.d.sync += [parameters.eq(0), loads.eq(~job.parameters_only), runs.eq(~job.parameters_only)]
                m.d.sync += takes_selections.eq(~job.parameters_only & ~counted)
        with m.If(both):
            m.d.comb += next_last_step.eq(step + 1 == job.steps)
            m.d.sync += step.eq(step + 1)
            m.d.sync += last.eq((step + 1 == job.steps) & last_group)
            with m.If(last_step):
                m.d.comb += next_last_step.eq(job.steps == 0)
                m.d.sync += step.eq(0)
                m.d.sync += [groups_left.eq(groups_left - 1), last_group.eq(groups_left == 2)]
                m.d.sync += last.eq((job.steps == 0) & (groups_left == 2))
            with m.If(last):
                m.d.comb += self.done.eq(1)
                m.d.sync += [loads.eq(0), takes_selections.eq(0), runs.eq(0)]

    def _address(self, m: Module, both: Signal, runs: Signal) -> None:
        """Of each step, in step with the unpacker."""
        word = Signal.like(self.word, reset_less=True)
        sub = Signal.like(self.sub, reset_less=True)
        with preload(m, ~runs):
            m.d.sync += [word.eq(0), sub.eq(0)]
        with m.If(both):
            m.d.sync += sub.eq(sub + 1)
            with m.If(sub == self._config.steps_a_group - 1):
                m.d.sync += [sub.eq(0), word.eq(word + 1)]
        m.d.comb += [
            self.word.eq(align(m, word, 3, name="word_unpacked")),
            self.sub.eq(align(m, sub, 3, name="sub_unpacked")),
            self.step_enable.eq(align(m, both, 3, name="unpacked", reset=True)),
        ]
