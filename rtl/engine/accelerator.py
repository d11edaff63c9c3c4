"""The accelerator: the whole data path on one screen."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from rtl.array.grid import Array
from rtl.array.instances import COLUMN_BUFFER
from rtl.engine.activation_store import ActivationStore
from rtl.engine.column_buffer import ColumnBuffer
from rtl.engine.product_drain import Drain
from rtl.engine.product_feeder import Feeder
from rtl.engine.product_fetch import Fetch
from rtl.engine.product_registers import Registers
from rtl.engine.results import ResultBuffer
from rtl.engine.row_parameters import RowParameters
from rtl.lib.port import ControlPort, MemoryPort
from rtl.params import Config


class Accelerator(wiring.Component):
    """An N:M-sparse matrix engine (the DMME of STA, Fang et al. 2022) between two ports.

    ::

        memory ─► fetch ─► row parameters ──────────────────────────────┐
                     ├───► column buffer ─► columns ┐      parameters ─►│
                     └───► activation store ─► rows ┴─► array ─► drain: requantise ─► result buffer ─► memory
                              ▲ steps
        control ─► registers ─► feeder

    One start runs one product y[tokens, channels] = requantise(x[tokens, k] · w[channels, k]ᵀ), weights
    packed N':M for any 1 ≤ N' ≤ M: weights stream in and results stream out during the run.

    Members
    -------
    control : the control registers, `register_table.REGISTERS`
    memory : the burst port
    busy : a product is running, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "control": Out(ControlPort()),
                "memory": Out(MemoryPort(config.port_bytes)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.registers = registers = Registers(c)
        m.submodules.fetch = fetch = Fetch(c)
        m.submodules.row_parameters = row_parameters = RowParameters(c)
        m.submodules[COLUMN_BUFFER] = columns = ColumnBuffer(c)
        m.submodules.activation_store = activations = ActivationStore(c)
        m.submodules.feeder = feeder = Feeder(c)
        m.submodules.array = array = Array(c)
        m.submodules.drain = drain = Drain(c)
        m.submodules.result_buffer = results = ResultBuffer(c)

        connect(m, flipped(self.control), registers.control)
        connect(m, fetch.request, flipped(self.memory.read_request))
        connect(m, flipped(self.memory.read_data), fetch.data)
        connect(m, fetch.row_parameters, row_parameters.beats)
        connect(m, fetch.weights, columns.beats)
        connect(m, fetch.activations, activations.beats)
        connect(m, drain.outputs, results.inputs)
        connect(m, results.request, flipped(self.memory.write_request))
        connect(m, results.data, flipped(self.memory.write_data))

        for engine in (fetch, row_parameters, columns, activations, feeder, drain, results):
            m.d.comb += [engine.start.eq(registers.start), engine.product.eq(registers.product)]

        m.d.comb += [
            # Steps: the feeder addresses both operands, which meet in the array.
            feeder.column_loaded.eq(columns.loaded),
            feeder.tiles_loaded.eq(activations.tiles_loaded),
            activations.step.eq(feeder.step),
            columns.address.eq(feeder.column_address),
            columns.column_done.eq(feeder.column_done),
            *(array.rows[r].eq(activations.rows[r]) for r in range(c.rows)),
            *(array.columns[i].eq(columns.columns[i]) for i in range(c.cols)),
            # Results: out of the array while it works on.
            drain.tile_end.eq(feeder.tile_end),
            *(drain.results[r][i].eq(array.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            columns.parameter_address.eq(drain.parameter_address),
            columns.drained.eq(drain.drained),
            drain.parameters.eq(columns.parameters),
            row_parameters.address.eq(drain.row_parameter_address),
            drain.row_parameters.eq(row_parameters.parameters),
            feeder.written.eq(results.written),
            registers.finished.eq(results.finished),
            self.busy.eq(registers.busy),
        ]
        return m
