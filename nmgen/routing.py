"""Follows nextpnr's router1 by its log, and ends it where it runs away."""

import re
from collections.abc import Callable
from pathlib import Path

LINE = re.compile(rb"Info:\s+(\d+) \|[^|]*\|[^|]*\|\s*(\d+)\|")
PATIENCE = 200_000  # arcs, within which a router that still gets somewhere has fewer left than ever before
LONGEST = 900  # seconds, the same: the last wires may take a minute a thousand arcs, for hours
EVERY = 50_000  # arcs, after which something is said


class UnroutedError(Exception):
    """The design has more wires in some place than there are. The message says how many arcs are left."""


class Routing:
    """To be told of the time (`tick`), while the router writes its log.

    router1 routes arc after arc, each of which takes wires from others where it has to: these are routed again. Where
    wires are short it does not end by itself.
    """

    def __init__(self, log: Path, say: Callable[[str], None]) -> None:
        self._log, self._say = log, say
        self._read = 0
        self._best: int | None = None
        self._best_at = self._said = 0
        self._best_seconds = 0.0

    def tick(self, seconds: float) -> None:
        """Raises UnroutedError where the router runs away."""
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for routed, left in ((int(a), int(b)) for a, b in LINE.findall(whole)):
            if self._best is None or left < self._best:
                self._best, self._best_at, self._best_seconds = left, routed, seconds
            elif routed - self._best_at >= PATIENCE or seconds - self._best_seconds >= LONGEST:
                raise UnroutedError(f"{self._best:,} arcs left at best, after {self._best_at:,} of {routed:,} tries")
            if routed >= self._said + EVERY:
                self._said = routed
                self._say(f"{routed:,} arcs tried, {left:,} left")
