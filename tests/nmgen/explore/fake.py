"""In place of what counts, where it matters who does, not what comes of it. Processes import it: it needs no torch."""

import os
import signal
from pathlib import Path

from nmgen.explore.counting import Counted, Work
from rtl.params import Config

LOST = "NMGEN_TEST_LOST"  # names a file: the process that makes it dies; always: every one


def count(artefact: str, config: Config, work: Work) -> Counted:
    lost = os.environ.get(LOST)
    if lost and config.rows == 3 and (lost == "always" or not Path(lost).exists()):
        if lost != "always":
            Path(lost).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Counted(cycles=config.rows, store_words=work.batch, refused=artefact)


def begin() -> None:
    pass
