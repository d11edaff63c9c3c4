"""Whole encoders on arrays of DSP slices, in Verilog with models of the slices: every instruction, and every cycle."""

import pytest

from nmgen.bench.estimate import deviation
from rtl.sta.params import StaConfig
from tests.nightly import but
from tests.sim.bench.test_programs import check, sentences

LATENCY = 7
SIZES = {"hidden": 16, "heads": 2, "inner": 20, "layers": 1, "classes": 3}
CONFIGURATIONS = {
    # A row of LUTs below the slices' too.
    "2:8": StaConfig(
        n=2,
        m=8,
        rows=3,
        cols=2,
        drain=2,
        port_bytes=4,
        max_tokens=16,
        max_k=32,
        hidden=16,
        store_words=128,
        pe="ecp5",
        soft_rows=1,
    ),
    # Columns abreast, and one that is not.
    "2:16": StaConfig(
        n=2,
        m=16,
        rows=2,
        cols=4,
        drain=4,
        port_bytes=8,
        max_tokens=16,
        max_k=32,
        hidden=16,
        store_words=96,
        pe="ecp5",
    ),
}


@pytest.mark.parametrize("pattern", but(CONFIGURATIONS, {"2:8"}))
def test_an_encoder(pattern: str) -> None:
    """What is left and how long it takes are those that the estimate and the golden machine have for any array."""
    config = CONFIGURATIONS[pattern]
    program, image = sentences(SIZES | {"pattern": pattern}, [5, 2], config)
    free, _ = check(config, [(program, image)], (False, True), LATENCY)
    off = deviation(program, free[0].spans, free[0].cycles, LATENCY)
    assert off.exact == off.instructions
    assert off.whole == 0
