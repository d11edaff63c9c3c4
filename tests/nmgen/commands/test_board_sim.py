"""`nmgen board-sim`: a board in a program of its own, that load and run use by the port that it prints."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmgen.cli import main
from nmgen.compiler.program import load
from nmgen.estimate.cycles import estimate, total
from nmgen.families.bert.sentences import ids_of_texts
from pruning.families.bert.integer import IntegerEncoder
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from tests.nmgen.commands.conftest import CONFIG, SIZES, flags
from tests.nmgen.encoders import artefact
from tests.nmgen.test_cli import fails

pytestmark = pytest.mark.usefixtures("programs")
BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
# With the configuration and the memory's clock of tests/nmgen/simulate/test_board_sim.py: there is one build.
BOARD = ["board-sim", "ulx3s-85f", "--memory", "MT48LC16M16A2-6A", "--memory-mhz", "125", "--build", str(BUILDS)]


@contextmanager
def started(*further: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "nmgen", *BOARD, *further]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def without_progress(said: str) -> list[str]:
    """Its lines but for those of ten seconds that it works."""
    return [line for line in said.splitlines() if not re.search(r"… \d+ s$|thousand a second", line)]


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_board_with_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """Preloaded, run, and ended by Ctrl-C."""
    with started("--preload", "P.nmp") as run:
        assert run.stdout
        port = re.fullmatch(r"port: (/dev/pts/\d+)\n", run.stdout.readline())
        assert port
        assert main(["load", "P.nmp", "--port", port[1], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["sent"] == 0
        texts = ["a fox", "river", "the"]
        assert main(["run", "P.nmp", "--port", port[1], "--loaded", "--text", *texts, "--output", "e.npy"]) == 0
        assert "the board is simulated" in capsys.readouterr().out
        np.testing.assert_allclose(np.load("e.npy"), IntegerEncoder(artefact(**SIZES)).embed(texts).numpy(), atol=1e-6)
        assert main(["boards", "--port", port[1]]) == 0
        accelerator = f"accelerator {CONFIG.identification:#010x} (2x2 PEs, N = 2, M = 4)"
        said = f"{accelerator}, core 100 MHz, memory 32 MB at 125 MHz, simulated"
        assert capsys.readouterr().out.endswith(f"{port[1]}: {said}\n")
        (board,) = children(run.pid)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate()
        assert (run.returncode, out) == (130, "")
        assert without_progress(err) == ["Ctrl-C ends it.", "nmgen: interrupted"]
        assert not Path(f"/proc/{board}").exists()


def test_a_program_of_several_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    """One load; each text by the shortest that it fits."""
    assert main(["compile", "P.safetensors", "--lengths", "3,5,8", *flags(CONFIG), "-o", "L.nmp"]) == 0
    with started("--preload", "L.nmp") as run:
        assert run.stdout
        port = run.stdout.readline().split()[1]
        capsys.readouterr()
        texts = ["a fox crossed the river", "the", "a fox", "river"]
        arguments = ["run", "L.nmp", "--port", port, "--loaded", "--json", "--output", "e.npy", "--text"]
        assert main([*arguments, *texts]) == 0
        cycles = [one["cycles"] for one in json.loads(capsys.readouterr().out)]
        np.testing.assert_allclose(np.load("e.npy"), IntegerEncoder(artefact(**SIZES)).embed(texts).numpy(), atol=1e-6)
        by_length = {one.sequences[0].tokens: total(one, estimate(one))["cycles"] for one in load(Path("L.nmp")).every}
        longest, shortest, middle, again = cycles
        assert shortest < middle < longest
        assert shortest < 1.5 * by_length[3]
        assert abs(again - shortest) < 0.1 * shortest


@pytest.mark.nightly
def test_minilm_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """MiniLM at 2:8, one load, texts of 128 and of 32 tokens, at the clocks' ratio and with refreshes."""
    words = [
        "the",
        "old",
        "harbour",
        "was",
        "quiet",
        "before",
        "the",
        "storm",
        "and",
        "the",
        "boats",
        "lay",
        "still",
        "in",
        "the",
        "grey",
        "water",
    ]
    texts = [" ".join((words * 8)[:126]), " ".join((words * 2)[:30])]  # and [CLS] and [SEP]
    size = ["--n", "2", "--m", "8", "--rows", "8", "--cols", "8"]
    assert main(["compile", "minilm", "--pattern", "2:8", "--lengths", "32,128", *size, "-o", "M.nmp"]) == 0
    with started("--preload", "M.nmp") as run:
        assert run.stdout
        port = run.stdout.readline().split()[1]
        capsys.readouterr()
        arguments = ["run", "M.nmp", "--port", port, "--loaded", "--json", "--output", "e.npy", "--text", *texts]
        assert main(arguments) == 0
    cycles = [one["cycles"] for one in json.loads(capsys.readouterr().out)]
    program = load(Path("M.nmp"))
    for text, found in zip(texts, np.load("e.npy"), strict=True):
        ids = ids_of_texts(program, [text])
        one = program.fitting([len(ids[0])])
        machine = Machine(one.config, one.image(ids), address=one.address)
        machine.finish()
        means = one.result("embedding", machine.memory)[0].astype(np.float32)
        np.testing.assert_allclose(found, means / np.linalg.norm(means), atol=1e-6)
    assert cycles[0] <= 3_800_000
    assert cycles[1] <= 2_100_000


def test_a_board_without_a_program_that_dies(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of it, and one of who uses it."""
    with started(*flags(CONFIG), "--json") as run:
        assert run.stdout
        facts = json.loads(run.stdout.readline())
        port = facts.pop("port")
        assert facts == {
            "board": "ulx3s-85f",
            "memory": "MT48LC16M16A2-6A",
            "preload": False,
            "core_mhz": 100.0,
            "memory_mhz": 125.0,
        }
        assert main(["load", "P.nmp", "--port", port]) == 0
        capsys.readouterr()
        (board,) = children(run.pid)
        os.kill(board, signal.SIGKILL)
        out, err = run.communicate()
        assert (run.returncode, out) == (2, "")
        assert without_progress(err) == ["Ctrl-C ends it.", "nmgen: the simulated board ended: killed by signal 9"]
        assert fails(["load", "P.nmp", "--port", port], capsys) == f"nmgen: {port}: no such port\n"


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """A Verilator that writes a script of sh for the board, and ends with an exit status."""

    def pretend(script: str, status: int = 0) -> None:
        Path("board").write_text(f"#!/bin/sh\n{script}\n")
        Path("verilator").write_text(f"#!/bin/sh\ncp {Path.cwd()}/board Vboard\nchmod 755 Vboard\nexit {status}\n")
        Path("verilator").chmod(0o755)

    monkeypatch.setattr("nmgen.simulate.board_sim.files_of", lambda *_: {".v": ""})  # which takes seconds
    monkeypatch.setattr("nmgen.simulate.board_sim.find_verilator", lambda: Path("verilator").resolve())
    return pretend


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -9 $$", "killed by signal 9"),
        ("exit 3", "exit status 3"),
        ("echo pseudo-terminal: no more >&2; exit 1", "pseudo-terminal: no more"),
    ],
)
def test_a_board_that_does_not_start(
    script: str, said: str, pretended: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    pretended(script)
    line = ["board-sim", "ulx3s-85f", *flags(CONFIG)]
    assert fails(line, capsys) == f"nmgen: the simulated board does not start: {said}\n"


def test_a_broken_rule_of_the_memory(pretended: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1: a fault of the hardware, not of the user."""
    pretended("echo /dev/pts/99; echo cycles 9 busy 0; echo sdram: tRP of bank 2")
    assert main(["board-sim", "ulx3s-85f", *flags(CONFIG)]) == 1
    assert capsys.readouterr() == ("port: /dev/pts/99\n", "Ctrl-C ends it.\nnmgen: sdram: tRP of bank 2\n")


def test_a_log_stays_where_it_says_what_is_wrong(
    pretended: Callable[[str, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for status, left, said in (
        (3, r"board-\w+\.log", r"verilator cannot build the board: see builds/board-\w+\.log"),
        (0, r"board-\w+", "the simulated board does not start: exit status 7"),
    ):
        pretended("exit 7", status)
        found = fails(["board-sim", "ulx3s-85f", "--build", "builds", *flags(CONFIG)], capsys)
        assert re.fullmatch(f"nmgen: {said}\n", found), found
        (one,) = Path("builds").iterdir()
        assert re.fullmatch(left, one.name)


@pytest.mark.parametrize("pe", ["portable", "ecp5", None])
def test_what_processing_elements_are_made_of(pe: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a program as without; they compute the same."""
    flags, program = ["--pe", pe] if pe else [], load(Path("P.nmp"))
    simulated: list[StaConfig] = []

    def simulate(_board: object, config: StaConfig, *_: object, **__: object) -> None:
        simulated.append(config)
        raise InputError("enough")

    monkeypatch.setattr("nmgen.simulate.board_sim.BoardSimulation", simulate)
    for further in (["--preload", "P.nmp"], []):
        assert main(["board-sim", "ulx3s-85f", *further, *flags]) == 2
    assert [one.pe for one in simulated] == [pe or program.config.pe, pe or StaConfig().pe]
    assert simulated[0].identification == program.config.identification


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["no-board"], "board is 'no-board', must be one of ulx3s-85f, icesugar-pro"),
        (["ulx3s-85f", "--memory", "none"], "memory is none, must be one of IS42S16160G-7, .* on ulx3s-85f"),
        (
            ["ulx3s-85f", "--preload", "large.nmp"],
            "large.nmp has 33,554,496 bytes, must be at most the 33,554,432 of .*",
        ),
        (["ulx3s-85f", "--preload", "gone.nmp"], "gone.nmp: No such file or directory"),
        (
            ["ulx3s-85f", "--preload", "P.nmp", "--rows", "2"],
            "P.nmp is compiled for one configuration: --rows is for a board without a program",
        ),
        (
            ["ulx3s-85f", "--preload", "P.nmp", "--preset", "base"],
            "P.nmp is compiled for one configuration: --preset is for a board without a program",
        ),
        (["ulx3s-85f", "--memory-mhz", "300"], ".*300.*"),
    ],
)
def test_what_cannot_be_simulated(line: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = load(Path("P.nmp"))
    if "large.nmp" in line:
        replace(program, memory=program.memory.ljust((32 << 20) + 64, b"\0")).save(Path("large.nmp"))
    assert re.fullmatch(f"nmgen: {said}\n", found := fails(["board-sim", *line], capsys)), found
