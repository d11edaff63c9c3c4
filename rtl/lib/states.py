"""One-hot FSM for states with high fan-out."""

from amaranth.hdl import Module, Signal


class States:
    """A flip-flop for each state, of which one is set. `m.FSM` encodes states in binary, so each use would decode them.

    Parameters
    ----------
    names : of the states; the first is the reset state
    """

    def __init__(self, m: Module, *names: str) -> None:
        self._m = m
        self._bits = {name: Signal(name=f"in_{name}", init=name == names[0]) for name in names}

    def __getitem__(self, name: str) -> Signal:
        return self._bits[name]

    def move(self, old: str, new: str) -> None:
        """Go to state `new` in the next cycle; the conditions around the call imply that the state is `old`."""
        self._m.d.sync += [self._bits[old].eq(0), self._bits[new].eq(1)]
