"""What config.json may say of how a model computes, and of what family it is.

transformers computes something else with other values of these keys, and the tensors are the same, so nothing but this
table would notice.
"""

from collections.abc import Mapping
from typing import Any

from pruning.files.reading import shown
from rtl.params import InputError

# Key → the values that nmgen computes, the usual one first, and what another would mean. A key may be absent.
COMPUTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "is_decoder": ((False, None), "tokens that see only those before them"),
    "add_cross_attention": ((False, None), "attention to another sequence"),
    "is_encoder_decoder": ((False, None), "a decoder behind the encoder"),
    "cross_attention_hidden_size": ((None,), "attention to another sequence"),
    "position_embedding_type": (("absolute",), "positions that are not added to the embeddings"),
    "pruned_heads": (({}, None), "layers with fewer heads than the others"),
    "quantization_config": ((None,), "weights that are not floats alone"),
    "auto_map": ((None, {}), "code of the model's own"),
}


def check_computed(config: Mapping[str, Any], where: str) -> None:
    """InputError, which begins with where, for a key whose value means what nmgen does not compute."""
    for key, (values, meaning) in COMPUTED.items():
        if key in config and config[key] not in values:
            short = shown(config[key])
            raise InputError(f"{where}: {key} is {short}, must be {values[0]!r}: nmgen does not compute {meaning}")


EPSILON_MAX = 1e12  # what a step of the residual is worth bounds it more, but later

# Our name of a count → the largest that nmgen reads, so that no config can ask for more than a model of its kind has.
MOST = {
    "hidden": 1 << 16,
    "layers": 1 << 10,
    "heads": 1 << 16,
    "intermediate": 1 << 16,
    "positions": 1 << 20,
    "vocabulary": 1 << 24,
    "image": 1 << 12,
    "patch": 1 << 12,
    "channels": 1 << 8,
}


def count(where: str, ours: str, key: str, value: Any) -> int:
    """A key's value, one of MOST by our name; InputError, which begins with where, unless it is 1 … the most."""
    if type(value) is not int or value < 1:
        raise InputError(f"{where}: {key} is {shown(value)}, must be an integer of at least 1")
    if value > MOST[ours]:
        raise InputError(f"{where}: {key} is {shown(value)}, must be at most {MOST[ours]}")
    return value


def epsilon(where: str, key: str, value: Any) -> float:
    """A key's value, a number from 0 to EPSILON_MAX; InputError, which begins with where, if it is anything else."""
    if type(value) not in (int, float) or not 0 <= value <= EPSILON_MAX:
        raise InputError(f"{where}: {key} is {shown(value)}, must be a number such as 1e-12, 0 to {EPSILON_MAX:g}")
    return float(value)
