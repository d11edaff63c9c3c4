"""From a board's name and a configuration to a bitstream: synthesis, place and route, packing, and what they report."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import written_whole
from nmgen.fpga import selftest
from nmgen.fpga.floorplan import Placement, placement_of
from nmgen.fpga.router_watchdog import ROUTER, Routing, UnroutedError
from nmgen.fpga.tools import TOOLS, ToolError, find_tool, run_tool
from rtl.params import Config, InputError, ceil_div

if TYPE_CHECKING:
    from boards.board import Board

NAME = "selftest"  # of the design, and of its files
PLACED = (".config", ".tim", ".report.json")  # what place and route leaves
KEPT = (".rpt", ".tim", ".report.json", ".lpf")  # beside the bitstream: logs, timing, constraints
BLOCK_RAM_BITS = 18 * 1024
STAGES = {"yosys": "synthesis", "nextpnr-ecp5": "place and route", "ecppack": "bitstream"}
LOGS = {"synthesis": ".rpt", "place and route": ".tim", "bitstream": ".log"}
SYNTHESIS = "-noabc9"  # abc9 aborts on designs that use data.ArrayLayout (yosys #4349)
# A word read while it is written may be anything (tests/rtl/lib/test_collisions.py): no logic is spent on what it is.
# Only memories that have a write port, and clocked reads, can collide.
OTHER = "router2"  # of the seeds after one that ROUTER does not get to its end
# That place and route may take by ROUTER, if there is another seed: OTHER takes half the time of the largest arrays.
MOST_SECONDS = 720.0
DENSITY = 0.5  # of logic, that the placer fills a part of the chip to: as it likes it, 0.9, is more than can be wired
LUTS = {"LFE5U-25F": 24_288, "LFE5U-45F": 43_848, "LFE5U-85F": 83_640}
COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i r:COLLISION_X_MASK=1'0 %i"

Progress = Callable[[str, float, bool, str], None]
"""Told of a stage by its name, its seconds so far, whether it is over, and how far it is, in words or ""."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A bitstream, and how good it is.

    Attributes
    ----------
    mhz : clock of the design
    fmax_mhz : the fastest clock that the router's timing allows
    seed : of place and route, the best of those tried; tried : the fastest clock of each
    used, available : of each kind of resource; LUT4 and CCU2C (two LUTs of a carry chain) as synthesis counts them
    tools : the program of each stage
    seconds : of each stage
    program : command that loads the bitstream
    """

    board: str
    title: str
    config: dict[str, Any]
    bitstream: str
    mhz: float
    fmax_mhz: float
    timing_met: bool
    seed: int
    tried: dict[int, float]
    used: dict[str, int]
    available: dict[str, int]
    tools: dict[str, str]
    seconds: dict[str, float]
    program: str
    baud: int
    leds: str


def find_board(name: str) -> "Board":
    """The board of that name.

    Raises
    ------
    InputError : unknown, or the packages for boards are not installed.
    """
    try:
        from boards.known import BOARDS
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is missing: pip install 'nmgen[build]'") from None
    if name not in BOARDS:
        raise InputError(f"board is {name!r}, must be one of {', '.join(BOARDS)}")
    return BOARDS[name]


def check_multipliers(config: Config, multipliers: int | None, name: str) -> None:
    """InputError where the FPGA of that name has fewer multipliers than the array takes; None of what has no bound."""
    rows = config.rows - config.soft_rows
    lanes = 2 * ceil_div(config.n, 2) if config.pe == "ecp5" else config.n  # whole slices
    needed = rows * config.cols * lanes
    if multipliers is not None and needed > multipliers:
        raise InputError(
            f"array of {rows}x{config.cols} PEs with {config.n} lanes needs {needed} multipliers, "
            f"must be at most the {multipliers} of {name}"
        )


def check_size(board: "Board", config: Config) -> None:
    """InputError where the FPGA's multipliers or block RAM cannot be enough. What is small counts for nothing here."""
    check_multipliers(config, board.multipliers, board.name)
    store = config.rows * ceil_div(config.store_depth * config.store_word_bytes * 8, BLOCK_RAM_BITS)
    column_bits = 2 * config.max_steps * config.n * (8 + config.index_bits)
    blocks = store + config.cols * ceil_div(column_bits, BLOCK_RAM_BITS)
    if blocks > board.block_rams:
        raise InputError(
            f"max_tokens {config.max_tokens} and max_k {config.max_k} need at least {blocks} block RAMs, "
            f"must be at most the {board.block_rams} of {board.name}"
        )


def check_cells(board: "Board", cells: Mapping[str, int]) -> None:
    """InputError where synthesis made more multipliers or block RAM than the FPGA has, of what is small too."""
    for kind, there, what in (
        ("MULT18X18D", board.multipliers, "multipliers"),
        ("DP16KD", board.block_rams, "block RAMs"),
    ):
        if cells.get(kind, 0) > there:
            raise InputError(f"the design takes {cells[kind]} {what}, must be at most the {there} of {board.name}")


def density(cells: Mapping[str, int], device: str) -> float:
    """Of logic, that the placer may fill a part of a device to: DENSITY, but half as much again as there must be."""
    luts = sum(number * cells.get(kind, 0) for kind, number in (("LUT4", 1), ("CCU2C", 2), ("TRELLIS_DPR16X4", 6)))
    return min(0.9, max(DENSITY, 1.5 * luts / LUTS[device]))


def check_clock(board: "Board", config: Config, mhz: float) -> None:
    """InputError where the PLL cannot make the clock, DSP slices not work at it, or it not make the baud rate."""
    from boards.parts.pll import dividers
    from boards.parts.uart import baud_divisor
    from rtl.array.ecp5.slice import MOST_MHZ

    if config.pe == "ecp5" and mhz > MOST_MHZ:
        raise InputError(
            f"mhz is {mhz:g}, must be at most {MOST_MHZ} with pe ecp5, in DSP slices that nextpnr does not time"
        )
    dividers(board.oscillator_mhz, mhz)
    baud_divisor(mhz * 1e6, board.baud)


def build(name: str, config: Config, out: Path, *, mhz: float, seed: int, seeds: int = 1, progress: Progress) -> Build:
    """Build the self-test image of a board into out: `selftest.bit`, the tools' logs, and `build.json`.

    Parameters
    ----------
    seed, seeds : the first of place and route, and how many are tried at most; the first that meets the clock ends
        that, else the fastest is kept

    Raises
    ------
    InputError : unknown board, missing tool, a configuration or clock that the board cannot have
    ToolError : a tool failed, or no seed routes
    """
    board = find_board(name)
    tools = {program: find_tool(program) for program in TOOLS}
    check_size(board, config)
    check_clock(board, config, mhz)
    with written_whole(out / f"{NAME}.bit") as bitstream:
        scratch = bitstream.parent
        seconds: dict[str, float] = {}
        begun = time.monotonic()
        progress("elaboration", 0, False, "")
        synthesis, place, pack = _prepare(board, config, scratch, mhz=mhz, seed=seed)
        seconds["elaboration"] = time.monotonic() - begun
        progress("elaboration", seconds["elaboration"], True, "")

        def run(command: list[str], stage: str, most: float | None = None) -> None:
            program, *arguments = command
            routing = Routing(scratch / f"{NAME}{LOGS[STAGES[program]]}", most=most)
            taken = _run([tools[program], *arguments], scratch, stage, LOGS[STAGES[program]], progress, routing)
            seconds[STAGES[program]] = seconds.get(STAGES[program], 0) + taken
            clock = f"{_timing(scratch)[0]:g} MHz" if STAGES[program] == "place and route" else ""
            progress(stage, taken, True, clock)

        run(synthesis, "synthesis")
        cells = json.loads((scratch / f"{NAME}.stat.json").read_text())["design"]["num_cells_by_type"]
        check_cells(board, cells)
        netlist = scratch / f"{NAME}.json"
        (placement_of(config, board.device, room=False) or Placement(multipliers={})).write(netlist, netlist)
        place += ["--placer-heap-beta", f"{density(cells, board.device):.2f}"]
        tried: dict[int, float] = {}
        unrouted: dict[int, str] = {}
        best, most = seed, 0.0
        router = ROUTER
        for number in range(seed, seed + seeds):
            said = {"--seed": str(number), "--router": router}
            again = [said.get(before, word) for before, word in pairwise(["", *place])]
            try:
                limit = MOST_SECONDS if router == ROUTER and number < seed + seeds - 1 else None
                run(again, "place and route" if number == seed else f"seed {number}", limit)
            except UnroutedError as error:  # another may: where cells lie is drawn anew
                tried[number], unrouted[number], router = 0.0, f"{error} ({router})", OTHER
                continue
            tried[number], margin = _timing(scratch)
            if margin > most:
                best, most = number, margin
                for suffix in PLACED:
                    os.replace(scratch / f"{NAME}{suffix}", scratch / f"best{suffix}")
            if margin >= 1:
                break
        if len(unrouted) == len(tried):
            reasons = "; ".join(f"seed {number}: {reason}" for number, reason in unrouted.items())
            why = f"there are too few wires or places for this design on {name}"
            raise ToolError(f"place and route gave up, {why}: {reasons}")
        for suffix in PLACED:
            os.replace(scratch / f"best{suffix}", scratch / f"{NAME}{suffix}")
        run(pack, "bitstream")
        report = json.loads((scratch / f"{NAME}.report.json").read_text())
        used, available = _resources(report, cells)
        result = Build(
            board=board.name,
            title=board.title,
            config=asdict(config),
            bitstream=str(out / bitstream.name),
            mhz=mhz,
            fmax_mhz=tried[best],
            timing_met=most >= 1,
            seed=best,
            tried=tried,
            used=used,
            available=available,
            tools=tools,
            seconds={stage: round(value, 1) for stage, value in seconds.items()},
            program=board.program.format(bit=out / bitstream.name),
            baud=board.baud,
            leds=board.meaning,
        )
        (scratch / "build.json").write_text(json.dumps(asdict(result), indent=2) + "\n")
        for kept in (*(f"{NAME}{suffix}" for suffix in KEPT), "build.json"):
            os.replace(scratch / kept, out / kept)
    return result


def _prepare(board: "Board", config: Config, scratch: Path, *, mhz: float, seed: int) -> list[list[str]]:
    """Write the design and the tools' scripts; returns the tools' command lines."""
    from boards.board import BoardImage
    from boards.selftest import SelfTest

    test = SelfTest(config, selftest.image(config), clock_hz=mhz * 1e6, baud=board.baud)
    plan = board.platform().build(
        BoardImage(board, test, mhz),
        name=NAME,
        do_build=False,  # the tools are run one by one here; and the board's loader need not be installed
        synth_opts=SYNTHESIS,
        script_after_read=COLLISIONS,
        script_after_synth=f"tee -q -o {NAME}.stat.json stat -json",
        nextpnr_opts=f"--router {ROUTER} --report {NAME}.report.json --timing-allow-fail --seed {seed}",
        ecppack_opts="--compress",
    )
    plan.extract(str(scratch))
    commands: list[list[str]] = json.loads(plan.files[f"build_{NAME}.json"])["commands"]
    return commands


def _run(command: list[str], scratch: Path, stage: str, log: str, progress: Progress, routing: Routing) -> float:
    """Run one tool to its end; returns its seconds.

    Raises
    ------
    UnroutedError : a router that no longer gets nearer, or takes too long, was ended; or the placer gave up.
    """
    progress(stage, 0, False, "")
    (scratch / f"{NAME}{log}").unlink(missing_ok=True)  # of the seed before

    def tick(so_far: float, cpu: float) -> None:
        try:
            routing.tick(cpu)
        except UnroutedError as error:
            progress(stage, so_far, True, f"given up: {error}")
            raise
        progress(stage, so_far, False, routing.state)

    try:
        return run_tool(command, scratch, stage, log=f"{NAME}{log}", tick=tick)
    except ToolError:
        routing.check_placed()
        raise


def _timing(scratch: Path) -> tuple[float, float]:
    """MHz of the slowest clock against what it has to reach, and how many times it reaches that."""
    report = json.loads((scratch / f"{NAME}.report.json").read_text())
    clocks = report["fmax"].values()
    if not clocks:
        raise ToolError("place and route reports no clock")
    worst = min(clocks, key=lambda clock: clock["achieved"] / clock["constraint"])
    return round(worst["achieved"], 2), worst["achieved"] / worst["constraint"]


def _resources(report: dict[str, Any], cells: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """(used, available), each under a name that people use."""
    utilisation = report["utilization"]
    names = {"FF": "TRELLIS_FF", "block RAM": "DP16KD", "multipliers": "MULT18X18D"}
    used = {"LUT4": cells.get("LUT4", 0), "CCU2C": cells.get("CCU2C", 0)}
    used |= {name: utilisation[kind]["used"] for name, kind in names.items()}
    available = {"LUT4": utilisation["TRELLIS_COMB"]["available"]}
    available |= {name: utilisation[kind]["available"] for name, kind in names.items()}
    return used, available
