"""The bench of the pruning methods: its runs and tables, and that it goes on where it was. Accuracies it measures."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nmgen.bench import pruning as bench
from nmgen.bench.pruning import (
    Accuracies,
    Result,
    Run,
    job,
    main,
    plot,
    result_path,
    runs,
    runs_to_choose,
    table_of_choice,
    tables,
    with_error,
)
from pruning.data.datasets import Images
from pruning.training.image_task import ImageTask

DENSE = (85.0, 86.0, 87.0)


def results(**lost: float) -> list[Result]:
    """Made up: every candidate of a run is so much below the dense model, on each of three seeds."""
    return [
        Result(
            run=run,
            pattern=pattern,
            accuracies=tuple(one - lost.get(run.name.replace("-", "_"), 0.0) for one in DENSE),
        )
        for run in runs()
        for pattern in run.patterns
    ]


def test_every_method_makes_every_pattern() -> None:
    found = Accuracies(results())
    for method in ("magnitude", "wanda", "asp", "sr-ste", "idp"):
        for pattern in ("2:4", "1:4", "4:8", "2:8", "1:8"):
            assert found.of(method, pattern) == DENSE
    assert found.of("idp-nested", "2:4") == ()
    names = [run.name for run in runs()]
    assert len(set(names)) == len(names)


def test_equal_totals() -> None:
    """What SR-STE spends on one model is what IDP spends on the family that ends with it."""
    by_name = {run.name: run for run in runs()}
    for last, family in (("1-4", 300), ("1-8", 450)):
        idp, alone = by_name[f"idp-{last}"], by_name[f"sr-ste-total-{last}"]
        assert len(idp.patterns) * idp.steps == family
        assert alone.patterns == idp.patterns[-1:]
        assert alone.steps == family
    assert by_name["dense-total"].steps == 450
    assert by_name["dense"].steps == by_name["idp-1-8"].steps == by_name["sr-ste"].steps == 150


def test_mean_and_standard_error() -> None:
    assert with_error((1.0, 2.0, 3.0, 6.0)) == "3.00 ± 1.08"  # deviation 2.16 over √4
    assert with_error((-0.25,), "+") == "-0.25"
    assert with_error((0.25, 0.25), "+") == "+0.25 ± 0.00"


def test_tables_say_what_was_met_and_what_lost() -> None:
    text = tables(results(idp_1_4=1.0, idp_1_8=2.5, sr_ste=3.0, sr_ste_total_1_8=2.0), 3)
    assert "| dense + 150 | 86.00 ± 0.58 |" in text
    assert "| SR-STE | – | 83.00 ± 0.58 |" in text
    assert "| 450 | 4:8 83.50 ± 0.58, 2:8 83.50 ± 0.58, 1:8 83.50 ± 0.58 |" in text
    assert "| IDP 2:4 − dense + 150 | ≥ -0.5 | -1.00 ± 0.00 | missed |" in text
    assert "| IDP 1:4 − dense + 150 | ≥ -1.5 | -1.00 ± 0.00 | met |" in text
    assert "| IDP 1:8 − dense + 150 | ≥ -3.0 | -2.50 ± 0.00 | met |" in text
    assert "| IDP 1:8 − SR-STE 1:8, 150 steps each | ≥ +1.0 | +0.50 ± 0.00 | missed |" in text
    assert "| IDP 1:8 − SR-STE 1:8 with all 450 steps | – | -0.50 ± 0.00 | lost |" in text
    assert "| IDP 1:4 − SR-STE 1:4 with all 300 steps | – | -1.00 ± 0.00 | lost |" in text
    assert "| IDP 2:8 − SR-STE 2:8 | – | +0.50 ± 0.00 | won |" in text
    assert "| IDP, distilled, 1:8 − IDP 1:8 | ≥ +0.3 | +2.50 ± 0.00 | met |" in text
    assert "| IDP, nested masks | – | – | – | 86.00" in text
    for line in text.splitlines():
        assert len(line) <= 400
        assert not re.search(r"[{}]", line)


def test_table_of_the_choice() -> None:
    found = [
        Result(run=run, pattern=pattern, accuracies=(80 + 1e4 * run.lr + len(pattern),))
        for run in runs_to_choose()
        for pattern in run.patterns
    ]
    text = table_of_choice(found)
    assert "| learning rate | 0.0002 | 0.0003 | 0.0006 | 0.001 |" in text
    assert "| dense + 150 | 87.00 | 88.00 | 91.00 | 95.00 |" in text
    assert "| IDP 1:8 | 85.00 | 86.00 | 89.00 | 93.00 |" in text


def test_plot(tmp_path: Path) -> None:
    """The methods that train have a panel of their own, which one-shot's fall does not flatten."""
    plot(results(asp=2.0), tmp_path / "plot.png")
    picture = np.array(Image.open(tmp_path / "plot.png").convert("RGB")).astype(int)
    for colour, panels in (((31, 119, 180), 1), ((44, 160, 44), 2)):  # of magnitude, of ASP
        near = np.abs(picture - colour).sum(axis=2) < 30
        found = [half.any() for half in np.array_split(near, 2, axis=1)]
        assert found == [True, panels == 2]


def test_a_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of everything on sixteen pictures; the second time nothing is trained."""
    pixels = torch.randint(0, 256, (16, 28, 28), dtype=torch.uint8)
    pictures = Images(pixels=pixels, labels=torch.arange(16) % 10)
    task = ImageTask(pictures, pictures)
    monkeypatch.setattr(bench, "_task", lambda *_: task)
    for name in ("DENSE_STEPS", "BATCH", "CALIBRATION"):
        monkeypatch.setattr(bench, name, 1)
    for method in ("idp", "wanda"):
        run = Run(name=method, method=method, patterns=("2:8", "1:8"), steps=1)
        assert job(run, 7, tmp_path, tmp_path, False)[0] == f"seed 7 {method}"
        path = result_path(run, 7, tmp_path)
        assert list(json.loads(path.read_text())) == ["2:8", "1:8"]
        assert path.parent == tmp_path / "seed-7"
        monkeypatch.setattr(bench, "ProcessPoolExecutor", Idle)
        (first, second) = bench.run_all([run], [7], tmp_path, tmp_path, False)
        assert first.accuracies == (json.loads(path.read_text())["2:8"],)
        assert second.pattern == "1:8"
    before = result_path(run, 7, tmp_path)
    asked: list[torch.nn.Module] = []
    monkeypatch.setattr(ImageTask, "distilled", lambda self, dense: asked.append(dense) or self)
    job(replace(run, name="distilled", method="idp", distils=True), 7, tmp_path, tmp_path, False)
    assert len(asked) == 1
    assert torch.equal(asked[0].classifier.weight, bench.dense_model(7, tmp_path / "seed-7", task).classifier.weight)
    monkeypatch.setattr(bench, "WEIGHT_DECAY", 0.5)
    assert result_path(run, 7, tmp_path) != before  # another recipe, another file


class Idle:
    """A pool that nothing may be given to."""

    def __init__(self, *_args: object, **_options: object) -> None:
        pass

    def __enter__(self) -> "Idle":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "bench-pruning: nowhere/train-images-idx3-ubyte.gz is missing: install Debian's"),
        (["--seeds", "0"], "bench-pruning: --seeds is 0, must be at least 1"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
