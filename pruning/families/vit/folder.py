"""Hugging Face folders: a ViT read from one, and written back as one."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from pruning.encoder.pixels import Pixels
from pruning.families.vit.model import ViT
from pruning.families.vit.shape import shape_of
from pruning.files.checkpoint_files import opened
from pruning.files.reading import read_object, shown
from rtl.params import InputError

PREFIX = "vit."  # of the checkpoint's tensors where there is a classifier beside them
PROCESSOR = "preprocessor_config.json"  # says what becomes of a byte; a folder may lack it


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
    config = read_object(path)
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
    return model.requires_grad_(False)


def _pixels(path: Path, channels: int) -> Pixels:
    """What a Hugging Face processor does to a byte: times rescale_factor, less image_mean, over image_std."""
    if not path.is_file():
        return Pixels()
    said = read_object(path)
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
