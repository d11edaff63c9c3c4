"""STA: the whole data path on one screen."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.array.grid import Array
from rtl.lib.port import ControlPort, MemoryPort
from rtl.lib.timing import align, relay
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import BeatBuffer, Consumer, FetchUnit
from rtl.sta.control.legality_checker import own_instruction
from rtl.sta.control.sequencer import Sequencer
from rtl.sta.instances import COLUMN_BUFFER, POST_PROCESSOR, SOFTMAX, STORE
from rtl.sta.isa import Op
from rtl.sta.latencies import CONSUMERS, reset_cycles
from rtl.sta.operands.columns import ColumnBuffer
from rtl.sta.operands.feeder import Feeder
from rtl.sta.operands.load_unit import LoadUnit
from rtl.sta.operands.softmax import RowSoftmax
from rtl.sta.operands.store import ActivationStore
from rtl.sta.params import StaConfig
from rtl.sta.registers import Registers
from rtl.sta.results.post_processor import PostProcessor
from rtl.sta.results.store_unit import StoreUnit


class Sta(wiring.Component):
    """The accelerator that runs a program, a whole Transformer encoder, between two ports (STA, Fang et al. 2022).

    ::

        control ─► registers ─► sequencer ─► every engine
        memory ─► fetch ─┬─ weights ─► column buffer ─► columns ─┐
                         │                 ▲ keys, values        │
                         ├─ rows ─► load ─► store ─► softmax ─► rows ─► array ─► post-processor ─┬─► store
                         └─ ids, gathered rows, tables ────────────────────────► post-processor  └─► residual
        store, residual ─► store unit ─► memory

    Members
    -------
    control : the control registers, `registers.REGISTERS`
    memory : the burst port
    fault, fault_address : a burst ended in an error in this cycle, and its address, in
    busy : a program runs, out
    execute, finished : an instruction began, or finished, in the cycle before, out
    irq : interrupt, level, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "control": Out(ControlPort()),
                "memory": Out(MemoryPort(config.port_bytes)),
                "fault": In(1),
                "fault_address": In(ADDRESS_BITS),
                "busy": Out(1),
                "execute": Out(1),
                "finished": Out(1),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.registers = registers = Registers(c)
        m.submodules.sequencer = sequencer = Sequencer(c)
        m.submodules.fetch = fetch = FetchUnit(c)
        columns, store, feeder, array = ColumnBuffer(c), ActivationStore(c), Feeder(c), Array(c)
        post_processor, loader, store_unit = PostProcessor(c), LoadUnit(c), StoreUnit(c)
        softmax = [RowSoftmax(c) for _ in range(c.rows)]
        engines = {
            COLUMN_BUFFER: columns,
            STORE: store,
            "feeder": feeder,
            "loader": loader,
            "store_unit": store_unit,
            **{SOFTMAX.format(r): row for r, row in enumerate(softmax)},
        }
        # What an error, or a clear, leaves half done is forgotten, engine after engine, a relay for each.
        # With the same reset synthesis would also merge one row's valid, some cycles later, with the next row's.
        assert 1 + len(engines) <= reset_cycles(c)
        reset = relay(m, sequencer.abort, name="reset", reset=True)
        m.submodules[POST_PROCESSOR] = post_processor
        m.d.comb += post_processor.reset.eq(reset)
        for name, engine in engines.items():
            reset = relay(m, reset, name="reset", reset=True)  # one name: a module for all rows
            m.submodules[name] = ResetInserter(reset)(engine)
        m.submodules.array = array  # no reset: its steps leave it before new ones come

        # A STORE executes: registered, in time for its first copy.
        upcoming = sequencer.upcoming
        storing = Signal()
        with m.If(sequencer.execute):
            m.d.sync += storing.eq(upcoming.opcode == Op.STORE)

        # Memory.
        limit = relay(m, registers.limit, name="limit")
        stop = relay(m, sequencer.stop, name="stop", reset=True)
        connect(m, flipped(self.control), registers.control)
        connect(m, fetch.request, flipped(self.memory.read_request))
        connect(m, flipped(self.memory.read_data), fetch.data)
        connect(m, store_unit.request, flipped(self.memory.write_request))
        connect(m, store_unit.data, flipped(self.memory.write_data))
        connect(m, store_unit.residual, post_processor.residual)
        connect(m, sequencer.segment, fetch.segment)
        beats = {}
        # A cycle after the fetch has `stop`: from then on it delivers nothing.
        dropped = align(m, stop, 1, name="dropped", reset=True)
        for name in CONSUMERS:
            buffer = BeatBuffer(c)
            m.submodules[f"{name}_buffer"] = ResetInserter(dropped)(buffer)
            connect(m, getattr(fetch, name), buffer.words_in)
            beats[name] = buffer.words_out
        connect(m, beats["instruction"], sequencer.instruction_beats)
        connect(m, beats["weights"], columns.beats)
        connect(m, beats["table"], post_processor.table)
        connect(m, beats["ids"], post_processor.ids)
        connect(m, beats["rows"], loader.rows)
        connect(m, beats["gathered"], post_processor.rows)
        m.d.comb += [
            fetch.limit.eq(limit),
            fetch.stop.eq(stop),
            fetch.gather_segment.valid.eq(post_processor.row_segment.valid),
            fetch.gather_segment.payload.address.eq(post_processor.row_segment.payload.address),
            fetch.gather_segment.payload.beats.eq(post_processor.row_segment.payload.beats),
            fetch.gather_segment.payload.consumer.eq(Consumer.GATHERED),
            post_processor.row_segment.ready.eq(fetch.gather_segment.ready),
        ]

        # Relays to the sequencer.
        limit_later = relay(m, limit, name="limit_later")
        bad = relay(m, fetch.bad, name="bad", reset=True)
        fault = relay(m, self.fault, name="fault", reset=True)
        fault_address = relay(m, self.fault_address, name="fault_address")

        # Control.
        m.d.comb += [
            sequencer.start.eq(registers.start),
            sequencer.clear.eq(registers.clear),
            sequencer.program.eq(registers.program),
            sequencer.limit.eq(limit_later),
            sequencer.fetch_idle.eq(fetch.idle),
            sequencer.bad.eq(bad),
            sequencer.bad_address.eq(fetch.bad_address),
            sequencer.fault.eq(fault),
            sequencer.fault_address.eq(fault_address),
            sequencer.loader_idle.eq(columns.idle),
            registers.busy.eq(sequencer.busy),
            registers.done.eq(sequencer.done),
            registers.error.eq(sequencer.error),
            registers.cause.eq(sequencer.cause),
            registers.cause_address.eq(sequencer.cause_address),
            registers.pc.eq(sequencer.pc),
            registers.execute.eq(sequencer.execute),
            registers.finished.eq(sequencer.finished & sequencer.executing),
            registers.stepping.eq(feeder.step.valid),
            registers.waits_memory.eq(feeder.no_columns),
            registers.waits_drain.eq(feeder.no_drain),
            self.busy.eq(sequencer.busy | registers.start),
            self.irq.eq(registers.interrupt),
            sequencer.finished.eq(post_processor.finished | loader.finished | store_unit.finished),
            columns.start.eq(sequencer.load),
            columns.instruction.eq(upcoming),
        ]
        m.d.sync += [self.execute.eq(registers.execute), self.finished.eq(registers.finished)]
        m.d.comb += [post_processor.begins.eq(sequencer.begins), post_processor.instruction.eq(upcoming)]
        # Each takes its own instructions alone: another enable, so that synthesis does not merge their registers.
        for engine, op in ((feeder, Op.PRODUCT), (loader, Op.LOAD), (store_unit, Op.STORE)):
            begins = sequencer.begins & (upcoming.opcode == op)
            start, instruction = own_instruction(m, begins, upcoming, name=op.name.lower())
            m.d.comb += [engine.start.eq(start), engine.instruction.eq(instruction)]

        # Operands: the feeder addresses both, which meet in the array.
        m.d.comb += [
            feeder.loaded.eq(columns.loaded),
            store.step.eq(feeder.step),
            columns.address.eq(feeder.column_address),
            columns.column_done.eq(feeder.column_done),
            *(array.columns[i].eq(columns.columns[i]) for i in range(c.cols)),
        ]
        exponential = post_processor.exponential.as_value()
        maximum = post_processor.row_maximum
        given = {name: feeder.instruction[name] for name in ("keys", "mult", "shift")}
        for r, row in enumerate(softmax):
            # From row to row, as the steps.
            exponential = relay(m, exponential, name=f"exponential_{r}")
            maximum = relay(m, maximum, name=f"maximum_{r}")
            given = {name: relay(m, value, name=f"{name}_{r}") for name, value in given.items()}
            m.d.comb += [
                row.row.eq(store.rows[r]),
                *(getattr(row, name).eq(value) for name, value in given.items()),
                row.table.eq(exponential),
                row.maximum.enable.eq(maximum.enable & (maximum.row == r)),
                row.maximum.tile.eq(maximum.tile),
                row.maximum.value.eq(maximum.value),
                array.rows[r].eq(row.step),
            ]

        # Results: out of the array while it works on.
        m.d.comb += [
            post_processor.tile_end.eq(feeder.tile_end),
            *(post_processor.results[r][i].eq(array.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            post_processor.parameters_loaded.eq(columns.parameters_loaded),
            columns.parameter_address.eq(post_processor.channels.address),
            columns.drained.eq(post_processor.channels.drained),
            post_processor.channels.parameters.eq(columns.parameters),
            *(post_processor.row_parameters[r].mult.eq(softmax[r].q) for r in range(c.rows)),
            *(post_processor.row_parameters[r].shift.eq(softmax[r].shift_t) for r in range(c.rows)),
            store.write.eq(Mux(loader.write.enable, loader.write.as_value(), post_processor.store_write.as_value())),
        ]

        # Copies from the store: keys and values, or STORE; they never run at the same time.
        m.d.comb += [
            store.copy_request.eq(Mux(storing, store_unit.copy_request.as_value(), columns.copy_request.as_value())),
            store_unit.copy_valid.eq(store.copy_valid),
            columns.next_cycle_busy.eq(store.next_cycle_busy),
            columns.copy_valid.eq(store.copy_valid),
            store_unit.copy_data.eq(store.copy_data),
            columns.copy_data.eq(store.copy_data),
        ]
        return m
