"""The pipeline that all results pass: requantise, activation table, rescale."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import align, registered, relay, replicate
from rtl.params import PARAMETER_TILES, ceil_div
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.instances import REQUANTISER, RESCALER
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import CHOICE_LATENCY, PIPELINE_LATENCY
from rtl.sta.operands.columns import ChannelParameterRead, ChannelParameters
from rtl.sta.operands.softmax import RowFactor
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import Activation, TableEntry
from rtl.sta.results.destination import Results, Slots
from rtl.sta.results.requantise import Requantiser
from rtl.sta.results.rescale import Rescaler


class ResultPipeline(wiring.Component):
    """The pipeline that all results pass.

    ::

        slots ─► requantise ─► table ─┬────────────► wide
                                      └─► rescale ─► narrow

    Members
    -------
    instruction : steady, in
    slots : in
    channels : `ChannelParameterRead`: the address of a slot a cycle after it, `drained` a cycle after a column tile's
        last slot, out
    row_factors : of the array's rows, sampled a cycle after the slots, in
    row_scale : of 8-bit elements of a GATHER, sampled a cycle after the slots, in
    table : entries of the activation table, in
    results : `LATENCY` cycles after the slots, out
    """

    LATENCY = PIPELINE_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "instruction": In(instruction_layout(config)),
                "slots": In(Slots(config)),
                "channels": Out(ChannelParameterRead(config)),
                "row_factors": In(RowFactor).array(config.rows),
                "row_scale": In(RowFactor),
                "table": In(TableEntry),
                "results": Out(Results(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, slots, results = self._config, self.instruction, self.slots, self.results
        # Steady long before the first result.
        looks_up = relay(m, instruction.table, name="looks_up", reset=True)
        is_wide = (instruction.opcode != Op.PRODUCT) | instruction.to_residual
        wide = registered(m, is_wide, name="wide", reset=True)  # the requantiser gives 16 bits
        rescales = registered(m, wide | looks_up, name="rescales", reset=True)
        self._address_channels(m)
        parameters = self._parameters(m)

        m.submodules.activation = activation = Activation(c)
        m.d.comb += [activation.write.eq(self.table), activation.look_up.eq(looks_up)]
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
                results.wide[lane].eq(align(m, activation.outputs[lane], Rescaler.LATENCY, name=f"wide_{lane}")),
                results.narrow[lane].eq(rescaler.result),
            ]
        m.d.comb += [
            results.valid.eq(align(m, slots.valid, self.LATENCY, name="valid", reset=True)),
            results.destination.eq(align(m, slots.destination, self.LATENCY, name="destination")),
        ]
        return m

    def _address_channels(self, m: Module) -> None:
        """The address of the slot's parameters; column tiles go round in the memory."""
        c, slots, channels = self._config, self.slots, self.channels
        tile_address = Signal.like(channels.address)  # of the column tile's first slot
        address = Signal.like(channels.address)
        drained = Signal()
        m.d.comb += [
            drained.eq(slots.valid & slots.destination.column_last),
            address.eq(tile_address + slots.destination.slot),
            channels.address.eq(registered(m, address, name="address")),
            channels.drained.eq(align(m, drained, 1, name="drained", reset=True)),
        ]
        with m.If(drained):
            m.d.sync += tile_address.eq(tile_address + c.slots_a_row)
            with m.If(tile_address == (PARAMETER_TILES - 1) * c.slots_a_row):
                m.d.sync += tile_address.eq(0)

    def _parameters(self, m: Module) -> data.View:
        """Of each lane, CHOICE_LATENCY cycles after the slots: its channel's own, or the same for all lanes."""
        instruction = self.instruction
        channel = Signal()
        alike = self._alike_parameters(m)
        parameters = Signal(self.channels.parameters.shape(), reset_less=True)
        m.d.sync += channel.eq(
            (instruction.opcode == Op.NORM)
            | ((instruction.opcode == Op.PRODUCT) & (instruction.columns == Columns.MEMORY))
        )
        for quarter in range(4):
            channel = replicate(m, channel, name=f"channel_{quarter}")
            for lane in range(quarter, self._config.drain_lanes, 4):
                parameter = self.channels.parameters[lane].as_value()
                m.d.sync += parameters[lane].eq(Mux(channel, parameter, alike.as_value()))
        return parameters

    def _alike_parameters(self, m: Module) -> data.View:
        """Those that all lanes share: of the row, where its sum divides the results, else given by the instruction."""
        c, instruction = self._config, self.instruction
        alike = Signal(ChannelParameters)
        shared = Signal(RowFactor, reset_less=True)
        given = Signal(RowFactor, reset_less=True)  # by the instruction, or by what is gathered
        divided = Signal()  # by the row's sum
        m.d.sync += [
            divided.eq((instruction.opcode == Op.PRODUCT) & (instruction.columns == Columns.VALUES)),
            given.mult.eq(instruction.mult),
            given.shift.eq(instruction.shift),
        ]
        with m.If(instruction.opcode == Op.GATHER):
            m.d.sync += [given.mult.eq(1 << 15), given.shift.eq(15)]  # as it is
            with m.If(instruction.narrow):
                m.d.sync += given.eq(self.row_scale)
        # A mux tree, neighbours first: rows are far apart.
        row = relay(m, self.slots.destination.row, name="row")
        pairs = [Signal(RowFactor, name=f"of_rows_{i}", reset_less=True) for i in range(ceil_div(c.rows, 2))]
        for i, pair in enumerate(pairs):
            m.d.sync += pair.eq(self.row_factors[2 * i])
            if 2 * i + 1 < c.rows:
                with m.If(row[0]):
                    m.d.sync += pair.eq(self.row_factors[2 * i + 1])
        with m.If(divided):
            for i in cases(m, align(m, row[1:], 1, name="row_pair"), len(pairs)):
                m.d.sync += shared.eq(pairs[i])
        with m.Else():
            m.d.sync += shared.eq(given)
        m.d.comb += [alike.mult.eq(shared.mult), alike.shift.eq(shared.shift)]
        return alike
