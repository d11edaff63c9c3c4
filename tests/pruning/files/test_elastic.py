"""Version 3 of the artefact: densities come out as they went in, a plane is what one adds; all else is refused."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning.files import artefact
from pruning.files.artefact import Artefact, Layer, Model, read, read_elastic
from pruning.files.elastic import Elastic, elastic_of, save, to_bytes
from rtl.format import pack_group
from rtl.params import InputError
from tests.pruning.samples import random_weights

CONFIG = {"model_type": "bert"}


def ranked(seed: int, channels: int, k: int, ns: list[int], m: int) -> list[np.ndarray]:
    """Weights of each density, from dense to sparse: of each group of the densest some, drawn."""
    rng = np.random.default_rng(seed)
    found = [random_weights(seed, channels, k, ns[0], m)]
    for n in ns[1:]:
        weights = np.pad(found[-1], ((0, 0), (0, -k % m))).reshape(-1, m)
        for group in weights:
            kept = rng.permutation(np.flatnonzero(group))[:n]
            group[np.setdiff1d(np.arange(m), kept)] = 0
        found.append(weights.reshape(channels, -1)[:, :k])
    return found


def sample(seed: int = 0, ns: tuple[int, ...] = (4, 2, 1), m: int = 8, channels: int = 5, k: int = 21) -> Elastic:
    """A pruned layer and a dense one; tensors that all densities have alike, and one that they have not."""
    rng = np.random.default_rng(seed)
    dense = random_weights(seed + 1, 3, 8, 8, 8)
    densities = {}
    for n, weights in zip(ns, ranked(seed, channels, k, list(ns), m), strict=True):
        layers = {
            name: Layer.from_dense(
                name,
                array,
                *pattern,
                bias=rng.integers(-(1 << 31), 1 << 31, len(array)),
                mult=rng.integers(0, 1 << 16, len(array)),
                shift=rng.integers(1, 48, len(array)),
                out_bits=16,
            )
            for name, array, pattern in (("fc", weights, (n, m)), ("last", dense, (8, 8)))
        }
        tensors = {
            "scales.x": np.array([0.5, 0.25]),
            "norm": np.random.default_rng(n).normal(size=4).astype(np.float32),
        }
        model = Model(config=CONFIG, tokenizer="words", tensors=tensors, about={"n": n})
        densities[f"{n}:{m}"] = Artefact(layers=layers, model=model)
    return Elastic(densities=densities)


def contents(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and tensors of a file, by the definition of safetensors."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = artefact.NUMPY_TYPES[entry["dtype"]]
        tensors[name] = np.frombuffer(data[8 + size :][begin:end], kind).reshape(entry["shape"]).copy()
    return metadata, tensors


def from_bytes(data: bytes) -> Elastic:
    artefact.whole_from_bytes(data)  # the checksum, and what is left over
    return elastic_of(*contents(data))


def assert_same(found: Artefact, wanted: Artefact) -> None:
    assert found.layers.keys() == wanted.layers.keys()
    for name, layer in wanted.layers.items():
        other = found.layers[name]
        assert (other.n, other.m, other.out_bits) == (layer.n, layer.m, layer.out_bits)
        for part in ("weights", "bias", "mult", "shift"):
            assert np.array_equal(getattr(other, part), getattr(layer, part))
            assert getattr(other, part).dtype == getattr(layer, part).dtype
    assert found.whole.tensors.keys() == wanted.whole.tensors.keys()
    assert all(np.array_equal(found.whole.tensors[name], array) for name, array in wanted.whole.tensors.items())
    assert (found.whole.config, found.whole.tokenizer) == (wanted.whole.config, wanted.whole.tokenizer)
    assert found.whole.about == wanted.whole.about


@given(
    st.integers(0, 1 << 30),
    st.sampled_from([((4, 2, 1), 8), ((8, 7), 8), ((2, 1), 2), ((16, 9, 5, 1), 16), ((3, 2, 1), 4), ((32, 1), 32)]),
    st.integers(1, 6),
    st.integers(1, 70),
)
def test_there_and_back(seed: int, densities: tuple[tuple[int, ...], int], channels: int, k: int) -> None:
    elastic = sample(seed, *densities, channels, k)
    data = to_bytes(elastic)
    assert data == to_bytes(elastic)
    found = from_bytes(data)
    assert list(found.densities) == list(elastic.densities)
    for name, wanted in elastic.densities.items():
        assert_same(found.densities[name], wanted)


def test_one_density_of_a_file(tmp_path: Any) -> None:
    path = tmp_path / "a.safetensors"
    elastic = sample()
    save(path, elastic)
    for name, wanted in elastic.densities.items():
        assert_same(read(path, name), wanted)
    assert_same(read(path), elastic.densities["4:8"])  # the densest
    assert read_elastic(path)
    with pytest.raises(InputError, match=r"a\.safetensors: density is '3:8', must be one of 4:8, 2:8, 1:8$"):
        read(path, "3:8")
    layers = elastic.densities["4:8"].layers.values()
    artefact.save(path, layers)
    assert read_elastic(path) is None
    with pytest.raises(InputError, match="the artefact has one density, so none can be chosen: '4:8'"):
        read(path, "4:8")


def test_a_plane_is_what_a_density_adds() -> None:
    """Group by group, as rtl/format.py packs one; 44 bits a group of 4:8, 2:8 and 1:8, beside 40 of 4:8 alone."""
    elastic = sample(channels=40, k=64)
    planes = elastic.planes("fc")
    assert [(plane.n, plane.coding) for plane in planes] == [(1, "index"), (1, "index"), (2, "index")]
    total = np.zeros((40, 64), np.int16)
    for plane, name in zip(planes, ("1:8", "2:8", "4:8"), strict=True):
        total += plane.weights
        assert np.array_equal(total, elastic.densities[name].layers["fc"].weights)
        values, _ = artefact.pack(plane.weights, plane.n, 8)
        for channel, row in enumerate(plane.weights):
            for group in range(8):
                assert (
                    values[channel, group].tolist() == pack_group(row[8 * group : 8 * group + 8].tolist(), plane.n)[0]
                )
    assert [plane.packed_bytes for plane in planes] == [40 * 8 * bits // 8 for bits in (11, 11, 22)]
    assert len(elastic.planes("last")) == 1
    assert elastic.weight_bytes == 40 * 44 + 24


def altered(change: Any) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Metadata and tensors of a sample, changed."""
    metadata, tensors = contents(to_bytes(sample()))
    texts = {key: json.loads(metadata[key]) for key in ("densities", "layers", "model")}
    change(texts, tensors)
    return {key: json.dumps(value) for key, value in texts.items()}, tensors


def second_in_first(_: Any, tensors: dict[str, np.ndarray]) -> None:
    for part in ("values", "selection"):
        tensors[f"fc.planes.1.{part}"] = tensors[f"fc.planes.0.{part}"].copy()
    tensors["fc.planes.0.values"][:] = tensors["fc.planes.1.values"][:] = 1
    tensors["fc.planes.0.selection"][:] = tensors["fc.planes.1.selection"][:] = 0


BROKEN = {
    "densities are ['4:8', '2:8', '2:8'], must be 2 to 32 different ones": lambda t, _: t.update(
        densities=["4:8", "2:8", "2:8"]
    ),
    "metadata densities is not a JSON list of patterns": lambda t, _: t.update(densities=[1, 2]),
    "pattern is 'x', must be N:M such as 2:8": lambda t, _: t.update(densities=["4:8", "x", "1:8"]),
    "metadata layers is not a JSON object of at least one layer": lambda t, _: t.update(layers=[]),
    "layer fc: metadata lacks 'patterns'": lambda t, _: t["layers"]["fc"].pop("patterns"),
    "layer fc: patterns is [[4, 8]], must be one [n, m] for each of 3 densities": lambda t, _: t["layers"]["fc"].update(
        patterns=[[4, 8]]
    ),
    "layer fc: pattern is [4], must be two integers [n, m]": lambda t, _: t["layers"]["fc"].update(
        patterns=[[4], [2, 8], [1, 8]]
    ),
    "must step down in groups of one size": lambda t, _: t["layers"]["fc"].update(patterns=[[1, 8], [2, 8], [4, 8]]),
    "layer fc: k is 0, must be an integer from 1 to ": lambda t, _: t["layers"]["fc"].update(k=0),
    "tensor fc.planes.1.values is missing": lambda _, x: x.pop("fc.planes.1.values"),
    "tensor fc.densities.2.mult is missing": lambda _, x: x.pop("fc.densities.2.mult"),
    "tensor fc.planes.2.values is int8 [5, 3, 1], must be int8 [5, 3, 2]": lambda _, x: x.update(
        {"fc.planes.2.values": x["fc.planes.2.values"][:, :, :1]}
    ),
    "layer fc: plane 1 has a weight where a sparser one has another": second_in_first,
    "layer fc: out_bits is 9, must be 8 or 16": lambda t, _: t["layers"]["fc"].update(out_bits=9),
    "metadata model is not a JSON object of config, about of each density": lambda t, _: t["model"].update(about=[{}]),
    "metadata model: about is not a JSON object for each density": lambda t, _: t["model"].update(about=[1, 2, 3]),
    "tensor 'densities.1.norm' of the model is missing": lambda _, x: x.pop("densities.1.norm"),
    "tensor 'densities.0.scales.x' of the model is missing, or is named twice": lambda t, _: t["model"]["own"].append(
        "scales.x"
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_files(message: str) -> None:
    texts, tensors = altered(BROKEN[message])
    with pytest.raises(InputError) as refused:
        elastic_of(texts, tensors)
    assert message in str(refused.value)


def test_no_changed_byte_is_accepted() -> None:
    data = to_bytes(sample())
    rng = np.random.default_rng(7)
    for at in rng.integers(8, len(data), 60):
        bad = bytearray(data)
        bad[at] ^= 1 << int(rng.integers(8))
        with pytest.raises(InputError):
            artefact.whole_from_bytes(bytes(bad))


def with_layer(elastic: Elastic, density: str, **changes: Any) -> dict[str, Artefact]:
    one = elastic.densities[density]
    layer = replace(one.layers["fc"], **changes)
    return {**elastic.densities, density: replace(one, layers={**one.layers, "fc": layer})}


def refusal(densities: dict[str, Artefact]) -> str:
    try:
        Elastic(densities=densities)
    except InputError as error:
        return str(error)
    return ""


def test_densities_that_do_not_belong_together() -> None:
    elastic = sample()
    one = elastic.densities["2:8"].layers["fc"].weights.copy()
    channel, position = np.argwhere(one)[0]
    one[channel, position] = -one[channel, position]
    place = f"channel {channel}, position {position}"
    wanted = f"layer fc, 2:8 in 4:8: the weight of {place} is another one"
    assert refusal(with_layer(elastic, "2:8", weights=one)) == wanted
    assert refusal(with_layer(elastic, "1:8", out_bits=8)).endswith("1:8 in 2:8: shapes or groups differ")
    turned = dict(reversed(elastic.densities.items()))
    assert refusal(turned).endswith("2:8 in 1:8: 2:8 is not sparser than 1:8")
    assert refusal({"4:8": elastic.densities["4:8"]}) == "1 densities, must be 2 to 32"
    sparsest = elastic.densities["1:8"]
    other = replace(sparsest, model=replace(sparsest.whole, tokenizer="others"))
    assert refusal({**elastic.densities, "1:8": other}) == "densities 2:8 and 1:8 are of different models"
    without = replace(sparsest, layers={"fc": sparsest.layers["fc"]})
    assert refusal({**elastic.densities, "1:8": without}) == "densities 2:8 and 1:8 have not the same layers"
