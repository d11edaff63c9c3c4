"""What a command does now, on stderr: on a terminal in one place, else a line every ten seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]
EVERY_S = 10.0  # between two lines where no terminal is


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
                print(f"{now[0]} … {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)

    def say(text: str) -> None:
        now[0] = text

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield say
    finally:
        over.set()
        thread.join()
