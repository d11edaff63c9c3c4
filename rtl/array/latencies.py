"""Cycles of the array, and of what feeds and drains it. Standard library only.

Those of the engine's drain are here; STA has longer paths, and says in `rtl/sta/latencies.py` what is different.
"""

from rtl.params import Config

READ_LATENCY = 2  # of the operands' buffers: memory, register
OPERAND_CYCLES = 1 + READ_LATENCY  # from the feeder's decision to a step at the array: address register, buffer
REQUANTISER_LATENCY = 5
READER_SAMPLE = 1  # from the row's number to the results of column 0: a register
FIFO_CYCLES = 3  # from a beat's arrival to its consumer: block RAM, its output, register


def reader_latency(config: Config) -> int:
    """Cycles from a row's number to its results: the number's register, two stages, and those of the last column."""
    return READER_SAMPLE + 2 + config.behind(config.cols - 1)


def slot_latency(config: Config) -> int:
    """Cycles from the numbers of a row and of a slot of it to the results: those of the row, and select the slot."""
    return reader_latency(config) + 1


def drain_latency(config: Config) -> int:
    """Cycles from reading a slot to the result buffer: the row, the slot of it, the requantiser."""
    return slot_latency(config) + REQUANTISER_LATENCY


def drain_start(config: Config) -> int:
    """Cycles from the decision to issue a tile's last step until its first slot is read.

    Element (r, c) has its result OPERAND_CYCLES + r + behind(c) + pe_latency cycles after the decision. Slots are read
    one a cycle, row after row, and column c of a slot READER_SAMPLE + behind(c) cycles later: element (0, 0) needs the
    start latest.
    """
    return OPERAND_CYCLES + config.pe_latency - READER_SAMPLE


def drain_window(config: Config) -> int:
    """Cycles from a tile's first slot until the decision to issue the next tile's last step is safe.

    Slot j of row r is read r·slots + j cycles after the first, and has to be looked at before the next result comes:
    the latest is the last slot of the last row. May be negative.
    """
    rows, slots = config.rows, config.slots_a_row
    return rows * (slots - 1) + READER_SAMPLE + 1 - OPERAND_CYCLES - config.pe_latency
