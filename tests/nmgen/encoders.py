"""Small encoders in integers, to compile."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from pruning.families.bert.calibrate import calibrate
from pruning.families.bert.export import to_artefact
from pruning.families.bert.folder import load
from pruning.families.bert.integer import IntegerEncoder
from pruning.files.artefact import Artefact
from pruning.masks.sparsify import finalize, sparsify
from tests.pruning.samples import WORDS, write_model

TEXT = ["a fox crossed the river .", "the line ?", "a river crossed a line .", "fox"]


@cache
def artefact(
    hidden: int, heads: int, inner: int, layers: int = 2, pattern: str = "", classes: int = 0, positions: int = 32
) -> Artefact:
    """Of random weights. pattern : N:M of all layers, dense unless given"""
    torch.manual_seed(hidden * heads + inner)
    config = {
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "max_position_embeddings": positions,
        "vocab_size": len(WORDS),
        "type_vocab_size": 2,
    }
    tensors = {
        "embeddings.word_embeddings.weight": torch.randn(len(WORDS), hidden),
        "embeddings.position_embeddings.weight": torch.randn(positions, hidden),
        "embeddings.token_type_embeddings.weight": torch.randn(2, hidden),
    }
    norms = ["embeddings"]
    for i in range(layers):
        block = f"encoder.layer.{i}"
        norms += [f"{block}.attention.output", f"{block}.output"]
        parts = [f"attention.self.{part}" for part in ("query", "key", "value")] + ["attention.output.dense"]
        shapes = dict.fromkeys(parts, (hidden, hidden))
        shapes |= {"intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
        for part, (outputs, inputs) in shapes.items():
            tensors[f"{block}.{part}.weight"] = torch.randn(outputs, inputs) / inputs**0.5
            tensors[f"{block}.{part}.bias"] = 0.3 * torch.randn(outputs)
    for norm in norms:
        tensors[f"{norm}.LayerNorm.weight"] = torch.randn(hidden)  # half of them negative
        tensors[f"{norm}.LayerNorm.bias"] = 0.3 * torch.randn(hidden)
    with TemporaryDirectory() as folder:
        encoder = load(write_model(Path(folder) / "small", config=config, checkpoint=tensors))
    if classes:
        encoder.head = nn.Linear(hidden, classes)
    patterns = {}
    if pattern:
        patterns = dict(sparsify(encoder, pattern, ragged="pad").layers)
        finalize(encoder)
    return to_artefact(encoder, patterns, calibrate(encoder, TEXT), {"model": "small"})


def random_ids(seed: int, lengths: list[int]) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, len(WORDS), length).tolist() for length in lengths]


__all__ = ["IntegerEncoder", "artefact", "random_ids"]
