"""What a model takes instead of a picture's bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pixels:
    """What a model takes instead of a byte: (byte − mean) / deviation, one of each a channel or one for all."""

    mean: tuple[float, ...] = (127.5,)  # these are Hugging Face's for ViT
    deviation: tuple[float, ...] = (127.5,)

    def floats(self, images: Tensor) -> Tensor:
        """uint8 [images, channels, side, side] → float of the same shape."""
        mean, deviation = (torch.tensor(part)[:, None, None] for part in (self.mean, self.deviation))
        return (images.to(torch.float32) - mean) / deviation
