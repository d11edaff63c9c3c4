"""What a family of models is to whoever prunes: the functions of its family.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from pruning.encoder.exchanges import Exchange
from pruning.files.artefact import Artefact
from pruning.integers.quantise import FloatLayer

Model = Any  # the family's own, an nn.Module with `linears`, the linear layers of its blocks by name
Inputs = Any  # what its models read: sentences, or pictures uint8 [pictures, channels, side, side]
Form = Any  # a model, or the int8 one of an artefact: a TextForm or a PictureForm of pruning/encoder/forms.py
Scales = Mapping[str, Tensor]  # by the point where the accelerator rounds: float64, a scalar or [channels]


class Rounding(Protocol):
    """A model that computes in float what int8 will, to train it so."""

    @staticmethod
    def quantise(model: Model, scales: Scales) -> Model:
        """Rounds in place."""

    @staticmethod
    def dequantise(model: Model) -> Model:
        """In float again, in place, with its live weights and masks."""


class Family(Protocol):
    """A module pruning/families/NAME/family.py. InputError and OSError say what cannot be used."""

    rounding: Rounding | None  # None: its models do not train in int8

    @staticmethod
    def load(folder: Path | str) -> Model:
        """The float model of a Hugging Face folder."""

    @staticmethod
    def save(model: Model, folder: Path) -> None:
        """Write such a folder; it is new or empty."""

    @staticmethod
    def trainable(model: Model) -> Model:
        """A copy whose weights train."""

    @staticmethod
    def exchanges(model: Model) -> list[Exchange]:
        """Channels between two layers of a block that may stand in another order."""

    @staticmethod
    def calibrate(model: Model, inputs: Inputs, others: Sequence[Model] = ()) -> dict[str, Tensor]:
        """The int8 scales of a float model; others : models with weights of this one, which get the same scales."""

    @staticmethod
    def compensated(model: Model, scales: Scales, inputs: Inputs, on_grid: Model | None = None) -> Model:
        """A copy with biases that make up for what rounding shifts; a family that cannot round in float changes none.

        on_grid : the model with weights as the integers have them, which is what is copied; None: they are rounded here
        """

    @staticmethod
    def to_artefact(
        model: Model,
        patterns: Mapping[str, tuple[int, int]],
        scales: Scales,
        about: Mapping[str, Any] | None = None,
        units: Mapping[str, Tensor] | None = None,
    ) -> Artefact:
        """The artefact of a float model.

        patterns : (n, m) by layer, all others are dense
        units : of the accumulators of layers whose integers are shared, by name; None: each layer's own
        """

    @staticmethod
    def float_layers(model: Model, scales: Scales) -> Mapping[str, FloatLayer]:
        """The layers that an artefact packs, with their scales, by name."""

    @staticmethod
    def from_artefact(artefact: Artefact) -> Model:
        """The float model of an artefact."""

    @staticmethod
    def parameters(artefact: Artefact) -> Any:
        """Every integer that the accelerator needs of an artefact, for the compiler."""

    @staticmethod
    def integers(artefact: Artefact) -> Form:
        """The int8 model of an artefact, which computes what the accelerator does, to the bit."""
