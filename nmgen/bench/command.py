"""How a bench ends: as a command does, and where a tool fails."""

from collections.abc import Callable

from nmgen.console.ending import ended
from nmgen.console.progress import say
from nmgen.fpga.tools import ToolError
from sim.bench.runner import SimulationError

FAILED = 1


def bench(work: Callable[[], int], name: str) -> int:
    """The exit status of a bench, after the line that says what was wrong.

    Parameters
    ----------
    work : returns its exit status, or raises InputError, OSError, or what a tool or a simulation raises
    name : of the bench, which begins the line
    """

    def done() -> int:
        try:
            return work()
        except (ToolError, SimulationError) as error:
            say(f"{name}: {error}")
            return FAILED

    return ended(done, name)
