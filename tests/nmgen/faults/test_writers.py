"""Several who write to one place at the same time: what the last one wrote is there in the end, whole."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from nmgen.console.files import written_whole
from tests.nmgen.faults.commands import ALONE, ENGINE, tree


@pytest.mark.parametrize("existing", [False, True])
def test_generate(existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three accelerators into one folder: it is that of one of them, each file of it."""
    monkeypatch.chdir(tmp_path)
    if existing:
        Path("out").mkdir()
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "nmgen", "generate", *ENGINE.split(), "--max-tokens", str(tokens), "-o", "out"],
            env=variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for tokens in (2, 3, 4)
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    manifest = json.loads(Path("out/manifest.json").read_text())
    found = {path: sha256(content).hexdigest() for path, content in tree(Path("out")).items() if content}
    del found["manifest.json"]
    assert found == manifest["files"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with written_whole(tmp_path / "file") as path:
            path.write_bytes(bytes([number]) * 10000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(100)))
    assert len(set((tmp_path / "file").read_bytes())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with written_whole(tmp_path / "folder", replace=True) as path:
            path.mkdir()
            for name in "abc":
                (path / name).write_text(str(number))

    write(0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(100)))
    assert len({(tmp_path / "folder" / name).read_text() for name in "abc"}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.nightly
@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("name", ["pack", "compile", "prune", "prune layers", "train"])
def test_others(name: str) -> None:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    before = tree(Path.cwd())
    runs = [
        subprocess.Popen([sys.executable, "-m", "nmgen", *ALONE[name].words], env=variables, stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert [run.wait() for run in runs] == [0, 0, 0]
    made = set(tree(Path.cwd())) - set(before)
    assert made
    assert not [path for path in made if "/." in path]
