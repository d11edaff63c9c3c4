"""The writer: results into the store, into the residual and its sums, into the rows' maxima."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.compare import Greater
from rtl.lib.timing import align, gated, registered, replicate
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.isa import Op
from rtl.sta.latencies import (
    MAXIMA_LATENCY,
    MAXIMUM_STAGES,
    RESIDUAL_WRITE_LATENCY,
    STORE_WRITE_LATENCY,
    WRITER_LATENCY,
)
from rtl.sta.operands.store import store_write
from rtl.sta.params import RESIDUAL_BITS, StaConfig
from rtl.sta.results.destination import destination, residual_address
from rtl.sta.results.layer_norm import elements_write
from rtl.sta.results.residual import residual_depth, residual_word

SCORE_BITS = 8


def row_maximum(config: StaConfig) -> data.StructLayout:
    """The maximum of a token's scores so far, for the row's `softmax.maximum_write`."""
    return data.StructLayout(
        {"enable": 1, "row": range(config.rows), "tile": range(config.max_tiles), "value": signed(SCORE_BITS)}
    )


class ActivationStoreWriter(wiring.Component):
    """Writes 8-bit results, as bytes of one word, to the activation store.

    Members
    -------
    valid, destination, values : in
    write : `store_write`, a cycle later, out
    """

    LATENCY = STORE_WRITE_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "destination": In(destination(config)),
                "values": In(signed(8)).array(config.drain_lanes),
                "write": Out(store_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        pieces_a_word = c.store_word_bytes // c.drain_lanes
        piece_bits = pieces_a_word.bit_length() - 1
        write = Signal(store_write(c), reset_less=True)
        enable = Signal()
        m.d.sync += [
            enable.eq(self.valid),
            write.bank.eq(self.destination.row),
            write.address.eq(self.destination.base + (self.destination.piece >> piece_bits)),
            write.data.eq(Cat(*self.values).replicate(pieces_a_word)),
        ]
        for i in cases(m, self.destination.piece[:piece_bits], pieces_a_word):
            m.d.sync += write.strobe.eq(((1 << c.drain_lanes) - 1) << (i * c.drain_lanes))
        m.d.comb += [self.write.eq(write), self.write.enable.eq(enable)]
        return m


class ResidualWriter(wiring.Component):
    """Writes 16-bit results to the residual, or adds them to it with saturation.

    Members
    -------
    valid, destination, values : in
    add : add to the residual, else overwrite it; steady, in
    read_address, read_data : of the residual, out and in
    write_enable, write_address, write_data : of the residual, `LATENCY` cycles after the results, out
    statistics : `elements_write`, in the same cycle, out
    """

    LATENCY = RESIDUAL_WRITE_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "destination": In(destination(config)),
                "values": In(signed(RESIDUAL_BITS)).array(config.drain_lanes),
                "add": In(1),
                "read_address": Out(range(residual_depth(config))),
                "read_data": In(residual_word(config)),
                "write_enable": Out(1),
                "write_address": Out(range(residual_depth(config))),
                "write_data": Out(residual_word(config)),
                "statistics": Out(elements_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        address = Signal.like(self.read_address, reset_less=True)
        m.d.sync += address.eq(residual_address(c, self.destination.token, self.destination.piece))

        total = Signal(residual_word(c), reset_less=True)
        top = Const((1 << (RESIDUAL_BITS - 1)) - 1, signed(RESIDUAL_BITS))
        for lane, value in enumerate(self.values):
            summand = align(m, value, self.LATENCY - 2, name=f"value_{lane}")
            exact = Signal(signed(RESIDUAL_BITS + 1), name=f"exact_{lane}", reset_less=True)
            bound = top ^ exact[-1].replicate(RESIDUAL_BITS).as_signed()
            m.d.sync += [
                exact.eq(Mux(self.add, self.read_data[lane], 0) + summand),
                total[lane].eq(Mux(exact[-1] == exact[-2], exact, bound)),
            ]

        enable = align(m, self.valid, self.LATENCY, name="valid", reset=True)
        m.d.comb += [
            self.read_address.eq(address),
            self.write_enable.eq(enable),
            self.write_address.eq(align(m, address, self.LATENCY - 1, name="address")),
            self.write_data.eq(total),
            self.statistics.enable.eq(enable),
            self.statistics.token.eq(align(m, self.destination.token, self.LATENCY, name="token")),
            self.statistics.first.eq(align(m, self.destination.piece == 0, self.LATENCY, name="first")),
            self.statistics.values.eq(total),
        ]
        return m


class Maxima(wiring.Component):
    """Running maximum of each token's scores over the column tiles.

    Members
    -------
    valid, destination, values : in; only channels in `destination.keep` count
    maximum : `row_maximum`, the maximum up to these scores, `LATENCY` cycles later, out
    """

    STAGES = MAXIMUM_STAGES
    LATENCY = MAXIMA_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "destination": In(destination(config)),
                "values": In(signed(SCORE_BITS)).array(config.drain_lanes),
                "maximum": Out(row_maximum(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config

        def greater(one: Value, other: Value, name: str) -> Value:
            m.submodules[f"greater_{name}"] = unit = Greater(SCORE_BITS)
            m.d.comb += [unit.one.eq(one), unit.other.eq(other)]
            return unit.more

        values: list[Value] = []
        for lane, (keep, value) in enumerate(zip(self.destination.keep, self.values, strict=True)):
            # -128 where there is no channel. The complement, to differ from the store's register.
            not_counted = Cat(~gated(value[:-1], keep), ~(value[-1] | ~keep))
            values.append((~replicate(m, not_counted, name=f"counts_not_{lane}")).as_signed())
        # A tree of pairs: each level compares, then selects; with few lanes each of these takes a cycle.
        steps = 2 * (len(values).bit_length() - 1)
        chooses: list[Value] = []
        for stage in range(self.STAGES):
            for step in range(steps * stage // self.STAGES, steps * (stage + 1) // self.STAGES):
                pairs = list(zip(values[::2], values[1::2], strict=True))
                if step % 2 == 0:
                    chooses = [greater(a, b, f"pair_{step // 2}_{i}") for i, (a, b) in enumerate(pairs)]
                else:
                    values = [Mux(a_larger, a, b) for a_larger, (a, b) in zip(chooses, pairs, strict=True)]
                    chooses = []
            chooses = [registered(m, one, name=f"a_larger_{stage}_{i}") for i, one in enumerate(chooses)]
            values = [registered(m, one, name=f"maximum_{stage}_{i}") for i, one in enumerate(values)]
        (slot,) = values

        # Read the token's maximum, compare with it, then with those of slots before if of the same token, and write.
        # The last is forwarding: a maximum written less than four cycles ago is not in the memory yet.
        m.submodules.memory = memory = Memory(shape=signed(SCORE_BITS), depth=c.max_tokens, init=[])
        write, read = memory.write_port(), memory.read_port()
        reads = align(m, self.destination, self.STAGES, name="reads")
        places = [reads]
        valid = [align(m, self.valid, self.STAGES, name="valid", reset=True)]
        for i in range(1, 5):
            places.append(align(m, places[-1], 1, name=f"place_{i}"))
            valid.append(align(m, valid[-1], 1, name=f"valid_{i}", reset=True))
        writes = places[-1]
        # The slot so many cycles before is of the same token.
        behind = [registered(m, valid[i] & (places[i].token == reads.token), name=f"behind_{i}") for i in range(1, 5)]
        behind_one = align(m, behind[0], 1, name="behind_one")
        behind_two = align(m, behind[1], 1, name="behind_two")
        first = align(m, reads.piece == 0, 2, name="first")
        again = registered(m, behind_one & ~first, name="again")
        slot_now = align(m, slot, 1, name="slot")
        here = Signal(signed(SCORE_BITS), name="here", reset_less=True)
        top = Signal(signed(SCORE_BITS), name="top", reset_less=True)
        written = align(m, top, 1, name="written")
        kept = Signal(signed(SCORE_BITS), name="kept", reset_less=True)
        m.d.sync += kept.eq(Mux(behind[2], top, Mux(behind[3], written, read.data)))
        # With the slot two before: compared in one cycle, selected in the next. The slot before has all before it.
        two_larger = registered(
            m, behind_two & ~behind_one & ~first & greater(top, slot_now, "two_before"), name="two_larger"
        )
        here_alone = first | behind_one | behind_two  # what is kept is older
        m.d.sync += here.eq(Mux(here_alone | greater(slot_now, kept, "kept"), slot_now, kept))
        m.d.sync += top.eq(Mux(again & greater(top, here, "before"), top, Mux(two_larger, written, here)))
        m.d.comb += [
            read.addr.eq(reads.token),
            write.en.eq(valid[-1]),
            write.addr.eq(writes.token),
            write.data.eq(top),
        ]
        maximum = Signal(row_maximum(c), reset_less=True)
        enable = Signal()
        m.d.sync += [enable.eq(write.en), maximum.row.eq(writes.row), maximum.tile.eq(writes.tile)]
        m.d.comb += [self.maximum.eq(maximum), self.maximum.enable.eq(enable), self.maximum.value.eq(written)]
        return m


class Writer(wiring.Component):
    """Writes a cycle's results to all of their destinations. Channels that do not exist are zero.

    Members
    -------
    instruction : steady, in
    valid, destination : in
    wide : 16-bit results, in
    narrow : the same in 8 bits, for the store, in
    store_write : of the activation store, out
    read_address, read_data, write_enable, write_address, write_data : of the residual, out, in, out
    statistics : `elements_write`, out
    maximum : `row_maximum`, out
    finished : all is written, readable from the next cycle on, out
    """

    LATENCY = WRITER_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "instruction": In(instruction_layout(config)),
                "valid": In(1),
                "destination": In(destination(config)),
                "wide": In(signed(RESIDUAL_BITS)).array(config.drain_lanes),
                "narrow": In(signed(8)).array(config.drain_lanes),
                "store_write": Out(store_write(config)),
                "read_address": Out(range(residual_depth(config))),
                "read_data": In(residual_word(config)),
                "write_enable": Out(1),
                "write_address": Out(range(residual_depth(config))),
                "write_data": Out(residual_word(config)),
                "statistics": Out(elements_write(config)),
                "maximum": Out(row_maximum(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        m.submodules.activation_store_writer = store = ActivationStoreWriter(c)
        m.submodules.residual_writer = residual = ResidualWriter(c)
        m.submodules.maxima = maxima = Maxima(c)

        kept = Signal()
        to_residual = Signal()  # known long before the first results
        m.d.sync += to_residual.eq(
            instruction.to_residual | (instruction.opcode == Op.POOL) | (instruction.opcode == Op.GATHER)
        )
        m.d.comb += [
            kept.eq(self.valid & self.destination.keep[0]),
            store.valid.eq(kept & instruction.to_store),
            residual.valid.eq(kept & to_residual),
            residual.add.eq(instruction.add),
            maxima.valid.eq(kept & instruction.maximum),
        ]
        for part in (store, residual, maxima):
            m.d.comb += part.destination.eq(self.destination)
        for lane, keep in enumerate(self.destination.keep):
            m.d.comb += [
                residual.values[lane].eq(Mux(keep, self.wide[lane], 0)),
                store.values[lane].eq(Mux(keep, self.narrow[lane], 0)),
                maxima.values[lane].eq(self.narrow[lane]),
            ]

        m.d.comb += [
            self.store_write.eq(store.write),
            self.read_address.eq(residual.read_address),
            residual.read_data.eq(self.read_data),
            self.write_enable.eq(residual.write_enable),
            self.write_address.eq(residual.write_address),
            self.write_data.eq(residual.write_data),
            self.statistics.eq(residual.statistics),
            self.maximum.eq(maxima.maximum),
            self.finished.eq(align(m, self.valid & self.destination.last, self.LATENCY, name="finished", reset=True)),
        ]
        return m
