"""Layer normalisation in integers: sums of each token as it is written, a reciprocal root, a product an element.

With S = Σ r and Q = Σ r² over H elements, H²·variance is V = H·Q − S² + epsilon, and an element becomes
(H·r − S) / √V with Z_FRACTION bits behind the point. R · 2^−(36+e) is 1 / √V.
"""

from collections.abc import Iterable
from math import isqrt
from typing import NamedTuple

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import align, cleared, gated, hard_register, relay, replicate
from rtl.params import signed_bits
from rtl.sta.instances import LANE, SQUARE
from rtl.sta.latencies import NORMALISER_LATENCY
from rtl.sta.params import RADICAND_BITS, RESIDUAL_BITS, ROOT_BITS, Z_FRACTION, StaConfig
from rtl.sta.results.arithmetic import LOW_BITS, differs, shifted
from rtl.sta.results.reciprocal_square_root import ReciprocalSquareRoot, scaling, sums, token_scaling

Z_TOP = (1 << (signed_bits(64 << Z_FRACTION) - 1)) - 1


def statistics(row: Iterable[int]) -> tuple[int, int]:
    """Sum and sum of squares of a token's elements."""
    elements = list(row)
    return sum(elements), sum(r * r for r in elements)


def reciprocal_square_root(S: int, Q: int, hidden: int, epsilon: int) -> tuple[int, int, int]:
    """(S, R, e) that normalise the token. R is 0 where the variance is not positive."""
    variance = hidden * Q - S * S + epsilon
    if variance <= 0:  # below 0 only if `hidden` is not the number of elements summed
        return S, 0, 0
    e = (variance.bit_length() - RADICAND_BITS + 1) // 2  # rounded towards +∞: 39 or 40 bits are left
    root = isqrt(variance >> 2 * e if e > 0 else variance << -2 * e)
    return S, min((1 << ROOT_BITS) - 1, ((1 << 36) + (root >> 1)) // root), e


def normalise(r: int, S: int, R: int, e: int, hidden: int) -> int:
    """(H·r − S) / √V with Z_FRACTION bits behind the point, rounded to the nearest, half upwards."""
    z = ((hidden * r - S) * R + (1 << (19 + e))) >> (20 + e)
    return max(-Z_TOP - 1, min(Z_TOP, z))


def elements_write(config: StaConfig) -> data.StructLayout:
    """A word written to the residual; `first` marks the first one of a token."""
    return data.StructLayout(
        {
            "enable": 1,
            "token": range(config.max_tokens),
            "first": 1,
            "values": data.ArrayLayout(signed(RESIDUAL_BITS), config.drain_lanes),
        }
    )


class _Stages(NamedTuple):
    """Of each stage that words and requests pass, a cycle each: what is in it."""

    token: list[Signal]
    enable: list[Signal]  # a word
    first: list[Signal]  # of its token
    request: list[Signal]


class Statistics(wiring.Component):
    """Sums S and Q of every token, updated as the residual is written, and `reciprocal_square_root` of them on request.

    Words of any tokens may come in any order, one a cycle, also of one token in consecutive cycles. A request counts
    all words before it, and is accepted only in cycles without a word. Answers come in the order of the requests, each
    within LATENCY cycles; they are at most INTERVAL cycles apart if words leave room for the requests.

    Members
    -------
    write : `elements_write`, in
    request : tokens whose scaling is wanted, stream in
    channels : H, steady while a request is worked on, in
    epsilon : as `channels`, in
    answer : `token_scaling`, for one cycle each, out
    """

    INTERVAL = 26
    LATENCY = 5 * INTERVAL  # 81 to 100 with no token ahead of it

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "write": In(elements_write(config)),
                "request": In(stream.Signature(range(config.max_tokens))),
                "channels": In(range(config.hidden + 1)),
                "epsilon": In(32),
                "answer": Out(token_scaling(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.reciprocal_square_root = root = ReciprocalSquareRoot(c)
        stages = self._stages(m, root.ready)
        # Stage 2 reads the memories, 4 has their words, 5 adds, 6 writes.
        total = Signal(sums(c), reset_less=True)
        read = self._memories(m, stages, total)
        before = self._sums_before(m, stages, read, total)
        part = self._part(m)
        m.d.sync += [total.sum.eq(before.sum + part.sum), total.squares.eq(before.squares + part.squares)]

        magnitude = Signal(len(before.sum))
        m.d.comb += [
            magnitude.eq(Mux(before.sum < 0, -before.sum, before.sum)),
            root.channels.eq(self.channels),
            root.epsilon.eq(self.epsilon),
            root.request.valid.eq(stages.request[6]),
            root.request.token.eq(stages.token[6]),
            root.request.sums.eq(relay(m, before, name="requested_sums")),
            root.request.magnitude.eq(relay(m, magnitude, name="requested_magnitude")),
            self.answer.eq(root.answer),
        ]
        return m

    def _stages(self, m: Module, ready: Signal) -> _Stages:
        """Words and requests on their way: a request goes through the words' pipeline, and so sees those before it."""
        requested = Signal()  # a request is on its way: one at a time
        accepted = Signal()
        # Words wait a cycle, while their squares are under way.
        enable = [align(m, self.write.enable, 1, name="enable_0", reset=True)]
        first = [align(m, self.write.first, 1, name="first_0")]
        m.d.comb += [
            self.request.ready.eq(~enable[0] & ~requested & ready),
            accepted.eq(self.request.valid & self.request.ready),
        ]
        token_in = Signal(range(self._config.max_tokens))
        m.d.comb += token_in.eq(Mux(enable[0], align(m, self.write.token, 1, name="word_token"), self.request.payload))
        token, request = [token_in], [accepted]
        for i in range(1, 8):
            token.append(align(m, token[-1], 1, name=f"token_{i}"))
            enable.append(align(m, enable[-1], 1, name=f"enable_{i}", reset=True))
            request.append(align(m, request[-1], 1, name=f"request_{i}", reset=True))
            first.append(align(m, first[-1], 1, name=f"first_{i}"))
        with m.If(accepted):
            m.d.sync += requested.eq(1)
        with m.If(request[6]):
            m.d.sync += requested.eq(0)
        return _Stages(token, enable, first, request)

    def _memories(self, m: Module, stages: _Stages, total: data.View) -> data.View:
        """The sums of every token so far. Each sum has a memory, with its own address."""
        token, enable = stages.token, stages.enable
        read = Signal(sums(self._config))
        squares_token = replicate(m, token[1], name="squares_token", enable=enable[1] | stages.request[1])
        for name, address in (("sum", token[2]), ("squares", squares_token)):
            width = read.shape()[name].width
            m.submodules[name] = memory = LutMemory(width=width, depth=self._config.max_tokens)
            m.d.comb += [
                memory.write.address.eq(token[6]),
                memory.write.data.eq(total[name]),
                memory.write.enable.eq(enable[6]),
                memory.read_address.eq(address),
                read[name].eq(memory.read_data),
            ]
        return read

    def _sums_before(self, m: Module, stages: _Stages, read: data.View, total: data.View) -> data.View:
        """What a token's sums were before the word in stage 5; the word's own sums are `total` in stage 6.

        Forwarding: a word of the same token in stages 5 to 8 has newer sums than the memory; the latest one counts.
        Tokens are compared a cycle before.
        """
        token, enable, first = stages.token, stages.enable, stages.first
        held = Signal(sums(self._config), reset_less=True)
        before = Signal(sums(self._config))
        zero = Const(0, held.shape().size)
        is_same_5 = enable[5] & (token[5] == token[4]) & ~(first[4] & enable[4])
        same_5 = {
            name: replicate(m, is_same_5, name=f"same_5_{name}", distinct_init=init, reset=True)
            for name, init in (("sum", 0), ("squares", 1))
        }
        m.d.sync += held.eq(read)
        total_7 = align(m, total, 1, name="total_7")
        total_8 = align(m, total_7, 1, name="total_8")
        for stage, later in ((8, total_8), (7, total_7), (6, total)):
            same = Signal(name=f"same_{stage}")
            m.d.sync += same.eq(enable[stage - 1] & (token[stage - 1] == token[3]))
            with m.If(same):
                m.d.sync += held.eq(later)
        with m.If(first[4] & enable[4]):
            m.d.sync += held.as_value().eq(zero)
        m.d.comb += before.eq(held)
        for name, same in same_5.items():
            with m.If(same):
                m.d.comb += before[name].eq(total[name])
        return before

    def _part(self, m: Module) -> data.View:
        """Sums over the lanes, six cycles later."""
        c = self._config
        values = hard_register(m, self.write.values, name="values")
        part = Signal(sums(c), reset_less=True)
        square_bits = 2 * RESIDUAL_BITS
        squares = []
        for lane in range(c.drain_lanes):
            m.submodules[SQUARE.format(lane)] = square = Square(RESIDUAL_BITS)
            m.d.comb += square.value.eq(values[lane])
            squares.append(square.square)
        later = list(align(m, values, Square.LATENCY, name="values_later"))
        # An adder tree in two stages.
        for name, bits, lanes in (("sum", RESIDUAL_BITS, later), ("squares", square_bits, squares)):
            halves = []
            for i, half in enumerate((lanes[: len(lanes) // 2], lanes[len(lanes) // 2 :])):
                register = Signal(signed(bits + len(lanes).bit_length()), name=f"{name}_half_{i}", reset_less=True)
                m.d.sync += register.eq(sum(half))
                halves.append(register)
            m.d.sync += part[name].eq(halves[0] + halves[1])
        return part


class Square(wiring.Component):
    """A multiplier with its registers.

    Parameters
    ----------
    bits : of the value

    Members
    -------
    value : signed, in
    square : 2·bits signed, LATENCY cycles later, out
    """

    LATENCY = 3

    def __init__(self, bits: int) -> None:
        super().__init__({"value": In(signed(bits)), "square": Out(signed(2 * bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = Signal.like(self.square, reset_less=True)
        m.d.sync += product.eq(self.value * self.value)
        # The second one is for the way from the multiplier.
        m.d.comb += self.square.eq(hard_register(m, product, cycles=2, name="product_later"))
        return m


class NormaliserLane(wiring.Component):
    """Normalises one element: a product in two halves. All inputs are registers of the Normaliser's.

    Members
    -------
    r : in the cycle of the scaling, in
    factor, offset, less : two, five, six cycles later, in
    z : z_bits signed, Normaliser.LATENCY cycles after r, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        shape = scaling(config)
        super().__init__(
            {
                "r": In(signed(RESIDUAL_BITS)),
                "factor": In(shape["factor"].shape),
                "offset": In(shape["offset"].shape),
                "less": In(shape["shift"].shape),
                "z": Out(signed(config.z_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._config.z_bits
        product_bits = RESIDUAL_BITS + len(self.factor)
        wide_bits = max(product_bits, len(self.offset)) + 1
        top = Const(Z_TOP, signed(bits))
        assert (1 << (bits - 1)) - 1 == Z_TOP
        r = align(m, self.r, 2, name="r")
        low = Signal(signed(RESIDUAL_BITS + LOW_BITS), reset_less=True)
        high = Signal(signed(product_bits + 1 - LOW_BITS), reset_less=True)
        product = Signal(signed(product_bits + 1), reset_less=True)
        difference = Signal(signed(wide_bits), reset_less=True)
        rounded = Signal(signed(wide_bits), reset_less=True)
        over = Signal(reset_less=True)
        kept = align(m, rounded[:bits].as_signed(), 1, name="kept")
        negative = align(m, rounded[-1], 1, name="negative")
        z = Signal(signed(bits), reset_less=True)
        m.d.sync += [
            low.eq(r * self.factor[:LOW_BITS]),
            high.eq(r * self.factor[LOW_BITS:]),
            product.eq(hard_register(m, low, name="low") + (hard_register(m, high, name="high") << LOW_BITS)),
            difference.eq(product - self.offset),
            rounded.eq((shifted(m, difference, self.less) + 1) >> 1),
            over.eq(differs(rounded[bits - 1 :], rounded[-1])),
            z.eq(Mux(over, top ^ negative.replicate(bits).as_signed(), kept)),
        ]
        m.d.comb += self.z.eq(z)
        return m


class Normaliser(wiring.Component):
    """`normalise` of drain_lanes elements of one token a cycle, LATENCY cycles later.

    Members
    -------
    r : elements of the residual, in
    scaling : of their token, from `Statistics`, in
    normalise : without it elements pass unchanged, in; may change with every word
    z : z_bits signed, out
    """

    # Select the scaling; operands; multiply (two) and add the halves; subtract; shift (two); round; detect overflow;
    # saturate.
    LATENCY = NORMALISER_LATENCY

    compute = staticmethod(normalise)

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        lanes = config.drain_lanes
        super().__init__(
            {
                "r": In(signed(RESIDUAL_BITS)).array(lanes),
                "scaling": In(scaling(config)),
                "normalise": In(1),
                "z": Out(signed(config.z_bits)).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        operands = Signal(scaling(c), reset_less=True)
        # Without, (2·r + 1) >> 1 is r.
        normalised = gated(self.scaling.as_value(), self.normalise)
        plain = Const({"factor": 2, "offset": 0, "shift": 1}, scaling(c)).as_value()
        m.d.sync += operands.as_value().eq(normalised | cleared(plain, self.normalise))
        factor = hard_register(m, operands.factor, name="factor")
        offset = align(m, operands.offset, 4, name="offset")
        shift = align(m, operands.shift, 4, name="shift")
        less = Signal.like(shift, reset_less=True)  # by one: the last bit goes with the rounding
        m.d.sync += less.eq(shift - 1)

        for i, (r, z) in enumerate(zip(self.r, self.z, strict=True)):
            m.submodules[LANE.format(i)] = lane = NormaliserLane(c)
            m.d.comb += [
                lane.r.eq(r),
                lane.factor.eq(factor),
                lane.offset.eq(offset),
                lane.less.eq(less),
                z.eq(lane.z),
            ]
        return m
