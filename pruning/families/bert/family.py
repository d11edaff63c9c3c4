"""The BERT family to whoever prunes (pruning/families/interface.py)."""

from copy import deepcopy

from torch import nn

from pruning.encoder.exchanges import Exchange, of_blocks
from pruning.families.bert import export
from pruning.families.bert import fake_quant as rounding
from pruning.families.bert.calibrate import calibrate, compensated
from pruning.families.bert.export import float_layers, to_artefact
from pruning.families.bert.folder import load, save
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.bert.model import Encoder
from pruning.families.bert.parameters import integer_parameters as parameters
from pruning.files.artefact import Artefact


def from_artefact(artefact: Artefact) -> Encoder:
    """The float encoder of an artefact."""
    return export.from_artefact(artefact)[0]


def integers(artefact: Artefact) -> IntegerEncoder:
    """The int8 encoder of an artefact."""
    return IntegerEncoder(artefact)


def exchanges(model: Encoder) -> list[Exchange]:
    """Channels that may stand in another order."""
    shape = model.shape
    return of_blocks(shape.layers, "attention.self.value", shape.hidden // shape.heads, shape.intermediate)


def trainable(model: Encoder) -> Encoder:
    """A copy whose weights train, but for the embedding tables: most of their rows are of words that the text lacks."""
    copy = deepcopy(model).requires_grad_(True)
    for module in copy.embeddings.modules():
        if isinstance(module, nn.Embedding):
            module.requires_grad_(False)
    return copy
