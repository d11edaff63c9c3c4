"""A task that takes milliseconds, and models for it."""

import torch
from torch import Tensor, nn

from pruning.training.train import Metrics

K, OUTPUTS = 64, 12  # inputs: whole groups of every size up to 32


class Toy:
    """A random function of 64 inputs to be learnt from 48 examples."""

    size = 48

    def __init__(self, poison: int | None = None) -> None:
        draw = torch.Generator().manual_seed(1)
        self.x = torch.randn(self.size, K, generator=draw)
        self.y = torch.randn(self.size, OUTPUTS, generator=draw)
        self.calls, self.poison = 0, poison  # the loss of that call is no number

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        self.calls += 1
        loss = (model(self.x[batch]) - self.y[batch]).square().mean()
        return loss * float("nan") if self.calls == self.poison else loss

    def validate(self, model: nn.Module) -> Metrics:
        return {"error": float((model(self.x) - self.y).square().mean())}


class Convolutions(nn.Module):
    """[examples, 64] seen as 32 channels of 1 × 2; a Conv2d, one of two channel groups, and a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(32, 64, (1, 2), padding=(0, 1))
        self.second = nn.Conv2d(64, 64, 1, groups=2)
        self.last = nn.Linear(64, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.reshape(-1, 32, 1, 2)))
        return self.last(torch.relu(self.second(x)).mean(dim=(2, 3)))


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(K, 32), nn.GELU(), nn.Linear(32, 32), nn.Dropout(0.1), nn.Linear(32, OUTPUTS))


def convolutions(seed: int = 0) -> Convolutions:
    torch.manual_seed(seed)
    return Convolutions()


PATTERNS = ("1:2", "2:4", "1:4", "4:8", "2:8", "1:8", "3:16", "2:32")  # what every method is tested with
RECIPE = {"batch": 8, "lr": 1e-2, "bf16": False}
