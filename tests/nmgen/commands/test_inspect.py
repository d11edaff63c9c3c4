"""`nmgen inspect`: the facts of an artefact, and one line for a file that is none."""

import json
from pathlib import Path

import numpy as np
import pytest

from nmgen.cli import main
from pruning.files.artefact import save
from tests.pruning.samples import random_layer


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    path = tmp_path / "A.safetensors"
    save(path, [random_layer(1, 5, 19, 2, 8, name="first"), random_layer(2, 4, 32, 16, 16, 16, name="second")])
    return path


def test_json(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(artefact), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, second = found["layers"]
    assert (found["file"], found["version"]) == (str(artefact), 1)
    weights = random_layer(1, 5, 19, 2, 8).weights
    assert first == {
        "name": "first",
        "pattern": "2:8",
        "channels": 5,
        "k": 19,
        "coding": "index",
        "out_bits": 8,
        "density": np.count_nonzero(weights) / weights.size,
        "bytes": 15 * 2 + 12,
        "dense_bytes": 95,
        "x_scale": 0.125,
    }
    assert (second["coding"], second["out_bits"], second["bytes"]) == ("counted", 16, 4 * 32)


def test_table(artefact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(artefact)]) == 0
    out = capsys.readouterr().out
    assert str(artefact).replace("/", "") in out.replace("/", "").replace("\n", "")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("│")] == ["first", "second"]


def test_bad_input(artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every reason of refusal is tested with the artefact itself; here, that it reaches the user as one line."""
    data = artefact.read_bytes()
    for content, message in (
        (data[:-1], f"truncated: tensor second.values ends at byte {len(data)}, the file at {len(data) - 1}"),
        (data[:-1] + b"\0", "damaged: the checksum sha256 in its metadata is not that of its contents"),
        (data.replace(b'"version":"1"', b'"version":"7"'), "version is 7, this program reads versions 1 to 3: "),
        (b"text", "truncated, or no safetensors file: its header ends at byte 8, the file at 4"),
    ):
        artefact.write_bytes(content)
        assert main(["inspect", str(artefact)]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith(f"nmgen: {artefact}: {message}")
        assert err.count("\n") == 1
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"nmgen: {tmp_path / 'none'}: No such file or directory\n"
