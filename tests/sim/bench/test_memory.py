"""The memory model and cocotb's stream helpers, on both simulators: the tests are those of tb_memory.py."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from sim.bench.memory import SOURCE
from sim.bench.runner import SIMULATORS, Build, SimulationError

WIRES = Path(__file__).with_name("wires.v")
BUILDS = Path(__file__).parents[3] / "build" / "test-sim"


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_memory(simulator: str, tmp_path: Path) -> None:
    build = Build([WIRES, SOURCE], "wires", simulator, BUILDS, ports=["clk", "host__*"], cycles=1000)
    build.make()
    try:
        build.run(tmp_path, 0, "tests.sim.tb_memory")
    except SimulationError:
        pytest.fail((tmp_path / "run.log").read_text())
    results = ElementTree.parse(tmp_path / "results.xml")
    assert len(results.findall(".//testcase")) == 27
    assert not results.findall(".//failure") + results.findall(".//error")
    unknown = 4 if simulator == "verilator" else 0  # tests of unknown bits
    assert len(results.findall(".//skipped")) == unknown
