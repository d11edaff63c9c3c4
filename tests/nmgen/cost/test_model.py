"""The cost model: what it grows with, what there is no room for, targets that it knows."""

import json
import random
from dataclasses import replace

import pytest

from boards.known import BOARDS
from nmgen.cost.draw import drawn
from nmgen.cost.exact import block_rams, multipliers
from nmgen.cost.model import GROWN, LUTS, TABLE, Cost, Room, cost_of, fitted, kind_of, room_of, share_of
from nmgen.cost.terms import SHIFTS, flat_terms, terms
from nmgen.fpga.targets import FPGA_FAMILIES, find_target
from rtl.array.step_unpacker import selection_units, value_units
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

ENGINE, CORE = Config(), StaConfig()
BOTH = [ENGINE, replace(ENGINE, pe="ecp5"), CORE, replace(CORE, pe="ecp5")]
ROOM = Room(luts=1000, registers=2000, block_rams=10, multipliers=20)


def cost(**changes: int) -> Cost:
    values = {"luts": 1000, "registers": 2000, "block_rams": 10, "multipliers": 20, **changes}
    return Cost(**values, mhz=100.0, by_component={})


@pytest.mark.parametrize("config", BOTH, ids=["engine", "engine of slices", "core", "core of slices"])
@pytest.mark.parametrize(
    "larger", [{"rows": 12}, {"cols": 12}, {"n": 4}, {"m": 16}, {"rows": 16, "cols": 16, "n": 3}], ids=str
)
def test_more_costs_more(config: Config, larger: dict[str, int]) -> None:
    small, large = cost_of(config), cost_of(replace(config, **larger))
    assert large.luts > small.luts
    assert large.registers > small.registers
    assert large.mhz <= small.mhz
    if "m" not in larger:
        assert large.multipliers > small.multipliers


def test_many_lanes_make_the_softmax_of_a_core_slow() -> None:
    clocks = [cost_of(replace(CORE, pe="ecp5", n=n, m=8)).mhz for n in (1, 2, 4, 8)]
    assert clocks[0] == clocks[1] > clocks[2] > clocks[3]


def test_many_lanes_make_an_engine_slow() -> None:
    assert cost_of(replace(ENGINE, cols=2 * ENGINE.cols)).mhz < cost_of(ENGINE).mhz


@pytest.mark.parametrize("seed", range(12))
def test_a_cost_is_the_sum_of_its_components(seed: int) -> None:
    config = drawn(random.Random(seed), ("engine", "core")[seed % 2])
    found = cost_of(config)
    assert sum(found.by_component.values()) == pytest.approx(found.luts, abs=len(found.by_component))
    assert found.by_component.keys() == terms(config).keys()
    assert (found.block_rams, found.multipliers) == (block_rams(config), multipliers(config))
    assert 40 < found.mhz < 250
    assert found.luts > 1000
    assert found.registers > 1000


def test_with_coefficients_of_ones_own() -> None:
    """Some Components have a share of their own in the flat design, the rest one together, by the kind of elements;
    what has no number counts nothing."""
    luts = {"array": {"portable lanes": 3.0}, "column_buffer": {"1": 40.0}, "drain": {"lanes": 7.0, "1": 1.0}}
    shares = {"array": 0.5, "column_buffer": 0.25, "rest portable": 2.0, "rest ecp5": 1e9, GROWN: 0.5}
    own = {
        "luts": luts,
        "registers": {"fetch": {"port bits": 2.0}},
        "flat": {"luts": shares, "registers": {"rest portable": 0.5}},
        "ns": {"1": 4.0, "lanes": 0.5},
    }
    found = cost_of(ENGINE, {"engine": own})
    lanes = ENGINE.rows * ENGINE.cols * ENGINE.n
    wanted = {"array": 3 * lanes / 2, "column_buffer": 40 / 4 + ENGINE.cols * ENGINE.m**3 / 2, "drain": (7 * 4 + 1) * 2}
    assert {name: cells for name, cells in found.by_component.items() if cells} == wanted
    assert found.luts == sum(wanted.values())
    assert found.registers == 8 * 16
    assert found.mhz == pytest.approx(1000 / (4 + 0.5 * lanes))


def test_groups_that_no_element_reads() -> None:
    """Those that the last column of DSP slices would pass on are there on their own, not in the flat design."""
    for config in BOTH:
        name, found = f"{config.pe} registers of groups × M", [of(config)["array"] for of in (terms, flat_terms)]
        last = config.rows * config.m * (config.pe == "ecp5")
        assert found[0][name] == config.rows * (config.behind(config.cols - 1) + 1) * config.m
        assert found[1] == {**found[0], name: found[0][name] - last}


@pytest.mark.parametrize("seed", range(12))
def test_bits_that_shift(seed: int) -> None:
    """Of each bit of both gearboxes' buffers: how many others it may come from."""
    config = drawn(random.Random(seed), ("engine", "core")[seed % 2])
    port, counts = 8 * config.port_bytes, [0] * len(SHIFTS)
    for units in (value_units(config), selection_units(config)):
        length = max(-(-bits // port) * port for bits in units)
        for bit in range(length):
            sources = {bit + bits for bits in units if 2 * bits <= port and bit + bits < length}
            for i in range(len(sources)):
                counts[min(i, len(counts) - 1)] += 1
    found = terms(config)["column_buffer"]
    assert [found[name] for name in SHIFTS] == counts


@pytest.mark.parametrize("seed", range(12))
def test_bits_that_turn(seed: int) -> None:
    """From the last rotation to the first: the bytes that are needed behind it, and what they come from."""
    config = drawn(random.Random(seed), "core")
    assert isinstance(config, StaConfig)
    word = config.store_word_bytes
    offsets = {i * config.cols % word for i in range(word)}
    needed, bits = set(range(min(config.cols, word))), 0
    for i in reversed(range(word.bit_length() - 1)):
        if any(offset >> i & 1 for offset in offsets):
            bits += 8 * len(needed)
            needed |= {(byte + (1 << i)) % word for byte in needed}
    assert terms(config)["column_buffer"]["bits that turn"] == bits


def test_a_short_column_buffer_is_in_lut_ram() -> None:
    """A core's 48 words of weights; the indices of their steps, six times as many words, are in block RAM."""
    config = StaConfig(n=3, m=16, max_k=384)
    words = 2 * config.max_groups
    assert words == 48
    assert terms(config)["column_buffer"]["bits in LUT RAM"] == config.cols * 8 * 18 * 3
    assert terms(replace(config, max_k=1536))["column_buffer"]["bits in LUT RAM"] == 0


def test_engines_and_cores_have_the_same_array() -> None:
    kinds = fitted().values()
    for what in ("luts", "registers"):
        assert len({json.dumps(own[what]["array"]) for own in kinds}) == 1


def test_what_is_kept_is_of_every_component() -> None:
    for config in BOTH:
        own = fitted()[kind_of(config)]
        for what in ("luts", "registers"):
            assert {*own[what]} == {*terms(config)}
            shares = {share_of(name, replace(config, pe=pe)) for pe in ("ecp5", "portable") for name in terms(config)}
            assert {*own["flat"][what]} <= {*shares, GROWN}
            for component, numbers in own[what].items():
                names = {name for pe in ("ecp5", "portable") for name in terms(replace(config, pe=pe))[component]}
                assert {*numbers} <= names
                assert all(number > 0 for number in numbers.values())
        assert own["ns"]["1"] > 0
    assert json.loads(TABLE.read_text())["coefficients"] == fitted()


def test_what_lacks_room() -> None:
    assert ROOM.lacks(cost()) is None
    assert ROOM.lacks(cost(luts=1001)) == ("LUTs", 1001, 1000)
    assert ROOM.lacks(cost(registers=2001)) == ("registers", 2001, 2000)
    assert ROOM.lacks(cost(block_rams=11)) == ("block RAM", 11, 10)
    assert ROOM.lacks(cost(multipliers=21)) == ("multipliers", 21, 20)
    assert ROOM.lacks(cost(multipliers=30, luts=1501, block_rams=12)) == ("LUTs", 1501, 1000)  # 1.501 times
    assert ROOM.lacks(cost(multipliers=40, luts=1501)) == ("multipliers", 40, 20)


@pytest.mark.parametrize("name", BOARDS)
def test_room_of_boards(name: str) -> None:
    board = BOARDS[name]
    room = room_of(find_target(name))
    assert (room.multipliers, room.block_rams) == (board.multipliers, board.block_rams)
    assert room.luts == room.registers == LUTS[board.device]


@pytest.mark.parametrize("name", FPGA_FAMILIES)
def test_what_has_no_cost_model(name: str) -> None:
    with pytest.raises(InputError) as raised:
        room_of(find_target(name))
    assert str(raised.value) == f"target is {name}, which has no cost model: must be a board with an ECP5"


def test_a_device_without_numbers() -> None:
    with pytest.raises(InputError, match="which has no cost model"):
        room_of(replace(find_target("ulx3s-85f"), device="LFE5U-12F"))
