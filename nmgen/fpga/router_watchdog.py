"""Follows nextpnr by its log, how far placer and router are, and ends a router that runs away."""

import re
from collections.abc import Callable
from pathlib import Path

# Slower than router2, but by far the better clock: 192 MHz where that got 133, of 8x8 PEs. And its log says how many
# arcs are left, so that one which runs away can be ended.
ROUTER = "router1"
PLACER = re.compile(rb"Info:\s+at iteration #(\d+), type ALL:")
LINE = re.compile(rb"Info:\s+(\d+) \|[^|]*\|[^|]*\|\s*(\d+)\|")  # of router1: arcs tried and left
PASS = re.compile(rb"Info:\s+iter=(\d+) .*\boverused=(\d+)")  # of router2: a pass, and wires that two nets want
UNPLACED = re.compile(rb"ERROR: Unable to find legal placement for (all cells|cell '[^'\n]*')")
PATIENCE = 200_000  # arcs, within which a router that still gets somewhere has fewer left than ever before
PASSES = 300  # the same, of router2: its last passes take a fifth of a second each, and one wire may take 30 of them
LONGEST = 900  # CPU seconds, the same: the last wires may take a minute a thousand arcs, for hours
ARCS_A_LINE = 50_000  # arcs, after which something is said


class UnroutedError(Exception):
    """The design takes more wires somewhere than there are, or more places. The message says what is left over."""


class Routing:
    """To be told of nextpnr's CPU seconds (`tick`), while it writes its log: other work on the machine changes nothing.

    router1 routes arc after arc, each of which takes wires from others where it has to: these are routed again.
    router2 routes all arcs in a pass, then those again that share wires. Where wires are short neither ends by itself.

    Parameters
    ----------
    say : gets the state now and then
    most : CPU seconds that place and route may take; None for as long as it gets nearer

    Attributes
    ----------
    state : how far it is, in words; "" until something is known
    """

    def __init__(self, log: Path, say: Callable[[str], None] = lambda text: None, *, most: float | None = None) -> None:
        self._log, self._say, self._most = log, say, most
        self.state = ""
        self._read = 0
        self._best: int | None = None
        self._best_at = self._said = 0
        self._best_seconds = 0.0

    def tick(self, seconds: float) -> None:
        """Raises UnroutedError where the router runs away, or has taken long enough."""
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        if passes := PLACER.findall(whole):
            self.state = f"placer in pass {int(passes[-1]) + 1}"
        for routed, left in ((int(a), int(b)) for a, b in LINE.findall(whole)):
            self.state = f"{routed:,} arcs tried, {left:,} left"
            if not self._nearer(routed, left, seconds, PATIENCE):
                raise UnroutedError(f"{self._best:,} arcs left at best, after {self._best_at:,} of {routed:,} tries")
            if routed >= self._said + ARCS_A_LINE:
                self._said = routed
                self._say(self.state)
        for number, left in ((int(a), int(b)) for a, b in PASS.findall(whole)):
            self.state = f"router after pass {number}, {left:,} wires left that two nets want"
            if not self._nearer(number, left, seconds, PASSES):
                best = f"{self._best:,} wires left at best that two nets want"
                raise UnroutedError(f"{best}, after {self._best_at} of {number} passes")

        if self._most is not None and seconds >= self._most and self._best:
            raise UnroutedError(f"not done after {self._most:g} CPU s: {self.state}")

    def check_placed(self) -> None:
        """Of a nextpnr that failed: raises UnroutedError where the placer gave up."""
        if self._log.exists() and (found := UNPLACED.search(self._log.read_bytes())):
            raise UnroutedError(f"the placer finds no place for {found[1].decode(errors='replace')}")

    def _nearer(self, done: int, left: int, seconds: float, patience: int) -> bool:
        """Whether there was less left than ever before, not long ago."""
        if self._best is None or left < self._best:
            self._best, self._best_at, self._best_seconds = left, done, seconds
        return done - self._best_at < patience and seconds - self._best_seconds < LONGEST
