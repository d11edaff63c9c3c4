"""ViTs to whoever prunes (pruning/families/interface.py)."""

from copy import deepcopy

from torch import Tensor

from pruning.encoder.exchanges import Exchange, of_blocks
from pruning.encoder.scales import Scales
from pruning.families.interface import Rounding
from pruning.families.vit.calibrate import calibrate
from pruning.families.vit.export import float_layers, from_artefact, to_artefact
from pruning.families.vit.folder import load, save
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.model import ViT
from pruning.families.vit.parameters import vit_parameters as parameters
from pruning.files.artefact import Artefact

rounding: Rounding | None = None


def exchanges(model: ViT) -> list[Exchange]:
    """Channels that may stand in another order."""
    shape = model.shape
    return of_blocks(shape.layers, "attention.attention.value", shape.hidden // shape.heads, shape.intermediate)


def trainable(model: ViT) -> ViT:
    """A copy whose weights train, all of them."""
    return deepcopy(model).requires_grad_(True)


def compensated(model: ViT, scales: Scales, inputs: Tensor, on_grid: ViT | None = None) -> ViT:
    """A copy; no ViT rounds in float, so its biases stay."""
    return deepcopy(on_grid or model)


def integers(artefact: Artefact) -> IntegerViT:
    """The int8 ViT of an artefact."""
    return IntegerViT(parameters(artefact))
