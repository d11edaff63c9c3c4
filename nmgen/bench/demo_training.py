"""The demo's training: MiniLM to 2:8 in under three minutes, on text that pruning/data/phrases.py writes."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmgen.console.files import written_whole
from nmgen.console.threads import one_thread
from nmgen.families.recipe import Recipe
from nmgen.training.series import prune_and_train
from pruning.files.artefact import Layer, read

PATTERN = "2:8"
SENTENCES = 4000
RECIPE = Recipe(
    model="minilm", data=(), method="idp", patterns=(PATTERN,), steps=250, batch=64, lr=5e-4, checkpoint_every=250
)


def trained(out: Path, progress: Callable[[str, int, int, float], None]) -> tuple[Path, dict[str, Any]]:
    """(artefact, facts), trained here or, with this model, text, recipe and seed, before: out/trained-HASH/.

    facts : cosine and one_shot_cosine, of the int8 artefact and of the same model pruned without training, in float, to
        the dense model: mean over the sentences of pruning/data/sentences.txt, which nothing is trained on
    """
    from pruning.data.phrases import phrases, vocabulary
    from pruning.families.bert.folder import load
    from pruning.files.folders import packaged_minilm

    dense = load(packaged_minilm())
    text = "\n".join(phrases(SENTENCES, RECIPE.seed, vocabulary(dense.tokenizer.get_vocab()))) + "\n"
    recipe = {key: str(value) for key, value in asdict(RECIPE).items()}
    weights = (packaged_minilm() / "model.safetensors").read_bytes()
    key = sha256(weights + json.dumps(recipe, sort_keys=True).encode() + text.encode()).hexdigest()[:16]
    folder = out / f"trained-{key}"
    artefact, facts = folder / f"{PATTERN.replace(':', 'of')}.safetensors", folder / "facts.json"
    if not facts.is_file():
        with written_whole(folder / "phrases.txt") as file:
            file.write_text(text, encoding="utf-8")
        prune_and_train(replace(RECIPE, data=(folder / "phrases.txt",)), folder, progress)
        with written_whole(facts) as file:
            file.write_text(json.dumps(_facts(artefact), indent=2) + "\n", encoding="utf-8")
    return artefact, json.loads(facts.read_text(encoding="utf-8"))


def _facts(artefact: Path) -> dict[str, Any]:
    from nmgen.families.known import Named
    from pruning.data.text import read_sentences
    from pruning.families.bert.folder import load
    from pruning.files.folders import packaged_minilm
    from pruning.masks.sparsify import sparsify

    with one_thread():
        sentences, encoder = read_sentences(), load(packaged_minilm())
        dense = encoder.embed(sentences)
        sparsify(encoder, PATTERN)
        found = {"cosine": Named(str(artefact)).int8_model, "one_shot_cosine": encoder}
        return {
            "sentences": len(sentences),
            **{name: float((one.embed(sentences) * dense).sum(dim=1).mean()) for name, one in found.items()},
        }


def layer_and_operands(artefact: Path, name: str, tokens: int) -> tuple[Layer, NDArray[np.int8], float]:
    """(layer, int8 [tokens, k], error): a layer of the trained model, and what it truly gets there.

    error : of the integer layer's results against the same layer in float, which saturates at the same numbers, root
        mean square as a share
    """
    from pruning.data.text import read_sentences
    from pruning.encoder.scales import offset_at
    from pruning.families.bert.export import from_artefact
    from pruning.families.bert.fake_quant import operand_of
    from pruning.integers.layer import golden

    contents = read(artefact)
    encoder, scales = from_artefact(contents)
    with one_thread():
        x = encoder.inputs(read_sentences(), [name])[name][:tokens]
        linear, layer = encoder.linears()[name], contents.layers[name]
        operands = (x.double() / scales[operand_of(name)]).round().clamp(-128, 127).numpy().astype(np.int8)
        exact = linear(x).double().numpy()
    table = f"{name.rpartition('.')[0]}.table"
    scale, offset = float(scales[table]), float(offset_at(table, scales))
    results = golden(layer, operands) * scale - offset
    exact = exact.clip(-128 * scale - offset, 127 * scale - offset)
    return layer, operands, float(np.linalg.norm(results - exact) / np.linalg.norm(exact))
