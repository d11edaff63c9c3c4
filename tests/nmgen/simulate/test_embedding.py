"""MiniLM on the generated Verilog against transformers: text to embedding, the same pruned weights; nightly."""

from pathlib import Path

import numpy as np
import pytest
from torch.nn.functional import normalize

from nmgen.cli import main
from pruning.data.text import read_sentences
from pruning.encoder.batches import pooled
from pruning.families.bert.calibrate import calibrate
from pruning.families.bert.export import to_artefact
from pruning.families.bert.folder import load, save
from pruning.files.artefact import save as save_artefact
from pruning.files.folders import packaged_minilm
from pruning.masks.sparsify import finalize, sparsify
from tests.nmgen.commands.test_simulate_program import BUILDS
from tests.pruning.families.bert.test_model import states_of_transformers

TEXT = "The train to the coast was late again, so we read the whole paper."


@pytest.mark.nightly
def test_the_embedding_of_pruned_minilm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = load(packaged_minilm())
    names = set(encoder.linears())
    plan = sparsify(encoder, "2:8", filter_fn=lambda _layer, name: name in names)
    finalize(encoder)
    folder, file, program = tmp_path / "folder", tmp_path / "A.safetensors", tmp_path / "P.nmp"
    save(encoder, folder)
    artefact = to_artefact(encoder, plan.layers, calibrate(encoder, read_sentences()), {"model": "minilm"})
    save_artefact(file, artefact.layers.values(), artefact.model)
    states, mask = states_of_transformers(folder, [TEXT])
    expected = normalize(pooled(states, mask), dim=1)[0].numpy()

    assert main(["compile", str(file), "--seq", str(int(mask.sum())), "-o", str(program)]) == 0
    options = ["--simulator", "verilator", "--build", str(BUILDS), "--output", str(tmp_path / "e.npy")]
    assert main(["simulate", str(program), "--text", TEXT, *options]) == 0
    cosine = float(np.load(tmp_path / "e.npy")[0] @ expected)
    print(f"cosine to transformers {cosine:.4f}")
    assert cosine >= 0.99, capsys.readouterr().out
