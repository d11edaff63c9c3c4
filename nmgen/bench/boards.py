"""Self-test images of many sizes for the boards, from 1×1 to what fits: ``make bench-build``.

Each is built as `nmgen build` does, into a folder of its own in build/boards/. What is known of one, by the same tools,
is kept. The table goes into docs/results.md, after every image.
"""

import argparse
import json
import re
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from nmgen.bench.array import line
from nmgen.bench.command import bench
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import StageProgress
from nmgen.fpga.bitstream import build, find_board
from nmgen.fpga.report import title
from nmgen.fpga.tools import ToolError, find_tool, tool_version
from rtl.params import PRESETS, Config, InputError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "boards"
MHZ = 50
SEEDS = 3


@dataclass(frozen=True)
class Image:
    """What is built: a board, and an array on it."""

    board: str
    config: Config

    @property
    def name(self) -> str:
        c = self.config
        return f"{self.board}-{c.rows}x{c.cols}-{c.n}of{c.m}-{c.pe}"


@dataclass(frozen=True, kw_only=True)
class Made:
    """How that went.

    Attributes
    ----------
    cpu_seconds : of this machine, of all tools and seeds
    reason : why there is no image, else ""
    """

    tools: list[str]
    cpu_seconds: float
    tried: dict[str, float]
    mhz: float = 0
    luts: int = 0
    reason: str = ""


def images() -> list[Image]:
    """Of the table, the smaller FPGA first, then the smaller array."""
    ulx3s = [  # rows, columns, M, kind of elements
        (1, 1, 4, "ecp5"), (1, 1, 16, "portable"), (2, 2, 4, "portable"), (2, 2, 16, "ecp5"), (3, 4, 8, "ecp5"),
        (4, 4, 4, "portable"), (4, 4, 8, "ecp5"), (8, 8, 4, "ecp5"), (8, 8, 8, "portable"), (8, 8, 16, "ecp5"),
    ]  # fmt: skip
    icesugar = [(1, 1, 4, "portable"), (2, 3, 8, "ecp5"), (2, 4, 4, "portable")]
    small = replace(PRESETS["small"], max_k=256)
    return [
        *(_image("icesugar-pro", small, *size) for size in icesugar),
        *(_image("ulx3s-85f", Config(), *size) for size in ulx3s),
    ]


def _image(board: str, config: Config, rows: int, cols: int, m: int, pe: str) -> Image:
    device = find_board(board).device if pe == "ecp5" else ""
    return Image(board, replace(config, n=2, m=m, rows=rows, cols=cols, pe=pe, device=device))


def made(image: Image, folder: Path) -> Made:
    """Builds an image, or reads how its build went. What it cannot be is a reason, not an error.

    Raises
    ------
    InputError : a tool is missing
    """
    programs = ("yosys", "nextpnr-ecp5")
    tools = [tool_version(find_tool(program), program) for program in programs]
    record = folder / image.name / "made.json"
    if record.exists():
        kept = Made(**json.loads(record.read_text()))
        if kept.tools == tools:
            return kept
    print(f"{image.name}:", file=sys.stderr, flush=True)
    before = _cpu_seconds()
    try:
        result = build(image.board, image.config, record.parent, mhz=MHZ, seed=1, seeds=SEEDS, progress=StageProgress())
    except (ToolError, InputError) as error:
        done = Made(tools=tools, cpu_seconds=_cpu_seconds() - before, tried={}, reason=" ".join(str(error).split()))
    else:
        done = Made(
            tools=tools,
            cpu_seconds=_cpu_seconds() - before,
            tried={str(seed): mhz for seed, mhz in result.tried.items()},
            mhz=result.fmax_mhz,
            luts=result.used["LUT4"] + 2 * result.used["CCU2C"],
        )
    with written_whole(record) as path:
        path.write_text(json.dumps(asdict(done), indent=1) + "\n")
    return done


def _cpu_seconds() -> float:
    """Of the tools that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def section(done: Sequence[tuple[Image, Made]], tools: Sequence[str], left: int) -> str:
    """Markdown of docs/results.md."""
    text = [
        f"`make bench-build` writes this table; last run on {date.today().isoformat()}, with",
        f"{' and '.join(map(_short, tools))}.",
        f"N = 2, {MHZ} MHz asked for, up to {SEEDS} seeds; CPU seconds of all tools and seeds."
        + (f" Still to be built: {left}." if left else ""),
        "",
        line(("board", "array", "LUT-eq", "MHz", "seeds tried", "CPU s", "")),
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for image, one in done:
        verdict = one.reason or ("met" if one.mhz >= MHZ else "**missed**")
        mhz = f"{one.mhz:.1f}" if one.mhz else "–"
        about = (image.board, title(image.config), f"{one.luts:,}" if one.luts else "–", mhz)
        text.append(line((*about, str(len(one.tried) or "–"), f"{one.cpu_seconds:.0f}", verdict)))
    return "\n".join(text)


def _short(tool: str) -> str:
    """Name and number of a version, out of what the tool says of it."""
    found = re.match(r"(Yosys \S+)|.*\(Version (?:nextpnr-)?(\S+)\)", tool)
    return (found[1] or f"nextpnr {found[2]}") if found else tool


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-build", description="Self-test images of many sizes.")
    parser.add_argument("--most", type=int, metavar="N", help="images to build; the next run goes on (all)")
    args = parser.parse_args(argv)
    every = images()
    chosen = every[: args.most]
    done: list[tuple[Image, Made]] = []
    tools = [tool_version(find_tool(program), program) for program in ("yosys", "nextpnr-ecp5")]
    for image in chosen:
        done.append((image, made(image, FOLDER)))
        replace_section(ROOT / "docs" / "results.md", "build", section(done, tools, len(every) - len(done)))
    print(f"{len(done)} of {len(every)} images: docs/results.md, {FOLDER.relative_to(ROOT)}/")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-build")


if __name__ == "__main__":
    sys.exit(process(main, "bench-build"))
