"""Programs of several densities over the same planes: each computes what its density computes compiled alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmgen.compiler import program as programs
from nmgen.compiler.planes import pack_planes
from nmgen.compiler.program import Program
from nmgen.estimate.cycles import estimate, total
from nmgen.families.bert.compiler import compile_elastic, compile_encoder
from pruning.families.bert.integer import IntegerEncoder
from pruning.files.artefact import Artefact
from rtl.params import InputError
from rtl.product import Product
from rtl.sta.legality import parameter_beats
from rtl.sta.params import StaConfig
from sim.golden.machine import Machine
from sim.image.unpack import ChannelParameters, unpack_weights
from tests.nightly import but
from tests.nmgen.encoders import artefact, random_ids
from tests.pruning.files.test_elastic import ranked
from tests.pruning.samples import thinned
from tests.sim.bench.test_programs import check

CONFIG = StaConfig(n=1, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=48, hidden=16, store_words=256)
WIDE = replace(CONFIG, n=2, m=16, rows=2, cols=3, port_bytes=16, store_words=128)
SIZES = {"hidden": 16, "heads": 2, "inner": 20, "layers": 1, "classes": 3}


def densities(m: int = 4, ns: tuple[int, ...] = (2, 1)) -> dict[str, Artefact]:
    """From dense to sparse."""
    whole = artefact(pattern=f"{ns[0]}:{m}", **SIZES)
    return {f"{n}:{m}": whole if n == ns[0] else thinned(whole, n) for n in ns}


def elastic(
    config: StaConfig, found: dict[str, Artefact], lengths: list[int], shorter: tuple[list[int], ...] = ()
) -> Program:
    parameters = {name: IntegerEncoder(one).parameters for name, one in found.items()}
    return compile_elastic(parameters, config, lengths, {name: {"model": "small"} for name in found}, shorter)


def alone(config: StaConfig, one: Artefact, lengths: list[int]) -> Program:
    return compile_encoder(IntegerEncoder(one).parameters, config, lengths)


def results(program: Program, memory: np.ndarray) -> list[np.ndarray]:
    return [program.result(one.name, memory) for one in program.results]


def run(program: Program, ids: list[list[int]]) -> list[np.ndarray]:
    machine = Machine(program.config, program.image(ids), address=program.address)
    machine.finish()
    return results(program, machine.memory)


CASES = {"four to a group": (CONFIG, 4, (3, 2, 1)), "two groups in one": (WIDE, 8, (4, 2, 1))}


@pytest.mark.parametrize("name", CASES)
def test_each_density_is_what_it_is_alone(name: str) -> None:
    """Results to the bit; bytes of weights in proportion; the same steps."""
    config, m, ns = CASES[name]
    found = densities(m, ns)
    program = elastic(config, found, [5, 3], ([2, 1],))
    # Heads are half a word of WIDE: a group of the attention's output has one group of the model's.
    in_planes = 6 if config is CONFIG else 5
    assert sum("once for each density" in note for note in program.notes) == 6 - in_planes
    assert program.densities == tuple(found)
    assert len({bytes(one.memory) for one in program.every}) == 1
    read = {}
    for density, one in found.items():
        of = program.at(density)
        assert [len(each.sequences) for each in of.every] == [2, 2]
        for each in of.every:
            lengths = [sequence.tokens for sequence in each.sequences]
            ids = random_ids(len(density), lengths)
            want = run(alone(config, one, lengths), ids)
            for got, right in zip(run(each, ids), want, strict=True):
                assert np.array_equal(got, right)
        planes = [i for i in of.instructions if i.get("weight_groups")]
        assert len(planes) == in_planes
        read[density] = sum(i["tile_beats"] * -(-i["channels"] // config.cols) for i in planes)
        plain = alone(config, one, [5, 3])
        assert sum(e.multiplies for e in estimate(of)) >= sum(e.multiplies for e in estimate(plain))
        assert total(of, estimate(of))["cycles"] < 1.1 * total(plain, estimate(plain))["cycles"]
    assert sorted(read.values(), reverse=True) == list(read.values())


@pytest.mark.parametrize("name", but(CASES, {"four to a group"}))
def test_on_the_verilog(name: str) -> None:
    """One image, density after density without a write to the weights, with stalls and without; cycles as estimated."""
    config, m, ns = CASES[name]
    program = elastic(config, densities(m, ns), [5, 3])
    loaded = [(program.at(one), program.image(random_ids(3, [5, 3]))) for one in (*program.densities, "1:" + str(m))]
    runs = check(config, loaded, (False, True), 30)
    for (one, _), result in zip(loaded, runs[0][::2], strict=True):
        assert result.cycles == total(one, estimate(one))["cycles"]


def test_a_small_store() -> None:
    """Keys and values of one head at a time: a part of a layer's channels, and of its planes."""
    config, found = replace(CONFIG, store_words=20, max_tokens=8), densities(ns=(3, 2, 1))
    program = elastic(config, found, [5])
    assert any("keys and values of 1 of 2 heads" in note for note in program.notes)
    ids = random_ids(1, [5])
    for density, one in found.items():
        for got, right in zip(run(program.at(density), ids), run(alone(config, one, [5]), ids), strict=True):
            assert np.array_equal(got, right)


def test_the_file(tmp_path: Path) -> None:
    program = elastic(CONFIG, densities(), [5], ([2],))
    program.save(tmp_path / "P.nmp")
    read = programs.load(tmp_path / "P.nmp")
    assert read.densities == ("2:4", "1:4")
    assert [(one.density, one.sequences[0].tokens) for one in read.every] == [
        ("2:4", 5), ("2:4", 2), ("1:4", 5), ("1:4", 2),
    ]  # fmt: skip
    assert read.at("1:4").fitting([2]).address == read.every[3].address
    assert read.fitting([2]).address == read.every[1].address
    with pytest.raises(InputError, match=r"^density is 3:4, must be one of 2:4, 1:4$"):
        read.at("3:4")
    with pytest.raises(InputError, match=r"^it is of one density alone$"):
        alone(CONFIG, densities()["2:4"], [5]).at("2:4")


def test_programs_that_do_not_belong_together() -> None:
    program = elastic(CONFIG, densities(ns=(3, 2, 1)), [5], ([2],))
    _, second, third, fourth, *rest = program.every

    def refused(others: list[Program], message: str) -> None:
        with pytest.raises(InputError, match=message):
            programs.check_others(replace(program, others=tuple(others)))

    refused([second, third, *rest], "has not the lengths that 3:4 has")
    refused([second, fourth, third, *rest], "has not the lengths|behind")
    refused([second, third, fourth, third, fourth], "has not the lengths|must be different ones")
    other = replace(third, about={**third.about, "hidden": 8})
    refused([second, other, fourth, *rest], "density 2:4 is of another model than 3:4")


@pytest.mark.parametrize(("n", "m", "ns"), [(1, 4, (4, 2, 1)), (2, 8, (6, 4, 2)), (2, 16, (8, 4, 2)), (3, 8, (6, 3))])
def test_planes_are_prefixes(n: int, m: int, ns: tuple[int, ...]) -> None:
    """A density's beats of a column tile are those of its steps packed alone, and begin those of the next one."""
    config = replace(CONFIG, n=n, m=m, cols=3, port_bytes=16, max_k=8 * m)
    matrices = ranked(7, 7, 5 * m - 3, list(ns), m)[::-1]
    packed = pack_planes(config, matrices)
    assert packed
    products, planes = packed
    assert planes.shape[0] == 3
    for product, matrix, count in zip(products, matrices, ns[::-1], strict=True):
        assert product.weight_groups == -(-count // n) * 5
        found, _ = unpacked(product, planes)
        padded = np.pad(matrix, ((0, 2), (0, 3))).reshape(9, -1)
        assert np.array_equal(found, padded)


def unpacked(product: Product, planes: np.ndarray) -> tuple[np.ndarray, ChannelParameters]:
    """(weights [columns, k], parameters) of a density."""
    first = parameter_beats(product.config)
    tiles = np.zeros((len(planes), product.w_tile_beats, product.config.port_bytes), np.uint8)
    tiles[:, first:] = planes[:, : product.w_tile_beats - first]
    weights, parameters = unpack_weights(product, tiles.reshape(-1))
    return weights.reshape(len(weights), -1, product.groups * product.config.m).sum(axis=1), parameters


def test_planes_that_cost_steps_are_none() -> None:
    config = replace(CONFIG, n=2, m=8, max_k=64)
    assert pack_planes(config, ranked(1, 4, 16, [2, 1], 8)[::-1]) is None
    with pytest.raises(InputError, match=r"^densities 2:4, 1:4 with N = 2 and M = 4: no layer's planes are multiples"):
        elastic(replace(CONFIG, n=2), densities(), [5])
