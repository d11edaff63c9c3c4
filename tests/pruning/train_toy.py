"""A program for test_train: trains the toy model, kills itself where told to, and writes the weights it ends with.

python -m tests.pruning.train_toy FOLDER [STEP that it does not outlive]
"""

import os
import signal
import sys
from pathlib import Path

import torch

from pruning.masks.methods import METHODS
from pruning.masks.sparsify import sparsify
from pruning.training.processes import distributed
from pruning.training.train import train
from tests.pruning.toy import RECIPE, Toy, mlp

STEPS = 23


def run(folder: Path, last_step: int = 0, *, method: str = "idp") -> None:
    """With checkpoints every 5 steps; goes on from the one that is there."""
    torch.set_num_threads(1)
    model, task = mlp(), Toy()
    sparsify(model, "2:8", method=method)

    def kill(step: int, _line: object) -> None:
        if step == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    train(
        model,
        task,
        steps=STEPS,
        seed=3,
        method=METHODS[method],
        checkpoint=folder / "toy.pt",
        checkpoint_every=5,
        resume=True,
        metrics=folder / "toy.jsonl",
        validate_every=4,
        on_step=kill,
        **RECIPE,
    )
    torch.save(model.state_dict(), folder / f"weights-{os.environ.get('RANK', 0)}.pt")


if __name__ == "__main__":
    with distributed():
        run(Path(sys.argv[1]), *map(int, sys.argv[2:]))
