"""The host's end of the link, against a board in Python: what is lost is asked again."""

import os
from pathlib import Path

import pytest

from boards.link import ANSWER, BAUD, PAYLOAD_MAX, PROTOCOL, REQUEST, SEQUENCES, WINDOW, Operation, Status, stuffed
from nmgen.cli import main
from nmgen.compiler.program import load
from nmgen.driver.host import Host, LinkError
from nmgen.driver.port import SerialWire
from tests.nmgen.driver.fake_board import FakeBoard
from tests.nmgen.driver.noisy_wire import NoisyWire, use_at_random
from tests.sim.test_axi_sta import CASES

CONFIG, _ = CASES["narrow"]
SEED = int(os.environ.get("NMGEN_SEED", "2026"))


def test_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the frames is changed or lost, the same of their answers."""
    monkeypatch.setattr("nmgen.driver.host.TIMEOUT_S", 0.02)
    with FakeBoard(CONFIG) as board, SerialWire(board.port) as wire:
        noisy = NoisyWire(wire, SEED)
        host = Host(noisy)
        host.hello()
        wrong = ""
        try:
            use_at_random(host, noisy, rate=0.0003, frames=3000, beat=CONFIG.port_bytes, seed=SEED)
        except LinkError as error:
            wrong = str(error)
        assert not wrong


def test_many_requests_are_under_way() -> None:
    """As many as there may be: their numbers come round several times."""
    with FakeBoard(CONFIG) as board, SerialWire(board.port) as wire:
        host = Host(wire)
        host.hello()
        data = os.urandom(700 * CONFIG.port_bytes)
        pieces = [(at, data[at : at + CONFIG.port_bytes]) for at in range(0, len(data), CONFIG.port_bytes)]
        assert sum(host.write_all(pieces)) == len(data)
        assert host.sent == 701
        assert board.memory[: len(data)].tobytes() == data


class LateWire(SerialWire):
    """Answers to requests of a program before come first, with the numbers that this one begins with."""

    def __init__(self, port: str, numbers: range) -> None:
        super().__init__(port)
        self._late = [stuffed(ANSWER.pack(number % SEQUENCES, Status.DONE, 0)) for number in numbers]

    def read(self, seconds: float) -> bytes:
        return self._late.pop(0) if self._late else super().read(seconds)


def test_answers_that_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not taken for that to HELLO."""
    monkeypatch.setattr("nmgen.driver.host.random.randrange", lambda _numbers: 250)
    with FakeBoard(CONFIG) as board, LateWire(board.port, range(250, 250 + WINDOW)) as wire:
        host = Host(wire)
        assert host.hello().identification == CONFIG.identification
        assert sum(host.write_all([(0, bytes(CONFIG.port_bytes))])) == CONFIG.port_bytes


def test_another_protocol_is_told() -> None:
    with FakeBoard(CONFIG, hello={"protocol": 7}) as board, SerialWire(board.port) as wire:
        with pytest.raises(LinkError, match=f"the board's link is of version 7, must be {PROTOCOL}"):
            Host(wire).hello()


@pytest.mark.nightly
def test_minilm_is_loaded_within_a_minute(tmp_path: Path) -> None:
    """By count of the bytes on the wire, with 8 bits a word of the table."""
    program = tmp_path / "M.nmp"
    size = ["--n=2", "--m=8", "--rows=8", "--cols=8", "--lengths=16,32,64,128", "--table-bits=8"]
    assert main(["compile", "minilm", "--pattern", "2:8", *size, "-o", str(program)]) == 0
    memory = bytes(load(program).memory)
    sent = 0
    for number, at in enumerate(range(0, len(memory), PAYLOAD_MAX)):
        piece = memory[at : at + PAYLOAD_MAX]
        sent += len(stuffed(REQUEST.pack(number % SEQUENCES, Operation.WRITE, len(piece), at) + piece))
    assert 10 * sent / BAUD <= 60, f"{10 * sent / BAUD:.1f} s"  # a start bit, eight, and a stop bit
