"""`nmgen prune --data`: a series of trained candidates, killed and resumed, and one line for what is wrong."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nmgen.cli import main
from nmgen.console.progress import StepProgress
from nmgen.console.threads import one_thread
from nmgen.models.dense import Dense, one_shot
from pruning.families.bert.folder import load
from pruning.files.artefact import read
from pruning.masks.methods import METHODS
from pruning.masks.permutation import permute
from tests.nmgen.page.reader import Reader
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model

ROOT = Path(__file__).resolve().parents[3]
QUICK = ["--steps", "4", "--batch", "16"]


def sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS[5:], int(rng.integers(1, 12))))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test runs in a folder that holds the model small/, labelled text in t/ and scored pairs in p.tsv."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("small"))
    rng = np.random.default_rng(0)
    Path("t").mkdir()
    for split, rows in (("train", 60), ("test", 20)):
        text = "".join(f"{i % 2} {sentence(rng)}\n" for i in range(rows))
        Path("t", f"{split}.txt").write_text(text)
    Path("p.tsv").write_text("".join(f"{i % 6}\t{sentence(rng)}\t{sentence(rng)}\n" for i in range(20)))
    Path("plain.txt").write_text("".join(f"{sentence(rng)} .\n" for _ in range(40)))
    with one_thread():
        yield


def prune(*further: str, out: str = "out", model: str = "small") -> int:
    return main(["prune", model, *QUICK, "-o", out, *further])


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    out, err = capsys.readouterr()
    assert status == 2
    assert not out
    lines = [line for line in err.splitlines() if line.startswith("nmgen: ")]
    assert err.splitlines()[-1:] == lines  # behind the progress, one line
    return lines[0].removeprefix("nmgen: ")


def files(folder: str = "out") -> dict[str, bytes]:
    """What a run writes for its user, by path; a picture may differ by a date."""
    found = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("run/")}


def test_a_series_by_distillation(capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--html", "p.html", "--json"]
    assert prune("--patterns", "4:8,2:8", "--data", "plain.txt", "t", "--sts", "p.tsv", *told) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report == json.loads(Path("out/report.json").read_text())
    assert "4-8: step 4 of 4, loss " in err
    assert "minutes left" in err
    assert 100 < report["sentences"] <= 120  # each once
    assert [entry["name"] for entry in report["candidates"]] == ["4of8", "2of8"]
    for entry, density in zip(report["candidates"], (0.5, 0.25), strict=True):
        assert entry["density"] == pytest.approx(density, abs=0.01)
        assert set(entry["plan"].values()) == {entry["name"].replace("of", ":")}
        for form in ("float", "int8", "one-shot"):
            assert entry[form].keys() == {"validation", "sts", "mean"}
            assert -100 <= entry[form]["mean"] <= 100
        artefact = read(Path("out", entry["artefact"]))
        assert artefact.model
        assert artefact.model.about["method"] == "idp"
        assert load(Path("out", entry["folder"])).shape.hidden == 24
        metrics = Path("out/run", f"{entry['name'].replace('of', '-')}.jsonl").read_text()
        lines = [json.loads(line) for line in metrics.splitlines()]
        assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    picture = Path("out/accuracy.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    page = Reader(Path("p.html").read_text(encoding="utf-8"))
    assert page.facts == {"model": "small", "method": "idp", "seed": "0"}
    (shown,) = (attributes["src"] or "" for name, attributes in page.elements if name == "img")
    assert b64decode(shown.removeprefix("data:image/png;base64,")) == picture


def test_a_series_of_reordered_channels(capsys: pytest.CaptureFixture[str]) -> None:
    """One order for all candidates, by the sparsest; checkpoints of another order are refused."""
    both = ["--patterns", "4:8,1:8", "--data", "plain.txt", "--method", "magnitude", "--permute"]
    assert prune(*both) == 0
    report = json.loads(Path("out/report.json").read_text())
    assert report["recipe"]["permute"] is True
    dense = Dense("small", [Path("plain.txt")])
    start = deepcopy(dense.model)
    orders = permute(start, dense.family.prunes.exchanges(start), dense.uniform("1:8"), {})
    assert "encoder.layer.0.output.dense" in orders
    for pattern in ("4:8", "1:8"):
        found, want = load(f"out/{pattern.replace(':', 'of')}"), one_shot(start, dense.uniform(pattern), "error")
        for name, linear in want.linears().items():
            assert torch.equal(found.linears()[name].weight, linear.weight), name
    trained = ["--patterns", "1:8", "--data", "plain.txt", "--steps", "2"]
    assert prune(*trained, "--permute", out="two") == 0
    assert prune(*trained, "--permute", "--resume", out="two") == 0
    capsys.readouterr()
    assert "is of another run" in refused(capsys, prune(*trained, "--resume", out="two"))


def test_labels_by_a_head_and_training_in_int8(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--patterns", "2:8", "--data", "t", "--classify", "--qat", "2", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    (entry,) = report["candidates"]
    assert entry["float"]["accuracy"].keys() == {"test"}
    assert entry["int8"]["validation"].keys() == {"accuracy"}
    dense, candidate = load("out/dense"), load("out/2of8")
    assert dense.head
    assert candidate.head
    assert len(Path("out/run/2-8-qat.jsonl").read_text().splitlines()) == 3  # two steps and a validation
    for weight in (linear.weight for linear in candidate.linears().values()):
        assert weight.unflatten(1, (-1, 8)).count_nonzero(dim=2).max() == 2
    assert main(["evaluate", "out/2of8.safetensors", "--classify", "t", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["int8"]["accuracy"] == entry["int8"]["accuracy"]
    # A model with a head is the dense one as it is.
    assert prune("--patterns", "4:8", "--data", "t", "--classify", "--json", out="again", model="out/dense") == 0
    assert json.loads(capsys.readouterr().out)["dense"] == report["dense"]
    assert not Path("again/dense").exists()


def test_the_dense_model_may_take_other_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """And one command gives what two of them do: one for the head, one from its dense model."""
    command = ["--patterns", "4:8,2:8", "--data", "t", "--classify", "--json"]
    assert prune(*command, "--head-steps", "2") == 0
    capsys.readouterr()
    steps = [json.loads(line)["step"] for line in Path("out/run/dense.jsonl").read_text().splitlines()]
    assert max(steps) == 2
    assert prune(*command, out="again", model="out/dense") == 0
    assert Path("out/2of8/model.safetensors").read_bytes() == Path("again/2of8/model.safetensors").read_bytes()
    capsys.readouterr()
    has = refused(capsys, prune(*command, "--head-steps", "2", out="third", model="out/dense"))
    assert has == "--head-steps are to train a head, but out/dense has a head"
    without = refused(capsys, prune("--patterns", "2:8", "--data", "plain.txt", "--head-steps", "2"))
    assert without == "--head-steps are to train a head, but small gets no head without --classify"


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--patterns", "2:8", "--data", "plain.txt", "--method", method, "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["candidates"]
    assert entry["name"] == ("dense" if method == "dense" else "2of8")
    assert entry["density"] == pytest.approx(1.0 if method == "dense" else 0.25, abs=0.01)
    if method == "magnitude":
        assert entry["float"] == entry["one-shot"]


def test_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = {"encoder.layer.0.output.dense": "1:8", "encoder.layer.1.attention.self.key": "2:4"}
    table = "".join(f'"{name}" = "{pattern}"\n' for name, pattern in chosen.items())
    Path("plan.toml").write_text(f"[layers]\n{table}")
    assert prune("--plan", "plan.toml", "--data", "plain.txt", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["candidates"]
    assert entry["plan"] == chosen
    layers = read("out/plan.safetensors").layers
    assert {name: f"{layer.n}:{layer.m}" for name, layer in layers.items() if (layer.n, layer.m) != (8, 8)} == chosen


def test_two_runs_with_one_seed_give_the_same_bytes() -> None:
    assert prune("--patterns", "4:8,2:8", "--data", "plain.txt") == 0
    assert prune("--patterns", "4:8,2:8", "--data", "plain.txt", out="again") == 0
    assert files() == files("again")
    assert prune("--patterns", "4:8,2:8", "--data", "plain.txt", "--seed", "1", out="other") == 0
    assert files("other")["2of8.safetensors"] != files()["2of8.safetensors"]


def test_killed_and_resumed_gives_the_same_bytes() -> None:
    """By idp-update: where a candidate starts depends on the one before it and on calibration inputs."""
    command = ["--patterns", "4:8,2:8", "--data", "plain.txt", "--steps", "30", "--checkpoint-every", "4"]
    command += ["--method", "idp-update"]
    assert prune(*command) == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    whole = [sys.executable, "-m", "nmgen", "prune", "small", *QUICK, "-o", "killed", *command]
    with subprocess.Popen(whole, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not Path("killed/run/4-8.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 1.5))  # anywhere in the two candidates; the bytes are the same wherever
        process.send_signal(signal.SIGKILL)
    for path in ("killed/.2of8.safetensors.abcd_123/2of8.safetensors", "killed/run/.2-8.pt.abcd_124/2-8.pt"):
        Path(path).parent.mkdir()  # as of a process that was killed while it wrote
        Path(path).write_bytes(b"half")
    assert prune(*command, "--resume", out="killed") == 0
    assert files("killed") == files()
    assert not list(Path("killed").rglob(".*"))


def test_two_processes_write_what_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Started by torchrun, with half a batch each: one report, and the same model to float tolerance."""
    command = ["--patterns", "4:8,2:8", "--data", "t", "--classify", "--qat", "2", "--json"]
    assert prune(*command) == 0
    one = json.loads(capsys.readouterr().out)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "nmgen"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    whole = [*launcher, "prune", "small", *QUICK, "-o", "two", *command]
    done = subprocess.run(whole, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)  # once
    assert two == json.loads(Path("two/report.json").read_text())
    assert done.stderr.count("2-8: step 4 of 4, loss ") == 1
    assert files("two").keys() == files().keys()
    texts = [line.partition(" ")[2] for line in Path("t/test.txt").read_text().splitlines()]
    for folder in ("dense", "4of8", "2of8"):
        expected, found = (load(Path(out, folder)).embed(texts) for out in ("out", "two"))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    for first, second in zip(one["candidates"], two["candidates"], strict=True):
        assert (first["density"], first["bytes"]) == (second["density"], second["bytes"])


BAD: list[tuple[list[str], str]] = [
    (["--data", "plain.txt"], "nothing to prune to: give --patterns, --plan, --budget or --elastic"),
    (["--patterns", "2:8", "--method", "idp"], "method idp needs text: give --data"),
    (
        ["--patterns", "2:8", "--method", "best", "--data", "t"],
        "argument --method: invalid choice: 'best' (choose from",
    ),
    (["--patterns", "9:8", "--data", "t"], "pattern 9:8 keeps 9 of 8, must be 1 to 8"),
    (["--patterns", "2of8", "--data", "t"], "pattern is '2of8', must be N:M such as 2:8"),
    (["--patterns", "2:8,2:8", "--data", "t"], "pattern 2:8 is there twice, must be once"),
    (["--patterns", "", "--data", "t"], "pattern is '', must be N:M such as 2:8"),
    (
        ["--patterns", "2:8,1:4", "--nested", "--data", "t"],
        "pattern 1:4 cannot be nested in 2:8, must have groups of 8",
    ),
    (
        ["--patterns", "2:8,4:8", "--data", "t"],
        "patterns step from 2:8 up to 4:8, must step down where a candidate inherits",
    ),
    (
        ["--patterns", "3:16", "--data", "t"],
        "layer encoder.layer.0.attention.self.query has 24 inputs, no multiple of ",
    ),
    (["--patterns", "2:8", "--data", "none.txt"], "none.txt: No such file or directory"),
    (["--patterns", "2:8", "--data", "empty.txt"], "empty.txt has no sentence"),
    (["--patterns", "2:8", "--data", "bad.tsv"], "bad.tsv row 2: must be score, sentence and sentence with tabs"),
    (["--patterns", "2:8", "--data", "t", "--sts", "bad.tsv"], "bad.tsv row 2: must be score, sentence and sentence"),
    (
        ["--patterns", "2:8", "--data", "t", "p.tsv", "--classify"],
        "--classify takes one folder as --data, not 2",
    ),
    (["--patterns", "2:8", "--data", "labels", "--classify"], "labels/train.txt has no row of label 1, must have each"),
    (["--patterns", "2:8", "--data", "t", "--layers", "none*"], "layers is 'none*', must match one of 12 such as "),
    (["--patterns", "2:8", "--data", "t", "--lr", "0"], "argument --lr: lr is 0, must be a number from 1e-12 to 1e+38"),
    (["--patterns", "2:8", "--data", "t", "--lr", "nan"], "argument --lr: lr is nan, must be a number from 1e-12 to"),
    (["--patterns", "2:8", "--data", "t", "--lr", "inf"], "argument --lr: lr is inf, must be a number from 1e-12 to"),
    (["--patterns", "2:8", "--data", "few.txt"], "the text has 9 sentences, must be at least 10: a tenth validates"),
    (["--patterns", "2:8", "--data", "few", "--classify"], "the text has 9 sentences, must be at least 10: a tenth"),
    (["--patterns", "2:8", "--data", "t", "--lr", "1e30"], "loss is "),
    (["--plan", "plan.toml", "--data", "t"], "plan.toml: plan is not TOML: "),
    (["--plan", "none.toml", "--data", "t"], "plan none.toml is missing"),
    (["--patterns", "2:8", "--data", "t", "-o", "plain.txt"], "cannot write plain.txt/run/recipe.json: "),
    (["--patterns", "2:8", "--data", "t", "--calibrate", "empty.txt"], "empty.txt has no sentence"),
]


@pytest.mark.parametrize(("further", "message"), BAD)
def test_bad_input(further: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").touch()
    Path("bad.tsv").write_text("1\ta\tb\n2 a b\n")
    Path("labels").mkdir()
    Path("labels/train.txt").write_text("0 a\n2 b\n")
    Path("plan.toml").write_text("[layers")
    Path("few").mkdir()
    for file, rows in (("few.txt", "fox {}\n"), ("few/train.txt", "1 fox {}\n")):
        Path(file).write_text("".join(rows.format("a " * i) for i in range(9)).replace("1", "0", 1))
    assert refused(capsys, prune(*further)).startswith(message)
    assert "1e30" in further or not Path("out").exists()  # what diverges had begun
    assert not list(Path("out").glob("*.safetensors"))


def test_what_is_refused_is_not_warned_of_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Nine sentences are poor to calibrate on, and too few to train on: one line."""
    Path("few.txt").write_text("".join(f"fox {'a ' * i}\n" for i in range(9)))
    assert prune("--patterns", "2:8", "--data", "few.txt") == 2
    assert capsys.readouterr().err == "nmgen: the text has 9 sentences, must be at least 10: a tenth validates\n"


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--patterns", "2:8,3:16"], "layer encoder.layer.0.attention.self.query has 24 inputs, no multiple of 16: "),
        (["--plan", "plan.toml"], "the plan names layer fc, which is no Linear or Conv2d of the model"),
        (["--patterns", "2:8", "--sts", "p.tsv", "none.tsv"], "none.tsv: No such file or directory"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(
    further: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after the dense model has learnt its head, nor after the first candidate."""
    Path("plan.toml").write_text('[layers]\nfc = "2:8"\n')
    assert refused(capsys, prune(*further, "--method", "sr-ste", "--data", "t", "--classify")).startswith(message)
    assert not Path("out").exists()


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pruning.training.tasks import Distillation

    real, calls = Distillation.loss, []

    def sometimes(self: Distillation, model: Any, batch: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return real(self, model, batch) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(Distillation, "loss", sometimes)
    command = ["--patterns", "2:8", "--data", "plain.txt", "--checkpoint-every", "2"]
    message = refused(capsys, prune(*command))
    assert message == "loss is nan in step 4: stopped; the last good checkpoint is of step 2: out/run/2-8.pt"
    assert not Path("out/2of8.safetensors").exists()
    assert torch.load("out/run/2-8.pt", weights_only=True)["step"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--lr", "0.5"], "its lr is 0.0003, this run's is 0.5"),
        (["--method", "sr-ste"], "its method is idp, this run's is sr-ste"),
    ],
)
def test_a_checkpoint_of_another_run(change: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--patterns", "2:8", "--data", "plain.txt") == 0
    capsys.readouterr()
    found = refused(capsys, prune("--patterns", "2:8", "--data", "plain.txt", "--resume", *change))
    assert found == f"checkpoint out/run/2-8.pt is of another run: {message}"


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", b"PK"])
def test_a_damaged_checkpoint(damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out/run").mkdir(parents=True)
    Path("out/run/2-8.pt").write_bytes(damage)
    found = refused(capsys, prune("--patterns", "2:8", "--data", "plain.txt", "--resume"))
    assert found == "checkpoint out/run/2-8.pt is damaged: torch cannot read it"


WRITTEN = ("run/2-8.jsonl", "run/2-8.pt", "2of8.safetensors", "2of8")


@pytest.mark.parametrize("room", range(len(WRITTEN)))
def test_a_full_disk(room: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has room for so many of these; they stay whole, and nothing is half-written."""
    from pruning.families.bert import family
    from pruning.files import artefact

    wrote: list[str] = []
    writing = False  # an artefact is synced as well

    def until_full(real: Any) -> Any:
        def write(*arguments: Any) -> Any:
            nonlocal writing
            if writing:
                return real(*arguments)
            wrote.append(WRITTEN[len(wrote)])
            if len(wrote) > room:
                raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it: of no file
            writing = True
            try:
                return real(*arguments)
            finally:
                writing = False

        return write

    for module, name in ((os, "fsync"), (artefact, "save"), (family, "save")):  # fsync: of log and checkpoint
        monkeypatch.setattr(module, name, until_full(getattr(module, name)))
    message = refused(capsys, prune("--patterns", "2:8", "--data", "plain.txt"))
    assert message == f"cannot write out/{WRITTEN[room]}: No space left on device"
    found = {str(path.relative_to("out")) for path in (*Path("out").glob("*"), *Path("out/run").glob("*"))}
    recipe = {"run/recipe.json"} if room else set()  # which says of what the others are
    assert found == {"run", *recipe, *WRITTEN[:room]}


def test_a_checkpoint_of_another_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--patterns", "2:8", "--data", "plain.txt") == 0
    tensors = load_file("small/model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] += 1
    save_file(tensors, "small/model.safetensors")
    capsys.readouterr()
    found = refused(capsys, prune("--patterns", "2:8", "--data", "plain.txt", "--resume"))
    assert found.startswith("checkpoint out/run/2-8.pt is of another run: its start is ")


@pytest.mark.parametrize("of", ["sentences", "labels"])
def test_a_checkpoint_of_other_text(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As many sentences, and the model is the same: nothing but the text itself tells."""
    command = ["--patterns", "2:8", "--data", *(["plain.txt"] if of == "sentences" else ["t", "--classify"])]
    assert prune(*command) == 0
    if of == "sentences":
        first, second, *rest = Path("plain.txt").read_text().splitlines(keepends=True)
        Path("plain.txt").write_text("".join([second, first, *rest]))
    else:
        text = Path("t/train.txt").read_text()
        Path("t/train.txt").write_text("1" + text[1:])
    capsys.readouterr()
    before = files()
    name = "2-8" if of == "sentences" else "dense"
    found = refused(capsys, prune(*command, "--resume"))
    assert re.fullmatch(
        rf"checkpoint out/run/{name}\.pt is of another run: its text is [0-9a-f]+, this run's is [0-9a-f]+", found
    )
    assert files() == before


def test_a_checkpoint_of_another_task(capsys: pytest.CaptureFixture[str]) -> None:
    """The same model and sentences, but without --classify."""
    rows = {row.partition(" ")[2]: row for row in Path("t/train.txt").read_text().splitlines(keepends=True)}
    Path("t/train.txt").write_text("".join(rows.values()))  # distillation takes each sentence once
    assert prune("--patterns", "2:8", "--data", "t", "--classify") == 0
    again = {"out": "again", "model": "out/dense"}
    assert prune("--patterns", "2:8", "--data", "t/train.txt", **again) == 0
    capsys.readouterr()
    found = refused(capsys, prune("--patterns", "2:8", "--data", "t", "--classify", "--resume", **again))
    message = "its task is Distillation, this run's is Classification"
    assert found == f"checkpoint again/run/2-8.pt is of another run: {message}"


def test_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 60.0, 120.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    report = StepProgress()
    for step in (1, 2, 3):
        report("2-8", step, 10, 0.5)
    lines = capsys.readouterr().err.split("\n")
    assert lines[1].startswith("2-8: step 3 of 10, loss 0.5000, 7.0 minutes left")


@pytest.mark.parametrize("asked", [("--patterns", "2:8,4:16"), ("--budget", "1M", "--m", "16", "--seq", "8")])
def test_masks_that_cannot_be_learnt(asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is trained, of a later candidate and of plans that are not chosen yet, too."""
    write_deep("wide", layers=1, hidden_size=48, intermediate_size=64)
    status = prune(*asked, "--method", "idp-learnt", "--data", "plain.txt", model="wide")
    assert "choices, learnt masks are of at most 1,000" in refused(capsys, status)
    assert not Path("out").exists()


# --- a teacher -------------------------------------------------------------------------------------------------------
def write_deep(folder: str, layers: int = 4, **changes: int) -> None:
    config = CONFIG | {"num_hidden_layers": layers} | changes
    write_model(Path(folder), config=config, checkpoint=tensors(config=config))


def test_a_teacher(capsys: pytest.CaptureFixture[str]) -> None:
    """What is learnt is another; the dense model of the report is the model itself."""
    write_deep("deep")
    scores = []
    for further in ((), ("--teacher", "deep"), ("--teacher", "small")):
        assert prune("--patterns", "2:8", "--data", "plain.txt", *further) == 0
        report = json.loads(Path("out/report.json").read_text())
        scores.append((report["dense"]["float"]["validation"]["cosine"], Path("out/2of8.safetensors").read_bytes()))
        shutil.rmtree("out")
    capsys.readouterr()
    assert scores[0] == scores[2]
    assert scores[0][0] == pytest.approx(1, abs=1e-3)
    assert scores[1][0] < 0.9
    assert scores[0][1] != scores[1][1]


@pytest.mark.parametrize(
    ("changes", "further", "message"),
    [
        ({"layers": 3}, (), "the teacher deep has 3 blocks, must have whole times the 2 of small"),
        ({"hidden_size": 48}, (), "the teacher deep is 48 wide, must be 24 as small"),
        ({}, ("--classify",), "--teacher deep gives embeddings, --classify wants labels: give one of them"),
    ],
)
def test_no_teacher(
    changes: dict[str, int], further: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deep("deep", **changes)
    data = "t" if further else "plain.txt"
    assert message in refused(capsys, prune("--patterns", "2:8", "--data", data, "--teacher", "deep", *further))
    assert not Path("out").exists()


def test_a_teacher_of_other_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    write_deep("deep")
    Path("deep/vocab.txt").write_text("\n".join(WORDS[:5] + WORDS[:4:-1]) + "\n")
    status = prune("--patterns", "2:8", "--data", "plain.txt", "--teacher", "deep")
    assert "small and its teacher deep read other tokens in '" in refused(capsys, status)
