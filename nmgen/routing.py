"""Follows nextpnr's router2 by its log, and ends it where it runs away."""

import re
from collections.abc import Callable
from pathlib import Path

PASS = re.compile(rb"iter=(\d+) wires=\d+ overused=(\d+)")
PASSES = 40  # in which a router that still gets somewhere has overused fewer wires than ever before
EVERY = 10  # passes, of which something is said


class UnroutedError(Exception):
    """The design has more wires in some place than there are. The message says how many too many."""


class Routing:
    """To be told of the time (`tick`), while the router writes its log.

    router2 tries until no wire has two nets. Where wires are short it first gets near, then nets push one another
    ever farther around, and it does not end by itself.
    """

    def __init__(self, log: Path, say: Callable[[str], None]) -> None:
        self._log, self._say = log, say
        self._read = 0
        self._best: int | None = None
        self._best_pass = self._said = 0

    def tick(self, seconds: float) -> None:
        """Raises UnroutedError where the router runs away."""
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for number, overused in ((int(a), int(b)) for a, b in PASS.findall(whole)):
            if self._best is None or overused < self._best:
                self._best, self._best_pass = overused, number
            elif number - self._best_pass >= PASSES:
                raise UnroutedError(f"{self._best:,} wires overused at best, in pass {self._best_pass} of {number}")
            if number >= self._said + EVERY:
                self._said = number
                self._say(f"pass {number}, {overused:,} wires overused")
