"""The engine's registers lie one behind another, and a product's values are what their names say."""

import pytest

from rtl.engine.register_table import REGISTERS, register_values
from rtl.product import Product
from tests.rtl.configurations import PRODUCTS


def test_registers_have_addresses_of_their_own() -> None:
    offsets = [register.offset for register in REGISTERS.values()]
    assert offsets == list(range(0, 4 * len(offsets), 4))
    assert max(offsets) < 1 << 8


@pytest.mark.parametrize("product", PRODUCTS, ids=range(len(PRODUCTS)))
def test_values(product: Product) -> None:
    p = product
    assert register_values(p, x_address=1, w_address=2, y_address=3, r_address=4) == {
        "tokens": p.tokens,
        "groups": p.groups,
        "channels": p.channels,
        "mode": p.pattern_n + (256 if p.out_bits == 16 else 0) + (512 if p.per_row else 0),
        "x_address": 1,
        "x_beats": p.tokens * p.x_row_beats,
        "w_address": 2,
        "w_tile_beats": len(p.tile_plan()),
        "w_beats": p.column_tiles * len(p.tile_plan()),
        "r_address": 4,
        "r_beats": p.r_beats,
        "y_address": 3,
        "y_stride": p.y_stride,
    }
