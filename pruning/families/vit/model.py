"""A vision transformer, and a small one for experiments.

Modules bear the names of Hugging Face's checkpoints, for instance encoder.layer.0.intermediate.dense. The source is
An Image is Worth 16x16 Words, arXiv 2010.11929: patches as tokens, LayerNorm before each part, a class token in front.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pruning.encoder.activations import ACTIVATIONS
from pruning.encoder.pixels import Pixels
from pruning.families.vit.shape import ViTShape, config_of


class PatchEmbeddings(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.projection = nn.Conv2d(shape.channels, shape.hidden, shape.patch, stride=shape.patch)

    def forward(self, images: Tensor) -> Tensor:  # [images, channels, side, side] → [images, patches, hidden]
        return self.projection(images).flatten(2).transpose(1, 2)


class Embeddings(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.hidden))
        self.position_embeddings = nn.Parameter(torch.zeros(1, shape.tokens, shape.hidden))
        self.patch_embeddings = PatchEmbeddings(shape)

    def forward(self, images: Tensor) -> Tensor:  # [images, channels, side, side] → [images, tokens, hidden]
        first = self.cls_token.expand(len(images), -1, -1)
        return torch.cat((first, self.patch_embeddings(images)), dim=1) + self.position_embeddings


class SelfAttention(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden, shape.hidden, bias=shape.qkv_bias)
        self.key = nn.Linear(shape.hidden, shape.hidden, bias=shape.qkv_bias)
        self.value = nn.Linear(shape.hidden, shape.hidden, bias=shape.qkv_bias)
        self.heads = shape.heads

    def forward(self, x: Tensor) -> Tensor:  # [images, tokens, hidden] → the same
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # each [images, heads, tokens, head size]
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Dense(nn.Module):
    """A linear layer under the name that checkpoints give it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)


class Attention(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.attention = SelfAttention(shape)
        self.output = Dense(shape.hidden, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x))


class Block(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.attention = Attention(shape)
        self.layernorm_after = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.intermediate = Dense(shape.hidden, shape.intermediate)
        self.output = Dense(shape.intermediate, shape.hidden)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(self.activation(self.intermediate(self.layernorm_after(x))))


class Stack(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return x


class ViT(nn.Module):
    """images [images, channels, side, side] → logits [images, labels], or the class token's state without a
    classifier.

    Attributes
    ----------
    config : the contents of config.json
    pixels : what makes the images of bytes
    """

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape)
        self.encoder = Stack(shape)
        self.layernorm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.classifier = nn.Linear(shape.hidden, shape.labels) if shape.labels else nn.Identity()
        self.config: dict[str, Any] = config_of(shape)
        self.pixels = Pixels()

    def states(self, images: Tensor) -> Tensor:  # → [images, tokens, hidden]
        return self.layernorm(self.encoder(self.embeddings(images)))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.states(images)[:, 0])

    def linears(self) -> dict[str, nn.Linear]:
        """The linear layers of the blocks by name: neither the patches' projection nor the classifier."""
        return {
            name: module
            for name, module in self.encoder.named_modules(prefix="encoder")
            if isinstance(module, nn.Linear)
        }

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """The same of bytes, uint8."""
        found: Tensor = self(self.pixels.floats(images))
        return found


def small_vit(seed: int) -> ViT:
    """The benchmarks' model with weights drawn as ViT draws them: normal, deviation 0.02, biases 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViT(ViTShape())
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
    return model


def encoder_layers(_layer: nn.Module, name: str) -> bool:
    """The filter for sparsify: the linear layers of the blocks, neither the patches' projection nor the classifier."""
    return name.startswith("encoder.")
