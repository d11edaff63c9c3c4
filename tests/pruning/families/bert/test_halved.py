"""A DistilBERT of every second block: what the same blocks of the BERT compute, and transformers opens it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pruning.families.bert.folder import load
from pruning.families.bert.halved import write
from rtl.params import InputError
from tests.pruning.families.bert.test_model import check_against_transformers
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model


def write_deep(folder: Path, layers: int = 4, **changes: object) -> Path:
    config = CONFIG | {"num_hidden_layers": layers} | changes
    return write_model(folder, config=config, checkpoint=tensors(config=config))


def test_every_second_block(tmp_path: Path) -> None:
    write_deep(tmp_path / "deep")
    write(tmp_path / "halved", str(tmp_path / "deep"))
    found, wanted = load(tmp_path / "halved"), load(tmp_path / "deep")
    wanted.encoder.layer = nn.ModuleList(list(wanted.encoder.layer)[1::2])
    assert (found.shape.layers, found.shape.types) == (2, 0)
    ids = torch.arange(2, 13)
    torch.testing.assert_close(found(ids), wanted(ids), rtol=1e-5, atol=1e-5)
    sentence = f"{WORDS[7]} {WORDS[9]}"
    assert found.ids(sentence).equal(wanted.ids(sentence))


def test_transformers_opens_it(tmp_path: Path) -> None:
    write(tmp_path / "halved")
    check_against_transformers(load(tmp_path / "halved"), tmp_path / "halved")


def test_no_half(tmp_path: Path) -> None:
    write_deep(tmp_path / "deep", layers=3)
    with pytest.raises(
        InputError, match=r"deep is a bert of 3 blocks with layer_norm_eps 1e-12: must be a bert of an ev"
    ):
        write(tmp_path / "halved", str(tmp_path / "deep"))
    write_deep(tmp_path / "deep", layer_norm_eps=1e-5)
    with pytest.raises(InputError, match=r"layer_norm_eps 1e-05: must be a bert of an even number, with 1e-12$"):
        write(tmp_path / "halved", str(tmp_path / "deep"))
