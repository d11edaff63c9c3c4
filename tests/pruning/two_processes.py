"""A program for test_train: what `torchrun` starts twice; the first writes the models that both end with."""

import sys
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from pruning.data.text import Labelled
from pruning.families.bert.folder import load
from pruning.masks.elastic import METHOD as ELASTIC
from pruning.masks.elastic import Elastic
from pruning.masks.methods import METHODS, Method
from pruning.masks.plan import Plan
from pruning.masks.sparsify import sparsify
from pruning.training.elastic import ElasticTask
from pruning.training.processes import distributed
from pruning.training.tasks import Classification, Distillation
from pruning.training.train import Task, train
from tests.pruning.samples import WORDS, write_model
from tests.pruning.toy import RECIPE, Toy, convolutions

METHOD = METHODS["sr-ste"]


def models(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """What this process ends with for each task: the model's state by name."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    sentences = [" ".join(rng.choice(WORDS[5:], int(rng.integers(1, 12)))) for _ in range(120)]
    rows = [Labelled(i % 2, sentence) for i, sentence in enumerate(sentences)]
    with TemporaryDirectory() as folder:
        encoder = load(write_model(Path(folder)))
    headed = deepcopy(encoder)
    torch.manual_seed(0)
    headed.head = nn.Linear(24, 2).requires_grad_(False)
    densities = [Plan.uniform(encoder, pattern) for pattern in ("4:8", "3:8", "2:8", "1:8")]  # two are between
    elastic = ElasticTask(Distillation(encoder, sentences))
    return {
        "elastic": steps_of(Elastic(encoder, densities), elastic, seed, 5, 60, ELASTIC),
        "toy": trained(convolutions(), Toy(), seed, 10, 8),
        "distillation": trained(encoder, Distillation(encoder, sentences), seed, 5, 60),  # more than one part
        "classification": trained(headed, Classification(headed, rows, headed), seed, 5, 60),
    }


def trained(dense: nn.Module, task: Task, seed: int, steps: int, batch: int) -> dict[str, torch.Tensor]:
    model = deepcopy(dense).requires_grad_(True)
    sparsify(model, "2:8", method=METHOD)
    return steps_of(model, task, seed, steps, batch, METHOD)


def steps_of(
    model: nn.Module, task: Task, seed: int, steps: int, batch: int, method: Method
) -> dict[str, torch.Tensor]:
    train(model, task, steps=steps, seed=seed, method=method, **(RECIPE | {"batch": batch, "lr": 1e-3}))
    # A bias of keys moves nothing, so its gradient is noise, which AdamW takes for a direction.
    return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("key.bias")}


if __name__ == "__main__":
    with distributed() as first:
        found = models()
        if first:
            torch.save(found, sys.argv[1])
