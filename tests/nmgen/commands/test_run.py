"""`nmgen run`: texts and pictures to results, on a board in Python."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from nmgen.cli import main
from nmgen.compiler.program import load
from nmgen.compiler.program_check import own_regions
from nmgen.driver.board import SAMPLE, SAMPLES, _proof
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.vit.integer import IntegerViT
from tests.nmgen.commands.conftest import CONFIG, SIZES, VIT, flags
from tests.nmgen.driver.fake_board import CORE_KHZ, CYCLES, FakeBoard
from tests.nmgen.encoders import artefact
from tests.nmgen.test_cli import fails
from tests.pruning.vits import parameters, random_images

pytestmark = pytest.mark.usefixtures("programs")
TEXTS = ["a fox", "river", "the"]


def embeddings(texts: list[str]) -> np.ndarray:
    return IntegerEncoder(artefact(**SIZES)).embed(texts).numpy()


def test_texts(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """Three in two runs; the second is filled up. Lines end with LF or CR LF, and with nothing else."""
    Path("texts.txt").write_bytes(b"a fox\r\n\nriver\r\nthe")
    for given in (["--text", *TEXTS], ["--file", "texts.txt"]):
        assert main(["run", "P.nmp", "--port", fake.port, *given, "--output", "out/e.npy", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert [one["input"] for one in said] == TEXTS
        assert {(one["cycles"], one["core_ms"]) for one in said} == {(CYCLES, CYCLES / CORE_KHZ)}
        found = np.load("out/e.npy")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, embeddings(TEXTS), atol=1e-6)
        np.testing.assert_allclose([one["result"] for one in said], found, atol=1e-6)


def test_a_table(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts are printed as they are, whatever rich takes for its markup."""
    assert main(["compile", "P.safetensors", "--seq", "8", *flags(CONFIG), "-o", "long.nmp"]) == 0
    capsys.readouterr()
    assert main(["run", "long.nmp", "--port", fake.port, "--text", "[red]", "a :fox [/]"]) == 0
    out = capsys.readouterr().out
    assert [cell.strip() for cell in out.splitlines()[1].strip("┃").split("┃")] == [
        *("input", "cycles", "core ms", "ms", "result")
    ]
    assert "[red]" in out
    assert "a :fox [/]" in out
    assert f"{CYCLES:,}" in out
    assert "simulated" not in out


def test_a_simulated_board_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeBoard(CONFIG, hello={"simulated": 1}) as board:
        assert main(["run", "P.nmp", "--port", board.port, "--text", "fox"]) == 0
        assert "the board is simulated" in capsys.readouterr().out
        assert main(["boards", "--port", board.port]) == 0
        assert "at 125 MHz, simulated\n" in capsys.readouterr().out


def test_pictures(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    vit = IntegerViT(parameters(VIT))
    assert main(["run", "V.nmp", "--port", fake.port, "--image", "one.npy", "two.npy", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["input"] for one in said] == ["one.npy", "two.npy"]
    expected = vit.logits(random_images(VIT, 2))
    torch.testing.assert_close(torch.tensor([one["result"] for one in said]), expected.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("file", ["a\u2028fox\nthe\x0cfox\n", "a\x85fox\nthe\x0bfox\r\n"])
def test_a_line_is_a_text(file: str, fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else some take for the end of a line."""
    Path("texts.txt").write_bytes(file.encode())
    assert main(["run", "P.nmp", "--port", fake.port, "--file", "texts.txt", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_fewer_texts_than_sequences(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """What fills a program up fits wherever it goes."""
    assert main(["compile", "P.safetensors", "--seq", "5,2", *flags(CONFIG), "-o", "two.nmp"]) == 0
    capsys.readouterr()
    text = "a fox crossed"
    assert main(["run", "two.nmp", "--port", fake.port, "--text", text, "--output", "e.npy", "--json"]) == 0
    assert [one["input"] for one in json.loads(capsys.readouterr().out)] == [text]
    np.testing.assert_allclose(np.load("e.npy"), embeddings([text]), atol=1e-6)


@pytest.mark.parametrize("simulated", [0, 1])
def test_a_loaded_program_is_not_sent(simulated: int, capsys: pytest.CaptureFixture[str]) -> None:
    """But for what runs change: a shorter text leaves shorter instructions behind."""
    with FakeBoard(CONFIG, hello={"simulated": simulated}) as fake:
        assert main(["run", "P.nmp", "--port", fake.port, "--text", "fox", "a"]) == 0
        fake.sums.clear()
        capsys.readouterr()
        texts = ["a fox", "river fox"]
        assert main(["run", "P.nmp", "--port", fake.port, "--loaded", "--text", *texts, "--output", "e.npy"]) == 0
        program = load(Path("P.nmp"))
        code, ids = program.region("program").size, program.region("ids").size
        # Whose it is; of both places of the program as they are, and of the one that a run has changed as it was sent.
        proof = [end - begin for begin, end in _proof(program, bool(simulated))]
        assert fake.sums == [*proof, *2 * [code, ids], code, ids]
        np.testing.assert_allclose(np.load("e.npy"), embeddings(texts), atol=1e-6)
        region = program.region("encoder.layer.0.output.dense")
        for at in (region.address, region.end - 1):
            fake.memory[at] ^= 1
            line = ["run", "P.nmp", "--port", fake.port, "--text", *texts]
            assert main([*line, "--loaded"]) == (0 if simulated else 2)
            assert main(line) == 0
            assert fake.memory[at] == program.memory[at]


def test_proof_of_a_program(programs: Path) -> None:
    """All that no run changes, but for the midst of the largest region; on a simulated board little of it."""
    program = load(Path("P.nmp"))
    own = own_regions(program)
    *_, largest = sorted((one for one in program.regions if one.name not in own), key=lambda one: one.size)
    for simulated in (False, True):
        looked = np.zeros(len(program.memory), bool)
        for begin, end in _proof(program, simulated):
            looked[begin:end] = True
        for region in program.regions:
            part = looked[region.address : region.end]
            if region.name in own:
                assert not part.any()
            elif region is largest:
                assert part[: min(SAMPLE, region.size)].all()
                assert part[-min(SAMPLE, region.size) :].all()
            elif not simulated:
                assert part.all()
    assert sum(end - begin for begin, end in _proof(program, True)) <= 2 * SAMPLE + 2 * SAMPLES * 64


def test_what_came_before_the_board_went_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """Told of, and written; then one line, and the exit status of bad input."""
    texts = [*TEXTS, *TEXTS]
    with FakeBoard(CONFIG, gone_in_run=3) as board:
        assert main(["run", "P.nmp", "--port", board.port, "--text", *texts, "--json", "--output", "e.npy"]) == 2
        out, err = capsys.readouterr()
        assert [one["input"] for one in json.loads(out)] == texts[:2]
        np.testing.assert_allclose(np.load("e.npy"), embeddings(texts[:2]), atol=1e-6)
        gone = "the board is gone: unplugged, or its simulation ended, after 2 of 6 inputs"
        assert err.splitlines()[-1] == f"nmgen: {board.port}: {gone}"


def test_a_program_that_is_not_there_is_told(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    """After power-on, or with another program on the board."""
    said = f"nmgen: {fake.port}: the board does not hold this program: run it without --loaded\n"
    line = ["run", "P.nmp", "--port", fake.port, "--loaded", "--text", "fox"]
    assert fails(line, capsys) == said
    assert not fake.memory.any()
    assert main(["load", "V.nmp", "--port", fake.port]) == 0
    before = fake.memory.copy()
    capsys.readouterr()
    assert fails(line, capsys) == said
    np.testing.assert_array_equal(fake.memory, before)


def test_the_script_of_the_page(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "boards.md").read_text()
    script = page.split("## From a script")[1].split("```python\n")[1].split("```")[0]
    assert main(["compile", "P.safetensors", "--seq", "8", *flags(CONFIG), "-o", "long.nmp"]) == 0
    capsys.readouterr()
    for there, here in (
        ("/dev/ttyUSB0", fake.port),
        ("build/minilm-2of8.nmp", "long.nmp"),
        ("A man is playing a guitar.", "a fox"),
    ):
        assert there in script
        script = script.replace(there, here)
    exec(script, {})
    assert re.findall(r"^(.*) 1234 \[\[", capsys.readouterr().out, re.MULTILINE) == ["a fox", "It rains."]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            ["P.nmp", "--text", "a fox crossed the river"],
            "sequence 1 has 7 tokens, the program is compiled for 1 to 4",
        ),
        (
            ["P.nmp", "--text", "fox", "a", "the", "a fox crossed the river"],
            "inputs 3 to 4: sequence 2 has 7 tokens, the program is compiled for 1 to 4",
        ),
        (["P.nmp", "--image", "one.npy"], "P.nmp is a program for text: it takes no --image"),
        (["V.nmp", "--text", "fox"], "V.nmp is a program for pictures: it takes no --text"),
        (["V.nmp", "--image", "P.nmp"], "P.nmp is no picture"),
        (["P.nmp", "--file", "empty.txt"], "empty.txt has no text"),
        (["P.nmp", "--text", "fox", "--output", "one.npy/e.npy"], "cannot write one.npy/e.npy: File exists"),
    ],
)
def test_what_cannot_be_run_needs_no_board(line: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").write_text("\n \n")
    assert fails(["run", *line, "--port", "gone"], capsys) == f"nmgen: {said}\n"
