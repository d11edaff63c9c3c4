"""Instructions as the engines see them, and what makes one illegal."""

from amaranth.lib import data

from ..params import Config
from .isa import FIELDS


def instruction_layout(config: Config) -> data.StructLayout:
    """Every field of `isa.FIELDS` by its name, as wide as the instruction has it."""
    return data.StructLayout({name: field.bits for name, field in FIELDS.items()})
