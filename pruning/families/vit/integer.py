"""The integer ViT: what the accelerator computes, instruction after instruction, bit for bit.

Its numbers and its arithmetic are those of pruning/encoder/integer.py. Shapes are those of one picture, [tokens,
…], or of several, [images, tokens, …].
"""

import torch
from torch import Tensor

from pruning.encoder.integer import (
    IntegerBlock,
    IntegerLinear,
    IntegerNorm,
    Note,
    Step,
    as_float,
    no_note,
    noted,
    saturate,
)
from pruning.encoder.parameters import BlockParameters
from pruning.families.vit.calibrate import patches_of
from pruning.families.vit.parameters import VitParameters


class IntegerViT:
    """Pictures uint8 [images, channels, side, side] → logits, as a float ViT of the same pixels."""

    def __init__(self, parameters: VitParameters) -> None:
        p = self.parameters = parameters
        self._initial, self._projection = as_float(p.initial), IntegerLinear(p.projection)
        self._norm = _PreNorm(p.norm)
        self._blocks = [_PreNormBlock(block, p.shape.heads) for block in p.blocks]
        self._classifier = IntegerLinear(p.classifier) if p.classifier else None

    @torch.inference_mode()
    def steps(self, image: Tensor) -> list[Step]:
        """Every instruction of one picture uint8 [channels, side, side], in order, with what it leaves behind."""
        steps: list[Step] = []
        self._results(image[None], noted(steps))
        return steps

    @torch.inference_mode()
    def results(self, images: Tensor) -> Tensor:
        """int16 [images, labels], the logits, or [images, hidden], the class token's state, in steps of
        parameters.scale."""
        return self._results(images, no_note).to(torch.int16)

    def logits(self, images: Tensor) -> Tensor:
        """float [images, labels]."""
        return self.results(images).float() * self.parameters.scale

    def _results(self, images: Tensor, note: Note) -> Tensor:
        patches = patches_of(self.parameters.shape, images).float()
        if note is not no_note:
            patches = patches[0]
        residual = self._initial.expand(*patches.shape[:-1], -1)
        note("embeddings.position_embeddings", None, residual)
        note("patches", patches, None)
        residual = saturate(residual + self._projection(patches), 16)
        note(self._projection.name, None, residual)
        residual, operand = self._norm(residual, note)
        for block in self._blocks:
            assert operand is not None
            residual, operand = block(residual, operand, None, note)
        if self._classifier is None:
            return residual[..., 0, :]
        assert operand is not None
        logits = self._classifier(operand[..., :1, :])
        note(self._classifier.name, None, logits)
        return logits[..., 0, :]


class _PreNorm(IntegerNorm):
    """The residual stays as it is where there is an operand."""

    def __call__(self, r: Tensor, note: Note) -> tuple[Tensor, Tensor | None]:
        y, operand = super().__call__(r, no_note)
        note(self._norm.name, operand, y if operand is None else None)
        return (y if operand is None else r), operand


class _PreNormBlock(IntegerBlock):
    def __init__(self, block: BlockParameters, heads: int) -> None:
        super().__init__(block, heads)
        self._attention_norm, self._output_norm = _PreNorm(block.attention_norm), _PreNorm(block.output_norm)
