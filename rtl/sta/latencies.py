"""Latencies: when results are ready, and when they must have been read. Standard library only.

Cycles are counted from the feeder's decision to issue a tile's last step. The path of a row: registered step, store,
RowSoftmax, array; row r is r cycles behind row 0, column c is c behind column 0.
"""

from rtl.params import MULT_BITS, READER_SAMPLE, reader_latency
from rtl.sta.params import SOFTMAX_LATENCY, StaConfig

BANK_LATENCY = 5  # address, memory, output register, the word held for its steps, the group of it
STORE_LATENCY = 1 + BANK_LATENCY  # a register in front: copies know a cycle before which rows read
ROW_CYCLES = 1 + STORE_LATENCY + SOFTMAX_LATENCY  # from the decision to a step at the array's element (0, 0)
COLUMN_LATENCY = (
    3  # memories, their words, the step of it; the feeder gives it a step that much before the array has it
)
RECIPROCAL_CYCLES = MULT_BITS + 4  # from a row's last step at the array until its new 1 / sum is out


DRAIN_ENGINES = 9


def reset_cycles(config: StaConfig) -> int:
    """Engines that a reset goes through, one after another: six, the first of them the drain, and the softmax of each
    row. From the drain it goes through those in it, too."""
    return max(6 + config.rows, 1 + DRAIN_ENGINES)


def source_latency(config: StaConfig) -> int:
    """Cycles from reading a slot of the array to the pipeline: select the row, the slot of it."""
    return reader_latency(config) + 1


def row_latency(config: StaConfig) -> int:
    """Cycles from reading a slot of the array until the pipeline samples its row's factor."""
    return source_latency(config) + 1


def drain_start(config: StaConfig, softmax: bool) -> int:
    """Cycles from the decision to issue a tile's last step until its first slot is read.

    Element (r, c) has its result ROW_CYCLES + r + c + pe_latency cycles after the decision. Slots are read one
    a cycle, row after row, and column c of a slot READER_SAMPLE + c cycles later: element (0, 0) needs the start
    latest. With softmax (columns VALUES), row r has its reciprocal ROW_CYCLES + r + RECIPROCAL_CYCLES after the
    decision, and needs it when its first slot is in the pipe; row 0 is the one.
    """
    start = ROW_CYCLES + config.pe_latency - READER_SAMPLE
    return max(start, ROW_CYCLES + RECIPROCAL_CYCLES + 1 - row_latency(config)) if softmax else start


def drain_window(config: StaConfig, softmax: bool) -> int:
    """Cycles from a tile's first slot until the decision to issue the next tile's last step is safe.

    Slot j of row r is read r·slots + j cycles after the first, and has to be looked at before the next result comes:
    the latest is the last slot of the last row. May be negative, down to 1 − drain_start.

    With softmax, a row's reciprocal must stay until the cycle in which its last slot is in the pipe, a division
    must be over before the row's next one, and the drain must be free when the next tile's results are there.
    """
    rows, slots = config.rows, config.slots_a_row
    window = rows * (slots - 1) + READER_SAMPLE + 1 - ROW_CYCLES - config.pe_latency
    if not softmax:
        return window
    start = drain_start(config, softmax)
    stays = (rows - 1) * (slots - 1) + slots - 1 + row_latency(config)
    reciprocal = stays + 1 - ROW_CYCLES - RECIPROCAL_CYCLES
    return max(window, reciprocal, RECIPROCAL_CYCLES - start, rows * slots - start)
