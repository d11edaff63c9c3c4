"""The driver's class for scripts, on a board in Python."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nmgen.compiler.program import Program
from nmgen.driver.board import NEAR, connected, differences
from nmgen.driver.host import SIMULATED_SLOWER, LinkError
from nmgen.families.bert.compiler import compile_encoder
from pruning.families.bert.integer import IntegerEncoder
from rtl.params import InputError
from tests.nmgen.driver.fake_board import CYCLES, FakeBoard
from tests.nmgen.encoders import artefact, random_ids
from tests.sim.test_axi_sta import CASES, LENGTHS

CONFIG, SIZES = CASES["narrow"]


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_encoder(IntegerEncoder(artefact(**SIZES)).parameters, CONFIG, LENGTHS)


def test_runs_one_after_another(program: Program) -> None:
    encoder = IntegerEncoder(artefact(**SIZES))
    with FakeBoard(CONFIG) as fake, connected(fake.port) as board:
        assert board.load(program) == len(program.memory)
        for seed in range(3):
            ids = random_ids(seed, LENGTHS)
            found = program.result("embedding", board.run(program, program.image(ids)))
            np.testing.assert_array_equal(found, [encoder.means(torch.tensor(row)).numpy() for row in ids])
        assert board.cycles == CYCLES


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
        polls: list[float] = []
        whole = board.host.get
        monkeypatch.setattr(board.host, "get", lambda register: polls.append(register) or whole(register))
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
