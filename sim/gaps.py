"""Random back-pressure that the stream helpers of every simulator share: seeded, printed, switchable off."""

import random


class Gaps:
    """Says of each cycle whether a stream's side holds back.

    The seed is printed once, so that pytest shows it with a failure.

    Parameters
    ----------
    seed : seed of the random sequence, or None for no gaps at all
    probability : share of the cycles that are held back
    """

    def __init__(self, seed: int | None = None, probability: float = 0.5) -> None:
        self._random = random.Random(seed).random
        self._probability = 0.0 if seed is None else probability
        if seed is not None:
            print(f"back-pressure: seed {seed}, probability {probability}")

    def stall(self) -> bool:
        """Whether to hold back in the coming cycle."""
        return self._probability > 0.0 and self._random() < self._probability


NO_GAPS = Gaps()
