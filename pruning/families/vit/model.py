"""A vision transformer: a small one for experiments, and any Hugging Face ViT folder.

Modules bear the names of Hugging Face's checkpoints, for instance encoder.layer.0.intermediate.dense. The source is
An Image is Worth 16x16 Words, arXiv 2010.11929: patches as tokens, LayerNorm before each part, a class token in front.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pruning.families.bert.model import ACTIVATIONS
from pruning.files.checkpoint_files import opened
from pruning.files.config_keys import check_computed, count, epsilon
from pruning.files.reading import read_json, shown
from rtl.params import InputError


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


@dataclass(frozen=True)
class Pixels:
    """What a model takes instead of a byte: (byte − mean) / deviation, one of each a channel or one for all."""

    mean: tuple[float, ...] = (127.5,)  # these are Hugging Face's for ViT
    deviation: tuple[float, ...] = (127.5,)

    def floats(self, images: Tensor) -> Tensor:
        """uint8 [images, channels, side, side] → float of the same shape."""
        mean, deviation = (torch.tensor(part)[:, None, None] for part in (self.mean, self.deviation))
        return (images.to(torch.float32) - mean) / deviation


class PatchEmbeddings(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.projection = nn.Conv2d(shape.channels, shape.hidden, shape.patch, stride=shape.patch)

    def forward(self, images: Tensor) -> Tensor:  # [images, channels, side, side] → [images, patches, hidden]
        return self.projection(images).flatten(2).transpose(1, 2)


class Embeddings(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.hidden))
        self.position_embeddings = nn.Parameter(torch.zeros(1, shape.tokens, shape.hidden))
        self.patch_embeddings = PatchEmbeddings(shape)

    def forward(self, images: Tensor) -> Tensor:  # [images, channels, side, side] → [images, tokens, hidden]
        first = self.cls_token.expand(len(images), -1, -1)
        return torch.cat((first, self.patch_embeddings(images)), dim=1) + self.position_embeddings


class SelfAttention(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden, shape.hidden, bias=shape.qkv_bias)
        self.key = nn.Linear(shape.hidden, shape.hidden, bias=shape.qkv_bias)
        self.value = nn.Linear(shape.hidden, shape.hidden, bias=shape.qkv_bias)
        self.heads = shape.heads

    def forward(self, x: Tensor) -> Tensor:  # [images, tokens, hidden] → the same
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # each [images, heads, tokens, head size]
        return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Dense(nn.Module):
    """A linear layer under the name that checkpoints give it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)


class Attention(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.attention = SelfAttention(shape)
        self.output = Dense(shape.hidden, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x))


class Block(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.attention = Attention(shape)
        self.layernorm_after = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.intermediate = Dense(shape.hidden, shape.intermediate)
        self.output = Dense(shape.intermediate, shape.hidden)
        self.activation = ACTIVATIONS[shape.activation]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(self.activation(self.intermediate(self.layernorm_after(x))))


class Stack(nn.Module):
    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.layers))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return x


class ViT(nn.Module):
    """images [images, channels, side, side] → logits [images, labels], or the class token's state without a
    classifier.

    Attributes
    ----------
    config : the contents of config.json
    pixels : what makes the images of bytes
    """

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape)
        self.encoder = Stack(shape)
        self.layernorm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.classifier = nn.Linear(shape.hidden, shape.labels) if shape.labels else nn.Identity()
        self.config: dict[str, Any] = config_of(shape)
        self.pixels = Pixels()

    def states(self, images: Tensor) -> Tensor:  # → [images, tokens, hidden]
        return self.layernorm(self.encoder(self.embeddings(images)))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.states(images)[:, 0])


def small_vit(seed: int) -> ViT:
    """The benchmarks' model with weights drawn as ViT draws them: normal, deviation 0.02, biases 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViT(ViTShape())
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
    return model


def encoder_layers(_layer: nn.Module, name: str) -> bool:
    """The filter for sparsify: the linear layers of the blocks, neither the patches' projection nor the classifier."""
    return name.startswith("encoder.")


# --- Hugging Face folders --------------------------------------------------------------------------------------------

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
PREFIX = "vit."  # of the checkpoint's tensors where there is a classifier beside them
PROCESSOR = "preprocessor_config.json"  # says what becomes of a byte; a folder may lack it


def is_folder(path: Path | str) -> bool:
    """Whether a folder's config.json calls it a ViT."""
    file = Path(path) / "config.json"
    try:
        return bool(read_json(file)["model_type"] == "vit")
    except (OSError, ValueError, LookupError, TypeError):
        return False  # whoever reads it as another model says what is wrong


def load(folder: Path | str) -> ViT:
    """The ViT in a Hugging Face folder: config.json, model.safetensors and, if it is there, preprocessor_config.json.
    A pooler is left out.

    Raises
    ------
    InputError : a file that is missing, damaged or of another kind of model; a tensor that is missing, of another
        shape, or has a NaN or infinity.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path} is missing")
    config = read_json(path)
    with opened(folder) as weights:
        names = {name.removeprefix(PREFIX): name for name in weights.names}
        classifier = weights.shape(names["classifier.weight"]) if "classifier.weight" in names else ()
        shape = shape_of(config, str(path), classifier[0] if classifier else 0)
        weights.check_layers(names, shape.layers)
        with torch.device("meta"):  # only names and shapes; the checkpoint brings the numbers
            model = ViT(shape).eval()
        tensors = {}
        for name, wanted in model.state_dict().items():
            if name not in names:
                raise InputError(f"{weights.path}: tensor {name} is missing")
            tensors[name] = weights.floats(names[name], tuple(wanted.shape), called=name)
    model.load_state_dict(tensors, assign=True)
    model.config, model.pixels = config, _pixels(folder / PROCESSOR, model.shape.channels)
    return model


def _pixels(path: Path, channels: int) -> Pixels:
    """What a Hugging Face processor does to a byte: times rescale_factor, less image_mean, over image_std."""
    if not path.is_file():
        return Pixels()
    said = read_json(path)
    if not isinstance(said, dict):
        raise InputError(f"{path} is no JSON object")
    step = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
    normalised = said.get("do_normalize", True)
    mean, deviation = (
        said.get(key, 0.5) if normalised else plain for key, plain in (("image_mean", 0.0), ("image_std", 1.0))
    )
    mean, deviation = (values if isinstance(values, list) else [values] for values in (mean, deviation))
    for key, values in (("rescale_factor", [step]), ("image_mean", mean), ("image_std", deviation)):
        numbers = all(
            type(value) in (int, float) and abs(value) < 1e6 and (key == "image_mean" or value > 1e-9)
            for value in values
        )
        if not numbers or len(values) not in (1, channels):
            wanted = "a positive number" if key == "rescale_factor" else f"a number for each of {channels} channels"
            raise InputError(f"{path}: {key} is {shown(said.get(key))}, must be {wanted}")
    return Pixels(tuple(value / step for value in mean), tuple(value / step for value in deviation))


def save(model: ViT, folder: Path) -> None:
    """Writes a folder that `load` and transformers open. Masked layers are written as they compute: with zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for module_name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.LayerNorm)):
            for part in ("weight", "bias"):
                if (tensor := getattr(module, part)) is not None:
                    tensors[f"{module_name}.{part}"] = tensor
    for part in ("cls_token", "position_embeddings"):
        tensors[f"embeddings.{part}"] = getattr(model.embeddings, part)
    prefix = PREFIX if model.shape.labels else ""
    named = {
        name if name.startswith("classifier.") else prefix + name: tensor.detach().contiguous()
        for name, tensor in tensors.items()
    }
    save_file(named, folder / "model.safetensors", {"format": "pt"})
    side = {"height": model.shape.image, "width": model.shape.image}
    mean, deviation = (
        [value / 255 for value in values] * (model.shape.channels if len(values) == 1 else 1)
        for values in (model.pixels.mean, model.pixels.deviation)
    )
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": deviation,
    }
    for name, content in (("config.json", model.config), (PROCESSOR, processor)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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


def shape_of(config: Any, where: str, labels: int) -> ViTShape:
    """The shape that the contents of a config.json give.

    where : whose config it is, for messages
    labels : of the classifier, which only the tensors tell; 0 where there is none

    Raises
    ------
    InputError : another kind of model, or a number out of its bounds.
    """
    if not isinstance(config, dict) or config.get("model_type") != "vit":
        found = config.get("model_type") if isinstance(config, dict) else config
        raise InputError(f"{where}: model_type is {found!r}, must be 'vit'")
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
