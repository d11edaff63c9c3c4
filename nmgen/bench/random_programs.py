"""Random configurations of STA and random programs for them: encoders of every shape, their integers drawn at random.

No float model stands behind them, and behind some programs no encoder either (`nmgen.compiler.random_instructions`).
Factors are such that results of every kind use most of their bits, some saturate, and patterns are drawn for every
layer anew.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.program import Program
from nmgen.compiler.random_instructions import random_instructions
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.vit.compiler import compile_vit
from pruning.files.artefact import Layer
from rtl.params import InputError, ceil_div, round_up
from rtl.sta.params import StaConfig

if TYPE_CHECKING:  # they import torch
    from pruning.encoder.parameters import BlockParameters, Factor, Norm
    from pruning.families.bert.parameters import IntegerParameters
    from pruning.families.vit.parameters import VitParameters
    from pruning.families.vit.shape import ViTShape
    from pruning.integers.rescale import Rescale

Loaded = tuple[Program, NDArray[np.uint8]]  # and the memory with what the host writes in it

VOCABULARY = 23
POSITIONS = 64
OPERAND = 40.0  # what 8 bits deviate by: most are used, few saturate
WIDE = 6000.0  # the same of 16 bits
HEAD_SIZES = (8, 8, 16, 24, 32)


def random_configuration(rng: random.Random, side: int = 4) -> StaConfig:
    """Any legal one, the array small: its Verilog has to be built. side : most rows and columns; one may be twice it"""
    m = rng.choice((2, 4, 4, 8, 8, 8, 16, 16, 32))
    sides = [rng.randint(1, side), rng.randint(1, side)]
    if rng.random() < 0.3:
        sides[rng.randrange(2)] = rng.randint(side + 1, 2 * side)
    divisors = [groups for groups in range(1, sides[0] + 1) if sides[0] % groups == 0]
    return StaConfig(
        n=rng.randint(1, min(m, 4)),
        m=m,
        rows=sides[0],
        cols=sides[1],
        drain=rng.choice((1, 2, 4, 4, 8)),
        port_bytes=rng.choice((1, 2, 2, 4, 4, 8, 8, 16, 16, 32)),
        max_tokens=rng.randint(12, 40),
        max_k=rng.randint(48, 160),
        hidden=rng.randint(24, 64),
        store_words=rng.choice((rng.randint(20, 60), rng.randint(60, 300), rng.randint(300, 2000))),
        groups=rng.choice((1, rng.choice(divisors))),
    )


def random_program(rng: random.Random, config: StaConfig, tries: int = 100) -> Loaded:
    """A small encoder that fits the configuration, of the BERT family or a ViT, or instructions of every kind.

    Raises
    ------
    InputError : none of so many tries fits.
    """
    found = None
    for _ in range(tries):
        try:
            kind = rng.random()
            if kind < 0.2:
                return random_instructions(rng, config)
            return _Drawn(rng, config).picture() if kind < 0.4 else _Drawn(rng, config).sentences()
        except InputError as error:
            found = error
    raise InputError(f"none of {tries} random encoders fits {config}: {found}")


def random_encoder(
    rng: random.Random,
    config: StaConfig,
    *,
    hidden: int,
    heads: int,
    inner: int,
    layers: int,
    pattern: str,
    tokens: int,
) -> "IntegerParameters":
    """An encoder of text of that shape, all linear layers N:M of the pattern, for sequences of so many tokens.

    Each block has an exponential of its own, as trained ones have.
    """
    drawn = _Drawn(rng, config)
    drawn.shape(hidden, heads, inner, layers, pattern)
    return drawn.encoder(0, tokens)


class _Drawn:
    """An encoder: its shape and its integers."""

    def __init__(self, rng: random.Random, config: StaConfig) -> None:
        self._rng, self._c = rng, config
        self._numbers = np.random.default_rng(rng.getrandbits(64))
        size = rng.choice(HEAD_SIZES)
        self._heads = rng.randint(1, max(1, config.hidden // size))
        self._hidden = self._heads * size
        self._inner = rng.randint(1, config.max_groups * config.m)
        self._layers = rng.choice((1, 1, 2))
        self._pattern: tuple[int, int] | None = None  # of every layer; none: of each its own

    def shape(self, hidden: int, heads: int, inner: int, layers: int, pattern: str) -> None:
        """In place of what was drawn."""
        n, m = map(int, pattern.split(":"))
        self._hidden, self._heads, self._inner, self._layers, self._pattern = hidden, heads, inner, layers, (n, m)

    # --- whole ones ----------------------------------------------------------------------------
    def sentences(self) -> Loaded:
        rng, c = self._rng, self._c
        lengths: list[int] = []
        while not lengths or rng.random() < 0.5:
            lengths.append(rng.choice((1, rng.randint(1, 8), rng.randint(1, c.max_tokens))))
            if sum(round_up(tokens, c.rows) for tokens in lengths) > c.max_tokens:
                lengths = lengths[:-1] or [rng.randint(1, c.max_tokens)]
                break
        classes = rng.choice((0, 0, rng.randint(1, min(9, c.hidden))))
        parameters = self.encoder(classes)
        program = compile_encoder(parameters, c, lengths)
        return program, program.image([[rng.randrange(VOCABULARY) for _ in range(tokens)] for tokens in lengths])

    def picture(self) -> Loaded:
        from pruning.families.vit.shape import ViTShape

        rng = self._rng
        patch, patches = rng.randint(2, 5), rng.choice((1, 2, 2, 3))
        shape = ViTShape(
            image=patch * patches,
            patch=patch,
            channels=rng.choice((1, 3)),
            hidden=self._hidden,
            layers=self._layers,
            heads=self._heads,
            intermediate=self._inner,
            labels=rng.choice((0, rng.randint(1, min(9, self._c.hidden)))),
        )
        images = rng.choice((1, 1, 2))
        program = compile_vit(self.vit(shape), self._c, images)
        pixels = shape.patch**2 * shape.channels
        drawn = self._numbers.integers(-128, 128, (images, shape.tokens, pixels)).astype(np.int8)
        drawn[:, 0] = 0  # the class token's
        return program, program.image_of_patches(list(drawn))

    # --- parameters ----------------------------------------------------------------------------
    def encoder(self, classes: int, positions: int = POSITIONS) -> "IntegerParameters":
        from pruning.families.bert.model import Shape
        from pruning.families.bert.parameters import Head, IntegerParameters

        hidden = self._hidden
        shape = Shape(
            hidden=hidden,
            layers=self._layers,
            heads=self._heads,
            intermediate=self._inner,
            activation="gelu",
            positions=positions,
            first_position=0,
            vocabulary=VOCABULARY,
            types=0,
            epsilon=1e-12,
        )
        head = None
        if classes:
            norm = self.norm("head.operand", operand=True, normalise=False)
            head = Head(norm=norm, layer=self.layer("head", classes, hidden, out_bits=16), scale=1.0)
        return IntegerParameters(
            shape=shape,
            words=self._wide((VOCABULARY, hidden)),
            positions=self._wide((positions, hidden)),
            norm=self.norm("embeddings.LayerNorm", operand=True),
            blocks=tuple(self.block(i, last_operand=i + 1 < self._layers) for i in range(self._layers)),
            head=head,
            scale=1.0,
        )

    def vit(self, shape: "ViTShape") -> "VitParameters":
        from pruning.families.vit.parameters import VitParameters

        labels, layers = shape.labels, shape.layers
        return VitParameters(
            shape=shape,
            initial=self._wide((shape.tokens, shape.hidden)),
            projection=self.layer("projection", shape.hidden, shape.patch**2 * shape.channels, out_bits=16),
            norm=self.norm("layernorm_before", operand=True),
            blocks=tuple(self.block(i, last_operand=i + 1 < layers or bool(labels)) for i in range(layers)),
            classifier=self.layer("classifier", labels, shape.hidden, out_bits=16) if labels else None,
            scale=1.0,
        )

    def block(self, i: int, *, last_operand: bool) -> "BlockParameters":
        from pruning.encoder.parameters import BlockParameters, exponential

        name, hidden, inner = f"encoder.layer.{i}", self._hidden, self._inner
        own = f"{name}.attention.self"
        size = hidden // self._heads
        return BlockParameters(
            name=name,
            query=self.layer(f"{own}.query", hidden, hidden),
            key=self.layer(f"{own}.key", hidden, hidden),
            value=self.layer(f"{own}.value", hidden, hidden),
            scores=self._factor(1 / (OPERAND * size**0.5)),
            exponential=exponential(0.01 + 0.001 * i if self._pattern else self._rng.choice((0.003, 0.03, 0.3))),
            context=self._factor(self._rng.uniform(0.7, 3)),
            attention_output=self.layer(f"{name}.attention.output.dense", hidden, hidden, out_bits=16),
            attention_norm=self.norm(f"{name}.attention.output.LayerNorm", operand=True),
            intermediate=self.layer(f"{name}.intermediate.dense", inner, hidden),
            table=self._numbers.integers(-32768, 32768, 256).astype(np.int16),
            table_rescale=self._rescale(inner, 19000.0),
            output=self.layer(f"{name}.output.dense", hidden, inner, out_bits=16),
            output_norm=self.norm(f"{name}.output.LayerNorm", operand=last_operand),
        )

    def layer(self, name: str, channels: int, k: int, *, out_bits: int = 8) -> Layer:
        """Of a pattern of its own: sparse or dense, of the configuration's groups or of others."""
        m = self._c.m if self._rng.random() < 0.8 else self._rng.choice((2, 4, 8, 16))
        n = self._rng.choice((min(self._c.n, m), self._rng.randint(1, m), m))
        if self._pattern:
            n, m = self._pattern
        groups = ceil_div(k, m)
        order = self._numbers.random((channels, groups, m)).argsort(axis=2)
        weights = np.where(order < n, self._numbers.integers(-127, 128, (channels, groups, m)), 0)
        spread = OPERAND * 73 * (k * n / m) ** 0.5  # of a sum of products
        wanted = (OPERAND if out_bits == 8 else WIDE) / spread
        factors = [self._factor(wanted * self._rng.uniform(0.5, 2)) for _ in range(channels)]
        return Layer(
            name=name,
            n=n,
            m=m,
            weights=weights.reshape(channels, -1)[:, :k].astype(np.int8),
            bias=self._numbers.normal(0, spread / 2, channels).astype(np.int32),
            mult=np.array([one.mult for one in factors], np.uint16),
            shift=np.array([one.shift for one in factors], np.uint8),
            out_bits=out_bits,
        )

    def norm(self, name: str, *, operand: bool, normalise: bool = True) -> "Norm":
        from pruning.encoder.parameters import Factor, Norm

        hidden, draw = self._hidden, self._numbers
        if normalise:
            factors = [self._factor(WIDE / (1 << 16) * self._rng.uniform(0.5, 2)) for _ in range(hidden)]
        else:
            factors = [Factor(1 << 15, 15)] * hidden
        return Norm(
            name=name,
            epsilon=int(draw.integers(0, 1 << 20)) if normalise else 0,
            bias=draw.normal(0, 20000, hidden).astype(np.int32) * normalise,
            mult=np.array([one.mult for one in factors], np.uint16),
            shift=np.array([one.shift for one in factors], np.uint8),
            negate=(draw.integers(0, 2, hidden) * normalise).astype(np.uint8),
            operand=self._rescale(hidden, WIDE) if operand else None,
            normalise=normalise,
        )

    # --- numbers -------------------------------------------------------------------------------
    def _wide(self, shape: Sequence[int]) -> NDArray[np.int16]:
        return self._numbers.normal(0, WIDE, shape).clip(-32768, 32767).astype(np.int16)

    def _rescale(self, channels: int, spread: float) -> "Rescale":
        """From 16 bits that deviate by spread."""
        from pruning.integers.rescale import Rescale

        shift = 14
        factors = OPERAND / spread * 2.0**shift * self._numbers.uniform(0.5, 2, channels)
        return Rescale(factors.round().clip(1, 511).astype(np.uint16), shift)

    @staticmethod
    def _factor(real: float) -> "Factor":
        from pruning.encoder.parameters import Factor

        shift = 15
        while real * 2**shift >= 1 << 16:
            shift -= 1
        while real * 2**shift < 1 << 15:
            shift += 1
        return Factor(min(round(real * 2**shift), (1 << 16) - 1), shift)
