"""Layers and models for tests."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pruning.files.artefact import Artefact, Layer
from pruning.masks.patterns import magnitude_mask
from rtl.format import GROUP_SIZES


def random_weights(seed: int, channels: int, k: int, n: int, m: int) -> np.ndarray:
    """int8 [channels, k] of pattern n:m, −127 … 127, each group with 0 … n non-zero weights."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (channels, -(-k // m), m))
    for group in weights.reshape(-1, m):
        group[rng.permutation(m)[: m - int(rng.integers(0, n + 1))]] = 0
    return weights.reshape(channels, -1)[:, :k].astype(np.int8)


def random_layer(seed: int, channels: int, k: int, n: int, m: int, out_bits: int = 8, name: str = "fc") -> Layer:
    rng = np.random.default_rng(seed)
    return Layer.from_dense(
        name,
        random_weights(seed, channels, k, n, m),
        n,
        m,
        bias=rng.integers(-(1 << 31), 1 << 31, channels),
        mult=rng.integers(0, 1 << 16, channels),
        shift=rng.integers(1, 48, channels),
        out_bits=out_bits,
        extras={"x_scale": 0.125},
    )


def thinned(artefact: Artefact, n: int) -> Artefact:
    """The n largest weights of each group stay in every pruned layer; biases become others."""

    def thin(layer: Layer) -> Layer:
        if layer.n == layer.m:
            return layer
        mask = magnitude_mask(torch.from_numpy(layer.weights.astype(np.float32)), n, layer.m).numpy()
        return replace(layer, n=n, weights=np.where(mask, layer.weights, 0).astype(np.int8), bias=layer.bias // 2 + n)

    return replace(artefact, layers={name: thin(layer) for name, layer in artefact.layers.items()})


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    m = draw(st.sampled_from(GROUP_SIZES))
    n = draw(st.integers(1, m))
    return random_layer(
        draw(st.integers(0, 1 << 32)),
        draw(st.integers(1, 7)),
        draw(st.integers(1, 3 * m + 1)),
        n,
        m,
        draw(st.sampled_from((8, 16))),
    )


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fox", "crossed", "the", "line", "river", "?", "."]
CONFIG = {
    "model_type": "bert",
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "hidden_act": "gelu",
    "max_position_embeddings": 16,
    "vocab_size": len(WORDS),
    "type_vocab_size": 2,
}


def tensors(seed: int = 0, config: dict[str, Any] = CONFIG) -> dict[str, torch.Tensor]:
    """A small BERT's checkpoint."""
    torch.manual_seed(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), hidden),
        "embeddings.position_embeddings.weight": (16, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
        "pooler.dense.weight": (hidden, hidden),
    }
    for i in range(config["num_hidden_layers"]):
        block = f"encoder.layer.{i}"
        for part, outputs, inputs in (
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ):
            shapes[f"{block}.{part}.weight"] = (outputs, inputs)
            shapes[f"{block}.{part}.bias"] = (outputs,)
        for part in ("attention.output", "output"):
            shapes[f"{block}.{part}.LayerNorm.weight"] = (hidden,)
            shapes[f"{block}.{part}.LayerNorm.bias"] = (hidden,)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def write_model(
    folder: Path, *, config: dict[str, Any] = CONFIG, checkpoint: dict[str, torch.Tensor] | None = None
) -> Path:
    """An ordinary Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    save_file(tensors() if checkpoint is None else checkpoint, folder / "model.safetensors")
    return folder


def write_shards(folder: Path) -> None:
    """The checkpoint in two files and an index, as transformers writes large ones."""
    checkpoint = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(checkpoint))}
    for file in set(index.values()):
        save_file({name: tensor for name, tensor in checkpoint.items() if index[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
