"""The encoder against transformers, in batches, and written back as a folder that transformers opens."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pruning.encoder.batches import by_length, padded, pooled
from pruning.families.bert.folder import BERT_KEYS, load, save, shape_of
from pruning.families.bert.model import Encoder
from pruning.files.folders import packaged_minilm
from pruning.masks.sparsify import finalize, sparsify
from rtl.params import InputError
from tests.pruning.samples import CONFIG, write_model

SENTENCES = [
    "A man is playing a guitar.",
    "Share prices fell sharply this morning, after all that had been said on the evening before.",
    "Why?",
]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load(packaged_minilm())


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    return load(write_model(tmp_path / "small"))


def states_of_transformers(folder: Path, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(states [sentences, tokens, hidden], mask) of transformers' own model and tokenizer in a folder."""
    from transformers import AutoModel, AutoTokenizer, logging

    logging.disable_progress_bar()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).last_hidden_state, batch["attention_mask"].bool()


def check_against_transformers(encoder: Encoder, folder: Path) -> None:
    expected, mask = states_of_transformers(folder, SENTENCES)
    ids, own_mask = padded([encoder.ids(sentence) for sentence in SENTENCES])
    assert torch.equal(mask, own_mask)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(ids, mask)[mask], expected[mask], atol=1e-5, rtol=0)


def test_minilm_is_what_transformers_computes(minilm: Encoder) -> None:
    check_against_transformers(minilm, packaged_minilm())


def test_a_pruned_model_written_back_opens_in_transformers(minilm: Encoder, tmp_path: Path) -> None:
    pruned = deepcopy(minilm)
    sparsify(pruned, "2:8")
    save(pruned, tmp_path)  # masks act in what is written, baked in or not
    check_against_transformers(pruned, tmp_path)
    again = load(tmp_path)
    check_against_transformers(again, tmp_path)
    finalize(pruned)
    assert torch.equal(again.embed(SENTENCES), pruned.embed(SENTENCES))


def test_the_written_folder_has_what_sentence_transformers_reads(minilm: Encoder, tmp_path: Path) -> None:
    save(minilm, tmp_path)
    source = packaged_minilm()
    modules: list[dict[str, Any]] = json.loads((tmp_path / "modules.json").read_text())
    assert modules == json.loads((source / "modules.json").read_text())
    assert all((tmp_path / module["path"]).is_dir() for module in modules)
    pooling = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert pooling == {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()  # the pooler and the table of positions too
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_batch_is_its_sentences(minilm: Encoder) -> None:
    ids = [minilm.ids(sentence) for sentence in SENTENCES]
    with torch.inference_mode():
        alone = torch.stack([pooled(minilm(one), None) for one in ids])
        together = by_length(ids, lambda *batch: pooled(minilm(*batch), batch[1]), batch=2)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
def test_batches_hold_each_sentence_once(batch: int) -> None:
    """Whole ones but for the last, the shortest sentences first; results in the order that came."""
    lengths = [5, 1, 3, 3, 8, 2, 9]
    ids = [torch.full((length,), number) for number, length in enumerate(lengths)]
    seen: list[list[int]] = []

    def compute(rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(mask.sum(dim=1).tolist())
        return rows[:, :1]

    assert by_length(ids, compute, batch).flatten().tolist() == list(range(7))
    assert [len(part) for part in seen] == [batch] * (7 // batch) + [7 % batch] * (7 % batch > 0)
    assert [length for part in seen for length in part] == sorted(lengths)


def test_the_least_model() -> None:
    """Of every number the least: one layer, one head, one of each."""
    keys = [theirs for ours, theirs in BERT_KEYS.items() if ours != "activation"]

    def numbers(config: dict[str, Any]) -> set[int] | str:
        try:
            shape = shape_of(config, "config.json")
        except InputError as error:
            return str(error)
        return {getattr(shape, ours) for ours in BERT_KEYS if ours != "activation"}

    assert numbers(CONFIG | dict.fromkeys(keys, 1)) == {1}


def test_a_head_goes_along(small: Encoder, tmp_path: Path) -> None:
    small.head = nn.Linear(CONFIG["hidden_size"], 3)
    save(small, tmp_path / "headed")
    again = load(tmp_path / "headed")
    assert again.head
    assert torch.equal(again.head.weight, small.head.weight)
    assert again.linears().keys() == small.linears().keys()  # the head is not pruned
    ids = small.ids("a fox")
    assert torch.equal(again.logits(ids), small.logits(ids))
    modules = json.loads((tmp_path / "headed" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Dense"]


def test_no_head(small: Encoder) -> None:
    with pytest.raises(InputError, match="the model has no head: train one with nmgen prune --classify"):
        small.logits(small.ids("a fox"))


@pytest.mark.parametrize(
    "content",
    [
        {"embedding_dimension": 24, "pooling_mode": "mean", "include_prompt": True},
        {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        {"word_embedding_dimension": 24},
    ],
)
def test_the_mean_in_every_version_s_words(content: dict[str, Any], small: Encoder, tmp_path: Path) -> None:
    save(small, tmp_path / "model")
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text(json.dumps(content))
    assert torch.equal(load(tmp_path / "model").embed(["a fox"]), small.embed(["a fox"]))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "pooling is none, must be the mean of the"),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}, "pooling is {'pooling_mode': 'cls'}, must be the mean"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "pooling is {'pooling_mode': ['mean', 'max']}, "),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "pooling is {'pooling_mode_mean_tokens': True, 'pooling_mode_cls_token': True}, must be the mean",
        ),
        ("2_Dense/config.json", {"activation_function": "torch.nn.Tanh"}, "activation_function is 'torch.nn.Tanh', "),
        ("2_Dense/config.json", {"activation_function": "x.Identity", "out_features": 1}, "out_features is 1, must be"),
    ],
)
def test_folders_that_compute_something_else(
    file: str, content: dict[str, Any], message: str, small: Encoder, tmp_path: Path
) -> None:
    path = tmp_path / "model" / file
    save(small, tmp_path / "model")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load(tmp_path / "model")
    assert str(caught.value).startswith(f"{path}: {message}")
