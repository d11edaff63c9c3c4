"""From the sums of a token to the factor and offset that normalise it, in five serial stages.

`layer_norm.reciprocal_square_root` defines the root; the last stage multiplies it by H and by S, so that an element
costs one product: (H·r − S)·R = r·(H·R) − S·R.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.divider import Divider
from rtl.params import signed_bits
from rtl.sta.latencies import (
    DIVISION_STAGE,
    RADICAND_STAGE,
    ROOT_STAGE,
    SCALE_STAGE,
    SerialStage,
    variance_digits,
    variance_stage,
)
from rtl.sta.params import RADICAND_BITS, RESIDUAL_BITS, ROOT_BITS, StaConfig

SQRT_BITS = RADICAND_BITS // 2
SHIFT_MIDDLE = 20  # an element's shift where e is 0
EPSILON_BITS = 32


def sums(config: StaConfig) -> data.StructLayout:
    """Sum and sum of squares of a token's elements."""
    return data.StructLayout(
        {
            "sum": signed(config.residual_sum_bits),
            "squares": unsigned((config.residual_elements << (2 * RESIDUAL_BITS - 2)).bit_length()),
        }
    )


def sum_magnitude(config: StaConfig) -> Shape:
    """The magnitude of a token's sum."""
    return unsigned((config.residual_elements << (RESIDUAL_BITS - 1)).bit_length())


def _variance_bits(config: StaConfig) -> int:
    """Bits of H²·variance, signed."""
    return signed_bits((config.residual_elements**2 << (2 * RESIDUAL_BITS - 2)) + (1 << EPSILON_BITS))


def scaling(config: StaConfig) -> data.StructLayout:
    """How a token's elements are normalised: z = (r · factor − offset + half) >> shift.

    factor : H·R
    offset : S·R
    shift : 20 + e, at least 1
    """
    elements = config.residual_elements
    return data.StructLayout(
        {
            "factor": unsigned((elements << ROOT_BITS).bit_length()),
            "offset": signed(signed_bits(elements << (RESIDUAL_BITS - 1 + ROOT_BITS))),
            "shift": range(32),
        }
    )


def token_scaling(config: StaConfig) -> data.StructLayout:
    """An answer of `Statistics`."""
    return data.StructLayout({"valid": 1, "token": range(config.max_tokens), "scaling": scaling(config)})


def _between(config: StaConfig, **fields: object) -> stream.Signature:
    """The stream from a stage to the next one: its fields, and those that every stage passes on."""
    passed = {"token": range(config.max_tokens), "sum": sums(config)["sum"].shape}
    return stream.Signature(data.StructLayout({**passed, **fields}))


@dataclass(frozen=True)
class _Work:
    """A stage's control signals."""

    load: Signal  # takes its operands
    step: Signal  # computes
    last: Signal  # in the last cycle of that


def _serial(m: Module, inputs: stream.Interface, outputs: stream.Interface, stage: SerialStage) -> _Work:
    """When a stage takes a token, computes, and gives it away."""
    full = Signal()
    work = _Work(load=Signal(name="load"), step=Signal(name="step"), last=Signal(name="last"))
    left = Signal(range(stage.steps + 1))
    working = Signal()  # left != 0
    m.d.comb += [
        outputs.valid.eq(full & ~working),
        inputs.ready.eq(~full | (outputs.valid & outputs.ready) if stage.at_once else ~full),
        work.load.eq(inputs.valid & inputs.ready),
        work.step.eq(full & working),
    ]
    with m.If(work.load):
        m.d.sync += [full.eq(1), left.eq(stage.steps), working.eq(1), work.last.eq(0)]
    with m.Elif(work.step):
        m.d.sync += [left.eq(left - 1), working.eq(~work.last), work.last.eq(left == 2)]
    with m.Elif(outputs.valid & outputs.ready):
        m.d.sync += full.eq(0)
    return work


def _pass(m: Module, work: _Work, inputs: stream.Interface, outputs: stream.Interface, *names: str) -> None:
    """Holds the fields that a stage passes on."""
    for name in ("token", "sum", *names):
        kept = Signal.like(inputs.payload[name], name=name, reset_less=True)
        with m.If(work.load):
            m.d.sync += kept.eq(inputs.payload[name])
        m.d.comb += outputs.payload[name].eq(kept)


class Variance(wiring.Component):
    """H·Q − S² + epsilon, two bits of H and of |S| a cycle, highest first."""

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "inputs": In(_between(config, magnitude=sum_magnitude(config), squares=sums(config)["squares"].shape)),
                "channels": In(range(config.hidden + 1)),
                "epsilon": In(EPSILON_BITS),
                "outputs": Out(_between(config, variance=_variance_bits(config) - 1, none=1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        given = self.inputs.payload
        digits = variance_digits(c)
        work = _serial(m, self.inputs, self.outputs, variance_stage(c))
        _pass(m, work, self.inputs, self.outputs)

        magnitude = Signal(2 * digits, reset_less=True)
        squares = Signal.like(given.squares, reset_less=True)
        sum_digits = Signal(2 * digits, reset_less=True)
        channel_digits = Signal(2 * digits, reset_less=True)
        plus = Signal(signed(_variance_bits(c)), reset_less=True)
        minus = Signal(signed(_variance_bits(c)), reset_less=True)
        term = Signal(signed(_variance_bits(c)), reset_less=True)
        variance = Signal(signed(_variance_bits(c)), reset_less=True)
        with m.If(work.load):
            m.d.sync += [
                magnitude.eq(given.magnitude),
                squares.eq(given.squares),
                sum_digits.eq(given.magnitude),
                channel_digits.eq(self.channels),
                plus.eq(0),
                minus.eq(0),
                term.eq(0),
                variance.eq(0),
            ]
        with m.If(work.step):
            m.d.sync += [
                sum_digits.eq(sum_digits << 2),
                channel_digits.eq(channel_digits << 2),
                plus.eq(_times(squares, channel_digits[-2:])),
                minus.eq(_times(magnitude, sum_digits[-2:])),
                term.eq(plus - minus),
                variance.eq((variance << 2) + term),
            ]
            with m.If(work.last):
                m.d.sync += variance.eq(variance + self.epsilon)
        m.d.comb += [self.outputs.payload.variance.eq(variance), self.outputs.payload.none.eq(variance <= 0)]
        return m


def _times(value: Signal, digit: Signal) -> Signal:
    """A product by 0, 1, 2 or 3."""
    return Mux(digit[0], value, 0) + Mux(digit[1], value << 1, 0)


class Radicand(wiring.Component):
    """The variance shifted by an even distance to RADICAND_BITS − 1 or RADICAND_BITS bits, two bits a cycle.

    It always takes the same time, so that a program's cycles do not depend on its data.
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "inputs": In(_between(config, variance=_variance_bits(config) - 1, none=1)),
                "outputs": Out(_between(config, radicand=RADICAND_BITS, shift=5, none=1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = Signal(max(RADICAND_BITS + 1, _variance_bits(self._config) - 1), reset_less=True)
        shift = Signal(5, reset_less=True)
        # Too small, or too large: registered when the value changes, by the two bits that are new each time.
        low = Signal()
        high = Signal()
        given = self.inputs.payload.variance
        work = _serial(m, self.inputs, self.outputs, RADICAND_STAGE)
        _pass(m, work, self.inputs, self.outputs, "none")
        with m.If(work.load):
            m.d.sync += [
                value.eq(given),
                low.eq(given[RADICAND_BITS - 2 :] == 0),
                high.eq(given[RADICAND_BITS:] != 0),
                shift.eq(SHIFT_MIDDLE),
            ]
        with m.If(work.step):
            with m.If(low & ~self.outputs.payload.none):
                m.d.sync += [value.eq(value << 2), shift.eq(shift - 1)]
                m.d.sync += low.eq(value[RADICAND_BITS - 4 : RADICAND_BITS - 2] == 0)
            with m.Elif(high):
                m.d.sync += [value.eq(value >> 2), shift.eq(shift + 1)]
                m.d.sync += high.eq(value[RADICAND_BITS + 2 :] != 0)
        m.d.comb += [self.outputs.payload.radicand.eq(value), self.outputs.payload.shift.eq(shift)]
        return m


class SquareRoot(wiring.Component):
    """The square root, rounded down, a bit a cycle."""

    def __init__(self, config: StaConfig) -> None:
        super().__init__(
            {
                "inputs": In(_between(config, radicand=RADICAND_BITS, shift=5, none=1)),
                "outputs": Out(_between(config, root=SQRT_BITS, shift=5, none=1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        work = _serial(m, self.inputs, self.outputs, ROOT_STAGE)
        _pass(m, work, self.inputs, self.outputs, "shift", "none")

        rest = Signal(RADICAND_BITS, reset_less=True)
        remainder = Signal(SQRT_BITS + 1, reset_less=True)  # at most twice the root
        root = Signal(SQRT_BITS, reset_less=True)
        wider = Signal(SQRT_BITS + 3)
        difference = Signal(signed(SQRT_BITS + 4))
        fits = Signal()
        m.d.comb += [
            wider.eq(Cat(rest[-2:], remainder)),
            difference.eq(wider - Cat(1, 0, root)),
            fits.eq(difference >= 0),
        ]
        with m.If(work.load):
            m.d.sync += [rest.eq(self.inputs.payload.radicand), remainder.eq(0), root.eq(0)]
        with m.If(work.step):
            m.d.sync += [
                rest.eq(rest << 2),
                remainder.eq(Mux(fits, difference, wider)),
                root.eq(Cat(fits, root)),
            ]
        m.d.comb += self.outputs.payload.root.eq(root)
        return m


class RootDivision(wiring.Component):
    """2^36 / root, rounded, at most 2^ROOT_BITS − 1, a bit a cycle; 0 where there is no variance."""

    def __init__(self, config: StaConfig) -> None:
        super().__init__(
            {
                "inputs": In(_between(config, root=SQRT_BITS, shift=5, none=1)),
                "outputs": Out(_between(config, inverse=ROOT_BITS, shift=5)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = DIVISION_STAGE.steps  # of the quotient
        work = _serial(m, self.inputs, self.outputs, DIVISION_STAGE)
        _pass(m, work, self.inputs, self.outputs, "shift")

        # The dividend is 2^36 + root / 2: its upper bits are 2^18 and the highest bit of root, which is 1.
        given = self.inputs.payload
        root = Signal(SQRT_BITS, reset_less=True)
        none = Signal(reset_less=True)
        m.submodules.divider = divider = Divider(SQRT_BITS, bits)
        m.d.comb += [
            divider.load.eq(work.load),
            divider.dividend.eq(Cat(given.root[1 : bits + 1], Const((1 << 18) + 1, SQRT_BITS))),
            divider.step.eq(work.step),
            divider.divisor.eq(root),
        ]
        with m.If(work.load):
            m.d.sync += [root.eq(given.root), none.eq(given.none)]
        quotient = divider.quotient
        largest = quotient[-1].replicate(ROOT_BITS)
        m.d.comb += self.outputs.payload.inverse.eq(Mux(none, 0, quotient[:ROOT_BITS] | largest))
        return m


class Scale(wiring.Component):
    """H·R and S·R, a bit of R a cycle, highest first."""

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "inputs": In(_between(config, inverse=ROOT_BITS, shift=5)),
                "channels": In(range(config.hidden + 1)),
                "answer": Out(token_scaling(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        outputs = _between(c, shift=5).create()
        work = _serial(m, self.inputs, outputs, SCALE_STAGE)
        _pass(m, work, self.inputs, outputs, "shift")

        inverse = Signal(ROOT_BITS, reset_less=True)
        factor = Signal(scaling(c)["factor"].shape, reset_less=True)
        offset = Signal(scaling(c)["offset"].shape, reset_less=True)
        with m.If(work.load):
            m.d.sync += [inverse.eq(self.inputs.payload.inverse), factor.eq(0), offset.eq(0)]
        with m.If(work.step):
            m.d.sync += [
                inverse.eq(inverse << 1),
                factor.eq((factor << 1) + Mux(inverse[-1], self.channels, 0)),
                offset.eq((offset << 1) + Mux(inverse[-1], outputs.payload.sum, 0)),
            ]
        m.d.comb += [
            outputs.ready.eq(1),
            self.answer.valid.eq(outputs.valid),
            self.answer.token.eq(outputs.payload.token),
            self.answer.scaling.factor.eq(factor),
            self.answer.scaling.offset.eq(offset),
            self.answer.scaling.shift.eq(outputs.payload.shift),
        ]
        return m


class ReciprocalSquareRoot(wiring.Component):
    """The five stages as a pipeline, a token in each.

    Members
    -------
    request : a token, its sums, and the magnitude of the first; `valid` for a cycle, only after `ready` was high and
        with no request since, in
    ready : out
    channels, epsilon : steady while it works, in
    answer : `token_scaling`, for one cycle each, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        request = {
            "valid": 1,
            "token": range(config.max_tokens),
            "sums": sums(config),
            "magnitude": sum_magnitude(config),
        }
        super().__init__(
            {
                "request": In(data.StructLayout(request)),
                "ready": Out(1),
                "channels": In(range(config.hidden + 1)),
                "epsilon": In(EPSILON_BITS),
                "answer": Out(token_scaling(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.variances = variance = Variance(c)
        m.submodules.radicand = radicand = Radicand(c)
        m.submodules.square_root = root = SquareRoot(c)
        m.submodules.reciprocal = reciprocal = RootDivision(c)
        m.submodules.scale = scale = Scale(c)
        stages: list[Any] = [variance, radicand, root, reciprocal, scale]
        for before, after in pairwise(stages):
            wiring.connect(m, before.outputs, after.inputs)
        m.d.comb += [
            variance.inputs.valid.eq(self.request.valid),
            variance.inputs.payload.token.eq(self.request.token),
            variance.inputs.payload.sum.eq(self.request.sums.sum),
            variance.inputs.payload.magnitude.eq(self.request.magnitude),
            variance.inputs.payload.squares.eq(self.request.sums.squares),
            self.ready.eq(variance.inputs.ready),
            variance.channels.eq(self.channels),
            variance.epsilon.eq(self.epsilon),
            scale.channels.eq(self.channels),
            self.answer.eq(scale.answer),
        ]
        return m
