"""Models from ordinary folders: the float forward is the real one, and what is wrong with a folder is said."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu

from pruning.data.text import read_sentences
from pruning.families.bert.folder import load, save
from pruning.families.bert.model import Encoder
from pruning.files.folders import packaged_minilm
from rtl.params import InputError
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model, write_shards

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


def refused(folder: Path | str) -> str:
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
        ({"position_embedding_type": None}, "position_embedding_type is None, must be 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True, must be False: nmgen does not compute tokens that see only those"),
        ({"is_decoder": 1}, "is_decoder is 1, must be False"),
        ({"add_cross_attention": True}, "add_cross_attention is True, must be False: nmgen does not compute "),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is True, must be False: nmgen does not compute a decoder"),
        ({"cross_attention_hidden_size": 24}, "cross_attention_hidden_size is 24, must be None: "),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is {'0': [1]}, must be {}: "),
        ({"quantization_config": {"bits": 4}}, "quantization_config is {'bits': 4}, must be None: "),
        ({"auto_map": {"AutoModel": "x" * 90}}, "auto_map is {'AutoModel': 'xxx"),
    ],
)
def test_wrong_config(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert refused(write_model(tmp_path / "model", config=CONFIG | change)).startswith(f"DIR/config.json: {message}")


def test_config_that_lacks_a_key(tmp_path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "intermediate_size"}
    assert refused(write_model(tmp_path / "model", config=config)) == "DIR/config.json: intermediate_size is missing"


HARMLESS = {
    "is_decoder": False,
    "add_cross_attention": None,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
    "use_cache": True,
    "classifier_dropout": None,
}


def test_keys_that_say_what_is_computed_anyway(small: Path, tmp_path: Path) -> None:
    assert torch.equal(states(write_model(tmp_path / "model", config=CONFIG | HARMLESS)), states(small))


# --- first steps: other forms of folders -----------------------------------------------------------------------------

UNTYPED = {key: value for key, value in CONFIG.items() if key != "model_type"}


@pytest.mark.parametrize("architectures", [{}, {"architectures": ["BertForMaskedLM"]}, {"architectures": []}])
def test_a_config_of_before_there_was_a_model_type(architectures: dict[str, Any], small: Path, tmp_path: Path) -> None:
    """Its folder is written back with one, so that transformers opens it."""
    folder = write_model(tmp_path / "old", config=UNTYPED | architectures)
    assert torch.equal(states(folder), states(small))
    save(load(folder), tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["model_type"] == "bert"


@pytest.mark.parametrize("architectures", [["RobertaModel"], ["DistilBertModel"], ["AlbertModel"]])
def test_another_family_without_model_type_is_no_bert(architectures: list[str], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", config=UNTYPED | {"architectures": architectures})
    assert "config.json: model_type is None, must be one of" in refused(folder)


def test_tensors_of_another_family_are_no_bert_s(tmp_path: Path) -> None:
    """A RoBERTa's tensors have the shapes of a BERT's, and other positions."""
    names = {f"roberta.{name}": tensor for name, tensor in tensors().items()}
    message = refused(write_model(tmp_path / "model", config=UNTYPED, checkpoint=names))
    assert message.startswith("DIR/model.safetensors: tensor roberta.")
    assert message.endswith(" is of a roberta, config.json is of a bert")


def test_shards(small: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    write_shards(folder)
    assert torch.equal(states(folder), states(small))
    assert load(folder).origin.others.keys() == load(small).origin.others.keys()


def test_shards_with_something_wrong(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    write_shards(folder)
    index, second = folder / "model.safetensors.index.json", folder / "model-00002-of-00002.safetensors"
    data, text = second.read_bytes(), index.read_text()
    second.write_bytes(data[:-9])
    assert refused(folder).startswith("DIR/model-00002-of-00002.safetensors is truncated or damaged: ")
    second.write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    assert " is in model-00001-of-00002.safetensors as well, must be in one" in refused(folder)
    second.unlink()
    assert refused(folder) == "DIR/model-00002-of-00002.safetensors is missing"
    index.write_text(text.replace("model-00002-of-00002", "model-00001-of-00002"))
    assert re.fullmatch(r"DIR/model\.safetensors\.index\.json: tensor \S+ is missing", refused(folder))
    for wrong in ("../model.safetensors", "/etc/passwd", "sub/a.safetensors", "a.bin", 3):
        index.write_text(json.dumps({"weight_map": {"a": wrong}}))
        assert refused(folder).startswith(
            f"DIR/model.safetensors.index.json: a shard is {wrong!r}, must be the name of"
        )
    for text in ("{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}'):
        index.write_text(text)
        assert refused(folder).startswith("DIR/model.safetensors.index.json is no index of shards")


def test_a_checkpoint_of_torch_s_own_says_how_to_convert_it(small: Path, tmp_path: Path) -> None:
    """And the command that it gives does so."""
    folder = write_model(tmp_path / "mo del")
    (folder / "model.safetensors").unlink()
    shared = tensors()
    shared["decoder.weight"] = shared["embeddings.word_embeddings.weight"]  # tied, as language models have them
    torch.save(shared, folder / "pytorch_model.bin")
    with pytest.raises(InputError) as caught:
        load(folder)
    message, _, command = str(caught.value).partition(": convert it with: ")
    assert message == f"{folder / 'pytorch_model.bin'} is not safetensors"
    subprocess.run(["sh", "-c", command.replace("python ", f"{sys.executable} ", 1)], check=True, timeout=120)
    assert torch.equal(states(folder), states(small))


@pytest.mark.parametrize("name", ["sentence-transformers/all-MiniLM-L6-v2", "bert-base-uncased"])
def test_a_name_of_the_hub_says_what_to_do(name: str) -> None:
    own = name.rpartition("/")[2]
    with pytest.raises(InputError) as caught:
        load(name)
    assert str(caught.value) == (
        f"model {name} is not a folder; one of Hugging Face's hub is downloaded to a folder first: "
        f"hf download {name} --local-dir {own}"
    )


@pytest.mark.parametrize("name", ["./bert", "a/b/c", "tests/none", "/none", "a b/c", "-x"])
def test_a_path_is_no_name_of_the_hub(name: str) -> None:
    assert refused(name) == "model DIR is not a folder"


# --- files -----------------------------------------------------------------------------------------------------------


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
