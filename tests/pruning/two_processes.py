"""A program for test_train: what `torchrun` starts twice; the first writes the model that both end with."""

import sys

import torch
import torch.distributed as dist

from pruning.methods import METHODS
from pruning.sparsify import sparsify
from pruning.train import distributed, train

from .toy import RECIPE, Toy, convolutions


def train_one(seed: int = 0) -> dict[str, torch.Tensor]:
    """This process's model, after ten steps."""
    torch.set_num_threads(1)
    model = convolutions()
    sparsify(model, "2:8", method="sr-ste")
    train(model, Toy(), steps=10, seed=seed, method=METHODS["sr-ste"], **(RECIPE | {"lr": 1e-3}))
    return model.state_dict()


if __name__ == "__main__":
    with distributed():
        state = train_one()
        if dist.get_rank() == 0:
            torch.save(state, sys.argv[1])
