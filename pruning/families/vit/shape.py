"""What config.json says of a ViT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pruning.encoder.activations import ACTIVATIONS
from pruning.files.config_keys import check_computed, count, epsilon
from pruning.files.reading import shown
from rtl.params import InputError

# Integers of config.json by our names.
KEYS = {
    "image": "image_size",
    "patch": "patch_size",
    "channels": "num_channels",
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate": "intermediate_size",
}


@dataclass(frozen=True, kw_only=True)
class ViTShape:
    """What config.json says. The defaults are the small model of the benchmarks: 17 tokens of width 128."""

    image: int = 28  # pixels a side
    patch: int = 7  # pixels a side
    channels: int = 1
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 512
    activation: str = "gelu"
    qkv_bias: bool = True
    epsilon: float = 1e-12
    labels: int = 10  # 0: no classifier

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2 + 1


def config_of(shape: ViTShape) -> dict[str, Any]:
    """The config.json of a shape."""
    return {
        "architectures": ["ViTForImageClassification" if shape.labels else "ViTModel"],
        "model_type": "vit",
        **{theirs: getattr(shape, ours) for ours, theirs in KEYS.items()},
        "hidden_act": shape.activation,
        "qkv_bias": shape.qkv_bias,
        "layer_norm_eps": shape.epsilon,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "id2label": {str(label): f"LABEL_{label}" for label in range(shape.labels)},
    }


def shape_of(config: Mapping[str, Any], where: str, labels: int) -> ViTShape:
    """The shape that the contents of a config.json give.

    where : whose config it is, for messages
    labels : of the classifier, which only the tensors tell; 0 where there is none

    Raises
    ------
    InputError : another kind of model, or a number out of its bounds.
    """
    if config.get("model_type") != "vit":
        raise InputError(f"{where}: model_type is {config.get('model_type')!r}, must be 'vit'")
    check_computed(config, where)
    values: dict[str, Any] = {}
    for ours, theirs in KEYS.items():
        values[ours] = count(where, ours, theirs, config.get(theirs))
    for whole, part in (("image", "patch"), ("hidden", "heads")):
        if values[whole] % values[part]:
            raise InputError(f"{where}: {KEYS[whole]} {values[whole]} is no multiple of {KEYS[part]} {values[part]}")
    activation = config.get("hidden_act", "gelu")
    if activation not in tuple(ACTIVATIONS):
        raise InputError(f"{where}: hidden_act is {activation!r}, must be one of {', '.join(ACTIVATIONS)}")
    bias, number = config.get("qkv_bias", True), config.get("layer_norm_eps", 1e-12)
    if type(bias) is not bool:
        raise InputError(f"{where}: qkv_bias is {shown(bias)} and layer_norm_eps {shown(number)}, must be a truth")
    return ViTShape(
        **values, activation=activation, qkv_bias=bias, epsilon=epsilon(where, "layer_norm_eps", number), labels=labels
    )


def labels_of(config: Any, labels: int) -> list[str]:
    """The names of the classes by config.json; none unless there is one for each."""
    named = config.get("id2label") if isinstance(config, dict) else None
    names = [named.get(str(label)) for label in range(labels)] if isinstance(named, dict) else []
    return [str(name) for name in names] if all(isinstance(name, str) for name in names) else []
