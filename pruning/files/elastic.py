"""Version 3 of the artefact: a model at several densities, whose weights are stored once, rank after rank.

A *plane* of a layer holds what one density has beyond the sparser one before it, packed as a layer of that many weights
a group. A density is the sum of its planes, so reading the sparsest takes its plane alone. Biases, mults and shifts are
each density's, and so are those tensors of the model that differ. ``docs/format.md`` is the definition to the bit.

Numpy only, no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pruning.files import artefact
from pruning.files.artefact import NUMPY_TYPES, TENSOR_TYPES, TOKENIZER, Artefact, Layer, Model
from pruning.files.reading import shown
from pruning.files.writing import write_whole
from rtl.format import bits_per_group, parse_pattern
from rtl.params import InputError, ceil_div

PARAMETERS = ("bias", "mult", "shift")
DENSITIES_MAX = 32
LAYER_KEYS = ("patterns", "channels", "k", "out_bits")


@dataclass(frozen=True, kw_only=True, eq=False)
class Elastic:
    """Artefacts of one model, by the density's name such as 2:8, from dense to sparse.

    Raises
    ------
    InputError : fewer than two densities, or more than DENSITIES_MAX; layers of other shapes; a weight of a sparser
        density that the denser one before it has not; models with another config or tokenizer.
    """

    densities: Mapping[str, Artefact]

    def __post_init__(self) -> None:
        if not 2 <= len(self.densities) <= DENSITIES_MAX:
            raise InputError(f"{len(self.densities)} densities, must be 2 to {DENSITIES_MAX}")
        for name in self.densities:
            parse_pattern(name)
        for (one, dense), (other, sparse) in pairwise(self.densities.items()):
            if dense.layers.keys() != sparse.layers.keys():
                raise InputError(f"densities {one} and {other} have not the same layers")
            for name, layer in dense.layers.items():
                _check_within(f"layer {name}, {other} in {one}", layer, sparse.layers[name])
            same = (dense.whole.config, dense.whole.tokenizer) == (sparse.whole.config, sparse.whole.tokenizer)
            if not same or dense.whole.tensors.keys() != sparse.whole.tensors.keys():
                raise InputError(f"densities {one} and {other} are of different models")

    def layer(self, name: str) -> list[Layer]:
        """A layer at each density, from dense to sparse."""
        return [one.layers[name] for one in self.densities.values()]

    def planes(self, name: str) -> list[Layer]:
        """The planes of a layer, from the sparsest density on: what each density adds; without parameters."""
        found: list[Layer] = []
        before = None
        for layer in reversed(self.layer(name)):
            if before is None or layer.n > before.n:
                weights = layer.weights if before is None else layer.weights - before.weights
                found.append(_plane(name, weights, layer.n - (before.n if before else 0), layer.m))
            before = layer
        return found

    @property
    def weight_bytes(self) -> int:
        """Of all planes."""
        layers = next(iter(self.densities.values())).layers
        return sum(plane.packed_bytes for name in layers for plane in self.planes(name))


def _plane(name: str, weights: np.ndarray, n: int, m: int) -> Layer:
    zeros = np.zeros(len(weights), np.int64)
    return Layer.from_dense(name, weights, n, m, bias=zeros, mult=zeros, shift=zeros + 1)


def _check_within(where: str, dense: Layer, sparse: Layer) -> None:
    if (dense.channels, dense.k, dense.m, dense.out_bits) != (sparse.channels, sparse.k, sparse.m, sparse.out_bits):
        raise InputError(f"{where}: shapes or groups differ")
    if sparse.n > dense.n:
        raise InputError(f"{where}: {sparse.n}:{sparse.m} is not sparser than {dense.n}:{dense.m}")
    wrong = np.argwhere((sparse.weights != 0) & (sparse.weights != dense.weights))
    if len(wrong):
        channel, position = wrong[0]
        raise InputError(f"{where}: the weight of channel {channel}, position {position} is another one")


# --- writing ---------------------------------------------------------------------------------------------------------


def save(path: Path | str, elastic: Elastic) -> None:
    """Write the artefact, whole or not at all; the same contents give the same bytes."""
    write_whole(Path(path), to_bytes(elastic))


def to_bytes(elastic: Elastic) -> bytes:
    """The file."""
    artefacts = list(elastic.densities.values())
    tensors: dict[str, np.ndarray] = {}
    described: dict[str, Any] = {}
    for name, first in artefacts[0].layers.items():
        layers = elastic.layer(name)
        described[name] = {
            "patterns": [[layer.n, layer.m] for layer in layers],
            "channels": first.channels,
            "k": first.k,
            "out_bits": first.out_bits,
        }
        for i, plane in enumerate(elastic.planes(name)):
            values, selection = artefact.pack(plane.weights, plane.n, plane.m)
            tensors[f"{name}.planes.{i}.values"] = values
            if selection is not None:
                tensors[f"{name}.planes.{i}.selection"] = selection
        for i, layer in enumerate(layers):
            for part in PARAMETERS:
                tensors[f"{name}.densities.{i}.{part}"] = getattr(layer, part).astype(NUMPY_TYPES[TENSOR_TYPES[part]])
    models = [one.whole for one in artefacts]
    shared, own = {TOKENIZER: np.frombuffer(models[0].tokenizer.encode(), np.uint8)}, {}
    for name, array in models[0].tensors.items():
        if all(np.array_equal(array, one.tensors[name]) for one in models):
            shared[name] = array
        else:
            own[name] = [one.tensors[name] for one in models]
    tensors |= shared
    for name, arrays in own.items():
        tensors |= {f"densities.{i}.{name}": array for i, array in enumerate(arrays)}
    model = {
        "config": models[0].config,
        "about": [one.about for one in models],
        "tensors": sorted(shared),
        "own": sorted(own),
    }
    texts = {"densities": list(elastic.densities), "layers": described, "model": model}
    return artefact.file_of(3, {key: artefact.as_json(value) for key, value in texts.items()}, tensors)


# --- reading ---------------------------------------------------------------------------------------------------------


def elastic_of(texts: Mapping[str, str], tensors: dict[str, np.ndarray]) -> Elastic:
    """What a file holds, every part checked.

    texts : of the metadata: densities, layers, model
    tensors : by name; those that belong to it are taken out

    Raises
    ------
    InputError : anything out of its bounds, by name.
    """
    names = artefact.parsed(texts["densities"])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("metadata densities is not a JSON list of patterns")
    if len(set(names)) != len(names) or not 2 <= len(names) <= DENSITIES_MAX:
        raise InputError(f"densities are {shown(names)}, must be 2 to {DENSITIES_MAX} different ones")
    described = artefact.parsed(texts["layers"])
    if not isinstance(described, dict) or not described:
        raise InputError("metadata layers is not a JSON object of at least one layer")
    layers = {name: _layers(name, about, len(names), tensors) for name, about in described.items()}
    models = _models(artefact.parsed(texts["model"]), len(names), tensors)
    return Elastic(
        densities={
            name: Artefact(layers={layer: every[i] for layer, every in layers.items()}, model=models[i])
            for i, name in enumerate(names)
        }
    )


def chosen(elastic: Elastic, density: str | None) -> Artefact:
    """One density by its name; None: the densest. InputError where there is none of that name."""
    if density is None:
        return next(iter(elastic.densities.values()))
    if density not in elastic.densities:
        raise InputError(f"density is {shown(density)}, must be one of {', '.join(elastic.densities)}")
    return elastic.densities[density]


def _layers(name: str, about: Any, densities: int, tensors: dict[str, np.ndarray]) -> list[Layer]:
    """One layer at each density, from dense to sparse."""
    where = f"layer {name}"
    missing = [key for key in LAYER_KEYS if not isinstance(about, dict) or key not in about]
    if missing:
        raise InputError(f"{where}: metadata lacks {missing[0]!r}")
    patterns = about["patterns"]
    if not isinstance(patterns, list) or len(patterns) != densities:
        raise InputError(
            f"{where}: patterns is {shown(patterns)}, must be one [n, m] for each of {densities} densities"
        )
    checked = [artefact.checked_pattern(where, pattern) for pattern in patterns]
    if any(n < fewer or m != of for (n, m), (fewer, of) in pairwise(checked)):
        raise InputError(f"{where}: patterns are {shown(patterns)}, must step down in groups of one size")
    channels, k = artefact.checked_shape(where, about)
    m = checked[0][1]
    groups, total, plane, weights = ceil_div(k, m), np.zeros((channels, k), np.int8), -1, []
    before = 0
    for n, _ in reversed(checked):
        if n > before:
            plane += 1
            shapes: dict[str, tuple[int, ...]] = {"values": (channels, groups, n - before)}
            if n - before < m:
                shapes["selection"] = (ceil_div(channels * groups * bits_per_group(n - before, m), 8),)
            parts = artefact.taken(f"{name}.planes.{plane}", shapes, tensors)
            found = artefact.unpack(
                f"{where}, plane {plane}", parts["values"], parts.get("selection"), n - before, m, k
            )
            if (found.astype(bool) & total.astype(bool)).any():
                raise InputError(f"{where}: plane {plane} has a weight where a sparser one has another")
            total = total + found
        before = n
        weights.append(total)
    layers = []
    for i, ((n, _), own) in enumerate(zip(checked, reversed(weights), strict=True)):
        parameters = artefact.taken(f"{name}.densities.{i}", dict.fromkeys(PARAMETERS, (channels,)), tensors)
        bias, mult, shift = (parameters[part] for part in PARAMETERS)
        out_bits = about["out_bits"]
        layers.append(Layer(name=name, n=n, m=m, weights=own, bias=bias, mult=mult, shift=shift, out_bits=out_bits))
    return layers


def _models(said: Any, densities: int, tensors: dict[str, np.ndarray]) -> list[Model]:
    """The model at each density."""
    said = said if isinstance(said, dict) else {}
    config, about, own = said.get("config"), said.get("about"), said.get("own")
    if not isinstance(about, list) or len(about) != densities or not isinstance(own, list):
        raise InputError("metadata model is not a JSON object of config, about of each density, tensors and own")
    shared = artefact.model_of({"config": config, "about": {}, "tensors": said.get("tensors")}, tensors)
    models = []
    for i, facts in enumerate(about):
        if not isinstance(facts, dict):
            raise InputError("metadata model: about is not a JSON object for each density")
        found = dict(shared.tensors)
        for name in own:
            stored = f"densities.{i}.{name}"
            if not isinstance(name, str) or name in shared.tensors or stored not in tensors:
                raise InputError(f"tensor {shown(stored)} of the model is missing, or is named twice")
            found[name] = tensors.pop(stored)
            artefact.check_numbers(name, found[name])
        models.append(Model(config=shared.config, tokenizer=shared.tokenizer, tensors=found, about=facts))
    return models
