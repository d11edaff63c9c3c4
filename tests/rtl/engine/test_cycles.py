"""Cycles of a product: what the demo gets, what costs cycles, bounds. Simulations hold them to the RTL's counter."""

from typing import Any

import pytest

from rtl.engine.cycles import product_cycles
from rtl.params import Config, InputError
from rtl.product import Product


@pytest.mark.parametrize(("pattern_n", "least"), [(2, 0.96), (4, 0.96), (8, 0.96)])
def test_utilisation_of_the_demo(pattern_n: int, least: float) -> None:
    """MiniLM's 384 → 1536 layer, 32 tokens."""
    cycles = product_cycles(Config(), 32, 384, 1536, pattern_n)
    product = Product(config=Config(), tokens=32, k=384, channels=1536, pattern_n=pattern_n)
    assert least <= product.utilisation(cycles) <= 1


def test_speed_up_of_the_demo() -> None:
    assert product_cycles(Config(), 32, 384, 1536, 8) >= 3.8 * product_cycles(Config(), 32, 384, 1536, 2)


def test_cycles_depend_on_what_costs_cycles() -> None:
    config = Config(n=2, m=8, rows=4, cols=4, drain=2, port_bytes=4)

    def cycles(tokens: int = 9, k: int = 50, channels: int = 20, pattern_n: int = 4, latency: int = 30) -> int:
        return product_cycles(config, tokens, k, channels, pattern_n, latency)

    assert cycles() == product_cycles(config, 9, 50, 20, 4), "the latency that is meant where none is given"
    assert cycles() == product_cycles(config, 9, 50, 20, 4, out_bits=8, per_row=False)
    assert cycles() == cycles(k=56), "both are seven groups"
    for less in (cycles(tokens=8), cycles(k=48), cycles(channels=16), cycles(pattern_n=2), cycles(latency=29)):
        assert less < cycles()
    assert cycles() < product_cycles(config, 9, 50, 20, 4, per_row=True)
    assert cycles(k=8) < product_cycles(config, 9, 8, 20, 4, out_bits=16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mem_latency": 0}, "mem_latency is 0, must be an integer from 1 to 65536"),
        ({"tokens": 129}, "tokens is 129, must be an integer from 1 to 128"),
        ({"pattern_n": 9}, "pattern_n is 9, must be an integer from 1 to 8"),
        ({"out_bits": 9}, "out_bits is 9, must be 8 or 16"),
    ],
)
def test_bounds_of_product_cycles(change: dict[str, Any], message: str) -> None:
    shape = {"tokens": 1, "k": 1, "channels": 1, "pattern_n": 1, **change}
    with pytest.raises(InputError, match=f"^{message}$"):
        product_cycles(Config(), **shape)
