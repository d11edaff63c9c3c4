"""`nmgen simulate` of programs: text to embedding on Verilog, and what a changed design breaks first."""

import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch

from nmgen.cli import main
from nmgen.compiler import program as programs
from nmgen.compiler.program import Program
from nmgen.families.bert.sentences import fitted
from pruning.families.bert.integer import IntegerEncoder
from pruning.files.artefact import save
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from tests.nmgen.encoders import artefact, random_ids
from tests.nmgen.page.reader import Reader

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
CONFIG = StaConfig(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=64, hidden=16, store_words=128)
FLAGS = [f"--{name.replace('_', '-')}={getattr(CONFIG, name)}" for name in StaConfig.__dataclass_fields__]
SIZES = {"hidden": 16, "heads": 2, "inner": 24, "layers": 1, "pattern": "2:8", "classes": 3}
TEXTS = ["a fox crossed the .", "a river"]  # 7 and 4 tokens


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each test runs in a folder that holds A.safetensors and P.nmp, for 7 and 5 tokens."""
    monkeypatch.chdir(tmp_path)
    whole = artefact(**SIZES)
    save(Path("A.safetensors"), whole.layers.values(), whole.model)
    assert main(["compile", "A.safetensors", "--seq", "7,5", *FLAGS, "-o", "P.nmp"]) == 0
    capsys.readouterr()


def simulate(*further: str, texts: list[str] | None = TEXTS, simulator: str = "verilator") -> int:
    given = ["--text", *texts] if texts else []
    return main(["simulate", "P.nmp", *given, "--simulator", simulator, "--build", str(BUILDS), *further])


def test_text_to_embedding(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--output", "e.npy", "--timeline", "t.png"]
    assert simulate("--check-each", "--reference", "A.safetensors", *files, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    program = programs.load(Path("P.nmp"))
    encoder = IntegerEncoder(artefact(**SIZES))
    # A shorter text than the program is compiled for is as good as one of a program of its own.
    assert np.allclose(np.load("e.npy"), encoder.embed(TEXTS).numpy(), atol=1e-6)
    assert np.allclose(said["logits"], torch.stack([encoder.logits(encoder.ids(text)) for text in TEXTS]).numpy())
    assert (said["tokens"], said["tokens_compiled"]) == ([7, 4], [7, 5])
    assert min(said["cosine"]) > 0.99
    assert said["instructions_compared"] == len(program.names)
    assert said["values_compared"] > 1000
    assert said["wrong"] == []
    assert [one["name"] for one in said["instructions"]] == list(program.names)
    end = 0
    for one in said["instructions"]:
        assert end < one["begin"] < one["end"]
        end = one["end"]
    assert end < said["cycles"]
    assert said["utilisation"] == pytest.approx(0.2, abs=0.2)
    assert Path("t.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--timeline", "t.png") == 0
    printed = capsys.readouterr().out
    assert simulate("--timeline", "t.png", "--html", "p.html", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    page = Reader(Path("p.html").read_text(encoding="utf-8"))
    assert page.texts[1] == "P.nmp on the Verilog"
    assert page.facts["P.nmp"] + "\n" in printed
    assert f"  cycles       {page.facts['cycles']}\n" in printed
    (picture,) = (attributes["src"] or "" for name, attributes in page.elements if name == "img")
    assert b64decode(picture.removeprefix("data:image/png;base64,")) == Path("t.png").read_bytes()
    table = page.texts[page.texts.index("Instructions") + 1 :]
    assert table[:6] == ["instruction", "opcode", "begins", "ends", "cycles", "estimated"]
    rows = [tuple(table[begin : begin + 6]) for begin in range(6, len(table), 6)]
    assert rows == [
        (one["name"], one["opcode"], *(f"{n:,}" for n in (begin, end, end - begin, one["estimate"])))
        for one in said["instructions"]
        for begin, end in [(one["begin"], one["end"])]
    ]
    spent = sum(one["end"] - one["begin"] for one in said["instructions"] if one["opcode"] == "PRODUCT")
    assert any(text.startswith(f"{spent:,} cycles, ") for text in page.texts)


def test_a_shorter_text_than_it_is_compiled_for_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "A.safetensors", "--seq", "7", *FLAGS, "-o", "P.nmp"]) == 0
    capsys.readouterr()
    shown = []
    for text in ("a fox crossed the .", "a river"):
        assert simulate(texts=[text]) == 0
        shown.append(capsys.readouterr().out)
    assert "that the program is compiled for" not in shown[0]
    assert (
        "  tokens       4 of the 7 that the program is compiled for: it takes fewer cycles than nmgen estimate says\n"
        in shown[1]
    )


def short_and_generated() -> Path:
    """The Verilog, and a program for three tokens instead of P.nmp, as Icarus is slow."""
    assert main(["compile", "A.safetensors", "--seq", "3", *FLAGS, "-o", "P.nmp"]) == 0
    assert main(["generate", "--kind", "sta", *FLAGS, "-o", "rtl"]) == 0
    Path("ids.json").write_text(json.dumps(random_ids(1, [3])))
    return Path("rtl")


def changed(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / f"nmgen_{file}.v"
    text, count = re.subn(old, new, path.read_text(), count=1)
    assert count, f"{path} has no {old}"
    path.write_text(text)


def test_what_a_changed_line_breaks_first(capsys: pytest.CaptureFixture[str]) -> None:
    folder = short_and_generated()
    capsys.readouterr()
    assert simulate("--rtl", "rtl", "--ids", "ids.json", texts=None, simulator="icarus") == 0
    said = capsys.readouterr()
    assert "every bit as the golden machine" in said.out
    # A product of signed numbers becomes one of unsigned ones.
    changed(folder, "rescaler", r"\$signed\((\w+)\) \* ", r"(\1) * ")
    assert simulate("--rtl", "rtl", "--ids", "ids.json", "--check-each", texts=None, simulator="icarus") == 1
    said = capsys.readouterr()
    assert re.search(
        r"^nmgen: P.nmp: instruction \d+, embeddings.LayerNorm, in the store: \d+ of \d+ values differ, "
        r"first at token \d+, channel \d+: got -?\d+, want -?\d+$",
        said.err,
        re.MULTILINE,
    ), said.err
    assert "not as the golden machine" in said.out


def test_a_design_that_hangs(capsys: pytest.CaptureFixture[str]) -> None:
    folder = short_and_generated()
    changed(folder, "store_unit_writer", r"finished <= sent .*;", "finished <= 1'b0;")
    capsys.readouterr()
    assert simulate("--rtl", "rtl", "--ids", "ids.json", texts=None, simulator="icarus") == 1
    said = capsys.readouterr()
    at = r"^nmgen: P.nmp: not done after \d+ cycles, at 0x\w+, store embedding$"
    assert re.search(at, said.err, re.MULTILINE), said.err
    assert said.out == ""


def test_what_the_array_of_the_verilog_is_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--kind", "sta", *FLAGS, "--pe", "ecp5", "-o", "rtl"]) == 0
    bad(capsys, "pe is portable, but rtl was generated with pe = ecp5", "--rtl", "rtl", "--pe", "portable")


def bad(capsys: pytest.CaptureFixture[str], message: str, *further: str, texts: list[str] | None = TEXTS) -> None:
    """Exit 2, one line that matches, and nothing on stdout."""
    capsys.readouterr()
    assert simulate(*further, texts=texts) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert re.search(message, said.err), said.err


def test_texts_and_ids_that_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    bad(capsys, "1 sequence, the program is compiled for 2", texts=["a fox"])
    bad(capsys, "3 sequences, the program is compiled for 2", texts=["a fox"] * 3)
    bad(capsys, "sequence 2 has 6 tokens, the program is compiled for 1 to 5", texts=["a fox", "a fox crossed ."])
    for content, message in (
        ("[[1, 2], [1, 13]]", "sequence 2 has token id 13, must be from 0 to 12"),
        ("[[1, 2], [-1]]", "sequence 2 has token id -1, must be from 0 to 12"),
        ("[[1, 2], []]", "sequence 2 has 0 tokens"),
        ("[1, 2]", "1 sequence, the program is compiled for 2"),
        ('[["a"]]', "ids.json holds no lists of token ids"),
        ("{}", "ids.json holds no lists of token ids"),
        ("[", "ids.json is not JSON"),
    ):
        Path("ids.json").write_text(content)
        bad(capsys, message, "--ids", "ids.json", texts=None)
    bad(capsys, "missing.json: No such file", "--ids", "missing.json", texts=None)
    bad(capsys, "not allowed with", "--ids", "ids.json")
    bad(capsys, "P.nmp is a program for text: give --text or --ids", texts=None)


def test_other_hardware_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    bad(capsys, "P.nmp: the program is compiled for rows = 2, the accelerator has 4", "--rows", "4")
    bad(capsys, "P.nmp: the program is compiled for m = 8, the accelerator has 4", "--preset", "small")
    bad(capsys, "P.nmp is a program: it takes no --layer", "--layer", "x")
    bad(capsys, "model nowhere is not a folder", "--reference", "nowhere")
    other = artefact(24, 3, 40)
    save(Path("B.safetensors"), other.layers.values(), other.model)
    message = "B.safetensors has embeddings of 24 channels, P.nmp of 16"
    bad(capsys, message, "--reference", "B.safetensors")
    assert main(["generate", "--preset", "small", "--rows", "1", "--cols", "1", "-o", "engine"]) == 0
    bad(capsys, "engine holds an accelerator of kind engine, a program needs kind sta", "--rtl", "engine")
    assert main(["simulate", "A.safetensors", "--text", "a fox"]) == 2
    assert "A.safetensors is no program: it takes no --text" in capsys.readouterr().err
    assert main(["simulate", "A.safetensors", "--layer", "x"]) == 2
    assert "needs --input" in capsys.readouterr().err
    data = Path("P.nmp").read_bytes()
    for size in (30, 60, 1000, len(data) - 1):
        Path("P.nmp").write_bytes(data[:size])
        bad(capsys, "P.nmp")


# --- shorter sequences ------------------------------------------------------------------------------------------------


def program_of(lengths: list[int]) -> Program:
    from nmgen.families.bert.compiler import compile_encoder
    from pruning.families.bert.parameters import integer_parameters

    return compile_encoder(integer_parameters(artefact(**SIZES)), CONFIG, lengths)


def test_shorter_sequences_are_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = IntegerEncoder(artefact(**SIZES))
    program = program_of([7, 5, 1])
    for lengths in ([7, 5, 1], [1, 2, 1], [6, 5, 1]):
        ids = random_ids(sum(lengths), lengths)
        shorter, padded = fitted(program, ids)
        assert [len(row) for row in padded] == [7, 5, 1]
        machine = Machine(CONFIG, shorter.image(padded), fill=np.random.default_rng(0), address=shorter.address)
        machine.finish()
        means = torch.stack([encoder.means(torch.tensor(row)) for row in ids])
        assert np.array_equal(shorter.result("embedding", machine.memory), means.numpy())
    with pytest.raises(InputError, match="2 sequences, the program is compiled for 3"):
        fitted(program, [[1], [2]])


def test_the_shortest_of_several_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs; on elements of DSP slices and of LUTs, as on any others."""
    assert main(["compile", "A.safetensors", "--lengths", "4,7", *FLAGS, "-o", "P.nmp"]) == 0
    capsys.readouterr()
    assert simulate("--pe", "ecp5", "--soft-rows", "1", "--json", texts=["a river"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["tokens"], said["tokens_compiled"]) == ([4], [4])
    assert {name: said["configuration"][name] for name in ("pe", "soft_rows")} == {"pe": "ecp5", "soft_rows": 1}
    assert said["wrong"] == []
    assert said["cycles"] == said["estimate"]


def test_words_in_8_bits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "A.safetensors", "--seq", "7,5", "--table-bits", "8", *FLAGS, "-o", "P.nmp"]) == 0
    assert simulate("--check-each", "--output", "e.npy") == 0
    assert "every bit as the golden machine" in capsys.readouterr().out
    encoder = IntegerEncoder(artefact(**SIZES), narrow_words=True)
    assert np.allclose(np.load("e.npy"), encoder.embed(TEXTS).numpy(), atol=1e-6)
