"""What is told of a tool while it works."""

import sys
from pathlib import Path

import pytest

from nmgen.fpga.tools import run_tool

WAITS = "import time; time.sleep(1.5)"
WORKS = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(1.2)"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell CPU time")
@pytest.mark.parametrize(("program", "least", "most"), [(WAITS, 0, 0.45), (WORKS, 0.45, 0.95)], ids=["waits", "works"])
def test_cpu_time(program: str, least: float, most: float, tmp_path: Path) -> None:
    """What a tool waits for the machine is not its own time."""
    told: list[tuple[float, float]] = []
    run_tool([sys.executable, "-c", program], tmp_path, "work", tick=lambda seconds, cpu: told.append((seconds, cpu)))
    seconds, cpu = told[-1]
    assert seconds >= 1
    assert least <= cpu <= most
