"""STA: the whole data path on one screen."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.array.grid import Array
from rtl.array.instances import COLUMN_BUFFER
from rtl.lib.cases import cases
from rtl.lib.port import ControlPort, MemoryPort
from rtl.lib.timing import align, relay
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import BeatBuffer, Consumer, FetchUnit
from rtl.sta.control.instruction import own_instruction
from rtl.sta.control.sequencer import Sequencer
from rtl.sta.groups import each_group
from rtl.sta.instances import POST_PROCESSOR, SOFTMAX, STORE
from rtl.sta.isa import Op
from rtl.sta.latencies import CONSUMERS, COPY_LATENCY, reset_cycles
from rtl.sta.operands.columns import ColumnBuffer
from rtl.sta.operands.feeder import Feeder
from rtl.sta.operands.load_unit import LoadUnit
from rtl.sta.operands.softmax import RowSoftmax
from rtl.sta.operands.store import ActivationStore
from rtl.sta.params import StaConfig
from rtl.sta.registers import Registers
from rtl.sta.results.post_processor import PostProcessor
from rtl.sta.results.row_groups import RowGroups
from rtl.sta.results.store_unit import StoreUnit

Results = PostProcessor | RowGroups


class Sta(wiring.Component):
    """The accelerator that runs a program, a whole Transformer encoder, between two ports (STA, Fang et al. 2022).

    ::

        control ─► registers ──► sequencer ── instruction ─► every unit
                                         ▲
        memory ─► fetch ─┬─ instructions ┘
                         ├─ weights ─► column buffer ── columns ──────────────────────────────┐
                         │                   ▲ keys, values                                   ▼
                         ├─ activations ─► load unit ─► store ─► softmax ── row operands ─► array
                         │                                ▲         ▲ maxima                  │ results
                         └─ ids, embeddings, tables ───► post-processor ◄─────────────────────┘
                                                           │ residual
                                    memory ◄─ store unit ◄─┴─ store

    Scores become exponentials in the softmax; other row operands pass it unchanged.

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
        m.submodules.array = array = Array(c)  # no reset: its steps leave it before new ones come
        column_buffer, store, feeder = ColumnBuffer(c), ActivationStore(c), Feeder(c)
        load_unit, store_unit = LoadUnit(c), StoreUnit(c)
        post_processor = PostProcessor(c) if c.groups == 1 else RowGroups(c)
        softmax = [RowSoftmax(c) for _ in range(c.rows)]
        m.submodules[POST_PROCESSOR] = post_processor
        units = {COLUMN_BUFFER: column_buffer, STORE: store, "feeder": feeder, "load_unit": load_unit}
        units |= {"store_unit": store_unit, **{SOFTMAX.format(r): unit for r, unit in enumerate(softmax)}}
        self._add_units(m, sequencer.abort, post_processor, units)

        # Memory: beats go to their consumers, and STORE writes.
        connect(m, flipped(self.control), registers.control)
        connect(m, fetch.request, flipped(self.memory.read_request))
        connect(m, flipped(self.memory.read_data), fetch.data)
        connect(m, store_unit.request, flipped(self.memory.write_request))
        connect(m, store_unit.data, flipped(self.memory.write_data))
        connect(m, sequencer.segment, fetch.segment)
        self._gather(m, post_processor, fetch)
        beats = self._beats(m, fetch, sequencer.stop)
        connect(m, beats["instruction"], sequencer.instruction_beats)
        connect(m, beats["weights"], column_buffer.beats)
        connect(m, beats["rows"], load_unit.rows)  # of tokens
        connect(m, beats["table"], post_processor.table)
        connect(m, beats["ids"], post_processor.ids)
        connect(m, beats["gathered"], post_processor.rows)  # of embeddings

        # Operands: the feeder addresses those of the array's rows and columns, a step a cycle; they meet in the array.
        connect(m, feeder.columns, column_buffer.reads)
        m.d.comb += store.step.eq(feeder.step)
        m.d.comb += [unit.row.eq(read) for unit, read in zip(softmax, store.rows, strict=True)]
        m.d.comb += [entry.eq(unit.step) for unit, entry in zip(softmax, array.rows, strict=True)]
        m.d.comb += [entry.eq(read) for entry, read in zip(array.columns, column_buffer.columns, strict=True)]
        self._row_tables(m, softmax, feeder, post_processor)
        self._copies(m, sequencer, store, {Op.PRODUCT: column_buffer.copy, Op.STORE: store_unit.copy})

        # Results: out of the array while it works on, and back to the store; the residual is in the post-processor.
        self._read_by_groups(m, column_buffer, post_processor, store_unit)
        m.d.comb += [
            post_processor.tile_end.eq(feeder.tile_end),
            *(post_processor.results[r][i].eq(array.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            *(post_processor.row_factors[r].eq(softmax[r].factor) for r in range(c.rows)),
            post_processor.parameters_loaded.eq(column_buffer.parameters_loaded),
        ]
        self._writes(m, store, load_unit, post_processor)

        # Control.
        self._instructions(m, sequencer, column_buffer, post_processor, feeder, load_unit, store_unit)
        self._errors(m, registers, sequencer, fetch)
        self._status(m, registers, sequencer, feeder)
        return m

    def _add_units(self, m: Module, abort: Signal, post_processor: Results, units: dict[str, wiring.Component]) -> None:
        """What an error, or a clear, leaves half done is forgotten, unit after unit, a relay for each.

        With the same reset synthesis would also merge one row's valid, some cycles later, with the next row's.
        """
        assert 1 + len(units) <= reset_cycles(self._config)
        reset = relay(m, abort, name="reset", reset=True)
        m.d.comb += post_processor.reset.eq(reset)
        for name, unit in units.items():
            reset = relay(m, reset, name="reset", reset=True)  # one name: a module for all rows
            m.submodules[name] = ResetInserter(reset)(unit)

    def _gather(self, m: Module, post_processor: Results, fetch: FetchUnit) -> None:
        """GATHER requests its rows of embeddings."""
        asked, segment = post_processor.row_segment, fetch.gather_segment
        m.d.comb += [
            segment.valid.eq(asked.valid),
            segment.payload.address.eq(asked.payload.address),
            segment.payload.beats.eq(asked.payload.beats),
            segment.payload.consumer.eq(Consumer.GATHERED),
            asked.ready.eq(segment.ready),
        ]

    def _beats(self, m: Module, fetch: FetchUnit, stop: Signal) -> dict[str, stream.Interface]:
        """A buffer beside each consumer, emptied by a stop."""
        stop = relay(m, stop, name="stop", reset=True)
        m.d.comb += fetch.stop.eq(stop)
        # A cycle after the fetch has `stop`: from then on it delivers nothing.
        dropped = align(m, stop, 1, name="dropped", reset=True)
        beats = {}
        for name in CONSUMERS:
            buffer = BeatBuffer(self._config)
            m.submodules[f"{name}_buffer"] = ResetInserter(dropped)(buffer)
            connect(m, getattr(fetch, name), buffer.words_in)
            beats[name] = buffer.words_out
        return beats

    def _row_tables(self, m: Module, softmax: list[RowSoftmax], feeder: Feeder, post_processor: Results) -> None:
        """What the softmax needs beside the scores goes from row to row, as the steps: relays.

        `mult` and `shift` are those of the context P·V, which each row divides by its own sum.
        """
        c = self._config
        exponential = post_processor.exponential.as_value()
        maxima = [maximum for _, maximum in each_group(c, post_processor.row_maximum)]
        given = {name: feeder.instruction[name] for name in ("keys", "mult", "shift")}
        for r, row in enumerate(softmax):
            exponential = relay(m, exponential, name=f"exponential_{r}")
            k, own_row = divmod(r, c.group_rows)
            maxima[k] = maximum = relay(m, maxima[k], name=f"maximum_{r}")
            given = {name: relay(m, value, name=f"{name}_{r}") for name, value in given.items()}
            m.d.comb += [
                *(getattr(row, name).eq(value) for name, value in given.items()),
                row.table.eq(exponential),
                row.maximum.enable.eq(maximum.enable & (maximum.row == own_row)),
                row.maximum.tile.eq(maximum.tile),
                row.maximum.value.eq(maximum.value),
            ]

    def _read_by_groups(
        self, m: Module, column_buffer: ColumnBuffer, post_processor: Results, store_unit: StoreUnit
    ) -> None:
        """Each group of rows reads the channels' parameters by itself; STORE reads the residual of one."""
        c = self._config
        readers = each_group(c, post_processor.channels)
        for (_, reader), (_, channels) in zip(readers, each_group(c, column_buffer.channels), strict=True):
            connect(m, reader, channels)
        connect(m, store_unit.residual, post_processor.residual)
        if c.groups > 1:
            m.d.comb += post_processor.residual_group.eq(store_unit.residual_group)

    def _writes(self, m: Module, store: ActivationStore, load_unit: LoadUnit, post_processor: Results) -> None:
        """LOAD and results into the store, never at the same time."""
        c, loaded = self._config, load_unit.write
        if c.groups == 1:
            m.d.comb += store.write.eq(Mux(loaded.enable, loaded.as_value(), post_processor.store_write.as_value()))
            return
        results = each_group(c, post_processor.store_write)
        for k, ((_, write), (_, result)) in enumerate(zip(each_group(c, store.write), results, strict=True)):
            own = Signal(write.shape(), name=f"loaded_{k}")
            first = k * c.group_rows
            is_own = (loaded.bank >= first) & (loaded.bank < first + c.group_rows)
            for name in own.shape().members:
                m.d.comb += own[name].eq(loaded[name])
            m.d.comb += [own.enable.eq(loaded.enable & is_own), own.bank.eq(loaded.bank - first)]
            m.d.comb += write.eq(Mux(own.enable, own.as_value(), result.as_value()))

    def _copies(
        self, m: Module, sequencer: Sequencer, store: ActivationStore, readers: dict[Op, wiring.PureInterface]
    ) -> None:
        """Keys and values, or STORE, read the store; they never run at the same time."""
        storing = Signal()  # a STORE executes: registered, in time for its first copy
        with m.If(sequencer.execute):
            m.d.sync += storing.eq(sequencer.upcoming.opcode == Op.STORE)
        keys_values, stored = (readers[op] for op in (Op.PRODUCT, Op.STORE))
        request, lanes = stored.request.as_value(), self._config.copy_lanes
        if lanes > 1:  # a STORE reads one bank at a time
            bank, lane_bits = stored.request.bank, lanes.bit_length() - 1
            request = Cat(stored.request.valid, bank[lane_bits:], stored.request.address)
            lane = align(m, bank[:lane_bits], COPY_LATENCY, name="stored_lane")
            for i in cases(m, lane, lanes):
                m.d.comb += stored.data.eq(store.copy.data.word_select(i, len(stored.data)))
        m.d.comb += store.copy.request.eq(Mux(storing, request, keys_values.request.as_value()))
        for reader in (keys_values, stored):
            m.d.comb += [
                reader.next_cycle_busy.eq(store.copy.next_cycle_busy),
                reader.valid.eq(store.copy.valid),
            ]
            if lanes == 1 or reader is keys_values:
                m.d.comb += reader.data.eq(store.copy.data)

    def _instructions(
        self,
        m: Module,
        sequencer: Sequencer,
        column_buffer: ColumnBuffer,
        post_processor: Results,
        feeder: Feeder,
        load_unit: LoadUnit,
        store_unit: StoreUnit,
    ) -> None:
        """The upcoming instruction goes to the units, and they say when it is finished."""
        upcoming = sequencer.upcoming
        m.d.comb += [
            column_buffer.start.eq(sequencer.fill),
            column_buffer.instruction.eq(upcoming),
            sequencer.loader_idle.eq(column_buffer.idle),
            post_processor.begins.eq(sequencer.begins),
            post_processor.instruction.eq(upcoming),
            sequencer.finished.eq(post_processor.finished | load_unit.finished | store_unit.finished),
        ]
        # Each takes its own instructions alone: another enable, so that synthesis does not merge their registers.
        for unit, op in ((feeder, Op.PRODUCT), (load_unit, Op.LOAD), (store_unit, Op.STORE)):
            begins = sequencer.begins & (upcoming.opcode == op)
            start, instruction = own_instruction(m, begins, upcoming, name=op.name.lower())
            m.d.comb += [unit.start.eq(start), unit.instruction.eq(instruction)]

    def _errors(self, m: Module, registers: Registers, sequencer: Sequencer, fetch: FetchUnit) -> None:
        """Where memory ends, and what the sequencer is told of bad accesses and faults: relays."""
        limit = relay(m, registers.limit, name="limit")
        m.d.comb += [
            fetch.limit.eq(limit),
            sequencer.limit.eq(relay(m, limit, name="limit_later")),
            sequencer.fetch_idle.eq(fetch.idle),
            sequencer.bad.eq(relay(m, fetch.bad, name="bad", reset=True)),
            sequencer.bad_address.eq(fetch.bad_address),
            sequencer.fault.eq(relay(m, self.fault, name="fault", reset=True)),
            sequencer.fault_address.eq(relay(m, self.fault_address, name="fault_address")),
        ]

    def _status(self, m: Module, registers: Registers, sequencer: Sequencer, feeder: Feeder) -> None:
        """From the control registers to the sequencer, and what the host and the pins are told."""
        connect(m, sequencer.status, registers.status)
        m.d.comb += [
            sequencer.start.eq(registers.start),
            sequencer.clear.eq(registers.clear),
            sequencer.program.eq(registers.program),
            registers.stepping.eq(feeder.step.valid),
            registers.waits_memory.eq(feeder.no_columns),
            registers.waits_drain.eq(feeder.no_drain),
            self.busy.eq(sequencer.status.busy | registers.start),
            self.irq.eq(registers.interrupt),
            self.execute.eq(relay(m, sequencer.status.execute, name="execute", reset=True)),
            self.finished.eq(relay(m, sequencer.status.finished, name="finished", reset=True)),
        ]
