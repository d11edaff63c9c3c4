"""The post-processor: results of every kind, on their way to their destination."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.array.requantise import SHIFT_BITS
from rtl.lib.cases import cases
from rtl.lib.timing import align, relay, replicate
from rtl.params import MULT_BITS, PARAMETER_TILES, ceil_div
from rtl.sta.control.legality_checker import instruction_layout, own_instruction
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import CHOICE_LATENCY, DRAIN_ENGINES, POST_PROCESSOR_LATENCY
from rtl.sta.operands.columns import ChannelParameters
from rtl.sta.operands.store import store_write
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import Activation, TableEntry, TableLoader
from rtl.sta.results.array_source import ArraySource
from rtl.sta.results.destination import Slots, place
from rtl.sta.results.gather import Gather, RowSegment
from rtl.sta.results.layer_norm import Statistics
from rtl.sta.results.norm_source import NormSource
from rtl.sta.results.pool import Pool
from rtl.sta.results.requantise import Requantiser
from rtl.sta.results.rescale import Rescaler
from rtl.sta.results.residual import Residual, residual_depth, residual_word
from rtl.sta.results.writer import Writer, row_maximum

TILED = {Op.PRODUCT, Op.NORM}  # walk through tiles
OF_TILES = {"row", "slot", "tile", "base"}  # fields of a place that only these use


class RowParameters(data.Struct):
    """Requantisation of a row's results that are divided by the row's own sum."""

    mult: MULT_BITS
    shift: SHIFT_BITS


class Finish(wiring.Component):
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
    valid, place, wide, narrow : `LATENCY` cycles after the slots, out
    """

    LATENCY = POST_PROCESSOR_LATENCY

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
                "place": Out(slots.members["place"].shape),
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
            m.submodules[f"requantiser_{lane}"] = requantiser = Requantiser(c)
            m.submodules[f"rescaler_{lane}"] = rescaler = Rescaler()
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
            self.place.eq(align(m, slots.place, self.LATENCY, name="place")),
        ]
        return m

    def _parameters(self, m: Module) -> data.View:
        """Of each lane, PARAMETERS cycles after the slots."""
        c, instruction = self._config, self.instruction
        place = relay(m, self.slots.place, name="chosen_place")
        tile_address = Signal.like(self.parameter_address)  # of the column tile's first slot
        address = Signal.like(self.parameter_address, reset_less=True)
        drained = Signal()
        m.d.comb += [
            drained.eq(self.slots.valid & self.slots.place.column_last),
            self.parameter_address.eq(address),
        ]
        m.d.sync += [self.drained.eq(drained), address.eq(tile_address + self.slots.place.slot)]
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
                with m.If(place.row[0]):
                    m.d.sync += pair.eq(self.row_parameters[2 * i + 1])
        with m.If(divided):
            for i in cases(m, align(m, place.row[1:], 1, name="chosen_rows"), len(pairs)):
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


class Drain(wiring.Component):
    """Brings results to the residual and the store.

    ::

        PRODUCT  array ────────────────────┐                       ┌─► store
        NORM     residual ─► normalise ────┼─► Finish: requantise, ┼─► residual (add) ─► sums of each token
        POOL     residual ─► sum of tokens ┤   table, rescale      └─► maximum of each row
        GATHER   memory ─► words ──────────┘
        TABLE    memory ─► tables

    Members
    -------
    reset : of the engines, one after another, `latencies.reset_cycles` at least; no instruction begins meanwhile, in
    begins : an instruction begins, of any kind, in
    instruction : in that cycle and the next, in
    finished : all its results are readable from the next cycle on, out; not of LOAD, STORE, END
    tile_end, results : of a PRODUCT, see `ArraySource`, in
    parameters_loaded : the parameters of another column tile are loaded, in
    parameter_address, drained : to the column buffer, out
    parameters : from it, two cycles after the address, in
    row_parameters : of each row of the array, in
    store : `store_write`, out
    row_maximum : of a row of the array, out
    ids, rows : beats of a GATHER, streams in
    row_segment : `RowSegment`, the beats that a GATHER reads next, stream out
    table : beats of a TABLE, stream in
    exponential : `TableEntry`, of the exponential's table, out
    dump_address : of the residual, while the instruction is a STORE, in
    dump_data : its word, `Residual.LATENCY` cycles later, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        beats = stream.Signature(8 * config.port_bytes)
        super().__init__(
            {
                "reset": In(1),
                "begins": In(1),
                "instruction": In(instruction_layout(config)),
                "finished": Out(1),
                "tile_end": In(1),
                "results": In(signed(config.accumulator_bits)).array(config.rows, config.cols),
                "parameters_loaded": In(1),
                "parameter_address": Out(range(PARAMETER_TILES * config.slots_a_row)),
                "drained": Out(1),
                "parameters": In(data.ArrayLayout(ChannelParameters, config.drain_lanes)),
                "row_parameters": In(RowParameters).array(config.rows),
                "store": Out(store_write(config)),
                "row_maximum": Out(row_maximum(config)),
                "ids": In(beats),
                "rows": In(beats),
                "row_segment": Out(stream.Signature(RowSegment)),
                "table": In(beats),
                "exponential": Out(TableEntry),
                "dump_address": In(range(residual_depth(config))),
                "dump_data": Out(residual_word(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, opcode = self._config, self.instruction.opcode
        array, norm, pool, gather = ArraySource(c), NormSource(c), Pool(c), Gather(c)
        tables, finish, writer, residual = TableLoader(c), Finish(c), Writer(c), Residual(c)
        statistics = Statistics(c)
        engines = {
            "array_source": array,
            "norm_source": norm,
            "pool": pool,
            "gather": gather,
            "tables": tables,
            "finish": finish,
            "writer": writer,
            "residual": residual,
            "statistics": statistics,
        }
        # One after another, as in `Sta`.
        assert len(engines) == DRAIN_ENGINES
        reset = self.reset
        for name, engine in engines.items():
            reset = relay(m, reset, name=f"reset_{name}")
            m.submodules[name] = ResetInserter(reset)(engine)

        sources: dict[Op, Any] = {Op.PRODUCT: array, Op.NORM: norm, Op.POOL: pool, Op.GATHER: gather}
        for op, engine in {**sources, Op.TABLE: tables}.items():
            start, own = own_instruction(m, self.begins & (opcode == op), self.instruction, name=op.name.lower())
            m.d.comb += [engine.start.eq(start), engine.instruction.eq(own)]
        _, instruction = own_instruction(m, self.begins, self.instruction, name="drain")  # of any of these
        m.d.comb += [finish.instruction.eq(instruction), writer.instruction.eq(instruction)]

        # The operation, registered when the engines start: in time for the first slot.
        which = {op: Signal(name=f"is_{op.name.lower()}") for op in (*sources, Op.STORE)}
        with m.If(align(m, self.begins, 1, name="begun", reset=True)):
            m.d.sync += [signal.eq(opcode == op) for op, signal in which.items()]

        # Sources.
        m.d.comb += [
            array.tile_end.eq(self.tile_end),
            *(array.results[r][i].eq(self.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            norm.parameters_loaded.eq(self.parameters_loaded),
            norm.drained.eq(finish.drained & which[Op.PRODUCT]),
        ]
        connect(m, norm.finalise, statistics.request)
        connect(m, flipped(self.ids), gather.ids)
        connect(m, flipped(self.rows), gather.rows)
        connect(m, gather.segment, flipped(self.row_segment))
        connect(m, flipped(self.table), tables.beats)

        # The pipeline. One source at a time: the others' slots are not valid. Without a source the array's slots are
        # selected, and undefined fields are another source's: a zero would be a reset of registers all over the chip.
        m.d.comb += finish.slots.valid.eq(Cat(source.slots.valid for source in sources.values()).any())
        chosen = relay(m, Cat(which[op] for op in sources), name="chosen_place")
        for (op, source), is_chosen in zip(sources.items(), chosen, strict=True):
            with m.If(op == Op.PRODUCT or is_chosen):
                for name in place(c).members:
                    if op in TILED or name not in OF_TILES:
                        m.d.comb += finish.slots.place[name].eq(source.slots.place[name])
        for quarter in range(4):
            chosen = replicate(m, chosen, name=f"chosen_{quarter}_1")
            for (op, source), is_chosen in zip(sources.items(), chosen, strict=True):
                with m.If(op == Op.PRODUCT or is_chosen):
                    for i in range(quarter, c.drain_lanes, 4):
                        m.d.comb += finish.slots.values[i].eq(source.slots.values[i])
        m.d.comb += [
            self.parameter_address.eq(finish.parameter_address),
            self.drained.eq(finish.drained),
            finish.parameters.eq(self.parameters),
            *(finish.row_parameters[r].eq(self.row_parameters[r]) for r in range(c.rows)),
            finish.table.eq(tables.activation),
            self.exponential.eq(tables.exponential),
        ]

        # Destinations.
        m.d.comb += [
            writer.valid.eq(finish.valid),
            writer.place.eq(finish.place),
            *(writer.wide[i].eq(finish.wide[i]) for i in range(c.drain_lanes)),
            *(writer.narrow[i].eq(finish.narrow[i]) for i in range(c.drain_lanes)),
            self.store.eq(writer.store),
            self.row_maximum.eq(writer.maximum),
            self.finished.eq(writer.finished | tables.finished),
            residual.write_enable.eq(writer.write_enable),
            residual.write_address.eq(writer.write_address),
            residual.write_data.eq(writer.write_data),
            statistics.write.eq(writer.statistics),
            statistics.channels.eq(instruction.channels),
            statistics.epsilon.eq(instruction.epsilon),
            norm.finalised.eq(statistics.answer),
        ]

        # Readers of the residual.
        readers = {Op.NORM: norm.read_address, Op.POOL: pool.read_address, Op.STORE: self.dump_address}
        m.d.comb += residual.read_address.eq(writer.read_address)
        for op, address in readers.items():
            with m.If(which[op]):
                m.d.comb += residual.read_address.eq(address)
        m.d.comb += [
            norm.read_data.eq(residual.read_data),
            pool.read_data.eq(residual.read_data),
            writer.read_data.eq(residual.read_data),
            self.dump_data.eq(residual.read_data),
        ]
        return m
