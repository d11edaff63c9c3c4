"""What a control register is, for hardware, headers, drivers and docs alike. Standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

REGISTER_BITS = 32
ADDRESSES = 256  # bytes that the control port addresses

Access = Literal["read", "write", "read-write"]


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Attributes
    ----------
    low : its lowest bit
    bits : how many
    about : what it means, for the docs
    """

    name: str
    low: int
    bits: int
    about: str

    @property
    def mask(self) -> int:
        """Its bits, in place."""
        return ((1 << self.bits) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """One word at the control port.

    Attributes
    ----------
    offset : byte address, a multiple of 4
    access : a register of read-write keeps what is written; the others have a meaning of their own
    about : what it holds, for the docs
    fields : none where the whole word is one number
    reset : its value after a reset; None where version and configuration set it
    """

    name: str
    offset: int
    access: Access
    about: str
    fields: tuple[Field, ...] = ()
    reset: int | None = 0

    @property
    def bits(self) -> int:
        """Bits from 0 to the last that means something."""
        return max((field.low + field.bits for field in self.fields), default=REGISTER_BITS)

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def value(self, **fields: int) -> int:
        """The word that has these fields, all others 0."""
        return sum(value << self.field(name).low for name, value in fields.items())

    def decode(self, word: int) -> dict[str, int]:
        """The fields of a word."""
        return {field.name: (word & field.mask) >> field.low for field in self.fields}


def register_map(registers: Sequence[Register]) -> dict[str, Register]:
    """Registers by name. Each has a word of its own within the control port, each field bits of its own."""
    offsets = [register.offset for register in registers]
    assert len({*offsets}) == len(offsets)
    assert all(at % 4 == 0 and 0 <= at < ADDRESSES for at in offsets)
    for register in registers:
        taken = 0
        for field in register.fields:
            assert not field.mask & taken, f"{register.name}.{field.name}"
            assert field.mask < 1 << REGISTER_BITS, f"{register.name}.{field.name}"
            taken |= field.mask
    return {register.name: register for register in registers}
