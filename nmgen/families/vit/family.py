"""ViTs to the commands (nmgen/families/interface.py)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.families.interface import Calibration
from nmgen.families.recipe import Recipe
from nmgen.families.vit.compiler import compile_elastic, compile_vit
from nmgen.families.vit.goal import PictureGoal
from nmgen.families.vit.pictures import read_for
from nmgen.families.vit.scores import scoring
from nmgen.families.vit.simulation import given, reference
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nmgen.compiler.memory_map import Memory
    from nmgen.compiler.program import Program
    from pruning.encoder.forms import PictureForm
    from pruning.families.vit.model import ViT
    from pruning.families.vit.parameters import VitParameters
    from pruning.files.artefact import Model
    from rtl.sta.params import StaConfig

TITLE, NEEDS, HOST = "a ViT", "pictures", "patches"


def calibration(model: "ViT", paths: Sequence[Path]) -> Calibration:
    return Calibration(read_for(model.shape, paths[0]), "")


def outputs(form: "PictureForm", inputs: "Tensor") -> "Tensor":
    from torch.nn.functional import normalize

    return normalize(form.logits(inputs).float(), dim=1)


def lengths(name: str, seq: str | None, usual: str | None = None, *, flag: str = "seq") -> list[int]:
    if seq is not None:
        raise InputError(f"{name} is a ViT, whose tokens are its patches: it takes no --{flag}")
    return []


def program(
    parameters: "VitParameters",
    model: "Model",
    config: "StaConfig",
    lengths: Sequence[int],
    batch: int,
    shorter: Sequence[int] = (),
    memory: "Memory | None" = None,
) -> "Program":
    from pruning.families.vit.shape import labels_of

    classes = labels_of(model.config, parameters.shape.labels)
    return compile_vit(parameters, config, batch, {**model.about, "classes": classes}, memory)


def elastic(
    densities: "Mapping[str, tuple[VitParameters, Model]]",
    config: "StaConfig",
    lengths: Sequence[int],
    batch: int,
    shorter: Sequence[int] = (),
) -> "Program":
    from pruning.families.vit.shape import labels_of

    parameters = {name: one for name, (one, _) in densities.items()}
    about = {
        name: {**model.about, "classes": labels_of(model.config, one.shape.labels)}
        for name, (one, model) in densities.items()
    }
    return compile_elastic(parameters, config, batch, about)


def narrowed(parameters: "VitParameters") -> "VitParameters":
    raise InputError("it is a ViT, without a table of words: it takes no --table-bits")


def goal(recipe: Recipe, model: "ViT") -> PictureGoal:
    return PictureGoal(recipe, model)


def layer_inputs(
    name: str, model: "ViT", layers: Sequence[str], path: Path | None, track: Callable[[Sequence[str]], Any]
) -> "tuple[dict[str, Tensor], dict[str, Any], str]":
    raise InputError(f"{name} is a ViT: its layers are pruned with the whole model, without --layers")
