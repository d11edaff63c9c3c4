"""What a packed layer is, in numbers."""

from typing import Any

import numpy as np

from pruning.files.artefact import Layer
from pruning.files.elastic import Elastic


def describe(layer: Layer) -> dict[str, Any]:
    """A layer's facts, ready for JSON. bytes are those of values and selection, dense_bytes those of int8 weights."""
    own = {
        "name": layer.name,
        "pattern": f"{layer.n}:{layer.m}",
        "channels": layer.channels,
        "k": layer.k,
        "coding": layer.coding,
        "out_bits": layer.out_bits,
        "density": int(np.count_nonzero(layer.weights)) / layer.weights.size,
        "bytes": layer.packed_bytes,
        "dense_bytes": layer.weights.size,
    }
    return own | {name: fact for name, fact in layer.extras.items() if name not in own}


def describe_store(store: Elastic) -> dict[str, Any]:
    """The facts of a model at several densities, ready for JSON.

    layers : of each its planes from the sparsest density on, with their bytes
    store_bytes : of all planes; alone_bytes : of each density as an artefact of its own
    """
    layers = []
    for layer in next(iter(store.densities.values())).layers.values():
        planes = store.planes(layer.name)
        layers.append(
            {
                "name": layer.name,
                "m": layer.m,
                "channels": layer.channels,
                "k": layer.k,
                "out_bits": layer.out_bits,
                "planes": [{"n": one.n, "coding": one.coding, "bytes": one.packed_bytes} for one in planes],
                "bytes": sum(one.packed_bytes for one in planes),
            }
        )
    alone = {name: sum(one.packed_bytes for one in each.layers.values()) for name, each in store.densities.items()}
    return {
        "densities": list(store.densities),
        "store_bytes": store.weight_bytes,
        "alone_bytes": alone,
        "layers": layers,
        "model": [dict(one.whole.about) for one in store.densities.values()],
    }
