"""A board in simulation, its image whole: programs are loaded and run through the link, the SDRAM and the driver."""

import json
import os
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from boards.link import PAYLOAD_MAX, REQUEST, Operation, stuffed
from boards.parts.sdram.chips import CHIPS
from nmgen.cli import main
from nmgen.compiler.program import Program
from nmgen.driver.board import Board
from nmgen.driver.host import LinkError
from nmgen.driver.port import SerialWire
from nmgen.families.bert.compiler import compile_encoder
from nmgen.simulate.board_sim import BoardSimulation
from pruning.families.bert.integer import IntegerEncoder
from pruning.files.artefact import save
from rtl.params import InputError
from rtl.sta.params import StaConfig
from tests.nmgen.encoders import artefact, random_ids
from tests.sim.test_axi_sta import CASES, LENGTHS

CONFIG, SIZES = CASES["narrow"]
CHIP = CHIPS["MT48LC16M16A2-6A"]
SEED = int(os.environ.get("NMGEN_SEED", "2026"))


@pytest.fixture(scope="module")
def encoder() -> IntegerEncoder:
    return IntegerEncoder(artefact(**SIZES))


@pytest.fixture(scope="module")
def program(encoder: IntegerEncoder) -> Program:
    return compile_encoder(encoder.parameters, CONFIG, LENGTHS)


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    folder = Path(__file__).parents[3] / "build" / "test-sim"
    simulation = BoardSimulation(CONFIG, CHIP, core_mhz=100, memory_mhz=125, folder=folder)
    with simulation.started() as running:
        assert running.stdout
        yield running.stdout.readline().strip()


@pytest.fixture
def board(port: str) -> Iterator[Board]:
    wire = SerialWire(port)
    wire.quiet()
    yield Board(wire, port)
    wire.close()


class NoisyWire:
    """A wire that flips bits, loses and doubles bytes, cuts what is sent and puts garbage between, both ways.

    rate : of bytes that something happens to
    """

    def __init__(self, wire: SerialWire, seed: int, rate: float) -> None:
        self._wire, self._random, self.rate = wire, random.Random(seed), rate

    def _noisy(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            kind = self._random.randrange(5) if self._random.random() < self.rate else None
            match kind:
                case None:
                    out.append(byte)
                case 0:
                    out.append(byte ^ 1 << self._random.randrange(8))
                case 1:
                    pass
                case 2:
                    out += bytes([byte, byte])
                case 3:
                    return bytes(out)
                case 4:
                    out += self._random.randbytes(self._random.randrange(1, 40))
        return bytes(out)

    def write(self, data: bytes) -> None:
        self._wire.write(self._noisy(data))

    def read(self, timeout: float) -> bytes:
        return self._noisy(self._wire.read(timeout))


def test_text_to_embedding(board: Board, program: Program, encoder: IntegerEncoder) -> None:
    """Two inputs one after the other; loaded once, and not again where it is there."""
    board.load(program)
    assert board.load(program) == 0
    for run in range(2):
        ids = random_ids(SEED + run, LENGTHS)
        memory = board.run(program.image(ids))
        found = program.result("embedding", memory)
        expected = np.stack([encoder.means(torch.tensor(row)).numpy() for row in ids])
        np.testing.assert_array_equal(found, expected, err_msg=f"NMGEN_SEED={SEED}")
    assert board.cycles > 100


def check_noise(port: str, frames: int) -> None:
    """Random writes, reads and checksums on a noisy wire, against a plain memory."""
    generator = random.Random(SEED)
    wire = SerialWire(port)
    noisy = NoisyWire(wire, SEED, 0)
    board = Board(noisy, port)
    noisy.rate = 0.0003
    base, size = 1 << 20, 32 << 10
    plain = bytearray(board.host.read(base, size))
    begun = board.host.sent
    while board.host.sent - begun < frames:
        at = generator.randrange(0, size - 2048) & ~3
        length = generator.randrange(4, 2048) & ~3
        match generator.randrange(3):
            case 0:
                data = generator.randbytes(length)
                assert sum(board.host.write(base + at, data)) == length
                plain[at : at + length] = data
            case 1:
                assert board.host.read(base + at, length) == plain[at : at + length]
            case 2:
                assert board.host.checksum(base + at, length) == crc32(plain[at : at + length])
    noisy.rate = 0
    wire.quiet()
    assert board.host.read(base, size) == plain, f"NMGEN_SEED={SEED}"
    wire.close()


def test_noise(port: str) -> None:
    check_noise(port, 60)


@pytest.mark.nightly
def test_noise_for_long(port: str) -> None:
    check_noise(port, 10_000)


def test_a_load_that_is_cut(port: str, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun again, and sends what is missing."""
    piece = 4 << 10
    monkeypatch.setattr("nmgen.driver.board.RANGE", piece)
    image = bytearray(program.memory + bytes(24_000))
    image[len(program.memory) :] = random.Random(SEED).randbytes(24_000)
    longer = replace(program, memory=bytes(image[: len(image) // 64 * 64]))

    class CutWire(SerialWire):
        left = 16_000

        def write(self, data: bytes) -> None:
            self.left -= len(data)
            if self.left < 0:
                super().write(data[: len(data) // 2])
                raise KeyboardInterrupt
            super().write(data)

    wire = CutWire(port)
    with pytest.raises(KeyboardInterrupt):
        Board(wire, port).load(longer)
    wire.close()
    wire = SerialWire(port)
    wire.quiet()
    again = Board(wire, port)
    sent = again.load(longer)
    assert 0 < sent <= len(longer.memory) - 16_000 + 2 * piece
    assert again.host.checksum(0, len(longer.memory)) == crc32(longer.memory)
    wire.close()


def test_what_a_board_refuses(board: Board) -> None:
    beat = CONFIG.port_bytes
    for message, ask in (
        ("WRITE at 0x2:", lambda: list(board.host.write(2, bytes(beat)))),
        ("WRITE at 0x0:", lambda: list(board.host.write(0, bytes(beat - 1)))),
        ("READ at 0x2000000:", lambda: board.host.read(CHIP.bytes, beat)),
        ("CHECKSUM at 0x1fffffc:", lambda: board.host.checksum(CHIP.bytes - beat, 2 * beat)),
        ("GET at 0x3:", lambda: board.host.get(3)),
        ("GET at 0x104:", lambda: board.host.get(0x104)),
        ("SET at 0x100:", lambda: board.host.set(0x100, 1)),
    ):
        try:
            said = f"nothing, but gave {ask()!r}"
        except LinkError as error:
            said = str(error)
        assert said.startswith(f"{message} not executed: no such operation")
    last = random.Random(SEED).randbytes(beat)
    assert sum(board.host.write(CHIP.bytes - beat, last)) == beat
    assert board.host.read(CHIP.bytes - beat, beat) == last
    assert PAYLOAD_MAX % 64 == 0


def test_a_wrong_crc_writes_nothing(port: str) -> None:
    wire = SerialWire(port)
    wire.quiet()
    base, beat = 2 << 20, CONFIG.port_bytes
    before = Board(wire, port).host.read(base, beat)
    wire.write(stuffed(REQUEST.pack(9, Operation.HELLO, 0, 0)))
    bad = bytearray(stuffed(REQUEST.pack(10, Operation.WRITE, beat, base) + bytes(byte ^ 1 for byte in before)))
    bad[-3] ^= 1  # of the CRC
    wire.write(bytes(bad))
    wire.quiet(0.3)
    assert Board(wire, port).host.read(base, beat) == before
    wire.close()


def test_programs_for_other_boards(board: Board, program: Program) -> None:
    other = replace(program, config=replace(CONFIG, rows=4))
    with pytest.raises(InputError, match=r"the board's accelerator is 0x[0-9a-f]{8}, the program is for 0x[0-9a-f]{8}"):
        board.load(other)
    board.hello = replace(board.hello, memory_bytes=64)
    with pytest.raises(InputError, match=r"^the program has [\d,]+ bytes, the board's memory 64$"):
        board.load(program)


def test_ports_that_are_none(port: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: no such port$"):
        SerialWire(str(tmp_path / "nothing"))
    wire = SerialWire(port)
    with pytest.raises(InputError, match=f"^{port}: another program uses it$"):
        SerialWire(port)
    wire.close()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A.safetensors and P.nmp, for two sequences of 4 tokens, in a folder that the test runs in."""
    monkeypatch.chdir(tmp_path)
    whole = artefact(**SIZES)
    save(Path("A.safetensors"), whole.layers.values(), whole.model)
    flags = [f"--{name.replace('_', '-')}={getattr(CONFIG, name)}" for name in StaConfig.__dataclass_fields__]
    assert main(["compile", "A.safetensors", "--seq", "4", "--batch", "2", *flags, "-o", "P.nmp"]) == 0


@pytest.mark.usefixtures("files")
def test_commands(port: str, encoder: IntegerEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    """Three texts of two runs; what was loaded before is not sent again."""
    capsys.readouterr()
    assert main(["load", "P.nmp", "--port", port, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] > 0
    assert main(["load", "P.nmp", "--port", port, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 0
    texts = ["a fox", "river", "the"]
    Path("texts.txt").write_text("\n".join(texts))
    assert main(["run", "P.nmp", "--port", port, "--file", "texts.txt", "--output", "e.npy", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["input"] for one in said] == texts
    assert all(one["cycles"] > 100 for one in said)
    np.testing.assert_allclose(np.load("e.npy"), encoder.embed(texts).numpy(), atol=1e-6)
    assert main(["run", "P.nmp", "--port", port, "--text", *texts]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "input",
        *(text.split()[0] for text in texts),
    ]
    assert main(["boards", "--port", port]) == 0
    assert f"{port}: accelerator 0x{CONFIG.identification:08x}, core 100 MHz, memory 32 MB" in capsys.readouterr().out


@pytest.mark.usefixtures("files")
def test_commands_refuse(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for message, arguments in (
        ("gone: no such port", ["load", "P.nmp", "--port", "gone"]),
        (r".*tokens", ["run", "P.nmp", "--port", port, "--text", "a fox crossed the river . a fox crossed the river"]),
        ("memory is none, must be one of IS42S16160G-7, ", ["board-sim", "ulx3s-85f", "--memory", "none"]),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert re.match(f"nmgen: .*{message}", said.err), said.err
        assert said.err.count("\n") == 1
