"""Column tiles as the estimate has them: their beats are those of the memory image."""

import pytest

from nmgen.estimate.columns import packed_parameters, packed_weights
from rtl.product import Product
from rtl.sta.params import StaConfig
from tests.rtl.simulate import seeded


@pytest.mark.parametrize("number", range(40))
def test_every_beat_of_a_tile_is_taken_once(number: int) -> None:
    rng = seeded(number)
    m = rng.choice([2, 4, 8, 16, 32])
    config = StaConfig(
        n=rng.randint(1, m),
        m=m,
        rows=rng.randint(1, 4),
        cols=rng.randint(1, 16),
        drain=rng.choice([1, 2, 4, 8]),
        port_bytes=rng.choice([1, 4, 16, 32, 64]),
        max_k=max(m, 100),
    )
    groups, pattern = rng.randint(1, config.max_groups), rng.randint(1, m)
    product = Product(config=config, tokens=1, k=groups * m, channels=1, pattern_n=pattern)
    plan = [kind for kind, _ in product.tile_plan()]
    for packed, beats in (
        (packed_parameters(config), plan.count("parameters")),
        (packed_weights(config, pattern, groups), len(plan)),
    ):
        assert len(packed.offsets) == beats
        assert packed.offsets[0] == 0
        assert all(one < other for one, other in zip(packed.offsets, packed.offsets[1:], strict=False))
        assert packed.rest >= 1
