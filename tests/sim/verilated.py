"""Programs that Verilator makes of a testbench without cocotb."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sim.bench.runner import MAKE_VARIABLES_SHORT, find_verilator, keep_objects

BUILDS = Path(__file__).parents[2] / "build" / "test-sim"


def verilated(top: str, sources: Sequence[Path], folder: Path, *options: str) -> Path:
    """The program, made in this folder of Verilog and of the C++ that drives its clocks."""
    flags = shlex.join([*MAKE_VARIABLES_SHORT, keep_objects(BUILDS)])
    command = [
        find_verilator(),
        "--cc",
        "--exe",
        "--build",
        "--no-timing",
        "-O3",
        "-Wno-fatal",
        "-Wno-lint",
        "-MAKEFLAGS",
        flags,
    ]
    command += ["--top-module", top, "-Mdir", folder, *options, *sources]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder / f"V{top}"
