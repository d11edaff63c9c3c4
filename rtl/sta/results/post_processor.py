"""The post-processor: results of every kind, on their way to their destination."""

from typing import Any

from amaranth.hdl import Cat, Module, ResetInserter, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.timing import align, relay, replicate
from rtl.sta.control.instruction import instruction_layout, own_instruction
from rtl.sta.instances import NORM_SOURCE, PIPELINE, RESIDUAL, STATISTICS
from rtl.sta.isa import Op
from rtl.sta.latencies import POST_PROCESSOR_UNITS
from rtl.sta.operands.columns import ChannelParameterRead
from rtl.sta.operands.softmax import RowFactor
from rtl.sta.operands.store import store_write
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import TableEntry, TableLoader
from rtl.sta.results.array_source import ArraySource
from rtl.sta.results.destination import Slots, destination
from rtl.sta.results.gather import Gather, RowSegment, ids_stream
from rtl.sta.results.layer_norm import Statistics
from rtl.sta.results.norm_source import NormSource
from rtl.sta.results.pipeline import ResultPipeline
from rtl.sta.results.pool import Pool
from rtl.sta.results.residual import Residual, ResidualRead
from rtl.sta.results.writer import Writer, row_maximum

TILED = {Op.PRODUCT, Op.NORM}  # walk through tiles
OF_TILES = {"row", "slot", "tile", "base"}  # fields of a destination that only these use


def members(config: StaConfig) -> dict[str, wiring.Member]:
    """Those of a `PostProcessor`."""
    beats = stream.Signature(8 * config.port_bytes)
    return {
        "reset": In(1),
        "begins": In(1),
        "instruction": In(instruction_layout(config)),
        "finished": Out(1),
        "tile_end": In(1),
        "results": In(signed(config.accumulator_bits)).array(config.rows, config.cols),
        "parameters_loaded": In(1),
        "channels": Out(ChannelParameterRead(config)),
        "row_factors": In(RowFactor).array(config.rows),
        "store_write": Out(store_write(config)),
        "row_maximum": Out(row_maximum(config)),
        "ids": In(ids_stream(config)),
        "rows": In(beats),
        "row_segment": Out(stream.Signature(RowSegment)),
        "table": In(beats),
        "exponential": Out(TableEntry),
        "residual": In(ResidualRead(config)),
    }


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
    reset : of the units, one after another, `latencies.reset_cycles` at least; no instruction begins meanwhile, in
    begins : an instruction begins, of any kind, in
    instruction : in that cycle and the next, in
    finished : all its results are readable from the next cycle on, out; not of LOAD, STORE, END
    tile_end, results : of a PRODUCT, see `ArraySource`, in
    parameters_loaded : the parameters of another column tile are loaded, in
    channels : `ChannelParameterRead`, of the column buffer, out
    row_factors : of each row of the array, in
    store_write : of the activation store, out
    row_maximum : of a row of the array, out
    ids, rows : beats of a GATHER, streams in
    row_segment : `RowSegment`, the beats that a GATHER reads next, stream out
    table : beats of a TABLE, stream in
    exponential : `TableEntry`, of the exponential's table, out
    residual : `ResidualRead` of the store unit, while the instruction is a STORE, in
    pool_sums, pool_slots : of a group of rows: its own sums of a POOL, out; all groups', of the first group, in
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        group = {"pool_sums": Out(Slots(config)), "pool_slots": In(Slots(config))} if config.is_group else {}
        super().__init__(members(config) | group)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        array, norm, pool, gather = ArraySource(c), NormSource(c), Pool(c), Gather(c)
        tables, pipeline, writer, residual = TableLoader(c), ResultPipeline(c), Writer(c), Residual(c)
        statistics = Statistics(c)
        parts = {
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
        sources: dict[Op, Any] = {Op.PRODUCT: array, Op.NORM: norm, Op.POOL: pool, Op.GATHER: gather}
        self._add_units(m, parts)
        instruction = self._begin_parts(m, {**sources, Op.TABLE: tables})
        executes = self._decode_operation(m, (*sources, Op.STORE))

        # Sources.
        connect(m, norm.request, statistics.request)
        connect(m, flipped(self.ids), gather.ids)
        connect(m, flipped(self.rows), gather.rows)
        connect(m, gather.segment, flipped(self.row_segment))
        connect(m, flipped(self.table), tables.beats)
        m.d.comb += [
            array.tile_end.eq(self.tile_end),
            *(array.results[r][i].eq(self.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            norm.parameters_loaded.eq(self.parameters_loaded),
            norm.drained.eq(pipeline.channels.drained & executes[Op.PRODUCT]),
            norm.scaling.eq(statistics.answer),
        ]
        # The pipeline.
        slots = {op: source.slots for op, source in sources.items()}
        if c.is_group:
            connect(m, pool.slots, flipped(self.pool_sums))
            slots[Op.POOL] = self.pool_slots
        self._choose_slots(m, slots, executes, pipeline.slots)
        connect(m, pipeline.channels, flipped(self.channels))
        connect(m, pipeline.results, writer.results)
        m.d.comb += [
            pipeline.instruction.eq(instruction),
            pipeline.row_scale.eq(gather.row_scale),
            *(pipeline.row_factors[r].eq(self.row_factors[r]) for r in range(c.rows)),
            pipeline.table.eq(tables.activation),
            self.exponential.eq(tables.exponential),
        ]
        # Destinations.
        connect(m, writer.residual_write, residual.write)
        m.d.comb += [
            writer.instruction.eq(instruction),
            self.store_write.eq(writer.store_write),
            self.row_maximum.eq(writer.maximum),
            self.finished.eq(writer.finished | tables.finished),
            statistics.write.eq(writer.statistics),
            statistics.channels.eq(instruction.channels),
            statistics.epsilon.eq(instruction.epsilon),
        ]
        readers = {Op.NORM: norm.residual, Op.POOL: pool.residual, Op.STORE: flipped(self.residual)}
        self._choose_reader(m, executes, readers, writer.residual_read, residual.read)
        return m

    def _add_units(self, m: Module, parts: dict[str, Any]) -> None:
        """Each with a reset of its own, one after another, as in `Sta`."""
        assert len(parts) == POST_PROCESSOR_UNITS
        reset = self.reset
        for name, part in parts.items():
            reset = relay(m, reset, name=f"reset_{name}")
            m.submodules[name] = ResetInserter(reset)(part)

    def _begin_parts(self, m: Module, parts: dict[Op, Any]) -> data.View:
        """Starts the one whose instruction begins; the instruction, of any of these."""
        opcode = self.instruction.opcode
        for op, part in parts.items():
            begins = self.begins & (opcode == op)
            if op == Op.GATHER and self._config.is_group:  # without tokens of its own it has nothing to gather
                begins &= self.instruction.own_tokens != 0
            start, own = own_instruction(m, begins, self.instruction, name=op.name.lower())
            m.d.comb += [part.start.eq(start), part.instruction.eq(own)]
        _, instruction = own_instruction(m, self.begins, self.instruction, name="post_processor")
        return instruction

    def _decode_operation(self, m: Module, ops: tuple[Op, ...]) -> dict[Op, Signal]:
        """Which executes: registered when the parts start, in time for the first slot."""
        executes = {op: Signal(name=f"is_{op.name.lower()}") for op in ops}
        with m.If(align(m, self.begins, 1, name="begun", reset=True)):
            m.d.sync += [signal.eq(self.instruction.opcode == op) for op, signal in executes.items()]
        return executes

    def _choose_slots(self, m: Module, sources: dict[Op, Any], executes: dict[Op, Signal], slots: Any) -> None:
        """One source at a time: the others' slots are not valid.

        Without a source the array's slots are selected, and undefined fields are another source's: a zero would be a
        reset of registers all over the chip.
        """
        c = self._config
        m.d.comb += slots.valid.eq(Cat(source.valid for source in sources.values()).any())
        chosen = relay(m, Cat(executes[op] for op in sources), name="source")
        for (op, source), is_chosen in zip(sources.items(), chosen, strict=True):
            with m.If(op == Op.PRODUCT or is_chosen):
                for name in destination(c).members:
                    if op in TILED or name not in OF_TILES:
                        m.d.comb += slots.destination[name].eq(source.destination[name])
        for quarter in range(4):
            chosen = replicate(m, chosen, name=f"source_of_{quarter}")
            for (op, source), is_chosen in zip(sources.items(), chosen, strict=True):
                with m.If(op == Op.PRODUCT or is_chosen):
                    for i in range(quarter, c.drain_lanes, 4):
                        m.d.comb += slots.values[i].eq(source.values[i])

    def _choose_reader(
        self, m: Module, executes: dict[Op, Signal], readers: dict[Op, Any], other: Any, memory: Any
    ) -> None:
        """The instruction's own reader of the residual, of an instruction without one the writer, which adds to it."""
        m.d.comb += memory.address.eq(other.address)
        for op, reader in readers.items():
            with m.If(executes[op]):
                m.d.comb += memory.address.eq(reader.address)
        for reader in (*readers.values(), other):
            m.d.comb += reader.word.eq(memory.word)
