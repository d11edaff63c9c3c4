"""Every integer that the accelerator needs of a ViT, made from the float model and its scales.

The rules are those of pruning/integer_parameters.py, whose blocks these are: their LayerNorms stand one earlier, so
that block i holds layernorm_after of its own and layernorm_before of block i + 1, the last block the final one. What
a LayerNorm computes goes to the operand alone, and the residual stays; where nothing reads an operand, to the residual.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pruning.artefact import Layer
from pruning.bert import ACTIVATIONS
from pruning.integer import requantise
from pruning.integer_parameters import BlockParameters, Norm, exponential, factor, layer_norm
from pruning.quantise import integer_layer
from pruning.rescale import Rescale, representable, represented, rescale
from pruning.vit import ViT, ViTShape
from pruning.vit_calibrate import GREY, Pixels, Scales, blocks_of

DENSE = (8, 8)  # the pattern of a layer that is not named


@dataclass(frozen=True, kw_only=True, eq=False)
class VitParameters:
    """All of a ViT.

    Parameters
    ----------
    initial : int16 [tokens, hidden]: what the residual begins as, before the patches' projection is added
    projection : of the patches, 16 bits; of a class token's zeros it gives what `initial` lacks there
    norm : layernorm_before of the first block
    classifier : of the class token, 16 bits that cannot saturate; None where there is none
    scale : of a logit or, without a classifier, of the class token's state
    """

    shape: ViTShape
    initial: np.ndarray
    projection: Layer
    norm: Norm
    blocks: tuple[BlockParameters, ...]
    classifier: Layer | None
    scale: float


def vit_parameters(
    model: ViT, scales: Scales, pixels: Pixels, patterns: Mapping[str, tuple[int, int]] | None = None
) -> VitParameters:
    """The integers of a float ViT, masked or with its masks baked in.

    patterns : (n, m) by layer; a layer that is not named is dense. Each group of each layer is checked.

    Raises
    ------
    InputError : a number that the accelerator's instructions do not hold, or a broken pattern, named.
    """
    maker = _Maker(model, scales, patterns or {})
    projection = maker.projection(pixels)
    blocks = tuple(maker.block(i) for i in range(model.shape.layers))
    classifier, scale = maker.classifier() if model.shape.labels else (None, float(scales["layernorm"]))
    return VitParameters(
        shape=model.shape,
        initial=_initial(model, projection, float(scales["residual"])),
        projection=projection,
        norm=maker.norm_before(0),
        blocks=blocks,
        classifier=classifier,
        scale=scale,
    )


class _Maker:
    def __init__(self, model: ViT, scales: Scales, patterns: Mapping[str, tuple[int, int]]) -> None:
        self._model, self._scales, self._patterns = model, scales, patterns
        self._shape, self._blocks = model.shape, blocks_of(model)

    def projection(self, pixels: Pixels) -> Layer:
        """The mean of the pixels goes into the bias, their deviation into the weights."""
        convolution = self._model.embeddings.patch_embeddings.projection
        weight = convolution.weight.detach().double()  # [hidden, channels, side, side]
        mean, deviation = (torch.tensor(part).double()[:, None, None] for part in (pixels.mean, pixels.deviation))
        bias = (weight * (GREY - mean) / deviation).sum(dim=(1, 2, 3))
        if convolution.bias is not None:
            bias = bias + convolution.bias.detach()
        x_scale = (1 / deviation).expand(weight.shape[1:]).flatten()
        name = "embeddings.patch_embeddings.projection"
        return self._layer(name, weight.flatten(1), bias, x_scale, self._scales["residual"], out_bits=16)

    def norm_before(self, i: int) -> Norm:
        """layernorm_before of a block; behind the last one, the final LayerNorm."""
        if i == len(self._blocks):
            return self._norm("layernorm", self._model.layernorm, "classifier.operand" if self._shape.labels else None)
        name = f"encoder.layer.{i}"
        return self._norm(
            f"{name}.layernorm_before", self._blocks[i].layernorm_before, f"{name}.attention.attention.operand"
        )

    def block(self, i: int) -> BlockParameters:
        block, name = self._blocks[i], f"encoder.layer.{i}"
        own, feed, linears = f"{name}.attention.attention", f"{name}.intermediate", block.attention.attention
        q, k, v, scores, context, table, result = (
            self._scales[point]
            for point in (
                *(f"{own}.{part}" for part in ("q", "k", "v", "scores")),
                f"{name}.attention.output.operand",
                f"{feed}.table",
                f"{feed}.result",
            )
        )
        x = self._operand(self.norm_before(i))
        norm_after = self._norm(f"{name}.layernorm_after", block.layernorm_after, f"{feed}.operand")
        table_rescale = self._rescale(float(result), f"{name}.output.operand")
        inner = torch.from_numpy(represented(float(result), table_rescale))
        return BlockParameters(
            name=name,
            query=self._linear(f"{own}.query", linears.query, x, q),
            key=self._linear(f"{own}.key", linears.key, x, k),
            value=self._linear(f"{own}.value", linears.value, x, v),
            scores=factor(f"{own}.scores", float(q * k / scores) / (self._shape.hidden // self._shape.heads) ** 0.5),
            exponential=exponential(float(scores)),
            context=factor(f"{own}.context", float((v / context).mean())),
            attention_output=self._added(f"{name}.attention.output.dense", block.attention.output.dense, context),
            attention_norm=norm_after,
            intermediate=self._linear(f"{feed}.dense", block.intermediate.dense, self._operand(norm_after), table),
            table=self._table(table, result),
            table_rescale=table_rescale,
            output=self._added(f"{name}.output.dense", block.output.dense, inner),
            output_norm=self.norm_before(i + 1),
        )

    def classifier(self) -> tuple[Layer, float]:
        """With the scale of a logit: no operand and no bias takes one beyond 16 bits."""
        linear, x = self._model.classifier, self._operand(self.norm_before(len(self._blocks)))
        assert isinstance(linear, nn.Linear)
        largest = linear.weight.detach().double().abs() @ (128 * x)
        if linear.bias is not None:
            largest = largest + linear.bias.detach().abs()
        scale = float(largest.max() * 1.01 or 1.0) / 32767
        return self._linear("classifier", linear, x, torch.tensor(scale, dtype=torch.float64), out_bits=16), scale

    def _operand(self, norm: Norm) -> Tensor:
        """float64 [channels]: the scales of what a NORM gives in 8 bits."""
        assert norm.operand
        return torch.from_numpy(represented(float(self._scales[norm.name]), norm.operand))

    def _added(self, name: str, linear: nn.Linear, x_scale: Tensor) -> Layer:
        return self._linear(name, linear, x_scale, self._scales["residual"], out_bits=16)

    def _linear(self, name: str, linear: nn.Linear, x_scale: Tensor, y_scale: Tensor, *, out_bits: int = 8) -> Layer:
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
        return self._layer(name, linear.weight.detach(), bias, x_scale, y_scale, out_bits=out_bits)

    def _layer(
        self, name: str, weight: Tensor, bias: Tensor, x_scale: Tensor, y_scale: Tensor, *, out_bits: int
    ) -> Layer:
        n, m = self._patterns.get(name, DENSE)
        return integer_layer(name, weight, bias, n, m, x_scale=x_scale, y_scale=y_scale, out_bits=out_bits)

    def _norm(self, name: str, norm: nn.LayerNorm, operand: str | None) -> Norm:
        y_scale = float(self._scales[name])
        return layer_norm(
            name,
            *(part.detach().double().numpy() for part in (norm.weight, norm.bias)),
            epsilon=norm.eps,
            x_scale=float(self._scales["residual"]),
            y_scale=y_scale,
            operand=None if operand is None else self._rescale(y_scale, operand),
        )

    def _rescale(self, wide: float, operand: str) -> Rescale:
        return rescale(wide, representable(wide, self._scales[operand].numpy()))

    def _table(self, x_scale: Tensor, y_scale: Tensor) -> np.ndarray:
        """int16 [256], by the input & 255."""
        inputs = torch.arange(-128, 128, dtype=torch.float64).roll(128) * x_scale
        found = (ACTIVATIONS[self._shape.activation](inputs) / y_scale).round().clamp(-32768, 32767)
        return np.asarray(found.to(torch.int16))


def _initial(model: ViT, projection: Layer, scale: float) -> np.ndarray:
    rows = model.embeddings.position_embeddings.detach()[0].double()
    rows = torch.cat((rows[:1] + model.embeddings.cls_token.detach()[0], rows[1:]))
    steps = (rows / scale).round()
    factors = torch.from_numpy(np.ldexp(projection.mult.astype(np.float64), -projection.shift.astype(np.int64)))
    steps[0] -= requantise(torch.zeros(1), torch.from_numpy(projection.bias.astype(np.float64)), factors, 16)
    return np.asarray(steps.clamp(-32768, 32767).to(torch.int16))
