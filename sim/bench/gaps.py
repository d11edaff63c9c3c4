"""Random back-pressure that the stream helpers of every simulator share: seeded, printed, switchable off."""

import random

LONGEST_PHASE = 64  # cycles
SHARES = (0.0, 0.2, 0.5, 0.9)  # of held-back cycles in a phase: FIFOs are seen full and empty, and in between


class Gaps:
    """Says of each cycle whether a stream's side holds back.

    Phases of random length follow one another, each with its own share of held-back cycles.

    Parameters
    ----------
    seed : seed of the random sequence, printed so that pytest shows it with a failure; None for no gaps at all
    """

    def __init__(self, seed: int | str | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)
        self._left = 0
        self._share = 0.0
        if seed is not None:
            print(f"back-pressure: seed {seed!r}")

    def stall(self) -> bool:
        """Whether to hold back in the coming cycle."""
        if self._random is None:
            return False
        if self._left == 0:
            self._left = self._random.randint(1, LONGEST_PHASE)
            self._share = self._random.choice(SHARES)
        self._left -= 1
        return self._random.random() < self._share


NO_GAPS = Gaps()
