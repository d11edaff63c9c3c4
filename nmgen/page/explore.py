"""The page of `nmgen explore`: designs by accuracy, latency and area, and all about the one that is chosen.

What never changes is written here, so that it is there without a script; what follows a choice is explore.js's.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from nmgen.page.document import Table, document, facts_list, paragraph, section, table

KINDS = {"core": "core for whole encoders", "engine": "engine, one product at a time"}
RESOURCES = (("luts", "LUTs"), ("registers", "registers"), ("block_rams", "block RAMs"), ("multipliers", "multipliers"))


def explore_page(found: Mapping[str, Any]) -> str:
    """The page of what an exploration has found.

    found : model, kind, target, work, objectives, metric, candidates, points, left_out, front, notes and, where designs
        were measured, verified; as JSON has it, the whole of which is in the page's element `data`
    """
    parts = [facts_list(_asked(found)), *map(paragraph, found["notes"])]
    counts = [table(_candidates(found)), *([table(_left_out(found))] if found["left_out"] else [])]
    parts.append(f'<div class="pair">{"".join(counts)}</div>')
    parts.append("<noscript><p>The plots and the table of points need JavaScript.</p></noscript>")
    parts.append(section("Designs", DESIGNS))
    parts.append('<section id="chosen"></section>')
    if found.get("verified"):
        parts.append(table(_verified(found)))
    title = f"{found['model']} on {found['target']['title']}"
    return document(title, "\n".join(parts), data=found, scripts=("plot.js", "explore.js"))


# What explore.js fills.
DESIGNS = """\
<form id="filters" class="controls">
<fieldset id="candidates"><legend>Candidates</legend></fieldset>
<label>Elements <select id="pe"></select></label>
<label>M <select id="m"></select></label>
<label>Most LUTs <input id="luts" type="number" min="0" step="any" size="8"></label>
<label>Most ms <input id="ms" type="number" min="0" step="any" size="8"></label>
<label><input id="front" type="checkbox"> front only</label>
<label>Vertical axis <select id="axis"></select></label>
<button type="reset">Reset</button>
</form>
<p class="counts"><span id="count" role="status"></span> <span id="choice" role="status"></span></p>
<figure>
<div id="plot" class="plot"></div>
<figcaption id="about"></figcaption>
</figure>
<div class="wide rows" tabindex="0" role="region" aria-label="Table of the points">
<table id="points"><thead></thead><tbody></tbody></table>
</div>
<p id="cut"></p>
<p class="paper" id="printed"></p>"""


def _asked(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was asked for, and how many points there are."""
    target, work = found["target"], found["work"]
    memory = work["memory_bytes_per_cycle"]
    return [
        ("model", found["model"]),
        ("target", f"{target['title']}: " + ", ".join(f"{target[key]:,} {name}" for key, name in RESOURCES)),
        ("design", KINDS.get(found["kind"], found["kind"])),
        ("sequences, tokens", ", ".join(map(str, work["sequences"]))),
        (
            "memory",
            f"{work['mem_latency']} cycles of latency, "
            + ("a beat a cycle" if memory is None else f"{memory:g} bytes a cycle"),
        ),
        ("objectives", ", ".join(found["objectives"])),
        ("accuracy", found["metric"]),
        ("points", f"{len(found['points']):,}"),
        ("on the front", f"{len(found['front']):,}"),
        ("left out", ", ".join(_left_out_of(found)) or "none"),
    ]


def _candidates(found: Mapping[str, Any]) -> Table:
    points = Counter(point["candidate"] for point in found["points"])
    front = Counter(point["candidate"] for point in found["points"] if point["front"])
    rows = []
    for one in found["candidates"]:
        name = one["name"]
        counts = f"{points[name]:,}", f"{front[name]:,}"
        rows.append((name, one["pattern"], _accuracy(one["accuracy"]), *counts))
    headings = ("candidate", "pattern", "accuracy", "points", "on the front")
    return Table(title="Candidates", headings=headings, rows=rows, left=("pattern",))


def _left_out(found: Mapping[str, Any]) -> Table:
    rows = []
    for one in found["left_out"]:
        example = f"such as {one['example']}" if "example" in one else one["nearest"]
        rows.append((one["reason"], f"{one['count']:,} {one['of']}", example))
    return Table(title="Left out", headings=("reason", "left out", "the nearest"), left=("the nearest",), rows=rows)


def _left_out_of(found: Mapping[str, Any]) -> list[str]:
    """How many configurations, how many pairs."""
    counts: Counter[str] = Counter()
    for one in found["left_out"]:
        counts[one["of"]] += one["count"]
    return [f"{count:,} {what}" for what, count in sorted(counts.items())]


def _verified(found: Mapping[str, Any]) -> Table:
    points = {point["id"]: point for point in found["points"]}
    rows = [row for measured in found["verified"] for row in _compared(points[measured["id"]], measured)]
    return Table(
        title="Verified",
        headings=("design", "what", "predicted", "measured", "difference"),
        left=("what",),
        rows=rows,
    )


def _compared(point: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each number of a design that was measured; of the clock, that of the median seed."""
    name = f"{point['label']}, {point['candidate']}"
    predicted = {**point, "cycles": point["exact_cycles"]}  # the simulation's memory is as fast as the port
    for key, what in (("cycles", "cycles"), *RESOURCES):
        if None not in (predicted[key], measured.get(key)):
            yield name, what, f"{predicted[key]:,}", f"{measured[key]:,}", _difference(predicted[key], measured[key])
    if (mhz := measured.get("mhz")) and point["mhz"] is not None:
        least, middle, most = (f"{mhz[one]:.1f}" if mhz[one] else "none" for one in ("min", "median", "max"))
        seeds = f"{middle} ({least} to {most})" if mhz["max"] else "does not route"
        difference = _difference(point["mhz"], mhz["median"]) if mhz["median"] else ""
        yield name, "MHz", f"{point['mhz']:.1f}", seeds, difference


def _difference(predicted: float, measured: float) -> str:
    """Of what is measured to what was predicted."""
    if predicted == measured:
        return "none"
    return f"{measured / predicted - 1:+.1%}" if predicted else ""


def _accuracy(score: float | None) -> str:
    """A cosine or a correlation has four digits, a percentage two: as explore.js writes them."""
    return "" if score is None else f"{score:.2f}" if abs(score) > 1 else f"{score:.4f}"
