"""A DistilBERT out of a BERT: every second block (Sanh et al., *DistilBERT*, 2019), to be trained by its teacher.

    python -m pruning.families.bert.halved build/halved
    nmgen prune build/halved --teacher minilm --method dense --data … -o build/distilled

makes a folder of the family distilbert of MiniLM, half as deep, and trains it. A DistilBERT has no token types: the row
that every token has is added to the positions.
"""

import json
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from pruning.families.bert.folder import DISTILBERT_PARTS, load, tensors_of
from pruning.families.bert.model import Encoder
from pruning.files.folders import folder_of
from pruning.files.script import script
from pruning.files.writing import writing
from rtl.params import InputError

EVERY = 2
EPSILON = 1e-12  # of all LayerNorms of a DistilBERT


def write(folder: Path, model: str = "minilm") -> None:
    """A Hugging Face folder with every second block of a model.

    Raises
    ------
    InputError : a model that is no BERT, or has an odd number of blocks; folder cannot be written to.
    """
    encoder = load(folder_of(model))
    shape = encoder.shape
    kind = encoder.origin.config["model_type"]
    if kind != "bert" or shape.layers % EVERY or shape.epsilon != EPSILON:
        raise InputError(
            f"{model} is a {kind} of {shape.layers} blocks with layer_norm_eps {shape.epsilon:g}: must be a bert of an "
            f"even number, with {EPSILON:g}"
        )
    config = {
        "model_type": "distilbert",
        "architectures": ["DistilBertModel"],
        "dim": shape.hidden,
        "n_layers": shape.layers // EVERY,
        "n_heads": shape.heads,
        "hidden_dim": shape.intermediate,
        "activation": shape.activation,
        "max_position_embeddings": shape.positions,
        "vocab_size": shape.vocabulary,
        "sinusoidal_pos_embds": False,
        "pad_token_id": 0,
    }
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name, data in encoder.origin.files.items():
            (folder / name).write_bytes(data)
        (folder / "model.safetensors").write_bytes(save(_halved(encoder), {"format": "pt"}))


def _halved(encoder: Encoder) -> dict[str, Tensor]:
    """By DistilBERT's names; the last block of each pair, as the last of all gives the embedding."""
    found = {}
    for name, tensor in tensors_of(encoder).items():
        if name.startswith("embeddings."):
            found[name] = tensor.clone()
            continue
        block, _, part = name.removeprefix("encoder.layer.").partition(".")
        own, _, kind = part.rpartition(".")
        number, rest = divmod(int(block), EVERY)
        if rest == EVERY - 1:
            found[f"transformer.layer.{number}.{DISTILBERT_PARTS[own]}.{kind}"] = tensor.contiguous()
    types = found.pop("embeddings.token_type_embeddings.weight")
    found["embeddings.position_embeddings.weight"] += types[0]
    return {f"distilbert.{name}": tensor for name, tensor in found.items() if not name.startswith("head.")}


if __name__ == "__main__":
    script("pruning.families.bert.halved", "Write a DistilBERT of every second block of MiniLM.", "build/halved", write)
