"""The scale of every place where the accelerator rounds, from sentences that the float model reads.

An integer times its scale is the float. Scales are float64: one a place, or one a channel where that is free because it
folds into the weights behind it (SmoothQuant, arXiv 2211.10438). What is free where:

operand of a linear layer  a scale a channel: LayerNorm, and the requantiser of the layer before, scale channels apart
value                      the shape of the context's, which the attention's sums of it keep
query, key, table input    one scale
scores                     one scale, set by the largest score: clipping there would lose the maximum; low ones saturate
residual, sums of it       16 bits, one scale for both operands of an addition, with room for twice what was seen
table output               16 bits; a scale a channel brings it to the 8 bits of the operand behind it
operand behind 16 bits     a scale that is theirs over one of a few factors (pruning/integers/rescale.py)
embeddings                 16 bits, one scale for all tables, at which no sum of their rows saturates
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pruning.families.bert.model import Encoder, bits_of
from pruning.integers.quantise import check_seen
from pruning.integers.rescale import representable
from rtl.params import InputError

ALPHA = 0.85  # how much of the spread of the channels moves from the activations to the weights
PERCENTILE = 99.99  # of the magnitudes of an 8-bit tensor; what is larger saturates
SENTENCES = 128  # as many are read, spread evenly over what is given
TOKENS = 128  # of each
FLOOR = 1e-3  # of the largest channel: what any other counts as at least
HEADROOM = 2.0  # of 16-bit tensors

Scales = Mapping[str, Tensor]  # by the name of the Point: float64, a scalar or [channels]


def calibrate(
    encoder: Encoder, sentences: Sequence[str], *, alpha: float = ALPHA, percentile: float = PERCENTILE
) -> dict[str, Tensor]:
    """Scales of all points of a float encoder."""
    seen = observe(encoder, spread(sentences))
    scales: dict[str, Tensor] = {}
    for i, block in enumerate(encoder.blocks()):
        attention, name = block.attention.self, f"encoder.layer.{i}"
        readers: dict[str, tuple[nn.Linear, ...]] = {
            f"{name}.attention.self.operand": (attention.query, attention.key, attention.value),
            f"{name}.attention.output.operand": (block.attention.output.dense,),
            f"{name}.intermediate.operand": (block.intermediate.dense,),
            f"{name}.output.operand": (block.output.dense,),
        }
        for point, linears in readers.items():
            shape = smoothing(seen[point], linears, alpha)
            scales[point] = narrow_scale(seen[point] / shape, percentile) * shape
        context = scales[f"{name}.attention.output.operand"]
        scales[f"{name}.attention.self.v"] = (
            narrow_scale(seen[f"{name}.attention.self.v"] / context, percentile) * context
        )
        for point in ("attention.self.q", "attention.self.k", "intermediate.table"):
            scales[f"{name}.{point}"] = narrow_scale(seen[f"{name}.{point}"], percentile)
        scales[f"{name}.attention.self.scores"] = upper_scale(seen[f"{name}.attention.self.scores"])
    scales["embeddings.total"] = wide_scale(_largest_sum(encoder))
    for points in sharing(encoder.shape.layers):
        scales |= dict.fromkeys(points, wide_scale(HEADROOM * max(float(seen[point].max()) for point in points)))
    for operand, wide in rescaled(encoder.shape.layers).items():
        scales[operand] = torch.from_numpy(representable(float(scales[wide]), scales[operand].numpy()))
    return scales


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


def smoothing(inputs: Tensor, linears: Sequence[nn.Linear], alpha: float) -> Tensor:
    """float64 [channels]: largest input to the power alpha, over largest weight to the power 1 − alpha.

    inputs [tokens, channels]; linears: the layers that read them. A channel that was hardly seen, or hardly weighs,
    counts as FLOOR of the largest: other text may use it.
    """
    weights = torch.cat([linear.weight.detach() for linear in linears])
    inputs_largest, weights_largest = (side.abs().amax(dim=0).to(torch.float64) for side in (inputs, weights))
    return _floored(inputs_largest) ** alpha / _floored(weights_largest) ** (1 - alpha)


def _floored(largest: Tensor) -> Tensor:
    top = float(largest.max())
    return largest.clamp(min=FLOOR * top if top else 1.0)


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


def spread(sentences: Sequence[str]) -> list[str]:
    """The sentences that are read, at most SENTENCES, evenly from first to last."""
    if not sentences:
        raise InputError("there is no sentence to calibrate on, must be at least 1")
    count = min(SENTENCES, len(sentences))
    return [sentences[i * len(sentences) // count] for i in range(count)]


def narrow_scale(x: Tensor, percentile: float) -> Tensor:
    """float64: the percentile of the magnitudes is 127."""
    magnitudes = x.abs().flatten().to(torch.float64)
    place = max(1, min(len(magnitudes), round(len(magnitudes) * percentile / 100)))
    return (magnitudes.kthvalue(place).values / 127).clamp(min=1e-12)


def wide_scale(largest: float) -> Tensor:
    """float64: the largest is 32767."""
    return torch.tensor((largest or 1.0) / 32767, dtype=torch.float64)


def _largest_sum(encoder: Encoder) -> float:
    """What no sum of one row of each embedding table exceeds."""
    tables = [module for module in encoder.embeddings.modules() if isinstance(module, nn.Embedding)]
    return sum(float(table.weight.detach().abs().max()) for table in tables)


def upper_scale(scores: Tensor) -> Tensor:
    """float64: the largest is 127."""
    return (scores.max().to(torch.float64) / 127).clamp(min=1e-3)
