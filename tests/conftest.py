"""Settings of the whole test run."""

import gc

from nmgen.console.ending import COLLECT_AFTER

gc.set_threshold(COLLECT_AFTER)  # as a program does
