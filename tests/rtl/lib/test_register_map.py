"""Registers and their fields: words are put together and taken apart, and mistakes in a table do not get far."""

import pytest

from rtl.engine.register_table import REGISTERS as ENGINE
from rtl.lib.port import register_layout
from rtl.lib.register_map import Field, Register, register_map
from rtl.sta.registers import REGISTERS as STA
from tests.rtl.simulate import seeded

MODE = Register(
    "mode", 0x1C, "read-write", "", (Field("low", 0, 6, ""), Field("wide", 8, 1, ""), Field("high", 9, 3, ""))
)


def test_words() -> None:
    assert MODE.bits == 12
    assert Register("cycles", 0, "read", "").bits == 32
    assert MODE.value() == 0
    assert MODE.value(high=5, low=33) == 5 << 9 | 33
    assert MODE.decode(0xFFFF_FFFF) == {"low": 63, "wide": 1, "high": 7}
    assert MODE.field("wide").mask == 0x100


@pytest.mark.parametrize("registers", [ENGINE, STA], ids=["engine", "sta"])
def test_hardware_sees_the_same_fields(registers: dict[str, Register]) -> None:
    rng = seeded("fields")
    for register in registers.values():
        if register.fields:
            layout = register_layout(register)
            assert layout.size == register.bits
            word = rng.getrandbits(register.bits)
            bits = layout.from_bits(word)
            assert {field.name: int(bits[field.name]) for field in register.fields} == register.decode(word)


@pytest.mark.parametrize(
    "wrong",
    [
        Register("other", 0x1C, "read", "at the same offset"),
        Register("other", 0x1E, "read", "between two words"),
        Register("other", 0x100, "read", "beyond the port"),
        Register("other", 0, "read", "two fields in one bit", (Field("a", 0, 2, ""), Field("b", 1, 1, ""))),
        Register("other", 0, "read", "a field beyond the word", (Field("a", 31, 2, ""),)),
    ],
    ids=lambda register: register.about,
)
def test_mistakes_in_a_table(wrong: Register) -> None:
    with pytest.raises(AssertionError):
        register_map((MODE, wrong))
