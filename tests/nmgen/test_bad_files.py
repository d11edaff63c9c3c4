"""Files from strangers, of every format but programs: one line and exit status 2, soon and in little memory."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nmgen.cli import main
from nmgen.families.vit.pictures import read_pictures
from nmgen.verilog.bundle import generate
from pruning.files.artefact import save
from pruning.masks.plan import Plan
from rtl.params import Config, InputError
from tests.fuzz.containers import Container
from tests.nmgen.encoders import artefact
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--rows", "4", "--cols", "4", "--n", "1", "--m", "4", "--seq", "12", "-o", "P.nmp"]
SECONDS, MEMORY = 120, 12 << 30  # of a process of its own; torch maps several gigabytes that it does not use


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a command says that ends with 2, says nothing else, and writes nothing."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("nmgen: ")
    assert len(said.err) < 500
    assert sorted(Path().rglob("*")) == before
    return said.err.removeprefix("nmgen: ").rstrip("\n")


# --- work without bounds ---------------------------------------------------------------------------------------------


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def alone(*argv: str) -> str:
    """As refused, in a process with bounded memory and time, for what used to take all of them."""
    done = subprocess.run(
        [sys.executable, "-m", "nmgen", *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=limit,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("nmgen: ").rstrip("\n")


def test_layers_that_no_tensor_has() -> None:
    write_model(Path("m"), config=CONFIG | {"num_hidden_layers": 10**9})
    assert alone("compile", "m", *FLAGS) == "m/config.json: num_hidden_layers is 1000000000, must be at most 1024"


@pytest.mark.parametrize(
    ("command", "message"),
    [("inspect", "/dev/zero is no regular file"), ("estimate", "model /dev/zero is not a folder")],
)
def test_devices(command: str, message: str) -> None:
    assert alone(command, "/dev/zero") == message


def test_an_array_larger_than_its_file() -> None:
    header = b"{'descr': '|i1', 'fortran_order': False, 'shape': (99999999999, 48), }\n"
    Path("W.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    said = alone("pack", "W.npy", "--pattern", "2:8", "-o", "A.safetensors")
    assert said == "W.npy is not a whole .npy file: int8 [99999999999, 48] ends at byte 4800000000033, the file at 81"


def test_pipes_and_files_of_holes(capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    for command in ("inspect", "disassemble", "simulate"):
        for file in ("pipe", "/dev/zero"):
            assert refused(capsys, command, file) == f"{file} is no regular file"
    Path("holes").touch()
    os.truncate("holes", 1 << 40)
    assert refused(capsys, "inspect", "holes") == "holes has 1,099,511,627,776 bytes, must have at most 2,147,483,648"
    Path("holes.npy").touch()
    os.truncate("holes.npy", 1 << 40)
    said = refused(capsys, "pack", "holes.npy", "--pattern", "2:8", "-o", "A.safetensors")
    assert said == "holes.npy has 1,099,511,627,776 bytes, must have at most 1,073,741,824"


# --- arrays and pictures ---------------------------------------------------------------------------------------------


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 8), }", bytes(15)), "int8 [2, 8] ends at byte"),
        (npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 8), }", bytes(17)), "int8 [2, 8] ends at byte"),
        (npy("{'descr': '|i1', 'fortran_order': False, 'shape': (-2, -8), }", bytes(16)), "Object arrays cannot be"),
        (npy("{'descr': '|i1', 'fortran_order': False, 'shape': 8, }", bytes(8)), "Object arrays cannot be loaded"),
        (npy("{'descr': '|i1', 'shape': (8,), 'shape': (8,), }", bytes(8)), "Object arrays cannot be loaded"),
        (npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }", bytes(4)), "Object arrays cannot"),
        (npy("(" * 9000), "Object arrays cannot be loaded, only arrays of numbers: its header is '((((("),
        (npy("{'descr': '|i1', 'fortran_order': False, 'shape': (" + "1," * 40 + "), }", b"1"), "40 dimensions, must"),
        (npy("{'descr': '|i1', 'fortran_order': False, 'shape': (0" + ", 999999999999" * 6 + "), }"), "int8 [0, 9999"),
    ],
)  # fmt: skip
def test_arrays(content: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("W.npy").write_bytes(content)
    said = refused(capsys, "pack", "W.npy", "--pattern", "2:8", "-o", "A.safetensors")
    assert said.startswith(f"W.npy is not a whole .npy file: {message}")


def test_arrays_of_other_writers(capsys: pytest.CaptureFixture[str]) -> None:
    """The entries in another order, with other quotation marks, without spaces; columns first."""
    weights = np.arange(16, dtype=np.int8).reshape(2, 8)
    for header, order in (
        ('{"shape":(2,8),"descr":"|i1","fortran_order":False}', "C"),
        ("{'fortran_order': True, 'shape': (2, 8), 'descr': '|i1'}   \n", "F"),
    ):
        Path("W.npy").write_bytes(npy(header, weights.tobytes(order)))
        assert main(["pack", "W.npy", "--pattern", "8:8", "-o", "A.safetensors", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["layers"][0]["density"] == 15 / 16


def test_pictures() -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (5000, 5000)).save("large.png")
    Path("script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")  # Pillow would run a program
    for file, message in (
        ("large.png", "large.png is no whole picture: 25,000,000 pixels, must have at most 16,777,216"),
        ("script.png", "script.png is no picture"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            read_pictures(Path(file), 1, 8)


def test_idx_of_more_than_it_holds() -> None:
    Path("i").write_bytes(bytes((0, 0, 8, 3)) + b"\xff" * 12)
    with pytest.raises(
        InputError, match=r"^i is said to hold \[4294967295, 4294967295, 4294967295\] bytes, must be at"
    ):
        read_pictures(Path("i"), 1, 8)


# --- configurations, plans, ids, manifests ---------------------------------------------------------------------------


@pytest.mark.parametrize("brackets", ["[" * 5000, "[\n" * 5000, "{a=" * 100 + "\n"])
def test_nested_toml(brackets: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text(f"rows = {brackets}")
    assert refused(capsys, "generate", "--config", "c.toml", "-o", "out").startswith("c.toml is not a TOML file: ")
    with pytest.raises(InputError, match=r"^c\.toml: plan is not TOML: [^\n]*$"):
        Plan.read(Path("c.toml"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rows = 1e400", "rows is inf, must be an integer"),
        ("rows = nan", "rows is nan, must be an integer"),
        ("rows = true", "rows is True, must be an integer"),
        ("rows = 2026-01-01", "rows is datetime.date(2026, 1, 1), must be an integer"),
        (f"rows = {'9' * 400}", "rows is 999"),
        ("pe = 5", "pe is 5, must be portable or ecp5"),
        ("pe = 'ecp5'\ndevice = {}", "device is {}, must be a name such as LFE5U-85F"),
        ("pe = 'ecp5'\ndevice = 'x */ y'", "device is 'x */ y', must be a name such as LFE5U-85F"),
    ],
)
def test_values_of_a_configuration(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text(line)
    said = refused(capsys, "generate", "--config", "c.toml", "-o", "out")
    assert said.startswith(f"c.toml: {message}")


def test_a_manifest_that_names_other_folders(capsys: pytest.CaptureFixture[str]) -> None:
    """Files that an earlier generation wrote are removed; a stranger's manifest could name any."""
    from hashlib import sha256

    generate(Config(rows=1, cols=1), Path("rtl"))
    Path("mine").write_text("mine")
    manifest = json.loads(Path("rtl/manifest.json").read_text())
    manifest["files"]["../mine"] = sha256(b"mine").hexdigest()
    Path("rtl/manifest.json").write_text(json.dumps(manifest))
    assert refused(capsys, "generate", "--rows", "1", "--cols", "1", "-o", "rtl").startswith(
        "rtl/manifest.json is not a"
    )
    assert Path("mine").read_text() == "mine"


# --- model folders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_norm_eps": float("nan")}, "m/config.json is not JSON: NaN is no number of JSON"),
        ({"layer_norm_eps": float("inf")}, "m/config.json is not JSON: Infinity is no number of JSON"),
        ({"layer_norm_eps": -1e-12}, "m/config.json: layer_norm_eps is -1e-12, must be a number such as 1e-12, 0 to 1"),
        ({"layer_norm_eps": 1e300}, "m/config.json: layer_norm_eps is 1e+300, must be a number such as 1e-12, 0 to 1"),
        ({"layer_norm_eps": True}, "m/config.json: layer_norm_eps is True, must be a number such as 1e-12, 0 to 1"),
        ({"hidden_size": 3 << 40}, "m/config.json: hidden_size is 3298534883328, must be at most 65536"),
        ({"vocab_size": 10**30}, "m/config.json: vocab_size is 1000000000000000000000000000000, must be at most"),
        ({"max_position_embeddings": 1 << 40}, "m/config.json: max_position_embeddings is 1099511627776, must be at"),
        ({"num_hidden_layers": 3}, "m/model.safetensors: tensor encoder.layer.2.output.dense.weight is missing"),
        ({"num_hidden_layers": True}, "m/config.json: num_hidden_layers is True, must be an integer of at least 1"),
        ({"type_vocab_size": 1 << 40}, "m/config.json: type_vocab_size is 1099511627776, must be a number such as 2"),
        ({"model_type": "roberta", "pad_token_id": 60}, "m/config.json: the first of 16 positions is 61, must be"),
    ],
)  # fmt: skip
def test_numbers_of_a_config(change: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("m"), config=CONFIG | change)
    assert refused(capsys, "compile", "m", *FLAGS).startswith(message)


NAME = "encoder.layer.1.intermediate.dense.weight"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(40, 24).to(torch.float8_e4m3fn), "is F8_E4M3 [40, 24], must be float [40, 24] by config.json"),
        (torch.zeros(40, 24).to(torch.float8_e5m2), "is F8_E5M2 [40, 24], must be float [40, 24] by config.json"),
        (torch.zeros(40, 24, dtype=torch.complex64), "is C64 [40, 24], must be float [40, 24] by config.json"),
        (torch.zeros(40, 24, dtype=torch.bool), "is BOOL [40, 24], must be float [40, 24] by config.json"),
        (torch.full((40, 24), 1e300, dtype=torch.float64), "is inf at [0, 0], must be finite"),
    ],
)
def test_tensors_of_other_types(value: torch.Tensor, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("m"), checkpoint=tensors() | {NAME: value})
    assert refused(capsys, "compile", "m", *FLAGS) == f"m/model.safetensors: tensor {NAME} {message}"


def test_weights_that_one_cannot_compute_with(capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("m"), checkpoint=tensors() | {NAME: torch.full((40, 24), 3e38)})
    said = refused(capsys, "compile", "m", *FLAGS)
    assert said.startswith("the model gives a NaN or an infinity at encoder.layer.1.")


def test_tensors_that_lie_over_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("m"))
    path = Path("m/model.safetensors")
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header[NAME]["data_offsets"] = header["encoder.layer.0.intermediate.dense.weight"]["data_offsets"]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])
    assert refused(capsys, "compile", "m", *FLAGS).startswith("m/model.safetensors is truncated or damaged: damaged: ")


def test_a_tokenizer_that_has_no_ids_for_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    write_model(Path("m"))
    Path("m/vocab.txt").unlink(missing_ok=True)
    words = {word: number for number, word in enumerate(WORDS) if word != "[UNK]"}
    tokenizer = {"version": "1.0", "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}}
    Path("m/tokenizer.json").write_text(json.dumps(tokenizer))
    assert refused(capsys, "compile", "m", *FLAGS).startswith("the tokenizer has no ids for a text: ")


# --- artefacts -------------------------------------------------------------------------------------------------------


def write_artefact(change: Callable[[dict[str, Any], dict[str, Any], dict[str, np.ndarray]], Any]) -> None:
    """A.safetensors with other layers, model and floats, and the checksum of these."""
    whole = artefact(16, 2, 24, layers=1, pattern="2:8", classes=3)
    save(Path("A.safetensors"), whole.layers.values(), whole.model)
    file = Container.of(Path("A.safetensors").read_bytes())
    assert file.metadata
    layers, model = json.loads(file.metadata["layers"]), json.loads(file.metadata["model"])
    floats = {
        one.name: np.frombuffer(one.data, one.kind.lower()[0] + "8").copy() for one in file.tensors if one.kind == "F64"
    }
    change(layers, model, floats)
    for one in file.tensors:
        if one.name in floats:
            one.data = floats[one.name].tobytes()
    file.metadata |= {"layers": json.dumps(layers), "model": json.dumps(model)}
    file.sign()
    Path("A.safetensors").write_bytes(file.to_bytes())


COMMANDS = (
    ("inspect", "A.safetensors"),
    ("compile", "A.safetensors", "--seq", "5", "-o", "P.nmp"),
    ("evaluate", "A.safetensors", "--sts", "s.tsv"),
)
POINT = "scales.encoder.layer.0.output.residual"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e300, "has 1e+300, must be from 1e-50 to 1e+50"),
        (1e-300, "has 1e-300, must be from 1e-50 to 1e+50"),
        (0.0, "has 0.0, must be above 0"),
        (-1.0, "has -1.0, must be above 0"),
        (float("nan"), "has nan, must be from 1e-50 to 1e+50"),
        (float("inf"), "has inf, must be from 1e-50 to 1e+50"),
    ],
)
def test_scales(value: float, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_artefact(lambda layers, model, floats: floats[POINT].fill(value))
    Path("s.tsv").write_text("5\ta fox\ta river\n1\ta\tthe line\n")
    for command in COMMANDS:
        assert refused(capsys, *command) == f"A.safetensors: tensor {POINT} {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, model: model.update(tensors=[]), "tensor tokenizer of the model is missing"),
        (lambda _, model: model.update(tensors=[["a"]]), "tensor ['a'] of the model is missing, or is named twice"),
        (lambda _, model: model["tensors"].append("tokenizer"), "tensor 'tokenizer' of the model is missing, or is"),
        (lambda _, model: model["config"].update(layer_norm_eps=float("nan")), "metadata model is not a JSON object"),
        (lambda _, model: model.update(about=None), "metadata model is not a JSON object of config, about and"),
        (lambda _, model: model.update(about={"a": float("inf")}), "metadata model is not a JSON object of config"),
        (lambda layers, _: next(iter(layers.values())).update(x_scale=float("nan")), "metadata layers is not a JSON"),
        (lambda layers, _: next(iter(layers.values())).update(k=1 << 16, channels=65535), "layer encoder"),
    ],
)  # fmt: skip
def test_metadata(change: Callable[[Any, Any], Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_artefact(lambda layers, model, floats: change(layers, model))
    Path("s.tsv").write_text("5\ta fox\ta river\n1\ta\tthe line\n")
    for command in COMMANDS:
        assert refused(capsys, *command).startswith(f"A.safetensors: {message}")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer_norm_eps": 1e300}, "layer_norm_eps is 1e+300, must be a number such as 1e-12, 0 to 1"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, must be at most 1024"),
        ({"num_hidden_layers": 2}, ""),
        ({"vocab_size": 1 << 23, "hidden_size": 1 << 16}, ""),
    ],
)
def test_the_config_of_an_artefact(config: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_artefact(lambda layers, model, floats: model["config"].update(config))
    Path("s.tsv").write_text("5\ta fox\ta river\n1\ta\tthe line\n")
    for command in COMMANDS[1:]:
        found = refused(capsys, *command)
        assert found.startswith(f"A.safetensors: the artefact's config: {message}" if message else "A.safetensors: ")


def test_facts_of_a_layer_do_not_stand_for_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A layer may have facts of any name and value; those that inspect counts with are its own."""
    write_artefact(lambda layers, model, floats: next(iter(layers.values())).update(bytes="x", name=[], density=None))
    assert main(["inspect", "A.safetensors", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)["layers"]
    assert first["name"].startswith("encoder.layer.0.")
    assert type(first["bytes"]) is int
    assert main(["inspect", "A.safetensors"]) == 0


def test_other_tensors_go_along(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a folder, what is not computed with may be of any type."""
    write_model(Path("m"))
    more = load_file("m/model.safetensors") | {"pooler.other": torch.zeros(4).to(torch.float8_e4m3fn)}
    save_file(more, "m/model.safetensors")
    assert main(["compile", "m", *FLAGS, "--max-tokens", "16", "--hidden", "24"]) == 0
