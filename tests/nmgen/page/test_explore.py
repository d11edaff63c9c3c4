"""The page of an exploration, in a browser: what it draws, filters, sorts, chooses, copies and prints."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nmgen.page.explore import explore_page
from tests.nmgen.page.browser import Browser, Page, browser
from tests.nmgen.page.reader import NASTY, Reader
from tests.nmgen.page.sample import exploration

# On a laptop: 0.2 s to the first picture, 0.06 s for a filter. Machines that run tests are busy.
DRAWN_S, FILTERED_S = 10.0, 2.0
FOUND = exploration()
POINTS: list[dict[str, Any]] = FOUND["points"]
FRONT = [POINTS[number] for number in FOUND["front"]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


Opened = Callable[..., Page]


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator[Opened]:
    """Opens the page of an exploration; whatever the test does, the page complains of nothing and asks for nothing."""
    pages: list[Page] = []

    def opens(found: dict[str, Any] = FOUND, **size: int) -> Page:
        file = tmp_path / f"{len(pages)}.html"
        file.write_text(explore_page(found), encoding="utf-8")
        pages.append(Page(chromium, file, **size))
        return pages[-1]

    yield opens
    for page in pages:
        assert page.complaints() == []
        assert page.requests() == []
        page.close()


def count(text: str) -> int:
    return int(text.replace(",", ""))


def facts(page: Page, selector: str = "#chosen .facts") -> dict[str, str]:
    """Of the chosen design: name → value."""
    return dict(zip(page.texts(f"{selector} dt"), page.texts(f"{selector} dd"), strict=True))


def shown(page: Page) -> int:
    words = page.text("#count").split()
    assert words[1:] == ["of", "1,500", "points", "shown"]
    assert page.count("#plot .mark") == count(words[0])
    return count(words[0])


def test_each_point_is_drawn_in_time(opened: Opened) -> None:
    page = opened()
    assert shown(page) == len(POINTS) == 1500
    assert page.count("#plot .mark.front") == len(FRONT)
    assert page.seconds < DRAWN_S
    script = "const t = performance.now(); document.querySelector('#front').click(); document.body.offsetHeight;"
    seconds = page.run(f"(() => {{ {script} return performance.now() - t; }})()") / 1000
    assert shown(page) == len(FRONT)
    assert seconds < FILTERED_S


def test_marks_stand_where_their_numbers_are(opened: Opened) -> None:
    """Latency to the right by its logarithm, accuracy upwards, area as the area of the mark."""
    page = opened(exploration(40))
    found = page.run("[...document.querySelectorAll('.mark')].map(e => ['cx', 'cy', 'r'].map(n => +e.getAttribute(n)))")
    points = sorted(exploration(40)["points"], key=lambda one: (one["front"], -one["luts"]))
    places = list(zip(points, found, strict=True))
    (low, (left, _, _)), (high, (right, _, _)) = (
        min(places, key=lambda one: one[0]["ms"]),
        max(places, key=lambda one: one[0]["ms"]),
    )
    worst, best = (choose(places, key=lambda one: one[0]["accuracy"]) for choose in (min, max))
    largest = max(point["luts"] for point in points)
    for point, (x, y, r) in places:
        share = math.log(point["ms"] / low["ms"]) / math.log(high["ms"] / low["ms"])
        assert x == pytest.approx(left + share * (right - left), abs=0.2)
        part = (point["accuracy"] - worst[0]["accuracy"]) / (best[0]["accuracy"] - worst[0]["accuracy"])
        assert y == pytest.approx(worst[1][1] + part * (best[1][1] - worst[1][1]), abs=0.2)
        assert r == pytest.approx(12 * math.sqrt(point["luts"] / largest), abs=0.06)
    assert left < right
    assert best[1][1] < worst[1][1]


def test_the_line_joins_what_no_other_beats_in_both(opened: Opened) -> None:
    page = opened()
    for axis, sign in (("accuracy", 1), ("luts", -1)):
        page.put("#axis", axis)
        best = [
            one
            for one in FRONT
            if not any(
                other["ms"] <= one["ms"] and sign * other[axis] >= sign * one[axis]
                for other in FRONT
                if (other["ms"], other[axis]) != (one["ms"], one[axis])
            )
        ]
        assert page.run("document.querySelector('.joined').points.length") == len(best) > 2


def test_filters(opened: Opened) -> None:
    page = opened()

    def number(wanted: Callable[[dict[str, Any]], bool]) -> int:
        found = sum(map(wanted, POINTS))
        assert 0 < found < len(POINTS)
        return found

    page.click("[value='4of8']")
    assert shown(page) == number(lambda one: one["candidate"] != "4of8")
    page.click("[value='4of8']")
    page.put("#pe", "ecp5")
    assert shown(page) == number(lambda one: one["configuration"]["pe"] == "ecp5")
    page.put("#m", "16")
    assert shown(page) == number(lambda one: one["configuration"]["pe"] == "ecp5" and one["configuration"]["m"] == 16)
    page.click("[type=reset]")
    page.wait("document.querySelector('#count').textContent.startsWith('1,500 of')")
    assert shown(page) == len(POINTS)
    page.put("#luts", "20000")
    assert shown(page) == number(lambda one: one["luts"] <= 20000)
    page.put("#ms", "100.5")
    assert shown(page) == number(lambda one: one["luts"] <= 20000 and one["ms"] <= 100.5)
    page.put("#luts", "")
    page.click("#front")
    some = number(lambda one: one["front"] and one["ms"] <= 100.5)
    assert shown(page) == some
    assert page.count("#points tbody tr") == min(some, 200)
    page.put("#ms", "0")
    assert shown(page) == page.count("#points tbody tr") == 0


def ids(page: Page) -> list[int]:
    found: list[int] = page.run("[...document.querySelectorAll('#points tbody tr')].map(e => +e.dataset.id)")
    return found


def test_sorting(opened: Opened) -> None:
    page = opened()
    assert ids(page) == [
        one["id"] for one in sorted(POINTS, key=lambda one: (not one["front"], one["ms"], one["id"]))[:200]
    ]
    assert page.text("#cut") == "The first 200 of 1,500 rows. Filter or sort to see others."
    for key in ("luts", "utilisation", "cycles"):
        for sign, said in ((1, "ascending"), (-1, "descending")):
            page.click(f"[data-key={key}]")
            assert ids(page) == [
                one["id"] for one in sorted(POINTS, key=lambda one: (sign * one[key], one["ms"], one["id"]))[:200]
            ]
            assert page.run("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == said
    page.click("[data-key=candidate]")
    assert {POINTS[number]["candidate"] for number in ids(page)} == {"1of8"}
    page.click("#front")
    assert page.text("#cut") == ""


def test_the_table_says_the_numbers(opened: Opened) -> None:
    page = opened()
    headings = page.texts("#points thead th")
    for row, number in enumerate(ids(page)[:20], start=1):
        said = dict(zip(headings, page.texts(f"#points tbody tr:nth-child({row}) td"), strict=True))
        point = POINTS[number]
        assert said["configuration"] == point["label"]
        assert said["held by"] == point["held_by"]
        assert count(said["cycles"]) == point["cycles"]
        assert count(said["LUTs"]) == point["luts"]
        assert count(said["registers"]) == point["registers"]
        assert count(said["block RAMs"]) == point["block_rams"]
        assert count(said["multipliers"]) == point["multipliers"]
        assert float(said["ms"]) == pytest.approx(point["ms"], rel=1e-3)
        assert said["MHz"] == f"{point['mhz']:.1f}"
        assert said["accuracy"] == f"{point['accuracy']:.4f}"
        assert float(said["utilisation"].rstrip("%")) == pytest.approx(100 * point["utilisation"], abs=0.051)
        assert said["front"] == "●" * point["front"]


def check_chosen(page: Page, point: dict[str, Any]) -> None:
    assert page.text("#choice") == f"Chosen: {point['label']}, {point['candidate']}"
    assert page.text("#chosen h2") == f"Chosen: {point['label']}, {point['candidate']}"
    said = facts(page)
    for name, value in point["configuration"].items():
        assert said[name] == (str(value) or "–")
    assert count(said["cycles"]) == point["cycles"]
    assert said["LUTs"].startswith(f"{point['luts']:,} of 83,640, ")
    assert said["block RAMs"].startswith(f"{point['block_rams']:,} of 208, ")
    assert count(said["multiplies"]) == point["multiplies"]
    assert count(said["bytes moved"]) == point["bytes"]
    assert page.text("#command") == point["command"]
    why = {"array": "multiplies in most", "drain": "results have left", "memory": "waits for the memory"}
    said = page.text("#held")
    assert said.startswith(f"Held by: {point['held_by']}.")
    assert why.get(point["held_by"], f"waits for, {point['held_by']} takes") in said
    assert page.run("document.querySelector('#points tr.chosen')?.dataset.id") in (str(point["id"]), None)


def test_choosing_in_the_table(opened: Opened) -> None:
    page = opened()
    check_chosen(page, FRONT[0])
    for row in (3, 150):
        page.click(f"#points tbody tr:nth-child({row}) td:nth-child(3) button")
        check_chosen(page, POINTS[ids(page)[row - 1]])


def test_choosing_in_the_plot(opened: Opened) -> None:
    page = opened(exploration(8))
    points = exploration(8)["points"]
    alone = max(points, key=lambda one: one["ms"])
    page.run(
        "[...document.querySelectorAll('.mark')].sort((a, b) => b.cx.baseVal.value - a.cx.baseVal.value)[0].id = 'it'"
    )
    page.click("#it")
    check_chosen(page, alone)
    assert alone["label"] in page.text(".tip")
    assert f"{alone['luts']:,} LUTs" in page.text(".tip")
    page.move(1, 1)
    assert page.run("document.querySelector('.tip').hidden")


def test_cycles_by_layer_and_opcode(opened: Opened) -> None:
    page = opened()
    parts = FRONT[0]["by_layer"]
    wanted = {f"{layer}: {opcode} {n:,} cycles" for layer, counts in parts.items() for opcode, n in counts.items()}
    assert set(page.run("[...document.querySelectorAll('#chosen rect title')].map(e => e.textContent)")) == wanted
    page.run("document.querySelector('details').open = true")
    opcodes = page.texts("details th")[1:]
    for row, (layer, counts) in enumerate(parts.items(), start=1):
        name, *cells = page.texts(f"details tbody tr:nth-child({row}) td")
        assert name == layer
        said = {opcode: count(cell) for opcode, cell in zip(opcodes, cells, strict=True) if cell}
        assert said == {opcode: n for opcode, n in counts.items() if n}


def test_roofline(opened: Opened) -> None:
    """The roof is level where the multipliers bound, rises where the memory does, and is lower with slower memory."""
    for slower in (None, 4.0):
        found = exploration(20) | {"work": FOUND["work"] | {"memory_bytes_per_cycle": slower}}
        page = opened(found)
        chosen = next(one for one in found["points"] if one["id"] == found["front"][0])
        c = chosen["configuration"]
        peak, bandwidth = c["rows"] * c["cols"] * c["n"], slower or c["port_bytes"]
        intensity, done = chosen["multiplies"] / chosen["bytes"], chosen["multiplies"] / chosen["cycles"]
        texts = page.run("[...document.querySelectorAll('.design ~ text, .roof ~ text')].map(e => e.textContent)")
        assert f"{peak:,} multipliers" in texts
        assert f"{bandwidth:g} bytes a cycle" in texts
        share = 100 * done / min(peak, bandwidth * intensity)
        assert any(text.endswith(f"{share:.1f}% of the roof") for text in texts)
        x, y = page.run("['cx', 'cy'].map(n => +document.querySelector('.design').getAttribute(n))")
        path = page.run("document.querySelector('.roof').getAttribute('d')")
        (x0, y0), (x1, y1), (_, y2) = (map(float, place.split(",")) for place in path[1:].split("L"))
        assert y1 == y2 < y0
        a_decade = (x1 - x0) / math.log10(peak / bandwidth / (min(peak / bandwidth, intensity) / 8))
        assert x == pytest.approx(x1 + a_decade * math.log10(intensity / (peak / bandwidth)), abs=0.01)
        down = (y0 - y1) / ((x1 - x0) / a_decade)  # the roof rises a decade in a decade
        assert y == pytest.approx(y1 + down * math.log10(peak / done), abs=0.01)


SAID = "document.querySelector('#copied').textContent"


def test_copy(opened: Opened, chromium: Browser) -> None:
    page = opened()
    page.click("#points tbody tr:nth-child(2)")
    command = POINTS[ids(page)[1]]["command"]
    chromium.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.click("#copy")
    page.wait(SAID)
    assert page.text("#copied") == "copied"
    assert page.run("navigator.clipboard.readText()") == command


@pytest.mark.parametrize("clipboard", ["undefined", "{writeText: () => Promise.reject()}"])
def test_copy_without_a_clipboard_selects(clipboard: str, opened: Opened) -> None:
    page = opened()
    page.run(
        f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}}); document.execCommand = () => false"
    )
    page.click("#copy")
    page.wait(SAID)
    assert page.run("String(getSelection())") == FRONT[0]["command"]
    assert page.text("#copied") == "selected: press Ctrl+C"


def test_names_are_no_markup(opened: Opened) -> None:
    found = exploration(30)
    for candidate in found["candidates"]:
        candidate["name"] += NASTY
    for point in found["points"]:
        for key in ("candidate", "label", "held_by", "command"):
            point[key] += NASTY
        point["configuration"]["pe"] += NASTY
        point["by_layer"] = {NASTY + layer: {NASTY: 7} for layer in point["by_layer"]}
    for key in ("model", "metric", "kind"):
        found[key] += NASTY
    found["left_out"][0]["reason"] = found["notes"][0] = found["target"]["title"] = NASTY
    page = opened(found)
    page.run("document.querySelector('.mark').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert page.count("b") == 0
    assert page.count("#plot .mark") == 30
    assert page.text("#command").endswith(NASTY)
    assert NASTY in page.text("h1")


def test_without_points_it_says_why(opened: Opened) -> None:
    page = opened(exploration(0))
    assert page.text("#count") == "No point fits."
    assert "16×8, N = 2, M = 8: 240 block RAMs, 32 too many" in page.texts("td")
    assert page.text("#chosen") == ""


def test_what_is_not_known_is_left_blank(opened: Opened) -> None:
    found = exploration(30)
    for point in found["points"]:
        point |= {"accuracy": None, "mhz": None, "registers": None, "bytes": 0, "by_layer": {}}
    for candidate in found["candidates"]:
        candidate["accuracy"] = None
    page = opened(found)
    assert page.count("#plot .mark") == 30
    assert page.run("document.querySelector('#axis').value") == "luts"
    said = facts(page)
    assert (said["accuracy"], said["registers"], said["clock"]) == ("–", "–", "– MHz")
    assert page.count("#chosen svg") == 0
    assert page.texts("#chosen .plot p") == ["Not counted by layer.", "No bytes are moved."]


@pytest.mark.parametrize(
    ("width", "media", "scheme"),
    [(1400, "screen", "dark"), (800, "screen", "light"), (390, "screen", "light"), (760, "print", "dark")],
)
def test_it_fits_and_is_legible(width: int, media: str, scheme: str, opened: Opened) -> None:
    page = opened(width=width)
    page.look(scheme=scheme, media=media)
    assert page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    ink, paper = (
        sum(map(int, page.run(f"getComputedStyle(document.body).{what}.match(/\\d+/g)")[:3]))
        for what in ("color", "backgroundColor")
    )
    dark = media == "screen" and scheme == "dark"
    assert (ink > 600 > 100 > paper) if dark else (paper == 765 and ink < 150)
    for control in ("#pe", "#luts", "#front", "[type=reset]", "#copy"):
        assert page.run(f"document.querySelector('{control}').checkVisibility()") == (media == "screen")


def test_printed(opened: Opened) -> None:
    page = opened()
    page.look(media="print")
    rows = (
        "[...document.querySelectorAll('#points tbody tr')].filter(e => getComputedStyle(e).display != 'none').length"
    )
    assert page.run(rows) == 30
    assert page.text("#printed") == "The first 30 of 1,500 rows are printed."
    assert page.pdf().startswith(b"%PDF")


def test_headings_and_labels(opened: Opened) -> None:
    page = opened()
    levels = page.run("[...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])")
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    unnamed = "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
    assert page.run(unnamed) == 0
    assert page.run("[...document.querySelectorAll('svg')].every(e => e.getAttribute('aria-label').length > 10)")


def test_what_is_there_without_a_script() -> None:
    text = Reader(explore_page(FOUND)).texts
    for part in (
        "minilm",
        "core for whole encoders",
        "30 cycles of latency, a beat a cycle",
        "accuracy, latency, area",
        "cosine to the dense model, int8",
        "1,500",
        str(len(FRONT)),
        "1,203 configurations, 87 pairs",
        "1,203 configurations",
        FOUND["notes"][0],
    ):
        assert part in text


def test_verified_beside_predicted() -> None:
    text = " ".join(Reader(explore_page(FOUND)).texts)
    point = FRONT[0]
    luts, measured = point["luts"], point["luts"] - 279
    assert f"LUTs {luts:,} {measured:,} {measured / luts - 1:+.1%}" in text
    assert f"cycles {point['cycles']:,} {point['cycles']:,} none" in text
    mhz = point["mhz"]
    assert f"MHz {mhz:.1f} {mhz - 0.4:.1f} ({mhz - 4:.1f} to {mhz + 2.8:.1f})" in text
    assert "Verified" not in Reader(explore_page({key: FOUND[key] for key in FOUND if key != "verified"})).texts


@pytest.mark.parametrize(
    ("clocks", "said"),
    [
        ({"min": 0, "median": 0, "max": 0}, "does not route"),
        ({"min": 0, "median": 0, "max": 90.12}, "none (none to 90.1)"),
    ],
)
def test_verified_without_a_clock(clocks: dict[str, float], said: str) -> None:
    measured = FOUND["verified"][0]
    text = " ".join(Reader(explore_page({**FOUND, "verified": [{**measured, "mhz": clocks}]})).texts)
    assert f"MHz {FRONT[0]['mhz']:.1f} {said}" in text
    assert "%" not in text.partition(said)[2].split(FRONT[0]["label"])[0], "nothing to compare"


def test_the_same_bytes_and_all_of_the_data() -> None:
    page = explore_page(FOUND)
    assert page == explore_page(exploration())
    data = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data) == FOUND
