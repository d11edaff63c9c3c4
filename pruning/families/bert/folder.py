"""Hugging Face folders: a BERT-family encoder read from one, and written back as one.

Of a folder it reads config.json, model.safetensors and tokenizer.json (or vocab.txt), and 2_Dense where a head is. What
it does not compute with, such as the pooler, is kept and written back, so that `transformers` opens the written folder
as it did the first. sentence-transformers opens it too: mean of the tokens, then length 1, or a head.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from pruning.encoder.activations import ACTIVATIONS
from pruning.families.bert.model import Encoder, Origin, Shape
from pruning.families.known import FAMILIES
from pruning.files.checkpoint_files import Weights, opened
from pruning.files.config_keys import check_computed, count, epsilon
from pruning.files.folders import check_folder
from pruning.files.reading import JSON_MAX, read_bytes, read_object, shown
from pruning.files.tokenizer import Tokenizer, open_tokenizer, open_words
from rtl.params import InputError

# Files of a folder that go along unchanged.
KEPT = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
)

# What config.json calls the entries that matter here.
BERT_KEYS = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
    "activation": "hidden_act",
    "positions": "max_position_embeddings",
    "vocabulary": "vocab_size",
}
DISTILBERT_KEYS = BERT_KEYS | {
    "hidden": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "intermediate": "hidden_dim",
    "activation": "activation",
}

# Names of the parts of a block → DistilBERT's.
DISTILBERT_PARTS = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}

# Names of tensors in checkpoints → names of the modules below.
RENAMED = (
    (r"^(bert|roberta|distilbert)\.", ""),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^transformer\.layer\.", "encoder.layer."),
    *((rf"\.{re.escape(theirs)}\.", f".{ours}.") for ours, theirs in DISTILBERT_PARTS.items()),
)


# --- reading a folder ------------------------------------------------------------------------------------------------


def load(folder: Path | str) -> Encoder:
    """The encoder in a Hugging Face folder.

    Raises
    ------
    InputError : a file that is missing, damaged or of another kind of model; a tensor that is missing, of another
        shape, or has a NaN or infinity.
    """
    folder = check_folder(folder)
    config = _with_family(read_object(folder / "config.json"))
    shape = shape_of(config, folder / "config.json")
    _check_pooling(folder / "1_Pooling" / "config.json")
    files = {name: read_bytes(folder / name, JSON_MAX) for name in KEPT if (folder / name).is_file()}
    origin = Origin(config=config, files=files)
    head = _head(folder / "2_Dense", shape)
    tokenizer = _tokenizer(folder, files, shape)
    with opened(folder) as weights:
        _check_prefix(weights, config)
        weights.check_layers([_renamed(name) for name in weights.names], shape.layers)
        with torch.device("meta"):  # only names and shapes; the checkpoint brings the numbers
            encoder = Encoder(shape, tokenizer, origin, classes=len(head["head.bias"]) if head else 0)
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items() if name not in head}
        tensors = _tensors(weights, expected, origin)
    encoder.load_state_dict(tensors | head, assign=True)
    return encoder.eval().requires_grad_(False)


def _with_family(config: dict[str, Any]) -> dict[str, Any]:
    """The config, with the model_type that the first ones did not have yet: they are BERT's where they have its keys
    and name no architecture of another family."""
    named = config.get("architectures")
    first = str(named[0]) if isinstance(named, list) and named else "BertModel"
    is_bert = "model_type" not in config and set(BERT_KEYS.values()) <= set(config) and first.startswith("Bert")
    return {"model_type": "bert", **config} if is_bert else config


def shape_of(config: dict[str, Any], path: Path | str) -> Shape:
    """What the contents of a config.json say; path is what messages call it."""
    family = config.get("model_type")
    if family not in FAMILIES["bert"]:
        raise InputError(f"{path}: model_type is {family!r}, must be one of {', '.join(FAMILIES['bert'])}")
    values: dict[str, Any] = {}
    for ours, theirs in (DISTILBERT_KEYS if family == "distilbert" else BERT_KEYS).items():
        if theirs not in config:
            raise InputError(f"{path}: {theirs} is missing")
        values[ours] = config[theirs] if ours == "activation" else count(str(path), ours, theirs, config[theirs])
    if values["activation"] not in tuple(ACTIVATIONS):
        raise InputError(f"{path}: activation is {values['activation']!r}, must be one of {', '.join(ACTIVATIONS)}")
    if values["hidden"] % values["heads"]:
        raise InputError(f"{path}: {values['hidden']} hidden units do not divide into {values['heads']} heads")
    check_computed(config, str(path))
    # RoBERTa numbers positions from behind the padding token; DistilBERT has one token type and no table of it.
    optional = {"pad_token_id": 1, "type_vocab_size": 2}
    for key, usual in optional.items():
        value = optional[key] = config.get(key, usual)
        if type(value) is not int or not 0 <= value < 1 << 16:
            raise InputError(f"{path}: {key} is {shown(value)}, must be a number such as {usual}, below {1 << 16}")
    shape = Shape(
        **values,
        first_position=0 if family in ("bert", "distilbert") else optional["pad_token_id"] + 1,
        types=0 if family == "distilbert" else optional["type_vocab_size"],
        epsilon=epsilon(str(path), "layer_norm_eps", config.get("layer_norm_eps", 1e-12)),
    )
    if shape.max_tokens < 1:
        raise InputError(f"{path}: the first of {shape.positions} positions is {shape.first_position}, must be below")
    return shape


def _tokenizer(folder: Path, files: Mapping[str, bytes], shape: Shape) -> Tokenizer:
    """The folder's tokenizer, cutting what is too long for the model and padding nothing."""
    file, words = folder / "tokenizer.json", folder / "vocab.txt"
    settings = folder / "tokenizer_config.json"
    tokenizer: Tokenizer
    if file.name in files:
        text = files[file.name].decode(errors="replace")
        tokenizer = open_tokenizer(text, f"{file} is no tokenizer", shape.max_tokens)
    elif words.name in files:
        lower = read_object(settings).get("do_lower_case", True) if settings.is_file() else True
        tokenizer = open_words(words, f"{words} is no tokenizer", shape.max_tokens, lowercase=bool(lower))
    else:
        raise InputError(f"{file} is missing")
    return tokenizer


def _check_prefix(weights: Weights, config: dict[str, Any]) -> None:
    """A RoBERTa whose config does not say so would be read as a BERT: it has the same tensors, and other positions."""
    for name in weights.names:
        family = name.partition(".")[0]
        if family in ("roberta", "distilbert") and config["model_type"] == "bert":
            raise InputError(f"{weights.path}: tensor {name} is of a {family}, config.json is of a bert")


def _tensors(weights: Weights, expected: dict[str, tuple[int, ...]], origin: Origin) -> dict[str, Tensor]:
    """The expected tensors of a checkpoint in float32, checked; origin gets their names there, and the others."""
    names = {_renamed(name): name for name in weights.names}
    tensors = {}
    for name, shape in expected.items():
        if name not in names:
            raise InputError(f"{weights.path}: tensor {name} is missing")
        tensors[name] = weights.floats(names[name], shape)
    origin.names = {name: _modern(names[name]) for name in expected}
    origin.others = {_modern(names[name]): weights.get(names[name]) for name in names.keys() - expected}
    return tensors


def _head(folder: Path, shape: Shape) -> dict[str, Tensor]:
    """The head in sentence-transformers' form, a module Dense behind the pooling; {} where there is none."""
    if not (folder / "config.json").is_file():
        return {}
    config = read_object(folder / "config.json")
    activation = str(config.get("activation_function"))
    if not activation.endswith(".Identity"):
        raise InputError(f"{folder / 'config.json'}: activation_function is {activation!r}, must be Identity")
    classes = config.get("out_features")
    if type(classes) is not int or classes < 2:
        raise InputError(
            f"{folder / 'config.json'}: out_features is {shown(classes)}, must be an integer of at least 2"
        )
    wanted = {"weight": (classes, shape.hidden), "bias": (classes,)}
    with opened(folder) as weights:
        for part in wanted:
            if f"linear.{part}" not in weights.names:
                raise InputError(f"{weights.path}: tensor linear.{part} is missing")
        return {f"head.{part}": weights.floats(f"linear.{part}", wanted[part]) for part in wanted}


def _check_pooling(path: Path) -> None:
    """Other ways of pooling would be computed as the mean without a word."""
    config = read_object(path) if path.is_file() else {}
    # sentence-transformers 6 says it with one key; before, each way had a key of its own.
    ways = {key: value for key, value in config.items() if key.startswith("pooling_mode")}
    on = {key: value for key, value in ways.items() if value}
    if ways and on not in ({"pooling_mode": "mean"}, {"pooling_mode_mean_tokens": True}):
        raise InputError(f"{path}: pooling is {on or 'none'}, must be the mean of the tokens alone")


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _modern(name: str) -> str:
    """A tensor's name without TensorFlow's words for the parts of a LayerNorm, which new readers do not know."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


# --- writing a folder ------------------------------------------------------------------------------------------------


def tensors_of(encoder: Encoder) -> dict[str, Tensor]:
    """The encoder's tensors as they act, so a masked weight has its zeros, by their names in a plain encoder."""
    return {
        f"{name}.{part}": getattr(module, part).detach()
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear | nn.LayerNorm | nn.Embedding)
        for part in ("weight", "bias")
        if getattr(module, part, None) is not None
    }


def save(model: Encoder, folder: Path) -> None:
    """Write a folder that transformers, sentence-transformers and load open; folder is new or empty."""
    origin, tensors = model.origin, tensors_of(model)
    head = {name: tensors.pop(name) for name in list(tensors) if name.startswith("head.")}
    named = {origin.names.get(name, name): tensor.contiguous() for name, tensor in tensors.items()}
    modules = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        ("2_Dense", "Dense") if head else ("2_Normalize", "Normalize"),
    ]
    texts: dict[str, Any] = {
        "config.json": origin.config,
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": model.shape.max_tokens, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": model.shape.hidden, "pooling_mode_mean_tokens": True},
    }
    if head:
        texts["2_Dense/config.json"] = {
            "in_features": model.shape.hidden,
            "out_features": len(head["head.bias"]),
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
    for path, _ in modules:
        (folder / path).mkdir(parents=True, exist_ok=True)
    for name, data in origin.files.items():
        (folder / name).write_bytes(data)
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    # The format is what transformers asks for.
    (folder / "model.safetensors").write_bytes(to_bytes(origin.others | named, {"format": "pt"}))
    if head:
        dense = {name.replace("head.", "linear."): tensor.contiguous() for name, tensor in head.items()}
        (folder / "2_Dense" / "model.safetensors").write_bytes(to_bytes(dense, {"format": "pt"}))
