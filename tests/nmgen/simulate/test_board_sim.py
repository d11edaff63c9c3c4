"""A board in simulation, its image whole: programs are loaded and run through the link, the SDRAM and the driver."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch

from boards.icesugar_pro import ICESUGAR_PRO
from boards.link import (
    FLASH_DAMAGED,
    FLASH_LOADED,
    PAYLOAD_MAX,
    REQUEST,
    TESTED,
    USABLE,
    BoardRegister,
    Operation,
    stuffed,
)
from boards.parts.flash import HEADER, MAGIC
from boards.parts.sdram.chips import CHIPS
from boards.ulx3s import ULX3S_85F
from nmgen.compiler.program import Program
from nmgen.driver.board import Board, connected
from nmgen.driver.host import Host, LinkError
from nmgen.driver.places import places_of
from nmgen.driver.port import SerialWire
from nmgen.families.bert.compiler import compile_encoder
from nmgen.simulate.board_sim import BoardSimulation
from pruning.families.bert.integer import IntegerEncoder
from rtl.sta.params import StaConfig
from tests.nmgen.driver.noisy_wire import NoisyWire, use_at_random
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
def simulation() -> BoardSimulation:
    folder = Path(__file__).parents[3] / "build" / "test-sim"
    sliced = replace(CONFIG, pe="ecp5", device=ULX3S_85F.device)  # as the image for this board is built by itself
    return BoardSimulation(ULX3S_85F, sliced, CHIP, core_mhz=100, memory_mhz=125, folder=folder)


@pytest.fixture(scope="module")
def port(simulation: BoardSimulation) -> Iterator[str]:
    with simulation.started() as running:
        yield running.port


@pytest.fixture
def board(port: str) -> Iterator[Board]:
    with connected(port) as board:
        yield board


def test_text_to_embedding(board: Board, program: Program, encoder: IntegerEncoder) -> None:
    """Two inputs one after the other; loaded once, and not again where it is there."""
    board.load(program)
    assert board.load(program) == 0
    for run in range(2):
        ids = random_ids(SEED + run, LENGTHS)
        ran = board.run(program, program.image(ids))
        found = ran.results["embedding"]
        expected = np.stack([encoder.means(torch.tensor(row)).numpy() for row in ids])
        np.testing.assert_array_equal(found, expected, err_msg=f"NMGEN_SEED={SEED}")
        assert ran.cycles > 100


def test_a_program_in_flash(simulation: BoardSimulation, program: Program, tmp_path: Path) -> None:
    """After power-on it is in memory; a damaged one is told of, and the board works without it."""
    memory, _ = places_of(program, CHIP.bytes)
    file = tmp_path / "flash"
    for damaged in (False, True):
        file.write_bytes(HEADER.pack(MAGIC, len(memory), crc32(memory) ^ damaged) + memory)
        with simulation.started(flash=file) as running, connected(running.port) as board:
            found = board.host.get(BoardRegister.FLASH.address)
            assert found == (FLASH_DAMAGED if damaged else FLASH_LOADED)
            assert board.load(program) == 0, "damaged is the checksum alone"


def test_the_phases_of_the_memorys_clock(board: Board) -> None:
    """Of the model's times: which phases work, and the middle of them.

    What the pins get 1.5 ns behind the image's clock is taken at the next edge at the memory. Words begin 5.4 ns behind
    an edge there and end 2.5 ns behind the next one. The image looks for them two periods of 8 ns behind its own edge.
    """
    phases, period, out, access, hold = 32, 8000, 1500, 5400, 2500

    def works(phase: int) -> bool:
        taken = phase * period // phases
        taken += period * (taken <= out)
        return taken + access <= 2 * period <= taken + period + hold

    expected = [phase for phase in range(phases) if works(phase)]
    assert expected == [*range(7), *range(22, 32)]
    found = {register: board.host.get(register.address) for register in BoardRegister}
    assert found == {
        BoardRegister.MEMORY: USABLE | TESTED,
        BoardRegister.PHASE: phases << 16 | 30,
        BoardRegister.WORKS_LOW: sum(1 << phase for phase in expected),
        BoardRegister.WORKS_HIGH: 0,
        BoardRegister.FLASH: 0,
    }


def test_the_leds(simulation: BoardSimulation) -> None:
    """None is lit while the memory is tested; then the one of a memory that works."""
    with simulation.started(arguments=["+leds"]) as running:
        lines = running.lines()
        assert [next(lines) for _ in range(2)] == ["leds: passed 0 failed 0", "leds: passed 1 failed 0"]


def test_a_memory_that_works_at_no_phase(simulation: BoardSimulation) -> None:
    """The link says so and refuses what needs the memory, and an LED is lit. Words are there for 10 ps, at no edge."""
    with simulation.started(arguments=["+leds", "+access=5400", "+hold=5410"]) as running:
        lines = running.lines()
        assert [next(lines) for _ in range(2)] == ["leds: passed 0 failed 0", "leds: passed 0 failed 1"]
        with SerialWire(running.port) as wire:
            host = Host(wire)
            host.hello()
            found = {register: host.get(register.address) for register in BoardRegister}
            assert found[BoardRegister.MEMORY] == TESTED
            assert (found[BoardRegister.WORKS_LOW], found[BoardRegister.WORKS_HIGH]) == (0, 0)
            with pytest.raises(LinkError, match="SET at 0x0: not executed, and expected still"):
                host.set(0, 1)
            with pytest.raises(LinkError, match=r"the memory works at none of 32 phases of its clock"):
                Board(wire)


def check_noise(port: str, frames: int) -> None:
    with SerialWire(port) as wire:
        noisy = NoisyWire(wire, SEED)
        host = Board(noisy).host
        assert host.slower > 1
        host.slower = 1  # than this small board is: what is lost is soon asked again
        use_at_random(host, noisy, rate=0.0003, frames=frames, beat=CONFIG.port_bytes, seed=SEED)


def test_noise(port: str) -> None:
    check_noise(port, 15)


@pytest.mark.nightly
def test_an_icesugar_pro() -> None:
    """The image that docs/boards.md builds, and the widest BERT that it is for."""
    config = StaConfig(
        n=1,
        m=4,
        rows=2,
        cols=4,
        drain=1,
        port_bytes=4,
        max_tokens=64,
        hidden=128,
        max_k=512,
        store_words=4096,
    )
    encoder = IntegerEncoder(artefact(hidden=128, heads=4, inner=512, pattern="1:4", positions=64))
    lengths = [54, 9]  # as many as there is room for
    program = compile_encoder(encoder.parameters, config, lengths)
    chip = CHIPS[ICESUGAR_PRO.memories[0]]
    folder = Path(__file__).parents[3] / "build" / "test-sim"
    simulation = BoardSimulation(ICESUGAR_PRO, config, chip, core_mhz=100, memory_mhz=120, folder=folder)
    with simulation.started() as running, connected(running.port) as board:
        board.load(program)
        ids = random_ids(SEED, lengths)
        ran = board.run(program, program.image(ids))
    expected = np.stack([encoder.means(torch.tensor(row)).numpy() for row in ids])
    np.testing.assert_array_equal(ran.results["embedding"], expected, err_msg=f"NMGEN_SEED={SEED}")


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

    with CutWire(port) as wire, pytest.raises(KeyboardInterrupt):
        Board(wire).load(longer)
    with connected(port) as again:
        sent = again.load(longer)
        assert 0 < sent <= len(longer.memory) - 16_000 + 2 * piece
        assert again.host.checksum(0, len(longer.memory)) == crc32(longer.memory)


def test_what_a_board_refuses(port: str, board: Board) -> None:
    beat = CONFIG.port_bytes
    for message, ask in (
        ("WRITE at 0x2:", lambda: list(board.host.write(2, bytes(beat)))),
        ("WRITE at 0x0:", lambda: list(board.host.write(0, bytes(beat - 1)))),
        ("READ at 0x2000000:", lambda: board.host.read(CHIP.bytes, beat)),
        ("CHECKSUM at 0x1fffffc:", lambda: board.host.checksum(CHIP.bytes - beat, 2 * beat)),
        ("GET at 0x3:", lambda: board.host.get(3)),
        ("GET at 0x114:", lambda: board.host.get(0x114)),
        ("SET at 0x100:", lambda: board.host.set(0x100, 1)),
    ):
        try:
            said = f"nothing, but gave {ask()!r}"
        except LinkError as error:
            said = str(error)
        assert said.startswith(f"{port}: {message} not executed: no such operation")
    last = random.Random(SEED).randbytes(beat)
    assert sum(board.host.write(CHIP.bytes - beat, last)) == beat
    assert board.host.read(CHIP.bytes - beat, beat) == last
    assert PAYLOAD_MAX % 64 == 0


def test_a_wrong_crc_writes_nothing(port: str) -> None:
    with SerialWire(port) as wire:
        wire.quiet()
        base, beat = 2 << 20, CONFIG.port_bytes
        before = Board(wire).host.read(base, beat)
        wire.write(stuffed(REQUEST.pack(9, Operation.HELLO, 0, 0)))
        bad = bytearray(stuffed(REQUEST.pack(10, Operation.WRITE, beat, base) + bytes(byte ^ 1 for byte in before)))
        bad[-3] ^= 1  # of the CRC
        wire.write(bytes(bad))
        wire.quiet(0.3)
        assert Board(wire).host.read(base, beat) == before


@pytest.mark.nightly
def test_the_same_verilog_every_time() -> None:
    """Its name in the folder of builds is made of it."""
    code = (
        "from boards.encoder import EncoderConfig; from boards.parts.sdram.chips import CHIPS\n"
        "from boards.encoder_image import files_of; from boards.ulx3s import ULX3S_85F\n"
        "from tests.sim.test_axi_sta import CASES\n"
        f"config = EncoderConfig(sta=CASES['narrow'][0], chip=CHIPS[{CHIP.name!r}], oscillator_mhz=25, core_mhz=100, "
        "memory_mhz=125, baud=25_000_000)\n"
        "print(files_of(ULX3S_85F, config, 'image')['.v'])"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
