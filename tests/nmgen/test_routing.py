"""A router's log as it grows: what is said of it, and when it is ended."""

from pathlib import Path

import pytest

from nmgen.routing import PASSES, Routing, UnroutedError


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def line(number: int, overused: int) -> str:
    return f"Info:     iter={number} wires=1000 overused={overused} overuse=9 archfail=NA\n"


def test_a_router_that_gets_somewhere(tmp_path: Path) -> None:
    said: list[str] = []
    routing = Routing(tmp_path / "log", said.append)
    routing.tick(1)  # no log yet
    for number in range(1, 200):
        write(tmp_path / "log", line(number, 5000 if number % PASSES else 4000 - number))
        routing.tick(1)
    assert said[:2] == ["pass 10, 5,000 wires overused", "pass 20, 5,000 wires overused"]
    assert len(said) == 19


def test_one_that_runs_away(tmp_path: Path) -> None:
    routing = Routing(tmp_path / "log", lambda _text: None)
    write(tmp_path / "log", "".join(line(number, 100 - number) for number in range(1, 8)))
    routing.tick(1)
    for number in range(8, 7 + PASSES):
        write(tmp_path / "log", line(number, 93 + number % 2))
        routing.tick(1)
    text = line(7 + PASSES, 94)
    write(tmp_path / "log", text[:20])  # half a line is not read yet
    routing.tick(1)
    write(tmp_path / "log", text[20:])
    with pytest.raises(UnroutedError, match=r"^93 wires overused at best, in pass 7 of 47$"):
        routing.tick(1)
