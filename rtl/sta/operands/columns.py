"""The column buffer of STA: weights from memory, keys or values from the store, while the array works on a tile."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.array.instances import BANK
from rtl.array.requantise import SHIFT_BITS
from rtl.array.steps import WEIGHT_BITS, column_step
from rtl.array.walk import TileWalk
from rtl.lib.cases import cases
from rtl.lib.lut_ram import LUT_RAM
from rtl.lib.timing import align, hard_register, registered, relay, replicate, tally
from rtl.params import BIAS_BITS, MULT_BITS, PARAMETER_TILES
from rtl.sta.control.instruction import instruction_layout, max_more_heads
from rtl.sta.groups import each_group, grouped
from rtl.sta.latencies import COLUMN_LATENCY
from rtl.sta.operands.column_job import ColumnJob
from rtl.sta.operands.key_value_loader import KeyValueLoader
from rtl.sta.operands.store import CopyPort
from rtl.sta.operands.tile_loader import TileLoader
from rtl.sta.params import RESCALE_BITS, StaConfig


def column_address(config: StaConfig) -> data.StructLayout:
    """The address of a step of a column tile.

    A tile's steps count 0 … groups · ⌈pattern/n⌉ − 1, whatever the pattern and the source. Step i is sub = i mod S
    of word = i div S, S = steps_a_group: a word holds S steps, which is one group where the pattern is dense. The
    halves alternate from tile to tile of all products, the first tile after reset is in half 0; no start resets it.
    """
    return data.StructLayout({"half": 1, "sub": range(config.steps_a_group), "word": range(config.max_groups)})


class ColumnReads(wiring.Signature):
    """Reads of the column buffer, seen from who reads.

    Members
    -------
    address : `column_address` of the step for column 0, out
    tile_done : `address` is the last step read from the older half, out
    loaded : another half is complete; its first step may be read in the next cycle, in
    """

    def __init__(self, config: StaConfig) -> None:
        super().__init__({"address": Out(column_address(config)), "tile_done": Out(1), "loaded": In(1)})


class ChannelParameters(data.Struct):
    """The 64 bits that an output channel has in memory."""

    bias: signed(BIAS_BITS)
    mult: unsigned(MULT_BITS)
    shift: unsigned(SHIFT_BITS)
    negate: unsigned(1)
    rescale: unsigned(RESCALE_BITS)


class ChannelParameterRead(wiring.Signature):
    """Reads of the channels' parameters, which the column buffer holds, seen from the reader.

    Members
    -------
    address : tile mod PARAMETER_TILES · slots_a_row + slot, tiles counted since reset, out
    parameters : of each of the slot's lanes, two cycles later, in
    drained : those of the oldest column tile are no longer needed: once for each column tile, out
    """

    def __init__(self, config: StaConfig) -> None:
        super().__init__(
            {
                "address": Out(range(PARAMETER_TILES * config.slots_a_row)),
                "parameters": In(data.ArrayLayout(ChannelParameters, config.drain_lanes)),
                "drained": Out(1),
            }
        )


def column_write(config: StaConfig) -> data.StructLayout:
    """What a write into the banks has in common.

    address : of the step
    strobe : bytes of the word that are written
    whole : write `group`, else the column's own bytes, repeated in every step of the word
    group : M bytes
    selection : write the indices of the step, too
    """
    return data.StructLayout(
        {
            "address": column_address(config),
            "strobe": config.steps_a_group * config.n,
            "whole": 1,
            "group": WEIGHT_BITS * config.m,
            "selection": 1,
        }
    )


class ColumnBank(wiring.Component):
    """Operands of one column of the array, two halves.

    One plane holds weights, a word of S steps, with byte enables; the other holds the indices of each step. Of dense
    patterns the indices are counted at the output instead.

    Parameters
    ----------
    abreast : number of the column among those that are abreast, of which each has its own registers

    Members
    -------
    write, write_enable : in; readable two cycles later
    own : this column's operands to write, in
    counted : of each half, the pattern is dense, in
    address_in : of the step, in
    address_out : address_in a cycle later, for the bank of the next column, out
    column : `column_step`, COLUMN_LATENCY cycles after address_in, out
    """

    def __init__(self, config: StaConfig, abreast: int) -> None:
        self._config = config
        self._abreast = abreast
        super().__init__(
            {
                "write": In(column_write(config)),
                "write_enable": In(1),
                "own": In(column_step(config)),
                "counted": In(2),
                "address_in": In(column_address(config)),
                "address_out": Out(column_address(config)),
                "column": Out(column_step(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        address_out = relay(m, self.address_in, name="address_out")
        m.d.comb += self.address_out.eq(address_out)
        word, indices = self._memories(m)

        # A block RAM's output is slow: it goes straight into a register. Then the step of the word.
        assert COLUMN_LATENCY == 3  # the memories, their words, the step of it
        counted = self._copy(m, Mux(address_out.half, self.counted[1], self.counted[0]), "counted_1")
        column = Signal.like(self.column, reset_less=True)
        m.d.sync += column.indices.as_value().eq(hard_register(m, indices, name="indices"))
        word = hard_register(m, word, name="word")
        for sub in cases(m, self._copy(m, address_out.sub, "sub_1"), c.steps_a_group):
            for lane in range(c.n):
                position = sub * c.n + lane
                m.d.sync += column.weights[lane].eq(word.word_select(position, WEIGHT_BITS).as_signed())
                with m.If(counted):
                    m.d.sync += column.indices[lane].eq(position % c.m)
                    if position >= c.m:
                        m.d.sync += column.weights[lane].eq(0)
        m.d.comb += self.column.eq(column)
        return m

    def _copy(self, m: Module, value: Value, name: str) -> Value:
        """A cycle later; of columns abreast one begins with zeros, one with ones, and one holds the complement."""
        assert self._abreast < 3
        if self._abreast == 2:
            return ~replicate(m, ~value, name=name)
        return replicate(m, value, name=name, distinct_init=(1 << len(value)) - 1 if self._abreast else None)

    def _memories(self, m: Module) -> tuple[Signal, Signal]:
        """Words of weights, and indices of steps: written two cycles after they came, read a cycle later."""
        c, write = self._config, self.write
        word_lanes = c.steps_a_group * c.n  # at least M
        index_bits = self.own.indices.shape().size

        # The bank's own input registers, behind the muxes for its bytes.
        written = []
        for i in range(word_lanes):
            byte = self.own.weights[i % c.n]
            if i < c.m:
                byte = Mux(write.whole, write.group.word_select(i, WEIGHT_BITS), byte.as_unsigned())
            written.append(byte)
        address = replicate(m, write.address, name="address", enable=self.write_enable)

        m.submodules.weights = weights = Memory(shape=WEIGHT_BITS * word_lanes, depth=2 * c.max_groups, init=[])
        weights_in, weights_out = weights.write_port(granularity=WEIGHT_BITS), weights.read_port()
        m.d.comb += [
            weights_in.addr.eq(Cat(address.half, address.word)),
            weights_in.data.eq(registered(m, Cat(*written), name="written")),
            weights_in.en.eq(registered(m, Mux(self.write_enable, write.strobe, 0), name="strobe")),
            weights_out.addr.eq(Cat(self.address_in.half, self.address_in.word)),
        ]

        steps = 1 << len(self.address_in.sub)
        m.submodules.selection = selection = Memory(shape=index_bits, depth=2 * steps * c.max_groups, init=[])
        selection_in, selection_out = selection.write_port(), selection.read_port()
        m.d.comb += [
            selection_in.addr.eq(address),
            selection_in.data.eq(registered(m, self.own.indices.as_value(), name="own_indices")),
            selection_in.en.eq(registered(m, self.write_enable & write.selection, name="selects")),
            selection_out.addr.eq(self.address_in),
        ]
        return weights_out.data, selection_out.data


class ColumnBuffer(wiring.Component):
    """Double buffer of the columns' operands, with what fills it, and the parameters of the channels.

    ::

        copy ──► key/value loader ──┐
        beats ─► tile loader ──┬────┴─► a bank a column, two halves ─► columns
                               └──────► parameters of the channels ──► channels

    It loads the column tiles of one instruction after another: a PRODUCT's, or a NORM's, which have parameters alone.
    A tile begins to load as soon as there is room: a half of the banks (PRODUCT), and one of PARAMETER_TILES sets of
    parameters (every tile takes one, whatever its source; undefined for keys and values). Halves and sets are used
    round-robin from the first after reset; no start resets them.

    Members
    -------
    start : take the instruction of this cycle; only from the second idle cycle on, in
    instruction : `instruction_layout`, need not be held, in
    idle : all tiles of the instruction are loaded; low from the cycle after the start, high with the last
        `reads.loaded`, out
    beats : packed weights and parameters, stream in
    copy : `CopyPort`, reads of keys and values, out
    reads : `ColumnReads`, in
    parameters_loaded : another tile's parameters are complete: four cycles before `reads.loaded`, or of a NORM, out
    columns : `column_step` for each column, COLUMN_LATENCY cycles after reads.address and `behind(c)` more, out
    channels : `ChannelParameterRead`, of several groups of rows one each, in
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "idle": Out(1),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "copy": Out(CopyPort(config)),
                "reads": In(ColumnReads(config)),
                "parameters_loaded": Out(1),
                "columns": Out(column_step(config)).array(config.cols),
                "channels": grouped(config, In(ChannelParameterRead(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.column_job = column_job = ColumnJob(c)
        m.submodules.walk = walk = TileWalk(c, max_more_heads=max_more_heads(c))
        m.submodules.tile_loader = tiles = TileLoader(c)
        m.submodules.key_value_loader = copies = KeyValueLoader(c)
        job = column_job.job

        # One tile after another.
        begins = Signal()
        done = Signal()
        filling = Signal()
        filled_half = Signal()  # done with a product's tile, registered: from copies it comes late
        # The last column reads a tile's last step so many cycles after column 0.
        released = align(m, self.reads.tile_done, c.behind(c.cols - 1) + 1, name="released", reset=True)
        m.d.comb += [
            column_job.start.eq(self.start),
            column_job.instruction.eq(self.instruction),
            # A head's last tile has begun: c_base counts at the next restart, and may go on.
            column_job.next_head.eq(registered(m, begins & walk.last_channels, name="next_head")),
            walk.start.eq(self.start),
            walk.tokens.eq(1),
            walk.channels.eq(self.instruction.channels),
            walk.more_heads.eq(self.instruction.more_heads),
            walk.advance.eq(self.parameters_loaded),  # a cycle after the tile is done
            self.idle.eq(walk.idle),
            done.eq(tiles.done | copies.done),
        ]
        no_half = tally(m, 2, begins & ~job.parameters_only, released, name="halves").full
        # Of all groups of rows the last to be done with a set counts.
        full = [
            tally(m, PARAMETER_TILES, begins, channels.drained, name=f"parameter_tiles{number}").full
            for number, channels in each_group(c, self.channels)
        ]
        no_parameters = reduce(or_, full)
        m.d.comb += begins.eq(
            (walk.running & ~filling & ~self.parameters_loaded) & (~no_half | job.parameters_only) & ~no_parameters
        )
        m.d.sync += [
            filling.eq((filling | begins) & ~done),
            filled_half.eq(done & ~job.parameters_only),
        ]

        wiring.connect(m, wiring.flipped(self.beats), tiles.beats)
        wiring.connect(m, copies.copy, wiring.flipped(self.copy))
        m.d.comb += [
            # Written by then.
            self.reads.loaded.eq(align(m, filled_half, 4, name="filled_half", reset=True)),
            self.parameters_loaded.eq(align(m, done, 1, name="parameters_loaded", reset=True)),
            # In step with the job, and behind a head's last tile.
            copies.restart.eq(
                align(m, self.start, 1, name="restart", reset=True) | (self.parameters_loaded & walk.last_channels)
            ),
            tiles.begin.eq(begins & ~job.copy),
            tiles.job.eq(job),
            copies.begin.eq(begins & job.copy),
            copies.job.eq(job),
            copies.columns.eq(walk.columns),
        ]

        self._banks(m, tiles, copies, job, begins=begins, filled_half=filled_half)
        self._parameters(m, tiles, copied=align(m, copies.done, 1, name="copied", reset=True))
        return m

    def _banks(
        self,
        m: Module,
        tiles: TileLoader,
        copies: KeyValueLoader,
        job: data.View,
        *,
        begins: Signal,
        filled_half: Signal,
    ) -> None:
        """The half that is filled, which of the loaders writes into the banks, and what the array reads of them."""
        c, lanes = self._config, self._config.copy_lanes
        half = Signal()  # that is being filled; changes before the next tile begins
        counted = Signal(2, reset_less=True)
        with m.If(filled_half):
            m.d.sync += half.eq(~half)
        with m.If(begins & ~job.parameters_only):
            m.d.sync += counted.bit_select(half, 1).eq(job.counted)

        # A write comes three cycles after it was unpacked, or one after it was read from the store, in the same job.
        # The mux is beside the two loaders; registers lie between it and the banks.
        chosen = Signal(column_write(c))
        m.d.comb += [
            chosen.address.half.eq(Mux(job.copy, half, align(m, half, 2, name="half_before"))),
            chosen.address.sub.eq(tiles.sub),
            chosen.address.word.eq(Mux(job.copy, copies.word, tiles.word)),
            chosen.whole.eq(job.copy & (~copies.transposed if lanes == 1 else 1)),
            chosen.group.eq(copies.group),
            chosen.selection.eq(~job.copy),
        ]
        with m.If(job.copy):
            m.d.comb += chosen.strobe.eq(copies.strobe)
        with m.Else():
            for sub in cases(m, tiles.sub, c.steps_a_group):
                m.d.comb += chosen.strobe.eq(((1 << c.n) - 1) << (sub * c.n))

        write = registered(m, chosen, name="write")
        group_bits = WEIGHT_BITS * c.m

        address = self.reads.address
        for column in range(c.cols):
            m.submodules[BANK.format(column)] = bank = ColumnBank(c, column % c.columns_abreast)
            enable = Mux(job.copy, copies.enable[column], tiles.step_enable)
            own = Signal(column_step(c), name=f"own_{column}")
            m.d.comb += [
                own.indices.eq(tiles.step[column].indices),
                bank.write.eq(write),
                bank.write_enable.eq(registered(m, enable, name=f"enable_{column}")),
                bank.own.eq(registered(m, own, name=f"own_{column}")),
                bank.counted.eq(counted),
                bank.address_in.eq(address),
                self.columns[column].eq(bank.column),
            ]
            for lane in range(c.n):
                weight = tiles.step[column].weights[lane]
                byte = copies.bytes[column][:WEIGHT_BITS].as_signed()
                m.d.comb += own.weights[lane].eq(Mux(job.copy, byte, weight))
            if lanes > 1:  # a group of its own, of the bytes of several keys over and over
                group = Mux(
                    copies.transposed,
                    copies.bytes[column].replicate(c.m // lanes),
                    copies.group.word_select(column % lanes, group_bits),
                )
                m.d.comb += bank.write.group.eq(registered(m, group, name=f"group_{column}"))
            if c.behind(column + 1) > c.behind(column):
                address = bank.address_out

    def _parameters(self, m: Module, tiles: TileLoader, *, copied: Signal) -> None:
        """Slot after slot, round and round; a tile of keys or values passes over its set, which nobody reads."""
        slots = self._config.slots_a_row
        depth = PARAMETER_TILES * slots
        slot = Signal(range(depth))
        # Relays: the loader decides late, and readers come later than these, a cycle after the end of a tile.
        address = relay(m, slot, name="written_slot")
        parameters = relay(m, tiles.parameters, name="written_parameters")
        enable = relay(m, tiles.parameters_enable, name="writes_parameters", reset=True)
        for number, channels in each_group(self._config, self.channels):
            size = channels.parameters.shape().size
            memory = Memory(shape=size, depth=depth, init=[], attrs=LUT_RAM)
            m.submodules[f"parameter_memory{number}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(address),
                write.data.eq(parameters),
                write.en.eq(enable),
                read.addr.eq(channels.address),
                channels.parameters.as_value().eq(relay(m, read.data, name=f"read_parameters{number}")),
            ]
        with m.If(tiles.parameters_enable):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot == depth - 1):
                m.d.sync += slot.eq(0)
        with m.If(copied):
            m.d.sync += slot.eq(slot + slots)
            with m.If(slot == depth - slots):
                m.d.sync += slot.eq(0)
