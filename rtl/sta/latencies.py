"""Cycles and depths of STA that more than one part must know: Components, and who counts cycles without them.

Standard library only. `…_LATENCY` is what a Component takes from its inputs to its outputs; `…_CYCLES` is what lies
between two events of which the second waits for the first. A path of a row: registered step, store, RowSoftmax, array;
row r is r cycles behind row 0, column c is `behind(c)` behind column 0.
"""

from dataclasses import dataclass

from rtl.array.latencies import READER_SAMPLE, slot_latency
from rtl.params import MULT_BITS, ceil_div
from rtl.sta.params import RADICAND_BITS, ROOT_BITS, StaConfig

# --- control/sequencer, control/intake, control/legality_checker ---------------------------------
START_CYCLES = 1  # from the write that starts to the start
CHECKER_LATENCY = 26
CHECK_CYCLES = CHECKER_LATENCY + 1  # of an instruction that is received: the checker, and its verdict
ASK_CYCLES = 4  # from an instruction that is passed on to the request of the one behind the next
ASKED_CYCLES = 2  # from when that is taken: the instruction before is ready or its data are offered, or it is received
HELD_CYCLES = 2  # from when the sequencer knows that a STORE is finished until the data of a LOAD or GATHER are offered
DONE_CYCLES = 2  # from when an END is known, and all before it finished, until the cycles are no longer counted
OWN_CYCLES = 1  # from an instruction's execute until its unit has it
END_CYCLES = 1  # from the cycle in which an instruction is finished until the sequencer knows

# --- control/fetch -----------------------------------------------------------------------------
CONSUMERS = ("instruction", "weights", "table", "rows", "ids", "gathered")  # streams to each
SEGMENTS = 8  # requested and not yet delivered, at most
IN_FLIGHT = 4  # beats that leave the FIFO before it sees that `room` has fallen
BUFFER_ROOM = IN_FLIGHT + 1  # beats in a consumer's buffer up to which another may leave: enough for one every cycle
BUFFER_DEPTH = 2 * BUFFER_ROOM  # beyond `room` as many more may come, one of them in the register
SEGMENT_CYCLES = 4  # from a segment's offer until it is taken: add, compare, and two that wait for the one before
TAKE_CYCLES = 2  # from the last request of the segment before, or from when there is room for one, until it is taken
DELIVER_CYCLES = 2  # from a segment's turn until its first beat may have left the FIFO
REQUEST_CYCLES = 2  # from one request, or from when the segment was taken, to the next
ROOM_CYCLES = 3  # from the cycle in which a beat leaves the fetch until another may be asked for in its place
ARRIVAL_CYCLES = 2  # from a beat's arrival until it may leave the FIFO: a register, the FIFO
PUSH_CYCLES = 4  # from there until its consumer may take it: which part of the FIFO, the beat, the buffer's, the buffer

# --- operands ----------------------------------------------------------------------------------
BANK_LATENCY = 5  # address, memory, output register, the word held for its steps, the group of it
STORE_LATENCY = 1 + BANK_LATENCY  # a register in front: copies know a cycle before which rows read
COPY_LATENCY = 6  # from a request to its word: address, memory, output register; muxes of two banks, of four, of all
BUSY_CYCLES = 2  # from the decision for a step that reads a word until bank 0 is busy with it; bank r is r cycles later
SOFTMAX_LATENCY = 7  # of a row, for plain rows too
ROW_CYCLES = 1 + STORE_LATENCY + SOFTMAX_LATENCY  # from the decision to a step at the array's element (0, 0)
COLUMN_LATENCY = 3  # memories, their words, the step; the feeder gives it a step that much before the array has it
RECIPROCAL_CYCLES = MULT_BITS + 4  # from a row's last step at the array until its new 1 / sum is out
WALK_CYCLES = 2  # from when a unit has its instruction until the first tile of a product may begin
TILE_CYCLES = 2  # from the end of a column tile's loading to the begin of the next one's
LOADED_CYCLES = 6  # from the end of a column tile's loading to the decision for its first step
RELEASE_CYCLES = ROW_CYCLES - COLUMN_LATENCY + 1  # from the decision for the last step until column 0 is done with it
COPY_BEGIN_CYCLES = 1  # from the begin of a column tile until its copy begins
LOAD_CYCLES = 2  # of a LOAD: its begin, and until it takes a beat
LOAD_END_CYCLES = 2  # from its last beat until it is finished

# --- results -----------------------------------------------------------------------------------
RESIDUAL_LATENCY = 4  # address, memories, output registers, mux
CHOICE_LATENCY = 4  # from the slots to their parameters: mux of the sources, memory (two), mux of parameters
REQUANTISE_LATENCY = 10
ACTIVATION_LATENCY = 3  # memories, the mux of them, register
RESCALE_LATENCY = 6  # operands; multiply; shift (two); round; saturate
PIPELINE_LATENCY = CHOICE_LATENCY + REQUANTISE_LATENCY + ACTIVATION_LATENCY + RESCALE_LATENCY
STORE_WRITE_LATENCY = 1
RESIDUAL_WRITE_LATENCY = 1 + RESIDUAL_LATENCY + 2  # address, residual, sum, saturate
MAXIMUM_STAGES = 4  # for the maximum of a slot
MAXIMA_LATENCY = MAXIMUM_STAGES + 5  # mask; maximum of the slot; read the token's; maximum with that, in two; register
WRITER_LATENCY = max(STORE_WRITE_LATENCY, RESIDUAL_WRITE_LATENCY, MAXIMA_LATENCY)  # until all of them are written
POOL_CYCLES = 3  # its begin, and from a word of the residual until it is summed
GATHER_ASK_CYCLES = 4  # for a row beside one for each bit of `beats`: read its id (three), see that no bit is left
GATHER_ROW_CYCLES = 2  # from a row's last word or beat until a beat of the next row is taken
POST_PROCESSOR_UNITS = 9
ROW_FIFO_BEATS = 16  # of a row of embeddings that waits in front of its group of rows

# NORM: a token is asked for, goes through the stages of its reciprocal square root, and its elements may be normalised.
NORMALISER_LATENCY = 11
NORM_LATENCY = 1 + RESIDUAL_LATENCY + NORMALISER_LATENCY  # from the decision for a slot until it is normalised
NORM_LOADED_CYCLES = 3  # from the end of a column tile's loading to the decision for its first slot
STATISTICS_CYCLES = 6  # from an accepted request to the first stage
KNOWN_CYCLES = 2  # from the last stage until the token may be normalised


@dataclass(frozen=True)
class SerialStage:
    """A stage that holds one token: it takes it in one cycle, computes, and waits until the next stage takes it.

    steps : cycles in which it computes, at least 2
    at_once : takes the next token in the cycle in which this one leaves, else in the one after. For the slowest
        stages alone: if all did, `ready` of the first would depend combinationally on all others
    """

    steps: int
    at_once: bool = False

    @property
    def cycles(self) -> int:
        """From when it takes a token until the next stage may take it."""
        return 1 + self.steps


def variance_digits(config: StaConfig) -> int:
    """Pairs of bits of a token's sum."""
    return ceil_div(config.residual_sum_bits, 2)


def variance_stage(config: StaConfig) -> SerialStage:
    """Two bits a cycle; three more for the first digits' products, their difference, epsilon."""
    return SerialStage(variance_digits(config) + 3)


RADICAND_STAGE = SerialStage(RADICAND_BITS // 2 - 1)  # for a variance of 1; the largest ones need fewer
ROOT_STAGE = SerialStage(RADICAND_BITS // 2, at_once=True)  # a bit of the root a cycle
DIVISION_STAGE = SerialStage(ROOT_BITS + 1)  # a bit of the quotient, which is 2^ROOT_BITS where the root is smallest
SCALE_STAGE = SerialStage(ROOT_BITS)  # a bit of the reciprocal


def statistics_stages(config: StaConfig) -> tuple[SerialStage, ...]:
    """From the sums of a token to its scaling, one behind another."""
    return (variance_stage(config), RADICAND_STAGE, ROOT_STAGE, DIVISION_STAGE, SCALE_STAGE)


# STORE: words are read into chunks, which leave as beats.
STORE_AHEAD = 10  # chunks read and not yet written; a read takes as long, so this keeps up one a cycle
STORE_ADDRESS_CYCLES = 1  # from the decision for a word until it is asked for
STORE_WORD_CYCLES = 1  # from a word of the residual until the unit has it
STORE_CHUNK_CYCLES = 3  # from the word that was read until its chunk may be written: a register, the FIFO's
STORE_REQUEST_CYCLES = 2  # from the start, or a request, to the next request


def pool_join_cycles(config: StaConfig) -> int:
    """From the groups' sums of a POOL to their sum: a relay, and a level of the adder tree a cycle."""
    return 0 if config.groups == 1 else 1 + (config.groups - 1).bit_length()


def reset_cycles(config: StaConfig) -> int:
    """Units that a reset goes through, one after another: six, and the softmax of each row. The first is the
    post-processor; from there it goes through the parts of that, too, and of several from one to the next."""
    groups = config.groups if config.groups > 1 else 0
    return max(6 + config.rows, 1 + groups + POST_PROCESSOR_UNITS)


def source_latency(config: StaConfig) -> int:
    """Cycles from reading a slot of the array to the pipeline."""
    return slot_latency(config)


def row_latency(config: StaConfig) -> int:
    """Cycles from reading a slot of the array until the pipeline samples its row's factor."""
    return source_latency(config) + 1


def drain_start(config: StaConfig, softmax: bool) -> int:
    """Cycles from the decision to issue a tile's last step until its first slot is read.

    Element (r, c) has its result ROW_CYCLES + r + behind(c) + pe_latency cycles after the decision. Slots are read
    one a cycle, row after row, and column c of a slot READER_SAMPLE + behind(c) cycles later: element (0, 0) needs
    the start latest. With softmax (columns VALUES), row r has its reciprocal ROW_CYCLES + r + RECIPROCAL_CYCLES after
    the decision, and needs it when its first slot is in the pipe; row 0 is the one.
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
