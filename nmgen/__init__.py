"""nmgen: N:M-sparse matrix accelerators, from the pruned layer to the bitstream."""

from rtl.params import VERSION

__version__ = VERSION
