"""What the size of each Component grows with: terms that are multiplied by fitted numbers of cells and added up.

A term is a count of bits, lanes or elements, by its name; `1` stands for what every configuration has. By Component of
the top: of an engine and of a core.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log2

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


def _elements(c: Config) -> float:
    return c.rows * c.cols


def _array(c: Config) -> Terms:
    elements = _elements(c)
    own = {
        "elements": elements,
        "lanes": elements * c.n,
        "lanes × M": elements * c.n * c.m,
        "elements × M": elements * c.m,
        "sums × sum bits": elements * _sums(c) * c.accumulator_bits,
    }
    return {f"{c.pe} {name}": value for name, value in own.items()}


def _sums(c: Config) -> int:
    """That an element adds up: one, or of DSP slices that of each."""
    return ceil_div(c.n, 2) if c.pe == "ecp5" else 1


def flat_array(c: Config) -> Terms:
    """Of the array in a flat design: the last column's register of a group, which nobody reads, is gone."""
    elements = _elements(c)
    own = {
        "elements": elements,
        "lanes": elements * c.n,
        "lanes × M": elements * c.n * c.m,
        "sums × sum bits": elements * _sums(c) * c.accumulator_bits,
        "rows × M × columns behind": c.rows * c.m * c.behind(c.cols - 1),
    }
    return {f"{c.pe} {name}": value for name, value in own.items()}


def _unpacking(c: Config) -> Terms:
    """Of column tiles: values and selection of a step out of beats."""
    shifts = _shifts(c, value_units(c)) + _shifts(c, selection_units(c))
    whole = c.n & (c.n - 1) == 0  # positions of a step are cut out of those of a group by bits
    return {
        "port bits": 8 * c.port_bytes,
        "shifted bits": shifts,
        "value bits": 8 * c.cols * c.n,
        "index bits": c.cols * c.n * c.index_bits,
        "columns × M": c.cols * c.m,
        "columns × M log² M": c.cols * c.m * log2(c.m) ** 2,
        "columns × M × N": c.cols * c.m * c.n * whole,
        "columns × M × N, N no power of two": c.cols * c.m * c.n * (not whole),
        "lanes of the drain": c.drain_lanes,
        "columns": c.cols,
    }


def _shifts(c: Config, units: Sequence[int]) -> float:
    """Bits of a gearbox's buffer times the distances by which it shifts: those of units smaller than a beat."""
    port = 8 * c.port_bytes
    buffer = max(round_up(bits, port) for bits in units)
    return buffer * len({bits for bits in units if units_in_beats(bits, port)[0] > 1})


def _store(c: Config, depth: int) -> Terms:
    """Banks of words that are made of parts, each block RAM or LUT RAM; a group is chosen out of a word."""
    word = 8 * c.store_word_bytes
    sizes = parts(depth)
    in_luts = [size for size in sizes if not MemoryShape(word, size, word).block_rams]
    return {
        "rows": c.rows,
        "word bits × rows behind the first": (c.rows - 1) * word,
        "rows × word bits × parts": c.rows * word * (len(sizes) - 1),
        "rows × word bits in LUT RAM": c.rows * word * sum(ceil_div(size, 16) for size in in_luts),
        "rows × bits to choose from": c.rows * word * (c.store_word_bytes > c.m),
        "rows × M": c.rows * c.m,
        "port bits": 8 * c.port_bytes,
    }


def _activation_store(c: Config) -> Terms:
    return _store(c, c.store_depth)


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
    return {"port bits": 8 * c.port_bytes, "tokens": c.max_tokens}


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
    }


def _softmax(c: StaConfig) -> Terms:
    return {
        "rows": c.rows,
        "rows × N": c.rows * c.n,
        "rows × N × M": c.rows * c.n * c.m,
        "rows × M": c.rows * c.m,
    }


def _core_store(c: StaConfig) -> Terms:
    return {**_store(c, c.store_words), "words": c.store_words / 512, "bytes of a word": c.store_word_bytes}


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
