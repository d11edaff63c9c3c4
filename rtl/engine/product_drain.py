"""The drain: takes results out of the array while the next tile computes, and requantises them."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.latencies import drain_latency, drain_start, reader_latency, slot_latency
from rtl.array.requantise import Parameters, Requantiser
from rtl.array.row_reader import SlotReader
from rtl.array.walk import TileWalk
from rtl.engine.latencies import PARAMETER_CYCLES
from rtl.engine.product_registers import descriptor
from rtl.lib.timing import align, registered
from rtl.params import PARAMETER_TILES, RESULT_TILES, Config


def result_destination(config: Config) -> data.StructLayout:
    """Where results belong: row of the tile, slot of the row; `last` marks the tile's last slot."""
    return data.StructLayout({"row": range(config.rows), "slot": range(config.slots_a_row), "last": 1})


class SlotResults(wiring.Signature):
    """Requantised results of a slot on their way to the result buffer, which always takes them.

    Members
    -------
    valid : in this cycle, out
    destination : `result_destination`, out
    values : 16 bits signed each, out
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "destination": Out(result_destination(config)),
                "values": Out(signed(16)).array(config.drain_lanes),
            }
        )


class Drain(wiring.Component):
    """Reads drain_lanes results of one row a cycle, row after row, and requantises them.

    A tile's first slot is read `latencies.drain_start` cycles after the decision to issue its last step,
    or right after the tile before. Rows that are not in use are left out.

    Members
    -------
    start, product : in
    tile_end : a tile's last step was issued, in (registered once)
    results : of the array, in
    parameter_address, drained : to the column buffer, out
    parameters : from it, PARAMETER_CYCLES later, in
    row_parameter_address : token, out
    row_parameters : of that token, PARAMETER_CYCLES later, in
    outputs : `SlotResults`, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        lanes = config.drain_lanes
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "tile_end": In(1),
                "results": In(signed(config.accumulator_bits)).array(config.rows, config.cols),
                "parameter_address": Out(range(PARAMETER_TILES * config.slots_a_row)),
                "parameters": In(data.ArrayLayout(Parameters, lanes)),
                "drained": Out(1),
                "row_parameter_address": Out(range(config.max_tokens)),
                "row_parameters": In(Parameters),
                "outputs": Out(SlotResults(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        # The slot that is read in this cycle, whether one is, and of which token.
        active = Signal()
        read = Signal(result_destination(c))
        token = Signal(range(c.max_tokens))
        column_read = Signal()  # it is the last slot of a column tile
        self._walk(m, active, read, token, column_read)
        self._address_parameters(m, read.slot, token, column_read)
        self._requantise(m, read)
        m.d.comb += [
            self.outputs.destination.eq(align(m, read, drain_latency(c), name="destination")),
            self.outputs.valid.eq(align(m, active, drain_latency(c), name="valid", reset=True)),
        ]
        return m

    def _walk(self, m: Module, active: Signal, read: data.View, token: Signal, column_read: Signal) -> None:
        """Slot after slot, row after row of each tile that is complete."""
        c = self._config
        m.submodules.walk = walk = TileWalk(c)
        # Two registers are in this path already: tile_end itself, and the count of complete tiles.
        complete = align(m, self.tile_end, drain_start(c) - 2, name="complete", reset=True)
        tiles = Signal(range(RESULT_TILES + 1))
        row = Signal(range(c.rows))
        slot = Signal(range(c.slots_a_row))
        last_slot = Signal()
        last_row = Signal()
        m.d.comb += [
            walk.start.eq(self.start),
            walk.tokens.eq(self.product.tokens),
            walk.channels.eq(self.product.channels),
            active.eq(tiles != 0),
            last_slot.eq(slot == c.slots_a_row - 1),
            last_row.eq(row == walk.rows - 1),
            walk.advance.eq(active & last_slot & last_row),
            column_read.eq(walk.advance & walk.last_tokens),
            read.row.eq(row),
            read.slot.eq(slot),
            read.last.eq(last_slot & last_row),
        ]
        m.d.sync += tiles.eq(tiles + complete - walk.advance)
        with m.If(active):
            m.d.sync += slot.eq(slot + 1)
            with m.If(last_slot):
                m.d.sync += [slot.eq(0), row.eq(row + 1), token.eq(token + 1)]
                with m.If(last_row):
                    m.d.sync += row.eq(0)
        with m.If(column_read | self.start):
            m.d.sync += token.eq(0)

    def _address_parameters(self, m: Module, slot: Value, token: Signal, column_read: Signal) -> None:
        """They are there with the slot's results: from memory, and a register for the choice between both kinds."""
        c = self._config
        ahead = slot_latency(c) - PARAMETER_CYCLES - 1
        tile_base = Signal.like(self.parameter_address)
        parameter_slot = Signal.like(self.parameter_address)
        m.d.comb += [
            parameter_slot.eq(tile_base + slot),
            self.parameter_address.eq(align(m, parameter_slot, ahead, name="parameters_of")),
            self.row_parameter_address.eq(align(m, token, ahead, name="token")),
            self.drained.eq(align(m, column_read, reader_latency(c), name="drained", reset=True)),
        ]
        with m.If(column_read):
            m.d.sync += tile_base.eq(tile_base + c.slots_a_row)
            with m.If(tile_base == (PARAMETER_TILES - 1) * c.slots_a_row):
                m.d.sync += tile_base.eq(0)
        with m.If(self.start):
            m.d.sync += tile_base.eq(0)

    def _requantise(self, m: Module, read: data.View) -> None:
        """The slot of the array, each lane of it through its requantiser."""
        c = self._config
        m.submodules.reader = reader = SlotReader(c)
        m.d.comb += [
            reader.row.eq(read.row),
            reader.slot.eq(read.slot),
            *(reader.results[r][i].eq(self.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
        ]
        for lane in range(c.drain_lanes):
            m.submodules[f"requantiser_{lane}"] = requantiser = Requantiser(c)
            chosen = Mux(self.product.per_row, self.row_parameters.as_value(), self.parameters[lane].as_value())
            m.d.comb += [
                requantiser.acc.eq(reader.values[lane]),
                requantiser.parameters.as_value().eq(registered(m, chosen, name=f"parameters_{lane}")),
                requantiser.wide.eq(self.product.wide),
                self.outputs.values[lane].eq(requantiser.result),
            ]
