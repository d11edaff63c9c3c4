"""The self-test image, everything but PLL and pins, as Verilog in Verilator: its report decoded from the UART pin.

The clock is slow against the baud rate, four cycles a bit, so that a report is short; one test has the board's own.
"""

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from boards.known import BOARDS
from boards.selftest import SelfTest
from nmgen.fpga import selftest
from nmgen.verilog import writer as verilog
from rtl.engine.cycles import product_cycles
from rtl.lib.port import ControlPort, MemoryPort
from rtl.lib.ram import OnChipRam
from rtl.params import VERSION, Config
from sim.ecp5 import CELLS
from sim.golden import layer as golden
from sim.image.product import pack_weights, parameter_bytes
from tests.nightly import but
from tests.sim.ecp5.netlist import synthesised
from tests.sim.verilated import verilated

BAUD = 115200
CYCLES_A_BIT = 4
BENCH = Path(__file__).with_name("selftest_tb.v")

CONFIGS = {
    "4x4": Config(n=2, m=4, rows=4, cols=4, max_tokens=32),
    "2x3 N=3 M=16": Config(n=3, m=16, rows=2, cols=3, drain=2, port_bytes=32, max_tokens=5, max_k=128),
    "1x1 M=2, bytes": Config(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=4, max_k=128),
}


class Simulation:
    """A compiled self-test; each run may flip a bit."""

    def __init__(
        self, config: Config, folder: Path, cycles_a_bit: int = CYCLES_A_BIT, pause_seconds: float = 1e-4
    ) -> None:
        self.config = config
        image = selftest.image(config)
        test = SelfTest(config, image, clock_hz=cycles_a_bit * BAUD, baud=BAUD, pause_seconds=pause_seconds)
        source = folder / "selftest.v"
        source.write_text(verilog.emit(test, name="selftest"))
        sources = [BENCH, BENCH.with_name("selftest.cpp"), source]
        self.program = verilated("selftest_tb", sources, folder / "obj", f"-GCYCLES_A_BIT={cycles_a_bit}")

    def run(self, flip: tuple[str, int] | None = None, *, reports: int = 1, press: bool = False) -> list[str]:
        """The lines of the reports, and what the LEDs say.

        flip : a region of the image, and a bit of it
        press : press the button after the first report
        """
        arguments = [f"+reports={reports}", *(["+press"] if press else [])]
        if flip is not None:
            name, bit = flip
            at = 8 * selftest.regions(self.config)[name].address + bit
            beat, bit = divmod(at, 8 * self.config.port_bytes)
            arguments += [f"+beat={beat}", f"+bit={bit}"]
        done = subprocess.run([self.program, *arguments], check=True, capture_output=True, text=True, timeout=300)
        return [line for line in done.stdout.splitlines() if not line.startswith("- ")]  # Verilator's own


@pytest.fixture(scope="module", params=but(CONFIGS, {"2x3 N=3 M=16"}))
def simulation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return Simulation(CONFIGS[request.param], tmp_path_factory.mktemp("selftest"))


def good_report(config: Config, clock_hz: float = CYCLES_A_BIT * BAUD) -> list[str]:
    """What the report has to be, cycles included."""
    lines = [
        f"nmgen {VERSION}: {config.rows}x{config.cols} PEs, N = {config.n}, M = {config.m}, {clock_hz / 1e6:g} MHz"
    ]
    for layer in selftest.layers(config):
        p = layer.product
        latency = OnChipRam.READ_LATENCY
        cycles = product_cycles(config, p.tokens, p.k, p.channels, p.pattern_n, latency, out_bits=p.out_bits)
        lines.append(f"{layer.name} cycles {cycles:07} ok")
    return [*lines, "PASS"]


def test_right_layer_passes_again_and_again(simulation: Simulation) -> None:
    good = good_report(simulation.config)
    assert simulation.run(reports=2) == [*good, *good, "passed 1, failed 0"]


def test_flipped_bit_of_a_golden_is_named(simulation: Simulation) -> None:
    rng = random.Random(1)
    good = good_report(simulation.config)
    for number, layer in enumerate(selftest.layers(simulation.config)):
        token, channel, bit = rng.randrange(layer.y.shape[0]), rng.randrange(layer.y.shape[1]), rng.randrange(16)
        got = int(layer.y[token, channel])
        want = (got ^ 1 << bit) if bit < 15 else got ^ -(1 << 15)
        at = 16 * (token * layer.y.shape[1] + channel) + bit
        fail = f"FAIL {layer.name} token {token} channel {channel} got {got} want {want}"
        assert simulation.run((f"golden {layer.name}", at)) == [*good[: number + 1], fail, "passed 0, failed 1"]


def test_flipped_bit_of_a_weight_is_named(simulation: Simulation) -> None:
    rng = random.Random(2)
    config = simulation.config
    good = good_report(config)
    for number, layer in enumerate(selftest.layers(config)):
        channel, k = rng.choice(np.argwhere(layer.w).tolist())
        wrong = layer.w.copy()
        wrong[channel, k] ^= np.int8(1 << rng.randrange(7))
        bits = [np.unpackbits(packed(layer, w), bitorder="little") for w in (layer.w, wrong)]
        (at,) = np.flatnonzero(bits[0] != bits[1])
        y = golden.linear(layer.x, wrong, layer.bias, layer.mult, layer.shift, 16)
        first = golden.compare(y, layer.y).first
        assert first is not None
        fail = "FAIL {} token {} channel {} got {} want {}".format(layer.name, *first)
        assert first[1] == channel
        assert simulation.run((f"weights {layer.name}", int(at))) == [*good[: number + 1], fail, "passed 0, failed 1"]


def test_any_flipped_bit_fails(simulation: Simulation) -> None:
    """Also bits that no result depends on: padding, channels beyond the last, the check itself."""
    rng = random.Random(3)
    regions = selftest.regions(simulation.config)
    for name in regions:
        if name == "y":
            continue
        bit = rng.randrange(8 * regions[name].size)
        *report, leds = simulation.run((name, bit))
        assert report[-1].startswith("FAIL "), (name, bit)
        assert leds == "passed 0, failed 1"


def test_button_starts_the_test_again(tmp_path: Path) -> None:
    simulation = Simulation(CONFIGS["1x1 M=2, bytes"], tmp_path, pause_seconds=1000)
    good = good_report(simulation.config)
    assert simulation.run(reports=2, press=True) == [*good, *good, "passed 1, failed 0"]


class Mute(wiring.Component):
    """Instead of the accelerator: it is never done."""

    def __init__(self, config: Config) -> None:
        ports = {"control": Out(ControlPort()), "memory": Out(MemoryPort(config.port_bytes)), "busy": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        return Module()


def test_accelerator_that_hangs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boards.selftest.Accelerator", Mute)
    monkeypatch.setattr("boards.selftest.HANG_CYCLES", 100)
    config = CONFIGS["1x1 M=2, bytes"]
    fail = ["FAIL 1:2 does not end", "passed 0, failed 1"]
    assert Simulation(config, tmp_path).run() == [*good_report(config)[:1], *fail]


@pytest.mark.nightly  # synthesis takes a minute
@pytest.mark.parametrize("board", BOARDS)
def test_netlist(board: str, tmp_path: Path) -> None:
    """What yosys makes of the self-test for a board, its array of what the board has it made of: it passes, and a
    flipped bit of a right result fails."""
    config = Config(n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=4, max_k=32, pe=BOARDS[board].pe)
    for flip in (None, ("golden 2:4", 16)):
        folder = tmp_path / ("flipped" if flip else "right")
        folder.mkdir()
        test = SelfTest(config, selftest.image(config, flip), clock_hz=CYCLES_A_BIT * BAUD, baud=BAUD)
        netlist = synthesised(verilog.emit(test, name="selftest"), folder, "nmgen_selftest")
        program = folder / "selftest.vvp"
        command = ["iverilog", "-g2012", "-DNETLIST", "-P", f"selftest_tb.CYCLES_A_BIT={CYCLES_A_BIT}"]
        files = [BENCH, netlist, CELLS]
        subprocess.run([*command, "-s", "selftest_tb", "-o", program, *files], check=True, timeout=300)
        done = subprocess.run(["vvp", "-n", program], check=True, capture_output=True, text=True, timeout=300)
        report = [line for line in done.stdout.splitlines() if "$finish" not in line]
        if flip is None:
            assert report == [*good_report(config), "passed 1, failed 0"]
        else:
            assert report[-2].startswith("FAIL 2:4 token 0 channel 1"), report
            assert report[-1] == "passed 0, failed 1"


@pytest.mark.nightly
def test_at_the_clock_and_baud_rate_of_a_board(tmp_path: Path) -> None:
    config = CONFIGS["1x1 M=2, bytes"]
    cycles_a_bit = 434  # 50 MHz, 115200 baud
    simulation = Simulation(config, tmp_path, cycles_a_bit)
    assert simulation.run() == [*good_report(config, cycles_a_bit * BAUD), "passed 1, failed 0"]


def test_image_flips_the_bit_that_it_is_told_to() -> None:
    config = CONFIGS["4x4"]
    right, wrong = selftest.image(config).contents, selftest.image(config, ("weights 2:4", 77)).contents
    (at,) = np.flatnonzero(np.frombuffer(right, np.uint8) != np.frombuffer(wrong, np.uint8))
    assert at == selftest.regions(config)["weights 2:4"].address + 77 // 8
    assert right[at] ^ wrong[at] == 1 << 77 % 8


def packed(layer: selftest.Layer, w: np.ndarray) -> np.ndarray:
    return pack_weights(layer.product, w, parameter_bytes(layer.bias, layer.mult, layer.shift))


WIDE = {
    "base": Config(),
    "one token": Config(n=1, m=8, rows=2, cols=2, max_tokens=1),
    "one group": Config(n=2, m=16, rows=4, cols=3, max_k=16),
    "32x32": Config(n=1, m=32, rows=32, cols=32),
}


@pytest.mark.parametrize("name", [*CONFIGS, *WIDE])
def test_results_depend_on_each_bit(name: str) -> None:
    """Of every value, index, bias, mult and shift: computed here for all of them, one flipped at a time."""
    config = {**CONFIGS, **WIDE}[name]
    for layer in selftest.layers(config):
        x = np.pad(layer.x, ((0, 0), (0, 1))).astype(np.int64)  # K is one short of whole groups
        sums = golden.product(layer.x, layer.w)
        for channel, row in enumerate(layer.w):
            at = np.flatnonzero(row)
            values = row[at].astype(np.int64)
            changes = []
            for bit in range(8):
                flipped = (values ^ 1 << bit).astype(np.int8).astype(np.int64)
                changes.append((flipped - values) * x[:, at])
            if layer.product.pattern.coding == "index":
                for bit in range(config.index_bits):
                    changes.append(values * (x[:, at ^ 1 << bit] - x[:, at]))
            parameters = int(layer.bias[channel]), int(layer.mult[channel]), int(layer.shift[channel])
            wrong = requantised(sums[:, channel, np.newaxis] + np.concatenate(changes, axis=1), *parameters)
            right = layer.y[:, channel]
            assert (wrong != right[:, np.newaxis]).any(axis=0).all(), f"{layer.name} channel {channel}"
            for other in flipped_parameters(*parameters):
                assert (requantised(sums[:, channel], *other) != right).any(), f"{layer.name} channel {channel} {other}"


def requantised(sums: np.ndarray, bias: int, mult: int, shift: int) -> np.ndarray:
    return np.clip(((sums + bias) * mult + (1 << shift - 1)) >> shift, -32768, 32767)


def flipped_parameters(bias: int, mult: int, shift: int) -> list[tuple[int, int, int]]:
    words = [int(np.int32(np.uint32((bias & 0xFFFFFFFF) ^ 1 << bit))) for bit in range(32)]
    return [
        *((word, mult, shift) for word in words),
        *((bias, mult ^ 1 << bit, shift) for bit in range(16)),
        *((bias, mult, shift ^ 1 << bit) for bit in range(6)),
    ]


@pytest.mark.parametrize("name", [*CONFIGS, *WIDE])
def test_layer_divides_nothing_and_is_pruned(name: str) -> None:
    config = {**CONFIGS, **WIDE}[name]
    built = selftest.layers(config)
    assert [layer.product.pattern_n for layer in built] == sorted({1, config.m // 2, config.m})
    for layer in built:
        p = layer.product
        assert p.channels % config.cols or config.cols == 1
        assert p.tokens % config.rows or config.rows == 1 or config.max_tokens <= config.rows
        assert p.k % config.m
        groups = np.pad(layer.w, ((0, 0), (0, 1))).reshape(p.channels, p.groups, config.m)
        assert (np.count_nonzero(groups, axis=-1)[:, :-1] == p.pattern_n).all()
    for one, following in zip(built, [*built[1:], built[0]], strict=True):
        # A result left from the product before is not taken for right.
        assert (one.y != following.y).mean() > 0.99
