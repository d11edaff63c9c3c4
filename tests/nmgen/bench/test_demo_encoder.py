"""The demo's whole encoder, on a model of one layer and a small design."""

from pathlib import Path

import pytest

from nmgen.bench.demo_encoder import encoded
from nmgen.compiler import program as programs
from pruning.files.artefact import save
from rtl.params import InputError
from tests.nmgen.commands.test_simulate_program import BUILDS, CONFIG, SIZES
from tests.nmgen.encoders import TEXT, artefact


def test_text_to_embedding(tmp_path: Path) -> None:
    whole = artefact(**SIZES)
    file = tmp_path / "A.safetensors"
    save(file, whole.layers.values(), whole.model)
    said: list[str] = []
    options = {"latency": 30, "build_dir": BUILDS, "progress": said.append}
    facts = encoded(file, tmp_path, CONFIG, 11, TEXT, **options)
    assert facts["text"] == "a fox crossed the river . the line ?"
    assert facts["wrong"] == []
    assert facts["cosine"] > 0.99
    assert 0 < facts["utilisation"] < 1
    assert facts["values"] > 1000
    assert programs.load(tmp_path / "encoder.nmp").config == CONFIG
    assert (tmp_path / "timeline.png").stat().st_size > 1000
    assert (tmp_path / "sta" / "manifest.json").is_file()
    assert said[0] == "compiling"
    with pytest.raises(InputError, match="no two neighbouring sentences have 4 tokens"):
        encoded(file, tmp_path, CONFIG, 4, TEXT, **options)
