"""A router's log as it grows: what is said of it, and when it is ended."""

from pathlib import Path

import pytest

from nmgen.fpga.router_watchdog import LONGEST, PASSES, PATIENCE, Routing, UnroutedError

HEAD = """\
Info: Routing 216891 arcs.
Info:            |   (re-)routed arcs  |   delta    | remaining|       time spent     |
Info:    IterCnt |  w/ripup   wo/ripup |  w/r  wo/r |      arcs| batch(sec) total(sec)|
"""
STEP = 1000


def write(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def line(number: int, left: int) -> str:
    return f"Info: {number:10d} | {9:8d}   {number:8d} |  345   646 |{left:10d}|       1.82    1042.71|\n"


def test_a_router_that_gets_somewhere(tmp_path: Path) -> None:
    said: list[str] = []
    routing = Routing(tmp_path / "log", said.append)
    routing.tick(1)  # no log yet
    assert routing.state == ""
    write(
        tmp_path / "log", "Info:     at iteration #7, type ALL: wirelen solved = 5, spread = 6, legal = 7; time = 1s\n"
    )
    routing.tick(1)
    assert routing.state == "placer in pass 8"
    write(tmp_path / "log", HEAD)
    for number in range(STEP, 4 * PATIENCE, STEP):
        write(tmp_path / "log", line(number, 5000 if number % PATIENCE else 4000 - number // PATIENCE))
        routing.tick(1)
    assert said[:2] == ["50,000 arcs tried, 5,000 left", "100,000 arcs tried, 5,000 left"]
    assert len(said) == 15


def test_one_that_runs_away(tmp_path: Path) -> None:
    routing = Routing(tmp_path / "log", lambda _text: None)
    write(tmp_path / "log", HEAD + "".join(line(number * STEP, 100 - number) for number in range(1, 8)))
    routing.tick(1)
    end = 7 * STEP + PATIENCE
    for number in range(8 * STEP, end, STEP):
        write(tmp_path / "log", line(number, 93 + number // STEP % 2))
        routing.tick(1)
    text = line(end, 94)
    write(tmp_path / "log", text[:20])  # half a line is not read yet
    routing.tick(1)
    write(tmp_path / "log", text[20:])
    with pytest.raises(UnroutedError, match=r"^93 arcs left at best, after 7,000 of 207,000 tries$"):
        routing.tick(1)


def test_one_whose_last_wires_take_for_ever(tmp_path: Path) -> None:
    routing = Routing(tmp_path / "log", lambda _text: None)
    for number, left, seconds in ((1, 93, 10), (2, 90, 500), (3, 95, 500 + LONGEST - 1)):
        write(tmp_path / "log", line(number * STEP, left))
        routing.tick(seconds)
    write(tmp_path / "log", line(4 * STEP, 91))
    with pytest.raises(UnroutedError, match=r"^90 arcs left at best, after 2,000 of 4,000 tries$"):
        routing.tick(500 + LONGEST)


def test_router2_counts_passes(tmp_path: Path) -> None:
    routing = Routing(tmp_path / "log")
    text = "Info:     iter={} wires=105462 overused={} overuse=13467 tmgfail=0 archfail=NA\n"
    for number in range(1, 5 + PASSES):
        write(tmp_path / "log", text.format(number, 13406 + abs(number - 5)))
        routing.tick(number)
    assert routing.state == f"router after pass {4 + PASSES}, {13405 + PASSES:,} wires left that two nets want"
    write(tmp_path / "log", text.format(5 + PASSES, 13406))
    best = f"13,406 wires left at best that two nets want, after 5 of {5 + PASSES} passes"
    with pytest.raises(UnroutedError, match=f"^{best}$"):
        routing.tick(5 + PASSES)


def test_one_that_takes_too_long(tmp_path: Path) -> None:
    """The placer is not ended, nor a router that is done."""
    routing = Routing(tmp_path / "log", most=720)
    write(tmp_path / "log", HEAD)
    routing.tick(800)
    write(tmp_path / "log", line(1000, 93))
    with pytest.raises(UnroutedError, match=r"^not done after 720 CPU s: 1,000 arcs tried, 93 left$"):
        routing.tick(801)
    write(tmp_path / "log", line(2000, 0))
    routing.tick(802)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("cell 'core.array.pe_1_3.accumulator_4' after 10001 attempts, check constraints", "cell 'core.array.pe_1_3.a"),
        ("all cells, design is probably at utilisation limit.", "all cells"),
    ],
)
def test_a_placer_that_gives_up(said: str, what: str, tmp_path: Path) -> None:
    routing = Routing(tmp_path / "log", lambda _text: None)
    routing.check_placed()  # no log yet
    write(tmp_path / "log", "Info: at initial placer iter 3, wirelen = 125361\n")
    routing.check_placed()
    write(tmp_path / "log", f"ERROR: Unable to find legal placement for {said}\n0 warnings, 1 error\n")
    with pytest.raises(UnroutedError, match=f"^the placer finds no place for {what}"):
        routing.check_placed()
