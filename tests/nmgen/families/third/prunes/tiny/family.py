"""A family whose config.json is its own: width, depth and words. What its models compute is BERT's, of two heads."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from pruning.families.bert import family as bert
from pruning.families.bert.family import calibrate, compensated, exchanges, float_layers, trainable
from pruning.families.bert.folder import shape_of, tensors_of
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.bert.model import Encoder, Origin
from pruning.families.bert.parameters import IntegerParameters, integer_parameters
from pruning.files.artefact import Artefact
from pruning.files.reading import read_json
from pruning.files.tokenizer import open_tokenizer

rounding = None


def as_bert(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "hidden_size": config["width"],
        "num_hidden_layers": config["depth"],
        "num_attention_heads": 2,
        "intermediate_size": 2 * config["width"],
        "hidden_act": "relu",
        "max_position_embeddings": 16,
        "vocab_size": config["words"],
        "type_vocab_size": 0,
    }


def load(folder: Path | str) -> Encoder:
    folder = Path(folder)
    config = read_json(folder / "config.json")
    text = (folder / "tokenizer.json").read_text()
    tokenizer = open_tokenizer(text, "tokenizer.json is no tokenizer", 16)
    encoder = Encoder(shape_of(as_bert(config), "config.json"), tokenizer, Origin(config=config))
    encoder.load_state_dict(load_file(folder / "model.safetensors"))
    return encoder.eval().requires_grad_(False)


def save(model: Encoder, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(model.origin.config))
    (folder / "tokenizer.json").write_text(model.tokenizer.to_str())
    save_file({name: tensor.contiguous() for name, tensor in tensors_of(model).items()}, folder / "model.safetensors")


def to_artefact(
    model: Encoder,
    patterns: Mapping[str, tuple[int, int]],
    scales: Mapping[str, Tensor],
    about: Mapping[str, Any] | None = None,
    units: Mapping[str, Tensor] | None = None,
) -> Artefact:
    return bert.to_artefact(model, patterns, scales, about, units)


def _of_bert(artefact: Artefact) -> Artefact:
    return replace(artefact, model=replace(artefact.whole, config=as_bert(artefact.whole.config)))


def from_artefact(artefact: Artefact) -> Encoder:
    return bert.from_artefact(_of_bert(artefact))


def parameters(artefact: Artefact) -> IntegerParameters:
    return integer_parameters(_of_bert(artefact))


def integers(artefact: Artefact) -> IntegerEncoder:
    return IntegerEncoder(_of_bert(artefact))
