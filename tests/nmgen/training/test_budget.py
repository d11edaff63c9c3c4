"""`nmgen prune --budget`: plans within budgets of cycles, by the estimate of their programs."""

import json
import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nmgen.cli import main
from nmgen.families.recipe import Target
from nmgen.models.dense import Dense
from nmgen.training.budget import Planner, parse_budget, parse_budgets
from pruning.files.artefact import read
from pruning.masks.plan import Plan
from pruning.training.sensitivity import STEPS
from pruning.training.train import mixed
from rtl.params import InputError
from rtl.sta.params import StaConfig
from tests.nmgen.test_cli import fails
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model

FLAGS = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "24"]
FIT = "".join(f"a {one} crossed the {other} .\n" for one in WORDS[5:9] for other in WORDS[5:])


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds the model small/ and text for it."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("small"))
    Path("fit.txt").write_text(FIT)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def prune(capsys: pytest.CaptureFixture[str], *further: str) -> dict[str, Any]:
    return run(capsys, "prune", "small", "--calibrate", "fit.txt", "-o", "out", *further)


def test_a_plan_within_a_budget_of_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    """To the cycle what the estimate of the artefact's program says; with less to spend other patterns."""
    target = ["--seq", "6,4", *FLAGS, "--mem-latency", "17"]
    (bounds,) = prune(capsys, "--budget", "1G", *target)["budgets"]
    least, dense = bounds["least"], bounds["dense"]
    assert bounds["cycles"] == dense
    assert bounds["patterns"] == "12 × 8:8"
    taken = []
    for budget in (least, least + 1, (least + dense) // 2, dense - 1, dense):
        report = prune(capsys, "--budget", f"{budget}-cycles", *target)
        (found,), (entry,) = report["budgets"], report["candidates"]
        assert found["budget"] == budget
        assert least <= found["cycles"] <= budget
        run(capsys, "compile", "out/plan.safetensors", "--seq", "6,4", *FLAGS, "-o", "p.nmp")
        assert run(capsys, "estimate", "p.nmp", "--mem-latency", "17")["cycles"] == found["cycles"]
        layers = read("out/plan.safetensors").layers
        assert entry["plan"] == {name: f"{layer.n}:{layer.m}" for name, layer in layers.items()}
        taken.append((found["cycles"], entry["float"]["cosine"]))
    cycles, cosines = zip(*taken, strict=True)
    assert cycles == tuple(sorted(cycles))
    assert cycles[-1] == dense
    assert cycles[2] > 0.9 * (least + dense) / 2, "the budget is spent"
    assert cosines[-1] > max(cosines[:3])
    message = f"budget is {least - 1:,} cycles, must be at least {least:,}, which the sparsest patterns take; "
    said = fails(["prune", "small", "--budget", str(least - 1), *target, "--calibrate", "fit.txt", "-o", "no"], capsys)
    assert f"{message}dense takes {dense:,}" in said
    assert not Path("no").exists()


def test_a_budget_for_some_layers(capsys: pytest.CaptureFixture[str]) -> None:
    (every,) = prune(capsys, "--budget", "1G", "--seq", "6", *FLAGS)["budgets"]
    report = prune(capsys, "--budget", "1G", "--seq", "6", *FLAGS, "--layers", "*.1.output.dense")
    (some,) = report["budgets"]
    assert some["dense"] == every["dense"]
    assert some["least"] > every["least"]
    assert list(report["candidates"][0]["plan"]) == ["encoder.layer.1.output.dense"]


def test_a_budget_with_training(capsys: pytest.CaptureFixture[str]) -> None:
    (bounds,) = prune(capsys, "--budget", "1G", "--seq", "6", *FLAGS)["budgets"]
    budget = (bounds["least"] + bounds["dense"]) // 2
    command = ["--budget", str(budget), "--seq", "6", *FLAGS, "--data", "fit.txt", "--steps", "2", "--batch", "8"]
    assert main(["prune", "small", *command, "-o", "trained", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (entry,) = report["candidates"]
    layers = read("trained/plan.safetensors").layers
    assert entry["plan"] == {name: f"{layer.n}:{layer.m}" for name, layer in layers.items()}
    (found,) = report["budgets"]
    assert found["cycles"] <= budget
    run(capsys, "compile", "trained/plan.safetensors", "--seq", "6", *FLAGS, "-o", "p.nmp")
    assert run(capsys, "estimate", "p.nmp")["cycles"] == found["cycles"]


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        ("2600000", 2600000),
        ("2.6M-cycles", 2600000),
        ("2.6m", 2600000),
        ("2600k", 2600000),
        ("1 cycle", 1),
        ("0.0026G cycles", 2600000),
        ("1.2345678M", 1234567),
    ],
)
def test_spellings_of_a_budget(text: str, cycles: int) -> None:
    assert parse_budget(text) == cycles


@pytest.mark.parametrize("text", ["", "0", "0.4", "-3", "M", "1e6", "many", "2.6MM", "9" * 400, "٣M", "2.6M-"])
def test_no_budget(text: str) -> None:
    with pytest.raises(InputError, match=r"must be a number of cycles such as 2\.6M-cycles, 2\.6M or 2600000"):
        parse_budget(text)


def test_budgets_there_twice() -> None:
    assert parse_budgets("3M,2.6M") == [3000000, 2600000]
    with pytest.raises(InputError, match=r"^budget 2600000 is there twice, must be once$"):
        parse_budgets("2.6M,1M,2600k")


# --- several ---------------------------------------------------------------------------------------------------------


def bounds(capsys: pytest.CaptureFixture[str]) -> tuple[int, int]:
    """(least, dense) cycles of 6 tokens."""
    (found,) = prune(capsys, "--budget", "1G", "--seq", "6", *FLAGS)["budgets"]
    return found["least"], found["dense"]


def test_several_budgets_in_one_shot(capsys: pytest.CaptureFixture[str]) -> None:
    """Each as if it were alone, in any order."""
    least, dense = bounds(capsys)
    budgets = [(least + dense) // 2, dense, least]
    report = prune(capsys, "--budget", ",".join(map(str, budgets)), "--seq", "6", *FLAGS)
    assert [one["name"] for one in report["candidates"]] == ["plan1", "plan2", "plan3"]
    assert report["sensitivity"]["kind"] == "one-shot"
    for budget, found, entry in zip(budgets, report["budgets"], report["candidates"], strict=True):
        alone = prune(capsys, "--budget", str(budget), "--seq", "6", *FLAGS)
        assert [found] == alone["budgets"]
        assert entry["plan"] == alone["candidates"][0]["plan"]
        assert report["sensitivity"] == alone["sensitivity"]


@pytest.mark.parametrize("sensitivity", ["one-shot", "trained"])
def test_a_series_of_plans(sensitivity: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No layer gets denser from one plan to the next, and each plan's program takes what the report says."""
    least, dense = bounds(capsys)
    budgets = [least + (dense - least) * share // 10 for share in (7, 5, 2)]
    asked = ["--budget", ",".join(map(str, budgets)), "--seq", "6", *FLAGS, "--sensitivity", sensitivity]
    command = ["prune", "small", *asked, "--data", "fit.txt", "--steps", "2", "--batch", "8", "-o", "out"]
    report = run(capsys, *command)
    names = [entry["name"] for entry in report["candidates"]]
    assert names == ["plan1", "plan2", "plan3"]
    plans = [
        {name: (layer.n, layer.m) for name, layer in read(f"out/{name}.safetensors").layers.items()} for name in names
    ]
    for denser, sparser in pairwise(plans):
        assert denser != sparser
        assert all(sparser[name][0] <= n for name, (n, _) in denser.items())
    for name, budget, found in zip(names, budgets, report["budgets"], strict=True):
        assert found["cycles"] <= budget
        run(capsys, "compile", f"out/{name}.safetensors", "--seq", "6", *FLAGS, "-o", "p.nmp")
        assert run(capsys, "estimate", "p.nmp")["cycles"] == found["cycles"]
    table = report["sensitivity"]
    assert table["kind"] == sensitivity
    assert set(table["layers"]) == set(plans[0])
    assert all(one["8:8"] == 0 for one in table["layers"].values())
    again = run(capsys, *command, "--resume")
    assert again == report


def test_no_layer_gets_denser() -> None:
    """Of harms that are drawn, some of which would have it so."""
    config = StaConfig(rows=2, cols=4, n=1, m=8, max_tokens=32, hidden=24)
    planner = Planner(Dense("small", [Path("fit.txt")]), "all", Target(config=config, lengths=[6]), lambda _: None)
    budgets = [planner.least + (planner.dense - planner.least) * share // 10 for share in range(9, 0, -1)]
    alone_denser = 0

    def denser(plans: list[Plan]) -> bool:
        return any(after.layers[name] > n for before, after in pairwise(plans) for name, n in before.layers.items())

    for seed in range(5):
        harm = drawn_harm(planner.names, planner.options, 8, seed)
        found = planner.series(budgets, harm)
        assert all(one.cycles <= budget for one, budget in zip(found, budgets, strict=True))
        assert not denser([one.plan for one in found])
        alone_denser += denser([planner.within(budget, harm).plan for budget in budgets])
    assert alone_denser


@dataclass
class Measured:
    """Stands for the sensitivities: what they were asked for, and a table that is drawn."""

    asked: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, model: Any, _task: Any, names: list[str], options: list[int], m: int, **recipe: Any) -> Any:
        self.asked.append({"names": names, "options": options, "m": m, **recipe})
        return drawn_harm(names, options, m, seed=3)


def drawn_harm(names: list[str], options: list[int], m: int, seed: int) -> dict[str, dict[int, float]]:
    draw = random.Random(seed)
    return {name: {n: draw.random() if n < m else 0.0 for n in options} for name in names}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    found = Measured()
    monkeypatch.setattr("pruning.training.sensitivity.trained_sensitivities", found)
    return found


TRAINED = ["--seq", "6", *FLAGS, "--sensitivity", "trained", "--data", "fit.txt", "--steps", "2", "--batch", "8"]


def test_sensitivities_that_a_stopped_run_kept(measured: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    """They are used with --resume where all that they depend on is the same, whatever the file is."""
    command = ["prune", "small", "--budget", "1G", *TRAINED, "-o", "out"]

    def times(*further: str) -> int:
        begin = len(measured.asked)
        assert main([*command, *further, "--json"]) in (0, 2)
        capsys.readouterr()
        return len(measured.asked) - begin

    assert times() == 1
    assert times("--resume") == 0
    assert times("--resume", "--budget", "1M") == 0
    assert times("--resume", "--steps", "3") == 0, "the checkpoint is refused at once"
    assert times() == 1
    for flags in (["--seed", "3"], ["--lr", "1e-3"], ["--batch", "4"], ["--layers", "*.0.*"], ["--method", "asp"]):
        assert times("--resume", *flags) == 1, flags
    assert (times(), times("--resume")) == (1, 0)
    write_model(Path("small"), checkpoint=tensors(seed=7))
    assert times("--resume") == 1
    kept = Path("out/run/sensitivity.json")
    for content in (kept.read_text()[:100], "[]", json.dumps(json.loads(kept.read_text()) | {"layers": [1]})):
        kept.write_text(content)
        assert times("--resume") == 1


def test_what_sensitivities_are_measured_with(measured: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prune", "small", "--budget", "1G", *TRAINED, "--m", "16", "--ragged", "pad", "--layers", "*.1.*"]
    run(capsys, *command, "--method", "sr-ste", "--lr", "1e-3", "--seed", "5", "-o", "out")
    (asked,) = measured.asked
    assert all(".1." in name for name in asked["names"])
    assert (asked["m"], asked["method"].name, asked["ragged"]) == (16, "sr-ste", "pad")
    assert (asked["batch"], asked["lr"], asked["seed"]) == (8, 1e-3, mixed(5, -4))


@pytest.mark.parametrize(("method", "may_get_denser"), [("idp", False), ("asp", True)])
def test_harms_by_which_a_layer_would_get_denser(
    method: str, may_get_denser: bool, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    """No layer of a series that inherits does."""
    least, dense = bounds(capsys)
    budgets = [least + (dense - least) * share // 10 for share in range(9, 0, -1)]
    command = ["prune", "small", "--budget", ",".join(map(str, budgets)), *TRAINED, "--steps", "1"]
    report = run(capsys, *command, "--method", method, "-o", "out")
    plans = [
        {name: int(pattern.split(":")[0]) for name, pattern in one["plan"].items()} for one in report["candidates"]
    ]
    denser = any(after[name] > n for before, after in pairwise(plans) for name, n in before.items())
    assert denser == may_get_denser


@pytest.mark.parametrize("data", [[], ["--data", "fit.txt", "--steps", "2", "--batch", "8"]])
def test_layers_that_no_group_fits_stay_dense(data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """They are not in the plan, and count as dense: the program takes what the report says."""
    config = CONFIG | {"intermediate_size": 48}
    write_model(Path("ragged"), config=config, checkpoint=tensors(config=config))
    target = ["--seq", "6", "--preset", "small", "--m", "16", "--max-tokens", "32", "--hidden", "24"]
    flags = ["--ragged", "skip", "--calibrate", "fit.txt", *data, "-o", "out"]
    (limits,) = run(capsys, "prune", "ragged", "--budget", "1G", *target, *flags)["budgets"]
    report = run(capsys, "prune", "ragged", "--budget", str(limits["least"]), *target, *flags)
    (entry,), (found,) = report["candidates"], report["budgets"]
    assert set(entry["plan"]) == {f"encoder.layer.{i}.output.dense" for i in range(2)}
    run(capsys, "compile", "out/plan.safetensors", *target, "-o", "p.nmp")
    assert run(capsys, "estimate", "p.nmp")["cycles"] == found["cycles"]
    said = fails(["prune", "small", "--budget", "1G", *target, *flags], capsys)
    assert "no layer is left to prune: none has a multiple of 16 inputs" in said


def test_a_head_takes_cycles_too(capsys: pytest.CaptureFixture[str]) -> None:
    """The one that the dense model gets first."""
    Path("labels").mkdir()
    rows = FIT.splitlines()
    Path("labels/train.txt").write_text("".join(f"{i % 3} {row}\n" for i, row in enumerate(rows)))
    Path("labels/dev.txt").write_text("".join(f"{i % 3} {row}\n" for i, row in enumerate(rows[:10])))
    least, dense = bounds(capsys)
    command = ["prune", "small", "--budget", str((least + dense) // 2), "--seq", "6", *FLAGS, "--classify"]
    report = run(capsys, *command, "--data", "labels", "--steps", "2", "--head-steps", "2", "--batch", "8", "-o", "out")
    run(capsys, "compile", "out/plan.safetensors", "--seq", "6", *FLAGS, "-o", "p.nmp")
    (found,) = report["budgets"]
    assert run(capsys, "estimate", "p.nmp")["cycles"] == found["cycles"] <= found["budget"]


def test_progress_of_the_sensitivities(capsys: pytest.CaptureFixture[str]) -> None:
    """From the first step to the last."""
    asked = ["--budget", "1G", "--seq", "6", *FLAGS, "--sensitivity", "trained", "--layers", "*.1.output.dense"]
    command = ["prune", "small", *asked, "--data", "fit.txt", "--steps", "2", "--batch", "8", "-o", "out"]
    assert main(command) == 0
    said = capsys.readouterr()
    options = len(json.loads(Path("out/report.json").read_text())["sensitivity"]["layers"].popitem()[1])
    steps = options * STEPS  # the dense model's in place of those at 8:8
    assert f"each layer alone: step {steps} of {steps}, loss " in said.err
    assert "a plan of " in said.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "1M,2M"], "budgets step from 1,000,000 up to 2,000,000, must step down where a candidate "),
        (["--budget", "1G,1"], "budget is 1 cycles, must be at least "),
        (["--budget", "1G", "--method", "dense"], "method dense prunes nothing, so it takes no --budget"),
        (
            ["--budget", "1G", "--method", "magnitude", "--sensitivity", "trained"],
            "method magnitude trains nothing: --sensitivity must be one-shot",
        ),
        (["--patterns", "2:8", "--sensitivity", "trained"], "--sensitivity is for a budget of cycles: give --budget"),
        (["--budget", "1G", "--m", "16"], "layer encoder.layer.0.attention.self.query has 24 inputs, no "),
    ],
)
def test_what_is_refused_before_training(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = ["--seq", "6", *FLAGS] if "--budget" in flags else []
    command = ["prune", "small", *target, *flags, "--data", "fit.txt", "--steps", "2", "--batch", "8", "-o", "no"]
    assert message in fails(command, capsys)
    assert not Path("no").exists()


def test_trained_sensitivities_need_text(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prune", "small", "--budget", "1G", "--sensitivity", "trained", "-o", "no"]
    assert "--sensitivity trained is for training: give --data" in fails(command, capsys)
