"""What a result says of the design that most people begin with."""

from typing import Any

from nmgen.explore.reference import notes

USUAL = {"n": 2, "m": 8, "rows": 8, "cols": 8}


def point(number: int, label: str, configuration: dict[str, int], **facts: Any) -> dict[str, Any]:
    return {"id": number, "candidate": "2of8", "label": label, "configuration": configuration, **facts}


def found(*points: dict[str, Any]) -> dict[str, Any]:
    return {"points": points, "objectives": ["accuracy", "latency", "area"]}


def test_there_is_none_as_good() -> None:
    usual = point(0, "8×8", USUAL, accuracy=0.5, ms=2.0, luts=1000)
    slower = point(1, "4×8", USUAL | {"rows": 4}, accuracy=0.5, ms=4.0, luts=900)
    assert notes(found(usual, slower)) == ["8×8, 2of8: no design is at least as good in accuracy, latency, area."]


def test_the_fastest_of_those_that_are_as_good() -> None:
    usual = point(0, "8×8", USUAL, accuracy=0.123456789, ms=2.0, luts=1000)
    better = point(1, "8×8, M = 16", USUAL | {"m": 16}, accuracy=0.123456789, ms=1.5, luts=1000)
    best = point(2, "16×8", USUAL | {"rows": 16}, accuracy=0.2, ms=1.0, luts=900)
    assert notes(found(better, usual, best)) == [
        "8×8, 2of8: 16×8, 2of8 is at least as good in all: 0.2 accuracy beside 0.123457, 1 ms beside 2, "
        "900 LUTs beside 1,000."
    ]


def test_of_several_of_that_shape_the_fastest() -> None:
    slow, fast = (
        point(i, name, USUAL, accuracy=0.5, ms=ms, luts=9) for i, (name, ms) in enumerate((("a", 3), ("b", 2)))
    )
    assert notes(found(slow, fast)) == ["b, 2of8: no design is at least as good in accuracy, latency, area."]
    assert notes(found(point(0, "c", USUAL | {"n": 1}, accuracy=1.0, ms=1.0, luts=1))) == []
