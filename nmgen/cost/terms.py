"""What the size of each Component grows with: terms that are multiplied by fitted numbers of cells and added up.

A term is a count of bits, lanes or elements, by its name; `1` stands for what every configuration has. By Component of
the top: of an engine and of a core.
"""

from collections.abc import Callable, Mapping
from math import gcd, log2

from nmgen.cost.exact import memories
from nmgen.fpga.block_ram import MemoryShape
from rtl.array.step_unpacker import selection_units, value_units
from rtl.lib.deep_memory import parts
from rtl.params import PARAMETER_BYTES, Config, ceil_div, round_up, units_in_beats
from rtl.sta.params import RESIDUAL_BITS, StaConfig

Terms = Mapping[str, float]


def terms(config: Config) -> dict[str, Terms]:
    """By Component, those of both kinds of elements under names of their own."""
    table = CORE if isinstance(config, StaConfig) else ENGINE
    return {component: {"1": 1.0, **of(config)} for component, of in table.items()}


def flat_terms(config: Config) -> dict[str, Terms]:
    """The same in a flat design, where the last column's registers of a group, which no element in DSP slices reads,
    are gone."""
    return {**terms(config), "array": {"1": 1.0, **_array(config, gone=config.pe == "ecp5")}}


def _elements(c: Config) -> float:
    return c.rows * c.cols


def _array(c: Config, *, gone: bool = False) -> Terms:
    """gone : the last column's registers of a group"""
    elements = _elements(c)
    lanes, sums = elements * c.n, elements * _sums(c)
    own = {
        "elements": elements,
        "registers of groups × M": c.rows * (c.behind(c.cols - 1) + (not gone)) * c.m,
        "lanes": lanes,
        "lanes × N": lanes * c.n,
        "lanes × M": lanes * c.m,
        "lanes × index bits beyond three": lanes * max(0, c.index_bits - 3),
        "sums × sum bits": sums * c.accumulator_bits,
        "further sums × sum bits": (sums - elements) * c.accumulator_bits,
    }
    return {f"{c.pe} {name}": value for name, value in own.items()}


def _sums(c: Config) -> int:
    """That an element adds up: one, or of DSP slices that of each."""
    return ceil_div(c.n, 2) if c.pe == "ecp5" else 1


def grown(c: Config) -> float:
    """What grows in a flat design, where all else shrinks: the decoders of bitmaps, mapped together with what they
    drive. In a core of portable elements they do not."""
    if isinstance(c, StaConfig) and c.pe == "portable":
        return 0
    return c.cols * c.m**3


def _unpacking(c: Config) -> Terms:
    """Of column tiles: values and selection of a step out of beats."""
    whole = c.n & (c.n - 1) == 0  # positions of a step are cut out of those of a group by bits
    return {
        "port bits": 8 * c.port_bytes,
        **_shifts(c),
        "value bits": 8 * c.cols * c.n,
        "index bits": c.cols * c.n * c.index_bits,
        "columns × M": c.cols * c.m,
        "columns × M log² M": c.cols * c.m * log2(c.m) ** 2,
        "columns × M × N": c.cols * c.m * c.n * whole,
        "columns × M × N, N no power of two": c.cols * c.m * c.n * (not whole),
        "lanes of the drain": c.drain_lanes,
        "columns": c.cols,
        "bits in LUT RAM": _in_lut_ram(c),
    }


def _in_lut_ram(c: Config) -> float:
    """Bits of a word times words, in 16s, of a column buffer's memories that are no block RAM."""
    short = [one for one in memories(c) if one.name == "column_buffer" and not one.shape.block_rams]
    return sum(one.count * one.shape.width * ceil_div(one.shape.depth, 16) for one in short)


SHIFTS = ("bits that shift", "bits that shift by a second distance", "by a third", "by further ones")


def _shifts(c: Config) -> Terms:
    """Bits of the gearboxes' buffers that another bit shifts into, from one distance, from a second … A gearbox shifts
    by each kind of units that is smaller than a beat."""
    port = 8 * c.port_bytes
    found = dict.fromkeys(SHIFTS, 0)
    for units in (value_units(c), selection_units(c)):
        buffer = max(round_up(bits, port) for bits in units)
        distances = sorted({bits for bits in units if units_in_beats(bits, port)[0] > 1})
        for i, distance in enumerate(distances):
            found[SHIFTS[min(i, len(SHIFTS) - 1)]] += buffer - distance
    return found


# LUTs that take a bit out of one of so many block RAMs, each with a bit that chooses it: up to 2, 3 and 4 of them.
JOINED = {1: 0, 2: 1, 3: 4, 4: 5}
JOINED_MORE = 2  # for each beyond


def _store(c: Config, depth: int, enabled: int) -> Terms:
    """Banks of words that are made of parts, each block RAM or LUT RAM; a group is chosen out of a word.

    enabled : bits that a bit of the write enable stands for
    """
    word = 8 * c.store_word_bytes
    memories = [MemoryShape(word, words, enabled) for words in parts(depth)]
    joined = sum(one.stacked for one in memories)
    in_luts = [one.depth for one in memories if not one.block_rams]
    groups = max(1, c.store_word_bytes // c.m)
    return {
        "rows": c.rows,
        "word bits × rows behind the first": (c.rows - 1) * word,
        "rows × word bits × LUTs that join parts": c.rows * word * _joining(joined),
        "rows × word bits in LUT RAM": c.rows * word * sum(ceil_div(words, 16) for words in in_luts),
        "rows × word bits × log₂ of a word's groups": c.rows * word * log2(groups),
        "rows × M": c.rows * c.m,
        "port bits": 8 * c.port_bytes,
    }


def _joining(number: int) -> int:
    """LUTs a bit."""
    return JOINED[number] if number in JOINED else JOINED[4] + JOINED_MORE * (number - 4)


def _activation_store(c: Config) -> Terms:
    return _store(c, c.store_depth, 8 * c.port_bytes)


def _drain(c: Config) -> Terms:
    lanes = c.drain_lanes
    return {
        "lanes": lanes,
        "lanes × sum bits": lanes * c.accumulator_bits,
        **_reader(c),
    }


def _reader(c: Config) -> Terms:
    """Reads rows of results: a mux of each pair of rows, and what brings the columns of a row in step."""
    return {
        "result bits of pairs of rows": ceil_div(c.rows, 2) * c.cols * c.accumulator_bits,
        "result bits of a row": c.cols * c.accumulator_bits,
        "result bits × columns behind": sum(c.behind(c.cols - 1) - c.behind(i) for i in range(c.cols))
        * c.accumulator_bits,
    }


def _port(c: Config) -> Terms:
    return {"port bits": 8 * c.port_bytes}


def _results(c: Config) -> Terms:
    return {
        "port bits": 8 * c.port_bytes,
        "row bits": 16 * c.cols,
        "memory bits": 16 * c.cols * 4 * c.rows,
        "lanes": c.drain_lanes,
    }


def _registers(c: Config) -> Terms:
    return {"address bits": log2(c.max_tokens) + log2(c.max_k), "M / N": -(-c.m // c.n)}


def _row_parameters(c: Config) -> Terms:
    (memory,) = (one for one in memories(c) if one.name == "row_parameters")
    in_luts = 0 if memory.shape.block_rams else c.max_tokens
    return {"port bits": 8 * c.port_bytes, "tokens in LUT RAM": in_luts}


ENGINE: Mapping[str, Callable[..., Terms]] = {
    "array": _array,
    "column_buffer": _unpacking,
    "activation_store": _activation_store,
    "drain": _drain,
    "fetch": _port,
    "feeder": _registers,
    "registers": _registers,
    "result_buffer": _results,
    "row_parameters": _row_parameters,
    "own": _port,
}


def _post_processor(c: StaConfig) -> Terms:
    own, lanes = c.row_group, c.drain_lanes
    return {
        "groups": c.groups,
        "groups × lanes": c.groups * lanes,
        "groups × lanes × sum bits": c.groups * lanes * c.accumulator_bits,
        **_reader(c),
        "tokens": c.max_tokens,
        "rows": c.rows,
        "port bits": 8 * c.port_bytes * c.groups,
        "residual": c.groups * own.max_tokens * own.residual_words * lanes * RESIDUAL_BITS / 2048,
    }


def _column_buffer(c: StaConfig) -> Terms:
    return {
        **_unpacking(c),
        "word bits": 8 * c.cols * c.steps_a_group * c.n,
        "parameter bits": c.groups * c.drain_lanes * 8 * PARAMETER_BYTES * c.slots_a_row,
        "store word bits": 8 * c.store_word_bytes,
        "bits that turn": _turned(c),
    }


def _turned(c: StaConfig) -> float:
    """Bits of the multiplexers that turn a key's values to where a column tile begins: a rotation by each power of two
    that no tile begins at a multiple of. Of the last one no more bytes are needed than there are columns."""
    word = c.store_word_bytes
    rotations = range(int(log2(word // gcd(c.cols, word))))
    return 8 * sum(min(word, c.cols << i) for i in rotations)


def _softmax(c: StaConfig) -> Terms:
    return {
        "rows": c.rows,
        "rows × N": c.rows * c.n,
        "rows × N × M": c.rows * c.n * c.m,
        "rows × M": c.rows * c.m,
    }


def _core_store(c: StaConfig) -> Terms:
    return {**_store(c, c.store_words, 8), "bytes of a word": c.store_word_bytes}


def _moving(c: StaConfig) -> Terms:
    return {"port bits": 8 * c.port_bytes, "store word bits": 8 * c.store_word_bytes, "rows": c.rows}


CORE: Mapping[str, Callable[..., Terms]] = {
    "array": _array,
    "post_processor": _post_processor,
    "column_buffer": _column_buffer,
    "softmax": _softmax,
    "store": _core_store,
    "sequencer": _registers,
    "fetch": _port,
    "store_unit": _moving,
    "load_unit": _moving,
    "beat_buffer": _port,
    "registers": _port,
    "feeder": _registers,
    "own": _moving,
}
