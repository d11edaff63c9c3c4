"""What config.json may say of how a model computes, and of what family it is.

transformers computes something else with other values of these keys, and the tensors are the same, so nothing but this
table would notice.
"""

from collections.abc import Mapping
from typing import Any

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
            short = repr(config[key])
            short = short if len(short) <= 60 else short[:57] + "..."
            raise InputError(f"{where}: {key} is {short}, must be {values[0]!r}: nmgen does not compute {meaning}")
