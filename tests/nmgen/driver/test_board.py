"""The driver's class for scripts, on a board in Python."""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from nmgen.compiler.program import Program
from nmgen.driver.board import NEAR, Board, Run, connected, differences
from nmgen.driver.host import SIMULATED_SLOWER, LinkError
from nmgen.driver.places import places_of
from nmgen.driver.port import SerialWire
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.bert.sentences import fitted
from pruning.families.bert.integer import IntegerEncoder
from rtl.params import InputError
from rtl.sta.params import StaConfig
from tests.nmgen.driver.fake_board import CYCLES, MEMORY_BYTES, FakeBoard
from tests.nmgen.encoders import artefact, random_ids
from tests.sim.test_axi_sta import CASES, LENGTHS

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
CONFIG, SIZES = CASES["narrow"]


@pytest.fixture(scope="module")
def encoder() -> IntegerEncoder:
    return IntegerEncoder(artefact(**SIZES))


@pytest.fixture(scope="module")
def program(encoder: IntegerEncoder) -> Program:
    return compile_encoder(encoder.parameters, CONFIG, LENGTHS)


@pytest.fixture(scope="module")
def several(encoder: IntegerEncoder) -> Program:
    """Two sequences of three lengths."""
    return compile_encoder(encoder.parameters, CONFIG, [4, 3], {}, [[2, 2], [1, 1]])


def means(encoder: IntegerEncoder, ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
    return [encoder.means(torch.tensor(row)).numpy() for row in ids]


def said(ask: Callable[[], object]) -> str:
    """What is wrong, if anything."""
    try:
        ask()
    except LinkError as error:
        return str(error)
    return ""


def test_runs_one_after_another(encoder: IntegerEncoder, program: Program) -> None:
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        assert board.load(program) == board.loaded_bytes > len(program.memory)
        for seed in range(3):
            ids = random_ids(seed, LENGTHS)
            ran = board.run(program, program.image(ids))
            np.testing.assert_array_equal(ran.results["embedding"], means(encoder, ids))
            assert ran.cycles == CYCLES


@pytest.mark.parametrize("twice", [True, False], ids=["two places", "one place"])
def test_an_input_is_sent_while_another_runs(twice: bool, encoder: IntegerEncoder, several: Program) -> None:
    """Inputs of all lengths in any order, each with its own result, whether there is room for second places or not."""
    generator = random.Random(SEED)
    memory_bytes = MEMORY_BYTES if twice else len(several.memory)
    lengths = [[generator.randint(1, 4), generator.randint(1, 3)] for _ in range(12)]
    rows = [random_ids(SEED + i, each) for i, each in enumerate(lengths)]
    programs = [fitted(several.fitting(each), ids) for each, ids in zip(lengths, rows, strict=True)]
    with FakeBoard(CONFIG, hello={"memory_bytes": memory_bytes}) as fake, connected(fake.port) as board:
        assert (board.load(several) > len(several.memory)) == twice
        runs = list(board.run_each((one, one.image(padded)) for one, padded in programs))
        for ran, ids in zip(runs, rows, strict=True):
            np.testing.assert_array_equal(ran.results["embedding"], means(encoder, ids), err_msg=f"NMGEN_SEED={SEED}")
        assert fake.runs == len(runs)
        assert not list(board.run_each([]))


@pytest.mark.parametrize("port_bytes", [4, 8, 16])
@pytest.mark.parametrize("lengths", [[5], [3, 2]])
def test_an_input_that_is_no_whole_beat(port_bytes: int, lengths: list[int], encoder: IntegerEncoder) -> None:
    """It is written in whole beats all the same."""
    config = replace(CONFIG, port_bytes=port_bytes)
    program = compile_encoder(encoder.parameters, config, lengths)
    with FakeBoard(config) as fake, connected(fake.port) as board:
        board.load(program)
        for seed in range(3):
            ids = random_ids(seed, lengths)
            found: list[Run] = []
            image = program.image(ids)
            assert not said(lambda image=image, found=found: found.append(board.run(program, image)))
            np.testing.assert_array_equal(found[0].results["embedding"], means(encoder, ids))


@pytest.mark.parametrize("simulated", [0, 1])
def test_another_program_of_the_same_words(simulated: int) -> None:
    """Is not taken for the one that is there, though the largest region is the same."""
    programs = []
    for pattern in ("2:4", "1:4"):
        parameters = IntegerEncoder(artefact(**SIZES | {"pattern": pattern})).parameters
        parameters = replace(parameters, words=np.tile(parameters.words, (40, 1)))
        programs.append(compile_encoder(parameters, CONFIG, [4, 4]))
    with FakeBoard(CONFIG, hello={"simulated": simulated}) as fake, connected(fake.port) as board:
        board.load(programs[0])
        wrong = said(lambda: board.load(programs[1], loaded=True))
        assert wrong.endswith("the board does not hold this program: run it without --loaded")
        assert board.load(programs[0], loaded=True) == 0


def test_a_program_without_its_second_place(encoder: IntegerEncoder, program: Program) -> None:
    """As nmgen flash leaves it where there is no room: all of it is brought, END, too."""
    contents, _ = places_of(program, len(program.memory))
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        fake.memory[:] = np.random.default_rng(SEED).integers(256, size=len(fake.memory))
        fake.memory[: len(contents)] = np.frombuffer(contents, np.uint8)
        assert board.load(program, loaded=True) > 0
        every = [random_ids(seed, LENGTHS) for seed in range(3)]
        runs: list[Run] = []
        assert not said(lambda: runs.extend(board.run_each((program, program.image(ids)) for ids in every)))
        for ran, ids in zip(runs, every, strict=True):
            np.testing.assert_array_equal(ran.results["embedding"], means(encoder, ids))


def test_a_board_that_was_interrupted(
    encoder: IntegerEncoder, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of a frame. It works again."""
    monkeypatch.setattr("nmgen.driver.host.TIMEOUT_S", 0.02)

    class CutWire(SerialWire):
        left = -1

        def write(self, data: bytes) -> None:
            self.left -= 1
            if self.left == 0:
                super().write(data[:5])
                raise KeyboardInterrupt
            super().write(data)

    ids = random_ids(1, LENGTHS)
    with FakeBoard(CONFIG) as fake, CutWire(fake.port) as wire:
        board = Board(wire)
        board.load(program)
        wire.left = 3
        with pytest.raises(KeyboardInterrupt):
            board.run(program, program.image(ids))
        assert not said(lambda: board.load(program))
        np.testing.assert_array_equal(board.run(program, program.image(ids)).results["embedding"], means(encoder, ids))


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (50, "the board expects another request: it was reset, or others talk to it"),
        (200, "the board was reset while a program ran: load the program again"),
    ],
)
def test_a_board_that_is_reset(number: int, wrong: str, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told soon, whether what it is asked then counts as executed or as ahead."""
    monkeypatch.setattr("nmgen.driver.host.TIMEOUT_S", 0.02)
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        board.load(program)
        fake.reset()
        board.host._next = number
        assert said(lambda: board.run(program, program.image(random_ids(1, LENGTHS)))).endswith(wrong)


def test_another_program_than_the_loaded_one(several: Program, program: Program) -> None:
    other = compile_encoder(IntegerEncoder(artefact(**SIZES | {"pattern": "1:4"})).parameters, CONFIG, LENGTHS)
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        board.load(program)
        for one in (other, several):
            with pytest.raises(LinkError, match="another program is loaded"):
                board.run(one, one.image([[1] * each.tokens for each in one.sequences]))
        assert fake.runs == 0


def test_seconds_of_a_run_are_its_own(program: Program) -> None:
    """Where there is no second place, too: not those of the run before, nor of who looks at that."""
    with (
        FakeBoard(CONFIG, end="at once", hello={"memory_bytes": len(program.memory)}) as fake,
        connected(fake.port) as board,
    ):
        board.load(program)
        image = program.image(random_ids(1, LENGTHS))
        for ran in board.run_each((program, image) for _ in range(3)):
            assert ran.seconds < 0.3
            time.sleep(0.4)


def test_who_stops_looking_leaves_a_board_that_works(encoder: IntegerEncoder, program: Program) -> None:
    """The run that nobody asks for any more comes to its end."""
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        board.load(program)
        every = [random_ids(seed, LENGTHS) for seed in range(4)]
        for ran in board.run_each((program, program.image(ids)) for ids in every):
            np.testing.assert_array_equal(ran.results["embedding"], means(encoder, every[0]))
            break
        ran = board.run(program, program.image(every[3]))
        np.testing.assert_array_equal(ran.results["embedding"], means(encoder, every[3]))


def test_bytes_of_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM's shape: whatever its length, at most 2 KB go over the wire for a sentence, both ways together."""
    monkeypatch.setattr("nmgen.driver.host.TIMEOUT_S", 60.0)  # however slow this machine is, nothing is sent twice
    encoder = IntegerEncoder(artefact(hidden=384, heads=12, inner=8, layers=6, positions=128))
    several = compile_encoder(encoder.parameters, StaConfig(n=2, m=8, rows=8, cols=8), [128], {}, [[32]])
    generator = random.Random(SEED)
    with (
        FakeBoard(several.config, end="at once", hello={"memory_bytes": 1 << 22}) as fake,
        connected(fake.port) as board,
    ):
        board.load(several)
        for length in (128, 127, 97, 32, 9, 31, 1, 128, *(generator.randint(1, 128) for _ in range(6))):
            before = fake.received + fake.sent
            one, padded = fitted(several.fitting([length]), random_ids(length, [length]))
            list(board.run_each([(one, one.image(padded))]))
            assert fake.received + fake.sent - before <= 2048, length  # 1,720 of 127 tokens after 128


def test_a_run_sends_what_it_changes_alone(program: Program) -> None:
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        board.load(program)
        board.run(program, program.image(random_ids(1, LENGTHS)))
        before = fake.memory.copy()
        unused = program.region("positions").address + program.region("positions").size
        fake.memory[unused] ^= 1  # stays: nothing is written there
        changed = fake.memory.copy()
        board.run(program, program.image(random_ids(1, LENGTHS)))
        np.testing.assert_array_equal(fake.memory != before, changed != before)


@pytest.mark.parametrize("simulated", [0, 1])
def test_a_simulated_board_has_more_time(simulated: int, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its memory, for a program, and for an answer it works for."""
    monkeypatch.setattr("nmgen.driver.board.RUN_SECONDS", 0.2 / SIMULATED_SLOWER)
    with FakeBoard(CONFIG, hello={"simulated": simulated}, end="never") as fake, connected(fake.port) as board:
        assert board.host.slower == (SIMULATED_SLOWER if simulated else 1)
        board.load(program)
        polls: list[None] = []
        ask = board.host.ask
        monkeypatch.setattr(board.host, "ask", lambda *further: polls.append(None) or ask(*further))
        with pytest.raises(LinkError, match=f"^{fake.port}: the program does not end within"):
            board.run(program, program.image(random_ids(1, LENGTHS)))
        assert (len(polls) > 5) == bool(simulated)


def test_nothing_runs_before_it_is_loaded(program: Program) -> None:
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        with pytest.raises(
            LinkError, match=f"^{fake.port}: what its memory holds is not known: load the program first$"
        ):
            board.run(program, program.image(random_ids(1, LENGTHS)))
        assert not fake.memory.any()


def test_differences() -> None:
    """Whole beats; ranges no further apart than NEAR beats are one."""
    before = np.zeros(100, np.uint8)
    for changed, found in (
        ([], []),
        ([0], [(0, 4)]),
        ([3, 4], [(0, 8)]),
        ([0, 4 * NEAR], [(0, 4 * NEAR + 4)]),
        ([0, 4 * NEAR + 4], [(0, 4), (4 * NEAR + 4, 4 * NEAR + 8)]),
        ([99], [(96, 100)]),
    ):
        memory = before.copy()
        memory[changed] = 1
        assert differences(memory, before, 4) == found


def test_a_program_that_is_larger_than_memory_is_not_begun(program: Program) -> None:
    with FakeBoard(CONFIG, hello={"memory_bytes": 64}) as fake, connected(fake.port) as board:
        with pytest.raises(InputError, match="of the board's memory"):
            board.load(replace(program))
        assert not fake.memory.any()
