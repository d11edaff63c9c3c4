"""`nmgen simulate`: what it prints and writes, how it notices a changed design, and one line for each bad input."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmgen.cli import main
from pruning.files.artefact import Layer, save
from rtl.params import Config
from rtl.product import Product
from sim.bench.runner import SIMULATORS, Job
from sim.golden.layer import linear
from tests.nmgen.page.reader import page_facts
from tests.sim.operands import extreme_job, random_job

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
CONFIG = Config(n=2, m=4, rows=2, cols=3, drain=2, port_bytes=4, max_tokens=6, max_k=32)
FLAGS = [f"--{name.replace('_', '-')}={getattr(CONFIG, name)}" for name in Config.__dataclass_fields__]
SMALL = random_job(Product(config=CONFIG, tokens=5, k=22, channels=7, pattern_n=2), 1)
WIDE = extreme_job(Product(config=CONFIG, tokens=5, k=22, channels=7, pattern_n=3, out_bits=16), 2)


def layer_of(name: str, job: Job) -> Layer:
    return Layer(
        name=name,
        n=job.product.pattern_n,
        m=CONFIG.m,
        weights=job.w,
        bias=job.bias,
        mult=job.mult,
        shift=job.shift,
        out_bits=job.product.out_bits,
    )


def want(job: Job) -> np.ndarray:
    return linear(job.x, job.w, job.bias, job.mult, job.shift, job.product.out_bits)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds A.safetensors, small.npy and wide.npy."""
    monkeypatch.chdir(tmp_path)
    save(Path("A.safetensors"), [layer_of("small", SMALL), layer_of("wide", WIDE)])
    np.save("small.npy", SMALL.x)
    np.save("wide.npy", WIDE.x)


def simulate(*further: str, layer: str = "small", flags: list[str] = FLAGS) -> int:
    arguments = ["A.safetensors", "--layer", layer, "--input", f"{layer}.npy", "--output", "y.npy"]
    return main(["simulate", *arguments, "--simulator", "icarus", "--build", str(BUILDS), *flags, *further])


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_every_result_is_written(simulator: str, capsys: pytest.CaptureFixture[str]) -> None:
    for layer, job in (("small", SMALL), ("wide", WIDE)):
        assert simulate("--simulator", simulator, layer=layer) == 0
        y = np.load("y.npy")
        assert y.dtype == want(job).dtype
        assert np.array_equal(y, want(job))
        printed = capsys.readouterr().out
        assert "35, 0 mismatches" in printed
        assert re.search(r"cycles +\d+\n", printed)
        assert re.search(r"utilisation +\d+\.\d%\n", printed)
        assert re.search(r"bytes +[\d,]+ read, [\d,]+ written", printed)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--json", "--mem-latency", "7") == 0
    report = json.loads(capsys.readouterr().out)
    product = SMALL.product
    assert (report["outputs"], report["mismatches"], report["first_mismatch"]) == (35, 0, None)
    assert report["cycles"] == report["estimate"]
    assert report["utilisation"] == pytest.approx(product.utilisation(report["cycles"]))
    assert (report["bytes_read"], report["bytes_written"]) == (product.bytes_read, product.bytes_written)
    assert (report["pattern"], report["golden"], report["mem_latency"]) == ("2:4", "torch", 7)
    assert simulate("--json", "--mem-latency", "7", "--stall", "--seed", "3") == 0
    stalled = json.loads(capsys.readouterr().out)
    assert stalled["mismatches"] == 0
    assert stalled["cycles"] > report["cycles"]


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate() == 0
    printed = capsys.readouterr().out
    assert simulate("--html", "p.html") == 0
    assert capsys.readouterr().out == printed
    (name, about), *further = page_facts(Path("p.html")).items()
    assert [f"{name}: {about}", *(f"  {name:<13}{value}" for name, value in further)] == printed.splitlines()


def test_without_torch_numpy_compares(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "pruning.integers.layer", raising=False)
    assert simulate("--json") == 0
    assert json.loads(capsys.readouterr().out)["golden"] == "numpy"


def generated(*further: str) -> Path:
    assert main(["generate", *FLAGS, *further, "-o", "rtl"]) == 0
    return Path("rtl")


def changed(folder: Path, old: str, new: str) -> None:
    """Change a line of the generated Verilog, wherever it is."""
    for path in sorted(folder.glob("*.v")):
        text = path.read_text()
        if re.search(old, text):
            path.write_text(re.sub(old, new, text, count=1))
            return
    raise AssertionError(f"no line has {old}")


def test_generated_before_and_then_changed(capsys: pytest.CaptureFixture[str]) -> None:
    folder = generated("--prefix", "p")
    assert simulate("--rtl", "rtl", flags=[]) == 0
    assert np.array_equal(np.load("y.npy"), want(SMALL))
    capsys.readouterr()
    changed(folder, r"(\(halves\) \+ \d+'sh)1", r"\g<1>0")
    assert simulate("--rtl", "rtl", flags=[]) == 1
    captured = capsys.readouterr()
    y = np.load("y.npy")
    mismatches = int((y != want(SMALL)).sum())
    assert mismatches > 0
    token, channel = np.argwhere(y != want(SMALL))[0]
    message = f"nmgen: small: {mismatches} of 35 outputs differ, first at token {token}, channel {channel}: got "
    assert message in captured.err
    assert f"35, {mismatches} mismatches" in captured.out


def test_a_design_that_hangs_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    changed(generated(), r"assign data__valid = \S+ != requested;", "assign data__valid = 1'b0;")
    assert simulate("--rtl", "rtl", flags=[]) == 1
    assert re.search(
        r"^nmgen: small: not done after \d+ cycles, with 0 of 35 bytes written$", capsys.readouterr().err, re.MULTILINE
    )
    assert not Path("y.npy").exists()


def test_a_wrong_cycle_counter_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    changed(generated(), r"cycles \+ \d+'\w+", "cycles + 32'd2")
    assert simulate("--rtl", "rtl", flags=[]) == 1
    assert re.search(r"nmgen: small: the design counted \d+ cycles, it took \d+", capsys.readouterr().err)


def test_waves_only_when_asked() -> None:
    assert simulate() == 0
    assert not list(Path().rglob("*.fst"))
    assert simulate("--waves", "w.fst") == 0
    assert Path("w.fst").stat().st_size > 1000


@pytest.mark.parametrize("option", ["--waves", "--html"])
def test_a_folder_in_the_place_of_a_file(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before anything is simulated."""
    Path("there").mkdir()
    bad(capsys, "nmgen: cannot write there: Is a directory", option, "there")


def bad(capsys: pytest.CaptureFixture[str], message: str, *further: str, **options: Any) -> None:
    """Exit 2, one line that matches, nothing on stdout, and no output."""
    capsys.readouterr()
    assert simulate(*further, **options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert re.search(message, captured.err), captured.err
    assert not Path("y.npy").exists()


def test_operands_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    bad(capsys, "nmgen: layer other is not in A.safetensors, which has small, wide", layer="other")
    bad(capsys, "missing.npy: No such file", "--input", "missing.npy")
    np.save("bad.npy", SMALL.x.astype(np.int16))
    bad(capsys, r"bad.npy is int16 \[5, 22\], must be int8 with 2 dimensions", "--input", "bad.npy")
    np.save("bad.npy", SMALL.x[0])
    bad(capsys, r"bad.npy is int8 \[22\], must be int8 with 2 dimensions", "--input", "bad.npy")
    np.save("bad.npy", SMALL.x[:, 1:])
    bad(capsys, "input has K = 21, must be 22 as in layer small", "--input", "bad.npy")
    np.save("bad.npy", np.repeat(SMALL.x, 2, axis=0))
    bad(capsys, "input has 10 tokens, must be at most max_tokens = 6", "--input", "bad.npy")
    np.save("bad.npy", SMALL.x[:0])
    bad(capsys, "tokens is 0, must be an integer from 1 to 6", "--input", "bad.npy")
    Path("A.safetensors").write_bytes(Path("A.safetensors").read_bytes()[:-5])
    bad(capsys, "A.safetensors")


def test_configurations_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    bad(capsys, "layer small is 2:4, but the configuration has m = 8; give --m 4", "--m", "8")
    bad(capsys, "layer small has K = 22, must be at most max_k = 16", "--max-k", "16")
    bad(capsys, "n is 5, must be at most m = 4", "--n", "5")
    bad(capsys, "mem-latency is 0, must be an integer from 1", "--mem-latency", "0")
    bad(capsys, "invalid choice: 'vcs'", "--simulator", "vcs")


def test_designs_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    bad(capsys, "nowhere holds no manifest.json", "--rtl", "nowhere", flags=[])
    folder = generated()
    bad(capsys, "rows is 3, but rtl was generated with rows = 2", "--rtl", "rtl", "--rows", "3", flags=[])
    bad(capsys, "m is 8, but rtl was generated with m = 4|n is 2", "--rtl", "rtl", "--preset", "base", flags=[])
    changed(folder, r"\bmodule nmgen_top\b", "module nmgen_topp")
    bad(capsys, "icarus cannot build nmgen_top: ", "--rtl", "rtl", flags=[])
    next(folder.glob("nmgen_*.v")).unlink()
    bad(capsys, r"rtl/nmgen_\w+.v is missing, but manifest.json names it", "--rtl", "rtl", flags=[])
    (folder / "manifest.json").write_text("{")
    bad(capsys, "rtl/manifest.json is not a manifest that nmgen generate wrote", "--rtl", "rtl", flags=[])


def test_a_missing_simulator(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    bad(capsys, "^nmgen: iverilog is missing: apt install iverilog$")
