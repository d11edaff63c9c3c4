"""State machines whose state hangs together with much: a bit for each state."""

from amaranth.hdl import Module, Signal


class States:
    """A register for each state, of which one is set. `m.FSM` numbers its states: each look at one decodes a number.

    Parameters
    ----------
    names : of the states; the first is that of the reset
    """

    def __init__(self, m: Module, *names: str) -> None:
        self._m = m
        self._bits = {name: Signal(name=f"in_{name}", init=name == names[0]) for name in names}

    def __getitem__(self, name: str) -> Signal:
        return self._bits[name]

    def move(self, here: str, there: str) -> None:
        """From the state `here`, in which it is under the conditions around the call, to another in the next cycle."""
        self._m.d.sync += [self._bits[here].eq(0), self._bits[there].eq(1)]
