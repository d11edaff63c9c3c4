"""The pipeline that all results pass: requantise, activation table, rescale."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.requantise import SHIFT_BITS
from rtl.lib.cases import cases
from rtl.lib.timing import align, relay, replicate
from rtl.params import MULT_BITS, PARAMETER_TILES, ceil_div
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.instances import REQUANTISER, RESCALER
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import CHOICE_LATENCY, PIPELINE_LATENCY
from rtl.sta.operands.columns import ChannelParameters
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import Activation, TableEntry
from rtl.sta.results.destination import Slots
from rtl.sta.results.requantise import Requantiser
from rtl.sta.results.rescale import Rescaler


class RowParameters(data.Struct):
    """Requantisation of a row's results that are divided by the row's own sum."""

    mult: MULT_BITS
    shift: SHIFT_BITS


class ResultPipeline(wiring.Component):
    """The pipeline that all results pass.

    ::

        slots ─► requantise ─► table ─┬────────────► wide
                                      └─► rescale ─► narrow

    Members
    -------
    instruction : steady, in
    slots : in
    parameter_address : of the slot, a cycle later, out
    parameters : two cycles later, in
    drained : the parameters of the oldest column tile are no longer needed, a cycle after its last slot, out
    row_parameters : sampled a cycle after the slots, in
    table : entries of the activation table, in
    valid, destination, wide, narrow : `LATENCY` cycles after the slots, out
    """

    LATENCY = PIPELINE_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        slots = Slots(config)
        lanes = config.drain_lanes
        super().__init__(
            {
                "instruction": In(instruction_layout(config)),
                "slots": In(slots),
                "parameter_address": Out(range(PARAMETER_TILES * config.slots_a_row)),
                "parameters": In(data.ArrayLayout(ChannelParameters, lanes)),
                "drained": Out(1),
                "row_parameters": In(RowParameters).array(config.rows),
                "table": In(TableEntry),
                "valid": Out(1),
                "destination": Out(slots.members["destination"].shape),
                "wide": Out(signed(16)).array(lanes),
                "narrow": Out(signed(8)).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, slots = self._config, self.instruction, self.slots
        wide = Signal()  # the requantiser gives 16 bits
        table = Signal()
        rescales = Signal()
        # Steady long before the first result.
        m.d.sync += [
            table.eq(instruction.table),
            wide.eq((instruction.opcode != Op.PRODUCT) | instruction.to_residual),
            rescales.eq(wide | table),
        ]
        parameters = self._parameters(m)

        m.submodules.activation = activation = Activation(c)
        m.d.comb += [activation.write.eq(self.table), activation.table.eq(table)]
        for lane in range(c.drain_lanes):
            m.submodules[REQUANTISER.format(lane)] = requantiser = Requantiser(c)
            m.submodules[RESCALER.format(lane)] = rescaler = Rescaler()
            factor = parameters[lane].rescale
            until_rescaled = Requantiser.LATENCY + Activation.LATENCY
            m.d.comb += [
                requantiser.acc.eq(align(m, slots.values[lane], CHOICE_LATENCY, name=f"acc_{lane}")),
                requantiser.parameters.eq(parameters[lane]),
                requantiser.wide.eq(wide),
                activation.inputs[lane].eq(requantiser.result),
                rescaler.value.eq(activation.outputs[lane]),
                rescaler.factor.eq(align(m, factor, until_rescaled, name=f"factor_{lane}")),
                rescaler.shift.eq(instruction.rescale_shift),
                rescaler.narrow.eq(~rescales),
                self.wide[lane].eq(align(m, activation.outputs[lane], Rescaler.LATENCY, name=f"wide_{lane}")),
                self.narrow[lane].eq(rescaler.result),
            ]
        m.d.comb += [
            self.valid.eq(align(m, slots.valid, self.LATENCY, name="valid", reset=True)),
            self.destination.eq(align(m, slots.destination, self.LATENCY, name="destination")),
        ]
        return m

    def _parameters(self, m: Module) -> data.View:
        """Of each lane, CHOICE_LATENCY cycles after the slots."""
        c, instruction = self._config, self.instruction
        destination = relay(m, self.slots.destination, name="destination")
        tile_address = Signal.like(self.parameter_address)  # of the column tile's first slot
        address = Signal.like(self.parameter_address, reset_less=True)
        drained = Signal()
        m.d.comb += [
            drained.eq(self.slots.valid & self.slots.destination.column_last),
            self.parameter_address.eq(address),
        ]
        m.d.sync += [self.drained.eq(drained), address.eq(tile_address + self.slots.destination.slot)]
        with m.If(drained):
            m.d.sync += tile_address.eq(tile_address + c.slots_a_row)
            with m.If(tile_address == (PARAMETER_TILES - 1) * c.slots_a_row):
                m.d.sync += tile_address.eq(0)

        alike = Signal(ChannelParameters)  # the same for all lanes
        of_row = Signal(RowParameters, reset_less=True)
        pairs = [Signal(RowParameters, name=f"of_rows_{i}", reset_less=True) for i in range(ceil_div(c.rows, 2))]
        channel = Signal()
        parameters = Signal.like(self.parameters, reset_less=True)
        given = Signal(RowParameters, reset_less=True)  # by the instruction
        divided = Signal()  # by the row's sum
        m.d.sync += [
            channel.eq(
                (instruction.opcode == Op.NORM)
                | ((instruction.opcode == Op.PRODUCT) & (instruction.columns == Columns.MEMORY))
            ),
            divided.eq((instruction.opcode == Op.PRODUCT) & (instruction.columns == Columns.VALUES)),
            given.mult.eq(instruction.mult),
            given.shift.eq(instruction.shift),
        ]
        with m.If(instruction.opcode == Op.GATHER):  # as it is
            m.d.sync += [given.mult.eq(1 << 15), given.shift.eq(15)]
        # A mux tree, neighbours first: rows are far apart.
        for i, pair in enumerate(pairs):
            m.d.sync += pair.eq(self.row_parameters[2 * i])
            if 2 * i + 1 < c.rows:
                with m.If(destination.row[0]):
                    m.d.sync += pair.eq(self.row_parameters[2 * i + 1])
        with m.If(divided):
            for i in cases(m, align(m, destination.row[1:], 1, name="chosen_rows"), len(pairs)):
                m.d.sync += of_row.eq(pairs[i])
        with m.Else():
            m.d.sync += of_row.eq(given)
        m.d.comb += [alike.mult.eq(of_row.mult), alike.shift.eq(of_row.shift)]
        for quarter in range(4):
            channel = replicate(m, channel, name=f"channel_{quarter}_1")
            for lane in range(quarter, c.drain_lanes, 4):
                parameter = self.parameters[lane].as_value()
                m.d.sync += parameters[lane].eq(Mux(channel, parameter, alike.as_value()))
        return parameters
