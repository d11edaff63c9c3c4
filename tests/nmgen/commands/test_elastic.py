"""Commands on a program of several densities: one file, and a density for each request."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from nmgen.cli import main
from nmgen.compiler import program as programs
from pruning.families.bert.integer import IntegerEncoder
from pruning.files.artefact import save as save_artefact
from pruning.files.elastic import Elastic, save
from rtl.sta.params import StaConfig
from tests.nmgen.commands.test_board_sim import started
from tests.nmgen.driver.fake_board import FakeBoard
from tests.nmgen.encoders import artefact
from tests.nmgen.test_cli import fails
from tests.pruning.samples import thinned

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
CONFIG = StaConfig(n=1, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=64, hidden=16, store_words=128)
FLAGS = [f"--{name.replace('_', '-')}={getattr(CONFIG, name)}" for name in StaConfig.__dataclass_fields__]
SIZES = {"hidden": 16, "heads": 2, "inner": 24, "layers": 1, "pattern": "4:8"}
TEXT = "a fox crossed the river ."  # 8 tokens
DENSITIES = ["4:8", "2:8", "1:8"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each test runs in a folder that holds E.safetensors, A.safetensors of one density, and E.nmp of E."""
    monkeypatch.chdir(tmp_path)
    whole = artefact(**SIZES)
    save_artefact(Path("A.safetensors"), whole.layers.values(), whole.model)
    save(Path("E.safetensors"), Elastic(densities={name: thinned(whole, int(name[0])) for name in DENSITIES}))
    assert main(["compile", "E.safetensors", "--elastic", "--lengths", "8,4", *FLAGS, "-o", "E.nmp", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["densities"]) == DENSITIES[1:]
    assert said["about"]["density"] == "4:8"
    assert [len(one["shorter"]) for one in (said, *said["densities"].values())] == [1, 1, 1]


def embedding(density: str) -> np.ndarray:
    return IntegerEncoder(thinned(artefact(**SIZES), int(density[0]))).embed([TEXT]).numpy()


def test_each_density_in_a_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    cycles = []
    for density in (*DENSITIES, None):
        further = [] if density is None else ["--density", density]
        command = ["simulate", "E.nmp", "--text", TEXT, *further, "--build", str(BUILDS), "--output", "e.npy"]
        assert main([*command, "--reference", "E.safetensors", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["wrong"], said["tokens_compiled"]) == ([], [8])
        np.testing.assert_allclose(np.load("e.npy"), embedding(density or "4:8"), atol=1e-6)
        cycles.append(said["cycles"])
    assert cycles[0] > cycles[1] > cycles[2]
    assert cycles[3] == cycles[0], "the densest, unless told"


def test_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "E.nmp", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["density"], list(said["densities"])) == ("4:8", DENSITIES[1:])
    for density in DENSITIES[1:]:
        assert main(["estimate", "E.nmp", "--density", density, "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert {name: alone[name] for name in said["densities"][density]} == said["densities"][density]
        assert alone["shorter"][0]["cycles"] < alone["cycles"]
    assert main(["estimate", "E.nmp"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^\S+ at 4:8: [\d,]+ cycles, [\d.]+ ms at ", said)
    assert re.search(r"^  at 1:8: [\d,]+ cycles, [\d.]+ ms, [\d,]+ bytes$", said, re.MULTILINE)
    assert main(["disassemble", "E.nmp"]) == 0
    assert "for 4 tokens at 1:8:" in capsys.readouterr().out
    assert main(["compile", "E.safetensors", "--elastic", "--seq", "8", *FLAGS, "-o", "F.nmp"]) == 0
    assert "  density 1:8  1 x 8 tokens, program at 0x" in capsys.readouterr().out


def test_runs_on_a_board(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, and as dense as the time allows; whatever runs, the weights are written once."""
    assert main(["estimate", "E.nmp", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    most = [said["cycles"], *(one["cycles"] for one in said["densities"].values())]
    with FakeBoard(CONFIG, hello={"core_khz": 1}) as fake:
        received = []
        for given, density in (
            (["--density", "2:8"], "2:8"),
            ([], "4:8"),
            (["--density", "auto", "--within", str(most[0])], "4:8"),
            (["--density", "auto", "--within", str(most[0] - 0.5)], "2:8"),
            (["--density", "auto", "--within", str(most[1] - 1)], "1:8"),
            (["--density", "auto", "--within", "1"], "1:8"),
        ):
            capsys.readouterr()
            before = fake.received
            loaded = ["--loaded"] if received else []
            command = ["run", "E.nmp", "--port", fake.port, "--text", TEXT, *given, *loaded, "--json"]
            assert main(command) == 0
            (found,) = json.loads(capsys.readouterr().out)
            assert found["density"] == density
            np.testing.assert_allclose([found["result"]], embedding(density), atol=1e-6)
            received.append(fake.received - before)
        assert max(received[1:]) < received[0] - len(programs.load(Path("E.nmp")).memory) / 2
        assert main(["run", "E.nmp", "--port", fake.port, "--text", TEXT, "--density", "1:8"]) == 0
        assert "density" in capsys.readouterr().out


def test_a_slow_memory_makes_a_run_sparser(capsys: pytest.CaptureFixture[str]) -> None:
    """The SDRAM brings 2 bytes of a beat in each of its cycles, of which this one has few."""
    assert main(["estimate", "E.nmp", "--memory-bytes-per-cycle", "0.5", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    within = said["cycles"] // 1000
    for core_khz, memory_khz, density in ((1000, 1000, "4:8"), (1000, 250, "2:8")):
        with FakeBoard(CONFIG, hello={"core_khz": core_khz, "memory_khz": memory_khz}) as fake:
            auto = ["--density", "auto", "--within", str(within), "--json"]
            assert main(["run", "E.nmp", "--port", fake.port, "--text", TEXT, *auto]) == 0
            assert json.loads(capsys.readouterr().out)[0]["density"] == density


@pytest.mark.parametrize(("given", "fast"), [([], "1:8"), (["--density", "2:8"], "2:8")])
def test_a_fast_answer_and_the_exact_one_behind_it(
    given: list[str], fast: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [TEXT, "river", "a fox"]
    want = {one: IntegerEncoder(thinned(artefact(**SIZES), int(one[0]))).embed(texts).numpy() for one in (fast, "4:8")}
    with FakeBoard(CONFIG) as fake:
        command = ["run", "E.nmp", "--port", fake.port, "--verify-top", "--text", *texts, *given, "--output", "e.npy"]
        assert main([*command, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert [(one["input"], one["density"]) for one in said] == [(text, one) for one in want for text in texts]
        for density, part in zip(want, (said[:3], said[3:]), strict=True):
            np.testing.assert_allclose([one["result"] for one in part], want[density], atol=1e-6)
        np.testing.assert_allclose(np.load("e.npy"), want["4:8"], atol=1e-6)
        cosines = [
            one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in zip(*want.values(), strict=True)
        ]
        assert not any("cosine" in one for one in said[:3])
        np.testing.assert_allclose([one["cosine"] for one in said[3:]], cosines, atol=1e-5)
        assert main(command) == 0
        assert capsys.readouterr().out.count("cosine") == 1  # of two tables, in the second


def test_what_is_exact_already_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeBoard(CONFIG) as fake:
        auto = ["--density", "auto", "--within", "1000000", "--verify-top", "--output", "once.npy"]
        assert main(["run", "E.nmp", "--port", fake.port, "--text", TEXT, *auto, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["density"] == "4:8"
        np.testing.assert_allclose([found["result"]], embedding("4:8"), atol=1e-6)
        np.testing.assert_allclose(np.load("once.npy"), [found["result"]], atol=1e-6)


def test_the_fast_answers_are_there_when_the_board_goes(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [TEXT, "river", "fox"]
    for gone_in_run, exact in ((4, 0), (6, 1)):  # in the exact pass
        with FakeBoard(CONFIG, gone_in_run=gone_in_run) as fake:
            further = ["--output", f"{exact}.npy", *(["--json"] if exact else [])]
            assert main(["run", "E.nmp", "--port", fake.port, "--verify-top", "--text", *texts, *further]) == 2
            out, err = capsys.readouterr()
            quoted = '"' if exact else " "
            assert (out.count(f"{quoted}1:8{quoted}"), out.count(f"{quoted}4:8{quoted}")) == (3, exact)
            assert "the board is gone" in err.splitlines()[-1]
            assert Path(f"{exact}.npy").exists() == (exact > 0)
    assert len(np.load("1.npy")) == 1
    with FakeBoard(CONFIG, gone_in_run=3) as fake:  # in the fast one: one table, and nothing exact to write
        command = ["run", "E.nmp", "--port", fake.port, "--verify-top", "--text", *texts]
        assert main([*command, "--output", "none.npy"]) == 2
        assert capsys.readouterr().out.count("cycles") == 1
    assert not Path("none.npy").exists()


@pytest.mark.nightly  # the image is one of its own: half a minute to build
def test_each_density_on_a_simulated_board(capsys: pytest.CaptureFixture[str]) -> None:
    """Through link and SDRAM, loaded once; densities change between requests."""
    with started("--preload", "E.nmp") as simulated:
        assert simulated.stdout
        port = simulated.stdout.readline().split()[1]
        command = ["run", "E.nmp", "--port", port, "--loaded", "--text", TEXT, "--json"]
        cycles: dict[str, list[int]] = {density: [] for density in DENSITIES}
        for density in (*DENSITIES, *reversed(DENSITIES)):
            assert main([*command, "--density", density]) == 0
            (found,) = json.loads(capsys.readouterr().out)
            np.testing.assert_allclose([found["result"]], embedding(density), atol=1e-6)
            cycles[density].append(found["cycles"])
        assert max(cycles["1:8"]) < min(cycles["2:8"]) <= max(cycles["2:8"]) < min(cycles["4:8"])
        assert main([*command, "--verify-top"]) == 0
        fast, exact = json.loads(capsys.readouterr().out)
        assert (fast["density"], exact["density"]) == ("1:8", "4:8")
        np.testing.assert_allclose([exact["result"]], embedding("4:8"), atol=1e-6)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("simulate E.nmp --text fox --density 3:8", "E.nmp: density is 3:8, must be one of 4:8, 2:8, 1:8"),
        ("estimate E.nmp --density 3:8", "E.nmp: density is 3:8, must be one of 4:8, 2:8, 1:8"),
        ("run E.nmp --text fox --density 3:8 --port gone", "E.nmp: density is 3:8, must be one of 4:8, 2:8, 1:8"),
        (
            "run E.nmp --text fox --density auto --port gone",
            "--within goes with --density auto, and that with --within",
        ),
        ("run E.nmp --text fox --within 5 --port gone", "--within goes with --density auto, and that with --within"),
        (
            "run E.nmp --text fox --verify-top --density 4:8 --port gone",
            "E.nmp: density 4:8 is the densest: --verify-top has nothing to verify",
        ),
        ("compile A.safetensors --elastic --seq 8 -o x", "A.safetensors is no artefact of several densities, which"),
        ("compile minilm --elastic --seq 8 -o x", "minilm is no artefact of several densities, which --elastic is for"),
        ("compile E.safetensors --elastic --density 1:8 --seq 8 -o x", "as it is: it takes no --density"),
        ("compile E.safetensors --elastic --seq 8 --n 3 -o x", "no layer's planes are multiples of N values in M"),
    ],
)
def test_what_cannot_be(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in fails(line.split(), capsys)
    assert not Path("x").exists()


def test_one_density_has_no_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "A.safetensors", "--seq", "8", *FLAGS, "-o", "A.nmp"]) == 0
    capsys.readouterr()
    auto = ["--density", "auto", "--within", "5", "--port", "gone"]
    assert "A.nmp is a program of one density alone" in fails(["run", "A.nmp", "--text", "fox", *auto], capsys)
    said = fails(["run", "A.nmp", "--text", "fox", "--verify-top", "--port", "gone"], capsys)
    assert said == "nmgen: A.nmp is a program of one density alone: --verify-top has nothing to verify\n"
    said = fails(["run", "A.nmp", "--text", "fox", "--density", "4:8", "--port", "gone"], capsys)
    assert said == "nmgen: A.nmp: it is of one density alone\n"
    said = fails(["simulate", "A.nmp", "--text", "fox", "--density", "4:8"], capsys)
    assert "A.nmp is a program of one density: --density is of one of several, or of its --reference" in said
