"""What a command does now, on stderr: on a terminal in one place, else a line every ten seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nmgen.console.ending import CLEAR

Say = Callable[[str], None]
EVERY_S = 10.0  # between two lines where no terminal is


def say(text: str) -> None:
    """A line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def stages() -> Iterator[Say]:
    """Says, of what it is called with last, that it is what is done now, until the block ends.

    On a terminal it goes away at the end.
    """
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("") as status:
            yield status.update
        return
    now, begin, over = [""], time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(EVERY_S):
            if now[0]:
                say(f"{now[0]} … {time.monotonic() - begin:.0f} s")

    def stage(text: str) -> None:
        now[0] = text

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield stage
    finally:
        over.set()
        thread.join()


class StageProgress:
    """A line a stage on stderr; on a terminal it counts the seconds, else there is another every ten of them."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._said = 0.0

    def __call__(self, stage: str, seconds: float, over: bool, state: str) -> None:
        text = f"{stage:<16}{seconds:5.0f} s"
        if self._live:
            print(CLEAR + text, "" if over else "…", state, end="\n" if over else "", file=sys.stderr, flush=True)
        elif over:
            print(text, state, file=sys.stderr)
        elif seconds == 0:
            self._said = 0.0
            print(f"{stage} …", file=sys.stderr, flush=True)
        elif state and seconds >= self._said + EVERY_S:
            self._said = seconds
            print(text, "…", state, file=sys.stderr, flush=True)


class StepProgress:
    """Says on stderr how far a training run is and how long it has to go."""

    def __init__(self) -> None:
        self._begun = self._said = time.monotonic()
        self._stage = ""
        self._first = 0  # the step that this stage began with: a resumed one does not begin at 1

    def __call__(self, name: str, step: int, steps: int, loss: float) -> None:
        now = time.monotonic()
        if name != self._stage:
            self._stage, self._begun, self._first = name, now, step
        elif step == steps or now - self._said >= (1.0 if sys.stderr.isatty() else EVERY_S):
            left = (now - self._begun) / (step - self._first) * (steps - step)
            end = "\r" if sys.stderr.isatty() and step < steps else "\n"
            text = f"{name}: step {step} of {steps}, loss {loss:.4f}, {left / 60:.1f} minutes left"
            print(f"{text:<78}", end=end, file=sys.stderr, flush=True)
            self._said = now
