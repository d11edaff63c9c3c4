"""The loop: a killed run goes on as if nothing had been, two processes do what one does, and what is wrong stops it."""

import json
import math
import re
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pruning.files.writing import write_whole
from pruning.masks.masked import live_weight, masked_layers
from pruning.masks.methods import METHODS
from pruning.masks.sparsify import sparsify
from pruning.training import checkpoint
from pruning.training.train import DivergedError, batch_numbers, has_bf16, schedule, train
from rtl.params import InputError
from tests.pruning.toy import RECIPE, Toy, mlp
from tests.pruning.train_toy import STEPS, run

ROOT = Path(__file__).resolve().parents[3]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def program(*arguments: str, module: tuple[str, ...] = ("-m",)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *module, "tests.pruning.train_toy", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_killed_and_resumed_is_uninterrupted(tmp_path: Path) -> None:
    """SIGKILL before the first checkpoint, and between two later ones."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole)
    for step in (3, 18):
        assert program(str(killed), str(step)).returncode == -signal.SIGKILL
        assert not (killed / "weights-0.pt").exists()
        assert (killed / "toy.pt").exists() == (step >= 5)
    run(killed)
    assert same(tensors(whole / "weights-0.pt"), tensors(killed / "weights-0.pt"))
    assert (whole / "toy.jsonl").read_text() == (killed / "toy.jsonl").read_text()
    assert sorted(path.name for path in killed.iterdir()) == ["toy.jsonl", "toy.pt", "weights-0.pt"]


def test_one_seed_one_result(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, method="sr-ste")
    assert same(tensors(tmp_path / "a" / "weights-0.pt"), tensors(tmp_path / "b" / "weights-0.pt"))


def test_another_seed_another_result() -> None:
    losses = []
    for seed in (0, 1):
        train(mlp(), Toy(), steps=2, seed=seed, on_step=lambda _, line: losses.append(line["loss"]), **RECIPE)
    assert losses[0] != losses[2]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    task, model = Toy(), mlp()
    once = {"steps": 4, "checkpoint": tmp_path / "c.pt", "resume": True, **RECIPE}
    found = train(model, task, **once)
    again = mlp()
    task.calls = 0
    assert train(again, task, **once) == found
    assert task.calls == 0
    assert same(again.state_dict(), model.state_dict())


def test_metrics(tmp_path: Path) -> None:
    run(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert set(steps[0]) == {"step", "loss", "lr", "norm"}
    assert [line["step"] for line in lines if "error" in line] == [4, 8, 12, 16, 20, 23]
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_global_random_state_stays() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    model = mlp()
    torch.manual_seed(5)
    train(model, Toy(), steps=1, **RECIPE)
    assert torch.equal(torch.rand(1), expected)


# --- several processes -----------------------------------------------------------------------------------------------


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Two of torchrun's with half a batch each, on every task. Without dropout, which each draws by itself."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    done = subprocess.run(
        [sys.executable, *launcher, "tests.pruning.two_processes", str(tmp_path / "two.pt")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    from tests.pruning.two_processes import models

    one, two, other = models(), torch.load(tmp_path / "two.pt", weights_only=True), models(seed=1)
    assert one.keys() == two.keys()
    for task in one:
        assert one[task].keys() == two[task].keys()
        for name, tensor in one[task].items():
            if tensor.dtype == torch.bool:
                assert torch.equal(two[task][name], tensor), (task, name)
            else:
                torch.testing.assert_close(two[task][name], tensor, atol=1e-5, rtol=1e-5, msg=f"{task} {name}")
        assert any(
            (other[task][name] - tensor).abs().max() > 1e-4
            for name, tensor in two[task].items()
            if tensor.is_floating_point()
        )


def test_masked_model_in_ddp(tmp_path: Path) -> None:
    """Also by hand: gradients reach the live weights through torch's own wrapper."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = mlp()
        sparsify(model, "2:8", method="idp")
        DistributedDataParallel(model)(Toy().x).square().mean().backward()
        for layer, masked in masked_layers(model).values():
            assert (live_weight(layer).grad[~masked.mask] != 0).any()
    finally:
        torch.distributed.destroy_process_group()


# --- what stops a run ------------------------------------------------------------------------------------------------


def test_nan_stops_at_the_last_good_checkpoint(tmp_path: Path) -> None:
    model, path = mlp(), tmp_path / "c.pt"
    wanted = {"steps": 9, "checkpoint": path, "checkpoint_every": 3, **RECIPE}
    with pytest.raises(
        DivergedError, match=rf"^loss is nan in step 5: stopped; the last good checkpoint is of step 3: {path}$"
    ):
        train(model, Toy(poison=5), **wanted)
    assert tensors(path)["step"] == 3
    resumed, whole = mlp(), mlp()
    train(resumed, Toy(), resume=True, **wanted)
    train(whole, Toy(), steps=9, **RECIPE)
    assert same(resumed.state_dict(), whole.state_dict())


def test_nan_before_any_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"^loss is nan in step 2: stopped; no checkpoint yet$"):
        train(mlp(), Toy(poison=2), steps=5, checkpoint=tmp_path / "c.pt", **RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_infinite_gradient_stops() -> None:
    class Steep(Toy):
        def loss(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
            return (super().loss(model, batch) * 0).sqrt()  # a loss of 0 whose slope is infinite · 0

    model = mlp()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(DivergedError, match=r"^norm of the gradient is nan in step 1: stopped"):
        train(model, Steep(), steps=2, **RECIPE)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))


def checkpoint_of(path: Path, *, pattern: str = "2:8", method: str = "idp", seed: int = 0, steps: int = 4) -> None:
    model = mlp()
    sparsify(model, pattern, method=method)
    recipe = {"steps": steps, "seed": seed, "checkpoint": path, "resume": True, **RECIPE}
    train(model, Toy(), method=METHODS[method], **recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pattern": "4:8"}, "its plan is 3 × 2:8, this run's is 3 × 4:8"),
        ({"method": "asp"}, "its method is idp, this run's is asp"),
        ({"seed": 1}, "its seed is 0, this run's is 1"),
        ({"steps": 5}, "its steps is 4, this run's is 5"),
    ],
)
def test_checkpoint_of_another_run(change: dict[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint_of(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"^{re.escape(f'checkpoint {path} is of another run: {message}')}$"):
        checkpoint_of(path, **change)
    assert path.read_bytes() == before


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    once = {"steps": 2, "checkpoint": path, "resume": True, **RECIPE}
    train(mlp(0), Toy(), **once)
    with pytest.raises(InputError, match="is of another run: its start is "):
        train(mlp(1), Toy(), **once)
    with pytest.raises(
        InputError, match=r"its state is 6 tensors of 3532 elements, this run's is 2 tensors of 780 elements$"
    ):
        train(nn.Linear(64, 12), Toy(), **once)


@pytest.mark.parametrize("damage", ["truncated", "no checkpoint", "another version"])
def test_damaged_checkpoint(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    checkpoint_of(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "no checkpoint":
        path.write_text("no checkpoint")
    else:
        torch.save({"nmgen": 99}, path)
    with pytest.raises(InputError, match=rf"^(checkpoint )?{path} is (damaged: |no checkpoint of)[^\n]*$"):
        checkpoint_of(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.pt"
    write_whole(path, b"old")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=f"^cannot write {path}: no space left$"):
        checkpoint.save(path, {"step": 1})
    assert [one.name for one in tmp_path.iterdir()] == ["c.pt"]
    assert path.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    """It is said before the first step."""
    (tmp_path / "file").touch()
    task, path = Toy(), tmp_path / "file" / "c.pt"
    with pytest.raises(InputError, match=f"^cannot write {path}: [A-Z][a-z ]+$"):
        train(mlp(), task, steps=1, checkpoint=path, **RECIPE)
    assert task.calls == 0


def test_what_is_refused() -> None:
    for change, message in (
        ({"steps": 0}, "steps are 0, must be at least 1"),
        ({"batch": 0}, "batch is 0, must be a multiple of the 1 processes"),
        *(({"lr": lr}, f"learning rate is {lr}, must be above 0") for lr in (math.nan, math.inf, 0.0, -0.1)),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            train(mlp(), Toy(), **{"steps": 1, **RECIPE, **change})


# --- functions of the step -------------------------------------------------------------------------------------------


def test_schedule() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert all(one > other for one, other in pairwise(rates[9:]))
    assert rates[9] == 1
    assert rates[54] == pytest.approx(0.5, abs=0.01)
    assert 0 < rates[99] < 0.001
    assert [schedule(step, 1, 0.0) for step in range(1)] == [1]


@pytest.mark.parametrize(("size", "batch"), [(10, 3), (7, 7), (3, 8), (1, 1)])
def test_every_epoch_has_every_example_once(size: int, batch: int) -> None:
    steps = 3 * size
    numbers = torch.cat([batch_numbers(size, batch, 0, step) for step in range(steps)])
    assert len(numbers) == steps * batch
    epochs = numbers.split(size)
    for epoch in epochs[:-1]:
        assert Counter(epoch.tolist()) == Counter(range(size))
    if size > 3:
        assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1


def test_bf16_where_the_hardware_has_it() -> None:
    """Asked for by hand it runs anywhere; left open it is what has_bf16 says."""
    products: list[torch.dtype] = []

    class Watch(Toy):
        def loss(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
            products.append(model(self.x[batch]).dtype)
            return super().loss(model, batch)

    for bf16 in (True, False, None):
        train(mlp(), Watch(), steps=1, **(RECIPE | {"bf16": bf16}))
    by_hardware = torch.bfloat16 if has_bf16(torch.device("cpu")) else torch.float32
    assert products == [torch.bfloat16, torch.float32, by_hardware]
    assert not has_bf16(torch.device("meta"))
