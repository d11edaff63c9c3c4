"""The writer: results into the store, into the residual and its sums, into the rows' maxima."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.lib.cases import cases
from rtl.lib.compare import Greater
from rtl.lib.timing import align, gated, registered, replicate
from rtl.sta.control.instruction import instruction_layout
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
from rtl.sta.results.destination import Results, Slots
from rtl.sta.results.layer_norm import elements_write
from rtl.sta.results.residual import ResidualRead, ResidualWrite, residual_address, residual_word

SCORE_BITS = 8


def row_maximum(config: StaConfig) -> data.StructLayout:
    """The maximum of a token's scores so far, for the row's `softmax.maximum_write`."""
    return data.StructLayout(
        {"enable": 1, "row": range(config.rows), "tile": range(config.maxima_tiles), "value": signed(SCORE_BITS)}
    )


class ActivationStoreWriter(wiring.Component):
    """Writes 8-bit results, as bytes of one word, to the activation store.

    Members
    -------
    slots : 8 bits each, in
    write : `store_write`, a cycle later, out
    """

    LATENCY = STORE_WRITE_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "slots": In(Slots(config, 8)),
                "write": Out(store_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, destination = self._config, self.slots.destination
        pieces_a_word = c.store_word_bytes // c.drain_lanes
        piece_bits = pieces_a_word.bit_length() - 1
        write = Signal(store_write(c))
        m.d.comb += [
            write.bank.eq(destination.row),
            write.address.eq(destination.base + (destination.piece >> piece_bits)),
            write.data.eq(Cat(*self.slots.values).replicate(pieces_a_word)),
        ]
        for i in cases(m, destination.piece[:piece_bits], pieces_a_word):
            m.d.comb += write.strobe.eq(((1 << c.drain_lanes) - 1) << (i * c.drain_lanes))
        m.d.comb += [
            self.write.eq(registered(m, write, name="write")),
            self.write.enable.eq(align(m, self.slots.valid, 1, name="enable", reset=True)),
        ]
        return m


class ResidualWriter(wiring.Component):
    """Writes 16-bit results to the residual, or adds them to it with saturation.

    Members
    -------
    slots : 16 bits each, in
    add : add to the residual, else overwrite it; steady, in
    read : `ResidualRead`, out
    write : `ResidualWrite`, `LATENCY` cycles after the slots, out
    statistics : `elements_write`, in the same cycle, out
    """

    LATENCY = RESIDUAL_WRITE_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "slots": In(Slots(config, RESIDUAL_BITS)),
                "add": In(1),
                "read": Out(ResidualRead(config)),
                "write": Out(ResidualWrite(config)),
                "statistics": Out(elements_write(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, destination = self._config, self.slots.destination
        address = Signal.like(self.read.address, reset_less=True)
        m.d.sync += address.eq(residual_address(c, destination.token, destination.piece))

        total = Signal(residual_word(c), reset_less=True)
        top = Const((1 << (RESIDUAL_BITS - 1)) - 1, signed(RESIDUAL_BITS))
        for lane, value in enumerate(self.slots.values):
            summand = align(m, value, self.LATENCY - 2, name=f"value_{lane}")
            exact = Signal(signed(RESIDUAL_BITS + 1), name=f"exact_{lane}", reset_less=True)
            bound = top ^ exact[-1].replicate(RESIDUAL_BITS).as_signed()
            m.d.sync += [
                exact.eq(Mux(self.add, self.read.word[lane], 0) + summand),
                total[lane].eq(Mux(exact[-1] == exact[-2], exact, bound)),
            ]

        enable = align(m, self.slots.valid, self.LATENCY, name="valid", reset=True)
        m.d.comb += [
            self.read.address.eq(address),
            self.write.enable.eq(enable),
            self.write.address.eq(align(m, address, self.LATENCY - 1, name="address")),
            self.write.word.eq(total),
            self.statistics.enable.eq(enable),
            self.statistics.token.eq(align(m, destination.token, self.LATENCY, name="token")),
            self.statistics.first.eq(align(m, destination.piece == 0, self.LATENCY, name="first")),
            self.statistics.values.eq(total),
        ]
        return m


class Maxima(wiring.Component):
    """Running maximum of each token's scores over the column tiles.

    Members
    -------
    slots : scores, in; only channels in `destination.keep` count
    maximum : `row_maximum`, the maximum up to these scores, `LATENCY` cycles later, out
    """

    STAGES = MAXIMUM_STAGES
    LATENCY = MAXIMA_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "slots": In(Slots(config, SCORE_BITS)),
                "maximum": Out(row_maximum(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        score = self._slot_maximum(m)
        valid = align(m, self.slots.valid, self.STAGES, name="valid", reset=True)
        destination = align(m, self.slots.destination, self.STAGES, name="destination")
        self._token_maximum(m, valid, destination, score)
        return m

    def _greater(self, m: Module, one: Value, other: Value, name: str) -> Value:
        m.submodules[f"greater_{name}"] = unit = Greater(SCORE_BITS)
        m.d.comb += [unit.one.eq(one), unit.other.eq(other)]
        return unit.more

    def _slot_maximum(self, m: Module) -> Value:
        """Of the scores of a slot, STAGES cycles later."""
        values: list[Value] = []
        for lane, (keep, value) in enumerate(zip(self.slots.destination.keep, self.slots.values, strict=True)):
            # -128 where there is no channel. The complement, to differ from the store's register.
            not_counted = Cat(~gated(value[:-1], keep), ~(value[-1] | ~keep))
            values.append((~replicate(m, not_counted, name=f"not_counted_{lane}")).as_signed())
        # A tree of pairs: each level compares, then selects; with few lanes each of these takes a cycle.
        steps = 2 * (len(values).bit_length() - 1)
        chooses: list[Value] = []
        for stage in range(self.STAGES):
            for step in range(steps * stage // self.STAGES, steps * (stage + 1) // self.STAGES):
                pairs = list(zip(values[::2], values[1::2], strict=True))
                if step % 2 == 0:
                    chooses = [self._greater(m, a, b, f"pair_{step // 2}_{i}") for i, (a, b) in enumerate(pairs)]
                else:
                    values = [Mux(a_larger, a, b) for a_larger, (a, b) in zip(chooses, pairs, strict=True)]
                    chooses = []
            chooses = [registered(m, one, name=f"a_larger_{stage}_{i}") for i, one in enumerate(chooses)]
            values = [registered(m, one, name=f"maximum_{stage}_{i}") for i, one in enumerate(values)]
        (score,) = values
        return score

    def _token_maximum(self, m: Module, valid: Value, destination: Any, score: Value) -> None:
        """Reads the token's maximum, compares with it, then with those of slots before if of the same token, writes.

        The last is forwarding: a maximum written less than four cycles ago is not in the memory yet.
        """
        m.submodules.memory = memory = Memory(shape=signed(SCORE_BITS), depth=self._config.max_tokens, init=[])
        write, read = memory.write_port(), memory.read_port()
        valids, destinations = [valid], [destination]
        for i in range(1, 5):
            destinations.append(align(m, destinations[-1], 1, name=f"destination_{i}"))
            valids.append(align(m, valids[-1], 1, name=f"valid_{i}", reset=True))
        # The slot so many cycles before is of the same token.
        same = [
            registered(m, valids[i] & (destinations[i].token == destination.token), name=f"same_{i}")
            for i in range(1, 5)
        ]
        same_one = align(m, same[0], 1, name="same_one")
        same_two = align(m, same[1], 1, name="same_two")
        first = align(m, destination.piece == 0, 2, name="first")
        same_now = registered(m, same_one & ~first, name="same_now")
        score = align(m, score, 1, name="score")
        alone = Signal(signed(SCORE_BITS), name="alone", reset_less=True)  # without the slots before
        top = Signal(signed(SCORE_BITS), name="top", reset_less=True)
        written = align(m, top, 1, name="written")
        kept = Signal(signed(SCORE_BITS), name="kept", reset_less=True)
        m.d.sync += kept.eq(Mux(same[2], top, Mux(same[3], written, read.data)))
        # With the slot two before: compared in one cycle, selected in the next. The slot before has all before it.
        two_larger = registered(
            m, same_two & ~same_one & ~first & self._greater(m, top, score, "two_before"), name="two_larger"
        )
        kept_is_older = first | same_one | same_two
        m.d.sync += alone.eq(Mux(kept_is_older | self._greater(m, score, kept, "kept"), score, kept))
        m.d.sync += top.eq(Mux(same_now & self._greater(m, top, alone, "before"), top, Mux(two_larger, written, alone)))
        m.d.comb += [
            read.addr.eq(destination.token),
            write.en.eq(valids[-1]),
            write.addr.eq(destinations[-1].token),
            write.data.eq(top),
        ]
        # In step with `written`.
        m.d.comb += [
            self.maximum.enable.eq(align(m, write.en, 1, name="enable", reset=True)),
            self.maximum.row.eq(align(m, destinations[-1].row, 1, name="row")),
            self.maximum.tile.eq(align(m, destinations[-1].tile, 1, name="tile")),
            self.maximum.value.eq(written),
        ]


class Writer(wiring.Component):
    """Writes a cycle's results to all of their destinations. Channels that do not exist are zero.

    Members
    -------
    instruction : steady, in
    results : `Results`, in
    store_write : of the activation store, out
    residual_read, residual_write : `ResidualRead`, `ResidualWrite`, out
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
                "results": In(Results(config)),
                "store_write": Out(store_write(config)),
                "residual_read": Out(ResidualRead(config)),
                "residual_write": Out(ResidualWrite(config)),
                "statistics": Out(elements_write(config)),
                "maximum": Out(row_maximum(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, results = self._config, self.instruction, self.results
        m.submodules.activation_store_writer = store = ActivationStoreWriter(c)
        m.submodules.residual_writer = residual = ResidualWriter(c)
        m.submodules.maxima = maxima = Maxima(c)

        kept = Signal()
        to_residual = Signal()  # known long before the first results
        m.d.sync += to_residual.eq(
            instruction.to_residual | (instruction.opcode == Op.POOL) | (instruction.opcode == Op.GATHER)
        )
        m.d.comb += [
            kept.eq(results.valid & results.destination.keep[0]),
            store.slots.valid.eq(kept & instruction.to_store),
            residual.slots.valid.eq(kept & to_residual),
            residual.add.eq(instruction.add),
            maxima.slots.valid.eq(kept & instruction.maximum),
        ]
        for part in (store, residual, maxima):
            m.d.comb += part.slots.destination.eq(results.destination)
        for lane, keep in enumerate(results.destination.keep):
            m.d.comb += [
                residual.slots.values[lane].eq(Mux(keep, results.wide[lane], 0)),
                store.slots.values[lane].eq(Mux(keep, results.narrow[lane], 0)),
                maxima.slots.values[lane].eq(results.narrow[lane]),
            ]

        connect(m, residual.read, flipped(self.residual_read))
        connect(m, residual.write, flipped(self.residual_write))
        last = results.valid & results.destination.last
        m.d.comb += [
            self.store_write.eq(store.write),
            self.statistics.eq(residual.statistics),
            self.maximum.eq(maxima.maximum),
            self.finished.eq(align(m, last, self.LATENCY, name="finished", reset=True)),
        ]
        return m
