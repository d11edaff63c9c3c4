"""The SDRAM controller, its arbiter and its clock crossing, against a model that checks the chip's rules."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog

from boards.parts.sdram.chips import CHIPS, SdramChip, timing
from boards.parts.sdram.memory import Sdram
from nmgen.bench.core import parameters as minilm
from nmgen.compiler.program import Program
from nmgen.families.bert.compiler import compile_encoder
from nmgen.simulate.board_sim import half_period, parameters
from pruning.families.bert.integer import IntegerEncoder
from rtl.params import BURST_BEATS, InputError
from rtl.sta.isa import BYTES, Op, decode
from rtl.sta.legality import segments
from rtl.sta.params import StaConfig
from sim.board import SDRAM_CHIP
from tests.nightly import but
from tests.nmgen.encoders import artefact
from tests.sim.verilated import verilated

HERE = Path(__file__).parent
BENCH = HERE / "sdram_tb.v"
SEED = os.environ.get("NMGEN_SEED", "2026")


def clocks(core_mhz: float, chip_mhz: float) -> list[str]:
    return [f"+half_core={half_period(core_mhz)}", f"+half_chip={half_period(chip_mhz)}"]


def write_design(chip: SdramChip, mhz: float, port_bytes: int, folder: Path) -> list[str]:
    """The Verilog of the memory, and what the testbench has to know of the chip."""
    design = Sdram(chip, timing(chip, mhz), port_bytes)
    (folder / "sdram.v").write_text(verilog.convert(design, name="nmgen_sdram", emit_src=False))
    model = ", ".join(f".{name}({value})" for name, value in parameters(chip).items())
    return [f"-DCHIP={model}", f"-DPORT_BYTES={port_bytes}", f"-DADDRESS_BITS={(chip.bytes - 1).bit_length()}"]


class Simulation:
    """Two masters on one chip, built by Verilator."""

    def __init__(self, chip: SdramChip, core_mhz: float, chip_mhz: float, port_bytes: int, folder: Path) -> None:
        self.chip, self.chip_mhz = chip, chip_mhz
        self._clocks, self._folder = clocks(core_mhz, chip_mhz), folder
        self._port_bytes = port_bytes
        defines = write_design(chip, chip_mhz, port_bytes, folder)
        sources = [BENCH, HERE / "two_clocks.cpp", SDRAM_CHIP, folder / "sdram.v"]
        self._program = verilated("sdram_tb", sources, folder / "obj", *defines)

    def run(self, *arguments: str) -> str:
        """The line that the testbench, or the model, ends with."""
        done = subprocess.run(
            [self._program, *self._clocks, *arguments], check=True, capture_output=True, text=True, timeout=3600
        )
        return done.stdout.splitlines()[0]

    def reads(self, ranges: Iterable[tuple[int, int]]) -> float:
        """The share of cycles in which the pins move a word, while these are read: byte addresses, and beats."""
        bursts = [
            (address + at * self._port_bytes, min(BURST_BEATS, beats - at))
            for address, beats in ranges
            for at in range(0, beats, BURST_BEATS)
        ]
        file = self._folder / "requests.hex"
        file.write_text("".join(f"{beats - 1:02x}{address:08x}\n" for address, beats in bursts))
        total = sum(beats for _, beats in bursts)
        said = self.run(f"+requests={file}", f"+count={len(bursts)}", f"+beats={total}")
        found = re.match(r"(\d+) words in (\d+) ps", said)
        assert found, said
        return int(found[1]) / (int(found[2]) * self.chip_mhz / 1e6)

    def sequential(self, size: int) -> float:
        """The same of `size` bytes in a row."""
        return self.reads([(100 * self._port_bytes, size // self._port_bytes)])


CASES = {  # core's clock, the chip's, bytes of a beat
    "MT48LC16M16A2-6A": (100.0, 125.0, 16),
    "AS4C32M16SB-7": (133.0, 112.5, 4),
    "IS42S16160G-7": (60.0, 143.0, 32),
    "M12L2561616A-6T": (125.0, 100.0, 2),
}
QUICK = "MT48LC16M16A2-6A"


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return Simulation(CHIPS[QUICK], *CASES[QUICK], tmp_path_factory.mktemp("sdram"))


def test_two_masters(simulation: Simulation) -> None:
    said = simulation.run("+accesses=4000", f"+seed={SEED}")
    print(said)
    assert said.startswith("passed"), said


def test_sequential_reads(simulation: Simulation) -> None:
    share = simulation.sequential(65536)
    assert share >= 0.97, f"words in {100 * share:.1f} % of the cycles"


def reads_of(program: Program, tokens: int) -> Iterator[tuple[int, int]]:
    """What a program reads, in its order: each instruction, what that reads, a row of a table for each token."""
    config, rng = program.config, np.random.default_rng(int(SEED))
    for number in range(len(program.names)):
        at = program.address + number * BYTES
        yield at, BYTES // config.port_bytes
        fields = decode(program.memory[at : at + BYTES])
        yield from segments(config, fields)
        if fields["opcode"] == Op.GATHER:
            row = fields["beats"] * config.port_bytes
            (table,) = (region for region in program.regions if region.address == fields["address"])
            for _ in range(tokens):
                yield fields["address"] + int(rng.integers(table.size // row)) * row, fields["beats"]


def test_the_mix_of_a_program(simulation: Simulation) -> None:
    """A layer of MiniLM's size; what is read makes up all but a thousandth of the bytes."""
    layer = artefact(hidden=384, heads=12, inner=1536, layers=1, positions=128, pattern="2:8")
    program = compile_encoder(IntegerEncoder(layer).parameters, StaConfig(n=2, m=8, rows=8, cols=8), [128])
    share = simulation.reads(reads_of(program, 128))
    assert share >= 0.75, f"words in {100 * share:.1f} % of the cycles"


@pytest.mark.nightly
@pytest.mark.parametrize("tokens", [128, 32])
def test_the_mix_of_minilm(tokens: int, simulation: Simulation) -> None:
    program = compile_encoder(minilm("2:8"), StaConfig(n=2, m=8, rows=8, cols=8), [tokens])
    share = simulation.reads(reads_of(program, tokens))
    assert share >= 0.75, f"words in {100 * share:.1f} % of the cycles"


@pytest.mark.nightly
@pytest.mark.parametrize("name", CASES)
def test_a_million_accesses(name: str, tmp_path: Path) -> None:
    simulation = Simulation(CHIPS[name], *CASES[name], tmp_path)
    said = simulation.run("+accesses=500000", f"+seed={SEED}")
    assert said.startswith("passed"), said
    assert simulation.sequential(65536) >= 0.85


# Each rule, and the time of the chip that it is about.
RULES = {
    "tRCD": "t_rcd",
    "tRP": "t_rp",
    "tRAS": "t_ras",
    "tRC": "t_rc",
    "tRRD": "t_rrd",
    "tRFC": "t_rfc",
    "tWR": "t_wr",
    "power-up": "t_power_up",
}


@pytest.mark.parametrize("rule", but(RULES, {"power-up"}))  # which is long
def test_the_model_finds_what_is_too_short(rule: str, simulation: Simulation) -> None:
    """Of a chip that is slower by a cycle than the controller thinks; by more where other rules keep this one, too."""
    period = 1e6 / simulation.chip_mhz
    time = RULES[rule]
    cycles = ceil(1000 * getattr(simulation.chip, time) / period - 1e-9)
    for more in (1, 2, 4, 8, 16, 32):
        slower = round(period * (cycles + more - 1) + period / 2)
        said = simulation.run("+accesses=400", f"+seed={SEED}", f"+sdram_{time}={slower}")
        if not said.startswith("passed"):
            break
    assert re.match(f"sdram: .*{rule}.* bank \\d at \\d+ ps", said), said


@pytest.mark.parametrize(("rule", "slower"), [("tMRD", "mrd=24"), ("tREFI", "t_refi=5500000"), ("tCK", "t_ck=9000")])
def test_the_model_finds_what_is_counted_otherwise(rule: str, slower: str, simulation: Simulation) -> None:
    said = simulation.run("+accesses=3000", f"+seed={SEED}", f"+sdram_{slower}")
    assert re.match(f"sdram: .*{rule}.* bank \\d at \\d+ ps", said), said


def test_the_model_finds_both_ends_at_the_data_pins(simulation: Simulation) -> None:
    said = simulation.run("+accesses=3000", f"+seed={SEED}", "+always_driven")
    assert re.match(r"sdram: both ends drive the data pins, bank \d at \d+ ps", said), said


def test_times_in_cycles() -> None:
    cycles = timing(CHIPS["MT48LC16M16A2-6A"], 125)
    assert (cycles.rcd, cycles.rp, cycles.ras, cycles.rfc, cycles.wr) == (3, 3, 6, 9, 2)
    assert (cycles.refi, cycles.power_up) == (976, 25_000)


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_what_the_controller_counts_on(chip: SdramChip) -> None:
    """It keeps tRC by tRAS and tRP, and tRRD by tRCD."""
    assert chip.t_ras + chip.t_rp >= chip.t_rc
    assert chip.t_rcd >= chip.t_rrd


def test_clocks_that_a_chip_cannot_have() -> None:
    chip = CHIPS["AS4C32M16SB-7"]
    with pytest.raises(InputError, match=r"clock is 144 MHz, must be at most 143 for AS4C32M16SB-7"):
        timing(chip, 144)
    with pytest.raises(InputError, match=r"clock is 10 MHz, must be at least 12.8"):
        timing(chip, 10)


def test_sizes() -> None:
    assert {name: chip.bytes >> 20 for name, chip in CHIPS.items()} == {
        "IS42S16160G-7": 32,
        "MT48LC16M16A2-6A": 32,
        "M12L2561616A-6T": 32,
        "AS4C32M16SB-7": 64,
    }
