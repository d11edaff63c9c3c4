"""The scales of an encoder of text, and biases for int8, from sentences that the float model reads.

The rules are those of pruning/encoder/scales.py. Each LayerNorm gives a residual of its own, and what is added shares a
scale. Embeddings have 16 bits and one scale for all tables, at which no sum of their rows saturates. How the operand
behind the activation function is smoothed is tried out, with the rounded float forward: local errors say little of it,
and the embeddings of 32 sentences what those of others are like.

Biases are changed in one run of the rounded model, each as its layer's results come: the layers behind it then read
what they will read.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from pruning.encoder.batches import Packed
from pruning.encoder.scales import (
    ACTIVATED,
    Scales,
    block_scales,
    operand_scale,
    represented,
    together,
    wide_scale,
    wide_scales,
)
from pruning.encoder.spread import spread
from pruning.families.bert import fake_quant
from pruning.families.bert.model import Encoder, bits_of
from pruning.integers.quantise import check_seen
from rtl.params import InputError

TOKENS = 128  # of a sentence that are read
TRIED_ON = 32  # sentences

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


def calibrate(model: Encoder, inputs: Sequence[str], others: Sequence[Encoder] = ()) -> dict[str, Tensor]:
    """Scales of all points of a float encoder.

    others : encoders with weights of this one, which are to have the same scales
    """
    sentences, models = representative(inputs), (model, *others)
    seen = together([observe(one, sentences) for one in models])
    choices = _choices(model, seen)
    return choices[_nearest(models, choices, [sentences[i] for i in spread(len(sentences), TRIED_ON)])]


@torch.no_grad()
def compensated(model: Encoder, scales: Scales, inputs: Sequence[str], on_grid: Encoder | None = None) -> Encoder:
    """A copy with biases that make up for what rounding shifts in each linear layer's results: by the median of the
    tokens, since a few have such large results in a channel that these saturate.

    on_grid : the encoder with weights as the integers have them, which is what is copied; None: they are rounded here
    """
    sentences = representative(inputs)
    batch = Packed([model.ids(sentences[i])[:TOKENS] for i in spread(len(sentences), TRIED_ON)])
    copy = deepcopy(on_grid or model)
    layers = copy.linears()
    wanted: dict[str, Tensor] = {}

    def noting(name: str) -> Hook:
        def note(_layer: nn.Module, _args: tuple[Tensor, ...], results: Tensor) -> None:
            wanted[name] = results[: batch.tokens].clone()

        return note

    def shifting(name: str) -> Hook:
        def shift(_layer: nn.Module, _args: tuple[Tensor, ...], results: Tensor) -> Tensor:
            own = (wanted.pop(name) - results[: batch.tokens]).median(dim=0).values
            layers[name].bias.add_(own)
            return results + own

        return shift

    rounded = fake_quant.quantise(deepcopy(copy), scales, weights=on_grid is None)
    for encoder, hook_of in ((model, noting), (rounded, shifting)):
        hooks = [layer.register_forward_hook(hook_of(name)) for name, layer in encoder.linears().items()]
        try:
            encoder.packed_states(batch)
        finally:
            for hook in hooks:
                hook.remove()
    return copy


def _choices(model: Encoder, seen: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The scales of all points, by each way to smooth the operand behind the activation function."""
    layers = model.shape.layers
    scales: dict[str, Tensor] = {}
    for i in range(layers):
        scales |= block_scales(model, seen, f"encoder.layer.{i}", "attention.self", model.shape.activation)
    scales["embeddings.total"] = wide_scale(_largest_sum(model))
    scales |= wide_scales(seen, sharing(layers))
    outputs = {f"encoder.layer.{i}.output.operand": block.output.dense for i, block in enumerate(model.blocks())}
    choices = []
    for smoothing in ACTIVATED:
        own = scales | {point: operand_scale(seen[point], [dense], smoothing) for point, dense in outputs.items()}
        choices.append(own | represented(own, rescaled(layers)))
    return choices


@torch.inference_mode()
def _nearest(models: Sequence[Encoder], choices: Sequence[dict[str, Tensor]], sentences: Sequence[str]) -> int:
    """The number of the scales by which the models' embeddings are most like those in float, mean of the cosines."""
    wanted = [one.embed(sentences) for one in models]
    cosines = []
    for scales in choices:
        found = [fake_quant.quantise(deepcopy(one), scales).embed(sentences) for one in models]
        pairs = zip(found, wanted, strict=True)
        cosines.append(float(torch.cat([cosine_similarity(one, other) for one, other in pairs]).mean()))
    return cosines.index(max(cosines))


def sharing(blocks: int) -> list[tuple[str, ...]]:
    """The 16-bit points that share a scale, each sum with the residual that goes into it; and those that do not."""
    groups: list[tuple[str, ...]] = [(f"encoder.layer.{i}.intermediate.result",) for i in range(blocks)]
    residual = "embeddings.residual"
    for i in range(blocks):
        for part in (f"encoder.layer.{i}.attention.output", f"encoder.layer.{i}.output"):
            groups.append((residual, f"{part}.total"))
            residual = f"{part}.residual"
    return [*groups, (residual,)]


def rescaled(blocks: int) -> dict[str, str]:
    """The 8-bit operands that are made of 16 bits, and the points of these."""
    found, residual = {}, "embeddings.residual"
    for i in range(blocks):
        block = f"encoder.layer.{i}"
        found[f"{block}.attention.self.operand"] = residual
        found[f"{block}.intermediate.operand"] = f"{block}.attention.output.residual"
        found[f"{block}.output.operand"] = f"{block}.intermediate.result"
        residual = f"{block}.output.residual"
    return found


@torch.inference_mode()
def observe(encoder: Encoder, sentences: Sequence[str]) -> dict[str, Tensor]:
    """What each point gets: of 8-bit ones all of it, [tokens, channels], scores flat; of 16-bit ones the largest
    magnitude of each sentence."""
    seen: dict[str, list[Tensor]] = {name: [] for name in encoder.points()}

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_point: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0]
            if bits_of(name) == 16:
                x = x.abs().max()[None]
            seen[name].append(x.flatten() if name.endswith(".scores") else x)

        return note

    hooks = [point.register_forward_pre_hook(hook_of(name)) for name, point in encoder.points().items()]
    try:
        for sentence in sentences:
            encoder(encoder.ids(sentence)[:TOKENS])
    finally:
        for hook in hooks:
            hook.remove()
    whole = {name: torch.cat(parts) for name, parts in seen.items()}
    check_seen(whole)
    return whole


def representative(sentences: Sequence[str]) -> list[str]:
    """The sentences that are read, evenly from first to last."""
    if not sentences:
        raise InputError("there is no sentence to calibrate on, must be at least 1")
    return [sentences[i] for i in spread(len(sentences))]


def _largest_sum(encoder: Encoder) -> float:
    """What no sum of one row of each embedding table exceeds."""
    tables = [module for module in encoder.embeddings.modules() if isinstance(module, nn.Embedding)]
    return sum(float(table.weight.detach().abs().max()) for table in tables)
