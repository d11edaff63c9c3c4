"""The post-processor: results of every kind, on their way to their destination."""

from typing import Any

from amaranth.hdl import Cat, Module, ResetInserter, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.timing import align, relay, replicate
from rtl.params import PARAMETER_TILES
from rtl.sta.control.legality_checker import instruction_layout, own_instruction
from rtl.sta.instances import NORM_SOURCE, PIPELINE, RESIDUAL, STATISTICS
from rtl.sta.isa import Op
from rtl.sta.latencies import POST_PROCESSOR_ENGINES
from rtl.sta.operands.columns import ChannelParameters
from rtl.sta.operands.store import store_write
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import TableEntry, TableLoader
from rtl.sta.results.array_source import ArraySource
from rtl.sta.results.destination import destination
from rtl.sta.results.gather import Gather, RowSegment
from rtl.sta.results.layer_norm import Statistics
from rtl.sta.results.norm_source import NormSource
from rtl.sta.results.pipeline import ResultPipeline, RowParameters
from rtl.sta.results.pool import Pool
from rtl.sta.results.residual import Residual, residual_depth, residual_word
from rtl.sta.results.writer import Writer, row_maximum

TILED = {Op.PRODUCT, Op.NORM}  # walk through tiles
OF_TILES = {"row", "slot", "tile", "base"}  # fields of a destination that only these use


class PostProcessor(wiring.Component):
    """Brings results to the residual and the store.

    ::

        PRODUCT  array ────────────────────┐                         ┌─► store
        NORM     residual ─► normalise ────┼─► pipeline: requantise, ┼─► residual (add) ─► statistics of each token
        POOL     residual ─► sum of tokens ┤   table, rescale        └─► maximum of each row
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
    store_write : of the activation store, out
    row_maximum : of a row of the array, out
    ids, rows : beats of a GATHER, streams in
    row_segment : `RowSegment`, the beats that a GATHER reads next, stream out
    table : beats of a TABLE, stream in
    exponential : `TableEntry`, of the exponential's table, out
    store_unit_address : of the residual, while the instruction is a STORE, in
    store_unit_data : its word, `Residual.LATENCY` cycles later, out
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
                "store_write": Out(store_write(config)),
                "row_maximum": Out(row_maximum(config)),
                "ids": In(beats),
                "rows": In(beats),
                "row_segment": Out(stream.Signature(RowSegment)),
                "table": In(beats),
                "exponential": Out(TableEntry),
                "store_unit_address": In(range(residual_depth(config))),
                "store_unit_data": Out(residual_word(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, opcode = self._config, self.instruction.opcode
        array, norm, pool, gather = ArraySource(c), NormSource(c), Pool(c), Gather(c)
        tables, pipeline, writer, residual = TableLoader(c), ResultPipeline(c), Writer(c), Residual(c)
        statistics = Statistics(c)
        engines = {
            "array_source": array,
            NORM_SOURCE: norm,
            "pool": pool,
            "gather": gather,
            "tables": tables,
            PIPELINE: pipeline,
            "writer": writer,
            RESIDUAL: residual,
            STATISTICS: statistics,
        }
        # One after another, as in `Sta`.
        assert len(engines) == POST_PROCESSOR_ENGINES
        reset = self.reset
        for name, engine in engines.items():
            reset = relay(m, reset, name=f"reset_{name}")
            m.submodules[name] = ResetInserter(reset)(engine)

        sources: dict[Op, Any] = {Op.PRODUCT: array, Op.NORM: norm, Op.POOL: pool, Op.GATHER: gather}
        for op, engine in {**sources, Op.TABLE: tables}.items():
            start, own = own_instruction(m, self.begins & (opcode == op), self.instruction, name=op.name.lower())
            m.d.comb += [engine.start.eq(start), engine.instruction.eq(own)]
        _, instruction = own_instruction(m, self.begins, self.instruction, name="post_processor")  # of any of these
        m.d.comb += [pipeline.instruction.eq(instruction), writer.instruction.eq(instruction)]

        # The operation, registered when the engines start: in time for the first slot.
        which = {op: Signal(name=f"is_{op.name.lower()}") for op in (*sources, Op.STORE)}
        with m.If(align(m, self.begins, 1, name="begun", reset=True)):
            m.d.sync += [signal.eq(opcode == op) for op, signal in which.items()]

        # Sources.
        m.d.comb += [
            array.tile_end.eq(self.tile_end),
            *(array.results[r][i].eq(self.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            norm.parameters_loaded.eq(self.parameters_loaded),
            norm.drained.eq(pipeline.drained & which[Op.PRODUCT]),
        ]
        connect(m, norm.request, statistics.request)
        connect(m, flipped(self.ids), gather.ids)
        connect(m, flipped(self.rows), gather.rows)
        connect(m, gather.segment, flipped(self.row_segment))
        connect(m, flipped(self.table), tables.beats)

        # The pipeline. One source at a time: the others' slots are not valid. Without a source the array's slots are
        # selected, and undefined fields are another source's: a zero would be a reset of registers all over the chip.
        m.d.comb += pipeline.slots.valid.eq(Cat(source.slots.valid for source in sources.values()).any())
        chosen = relay(m, Cat(which[op] for op in sources), name="source")
        for (op, source), is_chosen in zip(sources.items(), chosen, strict=True):
            with m.If(op == Op.PRODUCT or is_chosen):
                for name in destination(c).members:
                    if op in TILED or name not in OF_TILES:
                        m.d.comb += pipeline.slots.destination[name].eq(source.slots.destination[name])
        for quarter in range(4):
            chosen = replicate(m, chosen, name=f"source_of_{quarter}")
            for (op, source), is_chosen in zip(sources.items(), chosen, strict=True):
                with m.If(op == Op.PRODUCT or is_chosen):
                    for i in range(quarter, c.drain_lanes, 4):
                        m.d.comb += pipeline.slots.values[i].eq(source.slots.values[i])
        m.d.comb += [
            self.parameter_address.eq(pipeline.parameter_address),
            self.drained.eq(pipeline.drained),
            pipeline.parameters.eq(self.parameters),
            *(pipeline.row_parameters[r].eq(self.row_parameters[r]) for r in range(c.rows)),
            pipeline.table.eq(tables.activation),
            self.exponential.eq(tables.exponential),
        ]

        # Destinations.
        m.d.comb += [
            writer.valid.eq(pipeline.valid),
            writer.destination.eq(pipeline.destination),
            *(writer.wide[i].eq(pipeline.wide[i]) for i in range(c.drain_lanes)),
            *(writer.narrow[i].eq(pipeline.narrow[i]) for i in range(c.drain_lanes)),
            self.store_write.eq(writer.store_write),
            self.row_maximum.eq(writer.maximum),
            self.finished.eq(writer.finished | tables.finished),
            residual.write_enable.eq(writer.write_enable),
            residual.write_address.eq(writer.write_address),
            residual.write_data.eq(writer.write_data),
            statistics.write.eq(writer.statistics),
            statistics.channels.eq(instruction.channels),
            statistics.epsilon.eq(instruction.epsilon),
            norm.scaling.eq(statistics.answer),
        ]

        # Readers of the residual.
        readers = {Op.NORM: norm.read_address, Op.POOL: pool.read_address, Op.STORE: self.store_unit_address}
        m.d.comb += residual.read_address.eq(writer.read_address)
        for op, address in readers.items():
            with m.If(which[op]):
                m.d.comb += residual.read_address.eq(address)
        m.d.comb += [
            norm.read_data.eq(residual.read_data),
            pool.read_data.eq(residual.read_data),
            writer.read_data.eq(residual.read_data),
            self.store_unit_data.eq(residual.read_data),
        ]
        return m
