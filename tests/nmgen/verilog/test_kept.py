"""Verilog that is kept for simulations: generated once, and again when it or the generator changes."""

import shutil
from pathlib import Path

import pytest

from nmgen.verilog import kept as module
from nmgen.verilog.bundle import generate
from nmgen.verilog.kept import kept
from rtl.params import Config

TINY = Config(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=1, max_k=2)


def test_it_is_what_is_generated(tmp_path: Path) -> None:
    found = kept(TINY, tmp_path / "builds")
    fresh = generate(TINY, tmp_path / "fresh")
    for again in (found, kept(TINY, tmp_path / "builds")):
        assert (again.top, again.manifest) == (fresh.top, fresh.manifest)
        assert [one.read_bytes() for one in again.sources] == [one.read_bytes() for one in fresh.sources]


def test_it_is_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = kept(TINY, tmp_path)
    monkeypatch.setattr(module, "generate", None)
    assert kept(TINY, tmp_path) == found


@pytest.mark.parametrize("damage", ["changed", "missing", "no manifest", "cut manifest", "empty manifest", "no folder"])
def test_what_was_changed_is_generated_again(damage: str, tmp_path: Path) -> None:
    found = kept(TINY, tmp_path)
    source, manifest = found.sources[0], found.directory / "manifest.json"
    right = source.read_text()
    if damage == "changed":
        source.write_text(right.replace("endmodule", "// mine\nendmodule"))
    elif damage == "missing":
        source.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "no folder":
        shutil.rmtree(found.directory)
    else:
        manifest.write_text({"cut manifest": "{", "empty manifest": "[]"}[damage])
    assert kept(TINY, tmp_path) == found
    assert source.read_text() == right
    assert list(tmp_path.iterdir()) == [found.directory]


def test_each_configuration_and_generator_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Config(n=1, m=2, rows=1, cols=2, drain=1, port_bytes=1, max_tokens=1, max_k=2)
    mine = tmp_path / "package"
    mine.mkdir()
    (mine / "pe.py").write_text("# a change\n")
    folders = {kept(config, tmp_path).directory for config in (TINY, other)}
    monkeypatch.setattr(module, "GENERATOR", (*module.GENERATOR, mine))
    folders.add(kept(TINY, tmp_path).directory)
    assert len(folders) == 3
