"""Cycles before a memory that brings fewer bytes a cycle than the port takes, such as the SDRAM of a board."""

from dataclasses import replace

from nmgen.compiler.program import Program
from nmgen.estimate.cycles import Estimate


def at_bandwidth(program: Program, estimates: list[Estimate], bytes_per_cycle: float) -> list[Estimate]:
    """The estimates, with each instruction as long as its bytes take where that is longer.

    This is not exact, as they are: how much is read ahead of an instruction is left out, and so is what a memory does
    beside (SDRAM: refreshes, other rows). With the bytes that its pins could bring, 2 a cycle of the SDRAM, MiniLM on
    the ULX3S takes 0.2 to 1.0 % longer than this says: `pytest -m nightly tests/nmgen/estimate/test_bandwidth.py`.
    """
    port_bytes = program.config.port_bytes
    begin, found = estimates[0].begin, []
    for one in estimates:
        cycles = max(one.cycles, round(one.beats * port_bytes / bytes_per_cycle))
        found.append(replace(one, begin=begin, cycles=cycles))
        begin += cycles
    return found
