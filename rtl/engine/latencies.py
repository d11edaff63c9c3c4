"""Latencies of the engine's own units, in cycles; those that it shares with STA are in `rtl/array/latencies.py`.

Standard library only: the estimate reads them too.
"""

ENTER_CYCLES = 2  # from a segment's last beat, or from the start, until the next one's first may be delivered
PARAMETER_CYCLES = 2  # from an address to the parameters of requantisation: memory, its register
LOADED_CYCLES = 2  # from a column tile's last entry until the decision for its first step
RELEASE_CYCLES = 2  # from the decision for its last step until column 0 is done with it; column c is c cycles later
