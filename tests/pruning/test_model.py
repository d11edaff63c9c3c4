"""Models from ordinary folders: the float forward is the real one, and what is wrong with a folder is said."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu

from pruning.bert import Encoder
from pruning.folder import load, packaged_minilm
from pruning.text import read_sentences
from rtl.params import InputError
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model

SENTENCES = [
    "A man is playing a guitar.",
    "Someone plays a musical instrument.",
    "Share prices fell sharply this morning.",
    "The stock market dropped today.",
]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load(packaged_minilm())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small")


# --- MiniLM ----------------------------------------------------------------------------------------------------------


def test_minilm_is_what_transformers_computes(minilm: Encoder) -> None:
    """The numbers were taken from transformers 5.24 with the same checkpoint and sentences."""
    embeddings = minilm.embed(SENTENCES)
    assert embeddings.shape == (4, 384)
    assert embeddings[0, :6].tolist() == pytest.approx(
        [0.02166408, -0.00486423, -0.00964909, -0.06340127, -0.16749349, 0.00467642], abs=2e-6
    )
    similarities = embeddings @ embeddings.T
    expected = {(0, 1): 0.68444, (2, 3): 0.67559, (0, 2): -0.07626, (1, 3): -0.07207}
    for (i, j), similarity in expected.items():
        assert float(similarities[i, j]) == pytest.approx(similarity, abs=1e-4)


def test_minilm_tokens_are_neither_padded_nor_cut_at_128(minilm: Encoder) -> None:
    """Its tokenizer.json asks for both."""
    assert minilm.ids(SENTENCES[0]).tolist() == [101, 1037, 2158, 2003, 2652, 1037, 2858, 1012, 102]
    assert len(minilm.ids("word " * 300)) == 302
    assert len(minilm.ids("word " * 600)) == minilm.shape.max_tokens == 512


def test_minilm_has_36_linear_layers(minilm: Encoder) -> None:
    linears = minilm.linears()
    assert len(linears) == 36
    assert linears["encoder.layer.0.intermediate.dense"].weight.shape == (1536, 384)
    assert linears["encoder.layer.5.output.dense"].weight.shape == (384, 1536)


def test_inputs_are_what_each_layer_gets(minilm: Encoder) -> None:
    linears = minilm.linears()
    inputs = minilm.inputs(SENTENCES, linears)
    tokens = sum(len(minilm.ids(sentence)) for sentence in SENTENCES)
    assert {name: tuple(x.shape) for name, x in inputs.items()} == {
        name: (tokens, linear.in_features) for name, linear in linears.items()
    }
    block = "encoder.layer.3"
    attention = inputs[f"{block}.attention.self.query"]
    assert torch.equal(attention, inputs[f"{block}.attention.self.key"])
    assert torch.equal(attention, inputs[f"{block}.attention.self.value"])
    middle = gelu(linears[f"{block}.intermediate.dense"](inputs[f"{block}.intermediate.dense"]))
    torch.testing.assert_close(middle, inputs[f"{block}.output.dense"])
    assert all(not linear._forward_pre_hooks for linear in linears.values())


def test_sentences_of_the_repository(minilm: Encoder) -> None:
    sentences = read_sentences()
    assert len(set(sentences)) == len(sentences) == 40
    assert 600 < sum(len(minilm.ids(sentence)) for sentence in sentences) < 800
    assert all(100 not in minilm.ids(sentence) for sentence in sentences)  # no word that the tokenizer does not know


# --- other families --------------------------------------------------------------------------------------------------


def states(folder: Path) -> torch.Tensor:
    encoder = load(folder)
    with torch.inference_mode():
        return encoder(encoder.ids("A fox crossed the river ."))


def test_checkpoints_with_a_prefix_and_old_names(small: Path, tmp_path: Path) -> None:
    old = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors().items()
    }
    old["cls.predictions.bias"] = torch.zeros(3)
    assert torch.equal(states(write_model(tmp_path / "old", checkpoint=old)), states(small))


def test_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    half = {name: value.to(torch.bfloat16) for name, value in tensors().items()}
    assert states(write_model(tmp_path / "half", checkpoint=half)).dtype == torch.float32


def test_roberta_counts_positions_from_behind_the_padding(small: Path, tmp_path: Path) -> None:
    """The same weights, the table of positions two rows lower."""
    name = "embeddings.position_embeddings.weight"
    shifted = {f"roberta.{key}": value for key, value in tensors().items()}
    shifted[f"roberta.{name}"] = torch.cat([torch.full((2, CONFIG["hidden_size"]), 7.0), tensors()[name]])
    config = CONFIG | {"model_type": "roberta", "max_position_embeddings": 18, "pad_token_id": 1}
    folder = write_model(tmp_path / "roberta", config=config | {"layer_norm_eps": 1e-12}, checkpoint=shifted)
    assert torch.equal(states(folder), states(small))
    assert load(folder).shape.max_tokens == 16


DISTILBERT = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def test_distilbert_has_other_names_and_no_token_types(tmp_path: Path) -> None:
    """The same weights, the token type added to every position beforehand."""
    bert = tensors()
    types = bert.pop("embeddings.token_type_embeddings.weight")
    zero = bert | {"embeddings.token_type_embeddings.weight": torch.zeros_like(types)}
    distil = {}
    for name, value in bert.items():
        for ours, theirs in DISTILBERT.items():
            name = re.sub(rf"^encoder(\.layer\.\d+)\.{ours}\.", rf"transformer\1.{theirs}.", name)
        distil[f"distilbert.{name}"] = value
    config = {
        "model_type": "distilbert",
        "dim": 24,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 40,
        "activation": "gelu",
        "max_position_embeddings": 16,
        "vocab_size": len(WORDS),
    }
    folder = write_model(tmp_path / "distilbert", config=config, checkpoint=distil)
    assert torch.equal(states(folder), states(write_model(tmp_path / "bert", checkpoint=zero)))


@pytest.mark.parametrize("activation", ["gelu_new", "relu", "silu", "gelu_pytorch_tanh"])
def test_other_activation_functions(activation: str, small: Path, tmp_path: Path) -> None:
    other = states(write_model(tmp_path / "other", config=CONFIG | {"hidden_act": activation}))
    assert not torch.equal(other, states(small))
    assert other.isfinite().all()


# --- folders with something wrong ------------------------------------------------------------------------------------


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "DIR")


def test_no_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == "model DIR is not a folder"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "DIR/config.json is missing"),
        ("model.safetensors", "DIR/model.safetensors is missing"),
        ("vocab.txt", "DIR/tokenizer.json is missing"),
    ],
)
def test_missing_files(file: str, message: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "model"))
    (folder / file).unlink()
    assert refused(folder) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_type": "gpt2"},
            "model_type is 'gpt2', must be one of bert, roberta, xlm-roberta, camembert, distilbert",
        ),
        ({"model_type": None}, "model_type is None, must be one of bert, roberta, xlm-roberta, camembert, distilbert"),
        ({"model_type": ["bert"]}, "model_type is ['bert'], must be one of bert, roberta, xlm-roberta, camembert, "),
        ({"hidden_size": "24"}, "hidden_size is '24', must be an integer of at least 1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, must be an integer of at least 1"),
        ({"num_attention_heads": 5}, "24 hidden units do not divide into 5 heads"),
        ({"hidden_act": "swish2"}, "activation is 'swish2', must be one of gelu, gelu_new, "),
        ({"hidden_act": {}}, "activation is {}, must be one of gelu, gelu_new, "),
        ({"layer_norm_eps": None}, "layer_norm_eps is None, must be a number such as 1e-12"),
        ({"type_vocab_size": 2.5}, "type_vocab_size is 2.5, must be a number such as 2"),
        ({"pad_token_id": "0"}, "pad_token_id is '0', must be a number such as 1"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', must be 'absolute'"),
    ],
)
def test_wrong_config(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert refused(write_model(tmp_path / "model", config=CONFIG | change)).startswith(f"DIR/config.json: {message}")


def test_config_that_lacks_a_key(tmp_path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "intermediate_size"}
    assert refused(write_model(tmp_path / "model", config=config)) == "DIR/config.json: intermediate_size is missing"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "DIR/config.json is not JSON: "),
        ("config.json", "[]", "DIR/config.json is not a JSON object"),
        ("tokenizer.json", "{}", "DIR/tokenizer.json is no tokenizer: "),
        ("vocab.txt", "fox\n", "DIR/vocab.txt is no tokenizer: "),
        ("model.safetensors", "version https://git-lfs", "DIR/model.safetensors is truncated or damaged: "),
    ],
)
def test_damaged_files(file: str, content: str, message: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "model"))
    (folder / file).write_text(content)
    assert refused(folder).startswith(message)


def test_truncated_checkpoint(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "model"))
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert refused(folder).startswith("DIR/model.safetensors is truncated or damaged: ")


NAME = "encoder.layer.1.intermediate.dense.weight"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, f"tensor {NAME} is missing"),
        (torch.zeros(40, 23), f"tensor {NAME} is float32 [40, 23], must be float [40, 24] by config.json"),
        (
            torch.zeros(40, 24, dtype=torch.int8),
            f"tensor {NAME} is int8 [40, 24], must be float [40, 24] by config.json",
        ),
        (torch.full((40, 24), float("nan")), f"tensor {NAME} is nan at [0, 0], must be finite"),
        (torch.full((40, 24), float("-inf")), f"tensor {NAME} is -inf at [0, 0], must be finite"),
    ],
)
def test_wrong_tensors(value: torch.Tensor | None, message: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "model"))
    checkpoint = load_file(folder / "model.safetensors")
    del checkpoint[NAME]
    save_file(checkpoint | ({} if value is None else {NAME: value}), folder / "model.safetensors")
    assert refused(folder) == f"DIR/model.safetensors: {message}"


def test_a_tokenizer_with_more_words_than_the_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "vocab.txt").write_text("\n".join([*WORDS, "volcano"]) + "\n")
    with pytest.raises(InputError, match=re.escape("the tokenizer gives token 13, must be below 13")):
        load(folder).ids("a volcano")


def test_vocabulary_with_capitals(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    assert load(folder).ids("A FOX").tolist() == [2, 5, 6, 3]
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert load(folder).ids("A FOX").tolist() == [2, 1, 1, 3]


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n \n", "has no sentence"), (b"a\xff", "is not UTF-8 text: byte 1")]
)
def test_wrong_sentences(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"{message}$"):
        read_sentences(tmp_path / "s.txt")
