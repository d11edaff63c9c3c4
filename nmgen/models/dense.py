"""A dense model out of a folder, with the text or the pictures that it is calibrated on: what differs by family.

One-shot pruning, compiling a folder and plans within a budget do the same with either.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nmgen.models.pictures import read_pictures
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pruning.families.bert.calibrate import Scales
    from pruning.families.bert.model import Encoder
    from pruning.families.vit.model import ViT
    from pruning.files.artefact import Artefact
    from pruning.masks.plan import Plan

AnyModel = TypeVar("AnyModel", "Encoder", "ViT")


class Dense(ABC, Generic[AnyModel]):
    """A dense model in float, and what it is calibrated on.

    Attributes
    ----------
    name : what the user calls it
    model : the float model; it stays as it is
    unfit : one line that says what is poor about what it is calibrated on; '' where it is fit
    """

    model: AnyModel
    unfit = ""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def linears(self) -> "dict[str, nn.Linear]":
        """The linear layers of the blocks by name."""

    @abstractmethod
    def scales(self, model: AnyModel) -> "Scales":
        """The int8 scales of a float model of this one's shape."""

    @abstractmethod
    def artefact(
        self,
        model: AnyModel,
        patterns: Mapping[str, tuple[int, int]],
        about: Mapping[str, Any],
        scales: "Scales | None" = None,
    ) -> "Artefact":
        """Of a float model of this one's shape.

        patterns : (n, m) by layer, all others are dense
        scales : None: those of that model
        """

    @abstractmethod
    def outputs(self, model: "AnyModel | Artefact") -> "Tensor":
        """What a float model or the int8 one of an artefact gives of all that is calibrated on, each at length 1."""

    @abstractmethod
    def save(self, model: AnyModel, folder: Path) -> None:
        """Write a Hugging Face folder; folder is new or empty."""

    def chosen(self, layers: str = "all") -> list[str]:
        """The linear layers whose names match; InputError where none does."""
        return chosen(self.linears(), layers)

    def uniform(self, pattern: str, layers: str = "all") -> "Plan":
        """One pattern for the linear layers whose names match."""
        from pruning.masks.plan import Plan
        from rtl.format import parse_pattern

        return Plan(dict.fromkeys(self.chosen(layers), parse_pattern(pattern)))

    def pruned(self, plan: "Plan") -> AnyModel:
        """A copy with the largest weights of each group alone; a last group that is short counts as filled up."""
        from pruning.masks.sparsify import finalize, sparsify

        model = deepcopy(self.model)
        if plan.layers:
            sparsify(model, plan, method="magnitude", ragged="pad")
            finalize(model)
        return model

    @cached_property
    def _own_outputs(self) -> "Tensor":
        return self.outputs(self.model)

    def cosine(self, model: "AnyModel | Artefact") -> float:
        """Between a model's outputs and the dense model's, the mean."""
        return float((self.outputs(model) * self._own_outputs).sum(dim=1).mean())


class DenseText(Dense["Encoder"]):
    def __init__(self, name: str, text: Sequence[Path]) -> None:
        from nmgen.models.scores import open_encoder
        from pruning.data.fitness import unfit
        from pruning.data.text import SENTENCES, gather

        super().__init__(name)
        self.model = open_encoder(name)
        self.sentences = gather(text or [SENTENCES])
        source = " ".join(map(str, text)) or "of nmgen's own"
        self.unfit = unfit(self.model, self.sentences, source)

    def linears(self) -> "dict[str, nn.Linear]":
        return self.model.linears()

    def scales(self, model: "Encoder") -> "Scales":
        from pruning.families.bert.calibrate import calibrate

        return calibrate(model, self.sentences)

    def artefact(
        self,
        model: "Encoder",
        patterns: Mapping[str, tuple[int, int]],
        about: Mapping[str, Any],
        scales: "Scales | None" = None,
    ) -> "Artefact":
        from pruning.families.bert.export import to_artefact

        return to_artefact(model, patterns, scales or self.scales(model), about)

    def outputs(self, model: "Encoder | Artefact") -> "Tensor":
        from pruning.families.bert.calibrate import spread
        from pruning.families.bert.integer import IntegerEncoder
        from pruning.families.bert.model import Encoder

        form = model if isinstance(model, Encoder) else IntegerEncoder(model)
        return form.embed(spread(self.sentences))

    def save(self, model: "Encoder", folder: Path) -> None:
        from pruning.families.bert.folder import save

        save(model, folder)


class DensePictures(Dense["ViT"]):
    def __init__(self, name: str, pictures: Sequence[Path]) -> None:
        import torch

        from pruning.families.vit.calibrate import IMAGES
        from pruning.families.vit.model import load

        if not pictures:
            raise InputError(f"{name} is a folder of a ViT: give pictures to calibrate on, --calibrate FILE or folder")
        super().__init__(name)
        self.model = load(name).requires_grad_(False)
        shape = self.model.shape
        self.pictures = torch.from_numpy(read_pictures(pictures[0], shape.channels, shape.image, IMAGES))

    def linears(self) -> "dict[str, nn.Linear]":
        from torch import nn

        from pruning.families.vit.model import encoder_layers

        found = self.model.named_modules()
        return {name: layer for name, layer in found if isinstance(layer, nn.Linear) and encoder_layers(layer, name)}

    def scales(self, model: "ViT") -> "Scales":
        from pruning.families.vit.calibrate import calibrate

        return calibrate(model, self.pictures)

    def artefact(
        self,
        model: "ViT",
        patterns: Mapping[str, tuple[int, int]],
        about: Mapping[str, Any],
        scales: "Scales | None" = None,
    ) -> "Artefact":
        from pruning.families.vit.export import to_artefact

        return to_artefact(model, patterns, scales or self.scales(model), about)

    def outputs(self, model: "ViT | Artefact") -> "Tensor":
        import torch
        from torch.nn.functional import normalize

        from pruning.families.vit.integer import IntegerViT
        from pruning.families.vit.model import ViT
        from pruning.families.vit.parameters import vit_parameters

        with torch.inference_mode():
            if isinstance(model, ViT):
                found = model(model.pixels.floats(self.pictures))
            else:
                found = IntegerViT(vit_parameters(model)).logits(self.pictures)
            return normalize(found.float(), dim=1)

    def save(self, model: "ViT", folder: Path) -> None:
        from pruning.families.vit.model import save

        save(model, folder)


def open_dense(model: str, calibrate: Sequence[Path] = ()) -> Dense[Any]:
    """The dense model of a Hugging Face folder, or minilm.

    calibrate : text, or one place with pictures, which a ViT needs; none: sentences of nmgen's own

    Raises
    ------
    InputError, OSError : a folder, text or pictures that cannot be used.
    """
    from pruning.families.vit.model import is_folder

    return DensePictures(model, calibrate) if is_folder(model) else DenseText(model, calibrate)


def dense_artefact(dense: Dense[Any], pattern: str | None) -> "Artefact":
    """The model in int8 as it is or, with a pattern, pruned to it in one shot."""
    name = Path(dense.name).name
    if pattern is None:
        return dense.artefact(dense.model, {}, {"model": name, "pattern": "dense"})
    plan = dense.uniform(pattern)
    about = {"model": name, "method": "magnitude", "pattern": str(plan)}
    return dense.artefact(dense.pruned(plan), plan.layers, about)


def chosen(names: Iterable[str], layers: str) -> list[str]:
    """The names that match a glob; 'all' are all. InputError where none does."""
    names = list(names)
    found = [name for name in names if layers == "all" or fnmatchcase(name, layers)]
    if not found:
        raise InputError(f"layers is {layers!r}, must match one of {len(names)} such as {names[0]}")
    return found
