"""What a packed layer is, in numbers."""

from typing import Any

import numpy as np

from pruning.files.artefact import Layer


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
