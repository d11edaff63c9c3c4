"""The column buffer: packed weights come in from memory, unpacked, while the array works on the tile before."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.array.instances import BANK
from rtl.array.latencies import READ_LATENCY
from rtl.array.requantise import Parameters
from rtl.array.step_unpacker import StepUnpacker, cut_into_units
from rtl.array.steps import column_step
from rtl.array.walk import TileWalk
from rtl.engine.product_registers import descriptor
from rtl.lib.gearbox import Gearbox
from rtl.lib.timing import align, hard_register, registered, relay
from rtl.params import PARAMETER_BYTES, PARAMETER_TILES, Config


class ColumnBank(wiring.Component):
    """Operands of one column of the array: two halves of max_steps entries each.

    Members
    -------
    write_address, write_data, write_enable : in
    address_in : of the step, in
    address_out : address_in a cycle later, for the bank of the next column, out
    column : `column_step`, READ_LATENCY cycles after address_in, out
    """

    def __init__(self, config: Config) -> None:
        self._depth = 2 * config.max_steps
        super().__init__(
            {
                "write_address": In(range(self._depth)),
                "write_data": In(column_step(config)),
                "write_enable": In(1),
                "address_in": In(range(self._depth)),
                "address_out": Out(range(self._depth)),
                "column": Out(column_step(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.column.shape().size, depth=self._depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
            read.addr.eq(self.address_in),
        ]
        m.d.comb += self.address_out.eq(relay(m, self.address_in, name="address_out", reset=True))
        m.d.comb += self.column.as_value().eq(hard_register(m, read.data, cycles=READ_LATENCY - 1, name="operands"))
        return m


class ColumnLoader(wiring.Component):
    """Unpacks column tiles: parameters to their memory, then a step a cycle into the column buffer.

    Beats come in the order of `product.Product.tile_plan`: each when the first step that uses it is next.

    Members
    -------
    start, product : in
    beats : packed weights, stream in
    room : a half of the column buffer is free for another tile, and a set of its parameters, in
    begins : a tile begins to load, out
    loaded : a tile is complete, in this cycle its last entry is written, out
    parameters, parameters_enable : requantisation parameters of a slot of the drain, out
    entry, entry_enable : operands of a step for every column, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "room": In(1),
                "begins": Out(1),
                "loaded": Out(1),
                "parameters": Out(data.ArrayLayout(Parameters, config.drain_lanes)),
                "parameters_enable": Out(1),
                "entry": Out(data.ArrayLayout(column_step(config), config.cols)),
                "entry_enable": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, product = self._config, self.product
        m.submodules.unpacker = unpacker = StepUnpacker(c, pipelined=False)
        values, selections = cut_into_units(m, c, unpacker, self.beats.payload)
        step = Signal.like(product.steps)
        m.d.comb += [
            selections.kind.eq(Mux(product.bitmap, 0, product.lanes)),
            unpacker.step.eq(step),
            unpacker.lanes.eq(product.lanes),
            unpacker.bitmap.eq(product.bitmap),
            unpacker.counted.eq(product.counted),
            self.entry.eq(unpacker.columns),
        ]
        for d in range(c.drain_lanes):
            fields = values.units.payload.word_select(d, 8 * PARAMETER_BYTES)
            m.d.comb += self.parameters[d].as_value().eq(fields)
        self._control(m, values, selections, step)
        return m

    def _control(self, m: Module, values: Gearbox, selections: Gearbox, step: Signal) -> None:
        """A tile's parameters, then its steps: which gearbox a beat is for, and when their units are taken."""
        c, product = self._config, self.product
        m.submodules.walk = walk = TileWalk(c)
        slot = Signal(range(c.slots_a_row))
        groups_left = Signal.like(product.groups, reset_less=True)
        both = Signal()  # values and selection of a step are valid
        m.d.comb += [
            walk.start.eq(self.start),
            walk.tokens.eq(1),
            walk.channels.eq(product.channels),
            self.entry_enable.eq(registered(m, both, name="entry_enable", reset=True)),
            self.loaded.eq(registered(m, walk.advance, name="loaded", reset=True)),
        ]
        with m.FSM():
            with m.State("wait"):
                with m.If(walk.running & self.room):
                    m.d.comb += self.begins.eq(1)
                    m.next = "parameters"
            with m.State("parameters"):
                m.d.comb += [
                    values.beats.valid.eq(self.beats.valid),
                    self.beats.ready.eq(values.beats.ready),
                    values.units.ready.eq(1),
                    self.parameters_enable.eq(values.units.valid),
                ]
                with m.If(values.units.valid):
                    m.d.sync += slot.eq(slot + 1)
                    with m.If(slot == c.slots_a_row - 1):
                        m.d.comb += values.last.eq(1)
                        m.d.sync += [slot.eq(0), groups_left.eq(product.groups)]
                        m.next = "steps"
            with m.State("steps"):
                m.d.comb += values.kind.eq(product.lanes)
                m.d.comb += [
                    both.eq(values.units.valid & (selections.units.valid | product.counted)),
                    values.units.ready.eq(both),
                    selections.units.ready.eq(both & (~product.bitmap | (step == product.steps))),
                ]
                with m.If(selections.beats.ready & ~product.counted):
                    m.d.comb += [selections.beats.valid.eq(self.beats.valid), self.beats.ready.eq(1)]
                with m.Else():
                    m.d.comb += [values.beats.valid.eq(self.beats.valid), self.beats.ready.eq(values.beats.ready)]
                with m.If(both):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == product.steps):
                        m.d.sync += [step.eq(0), groups_left.eq(groups_left - 1)]
                        with m.If(groups_left == 1):
                            m.d.comb += [values.last.eq(1), selections.last.eq(1), walk.advance.eq(1)]
                            m.next = "wait"


class ColumnBuffer(wiring.Component):
    """Double buffer of the columns' operands, with the loader that fills it and the channels' parameters.

    Members
    -------
    start, product : in
    beats : packed weights, stream in
    loaded : another tile is complete; its first step may be read in the next cycle, out
    address : of the step for column 0, in; the first half begins at 0, the second at max_steps
    column_done : the array has taken its last step from the older half (address of column 0), in
    columns : `column_step` for each column, READ_LATENCY cycles after address and c more, out
    parameter_address : tile mod PARAMETER_TILES · slots_a_row + slot, in
    parameters : PARAMETER_CYCLES after parameter_address, out
    drained : the parameters of the oldest tile are no longer needed, in
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "loaded": Out(1),
                "address": In(range(2 * config.max_steps)),
                "column_done": In(1),
                "columns": Out(column_step(config)).array(config.cols),
                "parameter_address": In(range(PARAMETER_TILES * config.slots_a_row)),
                "parameters": Out(data.ArrayLayout(Parameters, config.drain_lanes)),
                "drained": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.loader = loader = ColumnLoader(self._config)
        wiring.connect(m, wiring.flipped(self.beats), loader.beats)
        m.d.comb += [
            loader.start.eq(self.start),
            loader.product.eq(self.product),
            self.loaded.eq(loader.loaded),
        ]
        self._count_room(m, loader)
        self._keep_steps(m, loader)
        self._keep_parameters(m, loader)
        return m

    def _count_room(self, m: Module, loader: ColumnLoader) -> None:
        """The last column reads a tile's last step cols − 1 cycles after the first column does."""
        released = align(m, self.column_done, self._config.cols, name="released", reset=True)
        halves = Signal(range(3))  # that hold a tile, or will
        parameter_tiles = Signal(range(PARAMETER_TILES + 1))
        m.d.comb += loader.room.eq((halves != 2) & (parameter_tiles != PARAMETER_TILES))
        m.d.sync += [
            halves.eq(halves + loader.begins - released),
            parameter_tiles.eq(parameter_tiles + loader.begins - self.drained),
        ]

    def _keep_steps(self, m: Module, loader: ColumnLoader) -> None:
        """Into the halves in turn; every product begins in the first one."""
        c = self._config
        half = Signal()
        entry_address = Signal(range(2 * c.max_steps))
        with m.If(loader.entry_enable):
            m.d.sync += entry_address.eq(entry_address + 1)
        with m.If(loader.loaded):
            m.d.sync += half.eq(~half)
            with m.If(half):
                m.d.sync += entry_address.eq(0)
            with m.Else():
                m.d.sync += entry_address.eq(c.max_steps)
        with m.If(self.start):
            m.d.sync += [half.eq(0), entry_address.eq(0)]
        address = self.address
        for column in range(c.cols):
            m.submodules[BANK.format(column)] = bank = ColumnBank(c)
            m.d.comb += [
                bank.write_address.eq(entry_address),
                bank.write_data.eq(loader.entry[column]),
                bank.write_enable.eq(loader.entry_enable),
                bank.address_in.eq(address),
                self.columns[column].eq(bank.column),
            ]
            address = bank.address_out

    def _keep_parameters(self, m: Module, loader: ColumnLoader) -> None:
        """Slot after slot, round and round; every product begins at 0."""
        depth = PARAMETER_TILES * self._config.slots_a_row
        m.submodules.parameter_memory = memory = Memory(shape=self.parameters.shape().size, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        slot = Signal(range(depth))
        m.d.comb += [
            write.addr.eq(slot),
            write.data.eq(loader.parameters),
            write.en.eq(loader.parameters_enable),
            read.addr.eq(self.parameter_address),
            self.parameters.as_value().eq(hard_register(m, read.data, name="parameters")),
        ]
        with m.If(loader.parameters_enable):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot == depth - 1):
                m.d.sync += slot.eq(0)
        with m.If(self.start):
            m.d.sync += slot.eq(0)
