"""What an array, an engine or the whole core takes of an FPGA, and how fast it is: the rows of `nmgen report` and the
benches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from nmgen.fpga.array_harness import BLOCK_WIDTH, ArrayHarness
from nmgen.fpga.core_harness import CoreHarness
from nmgen.fpga.floorplan import placement_of
from nmgen.fpga.place_and_route import DELAYS, Design, Measured, say
from nmgen.fpga.router_watchdog import ROUTER
from nmgen.fpga.targets import ECP5, Target
from nmgen.fpga.timing_paths import passed, read_paths, worst_by_component
from nmgen.fpga.tools import ToolError
from nmgen.verilog.writer import emit_modules
from rtl.array.ecp5.slice import MOST_MHZ
from rtl.array.steps import column_step, row_step
from rtl.params import Config, InputError, ceil_div
from rtl.sta.params import StaConfig

ARRAY_MHZ = 200  # that place and route aims at
CORE_MHZ = 130
# abc9 makes every path as slow as the slowest allows, and smaller. With -t each is as fast as it can be, in twice the
# LUTs of an engine. A core of portable elements has no room for more: 190,000 of its wires were left when nextpnr had
# tried 450,000. Nor has one with soft rows: 8×16 elements would take 104 % of an LFE5U-85F.
CORE_MAPPER = 'scratchpad -set abc9.script "+&scorr; &sweep; &dc2; &dch -f; &if {C} {W} {D} {R} -t; &mfs"'
# The placer's default is 10, for which short wires count more than fast ones (docs/timing.md).
CORE_PLACER: tuple[str, ...] = ("--placer-heap-timingweight", "200")

UNTIMED = f"""\
nextpnr times no port of an ALU54B: the MHz of processing elements in DSP slices are those of the fabric around them,
and an upper bound. What stands for the slice's own is {MOST_MHZ} MHz, by Project Trellis' delays of the multiplier
beside the ALU, speed grade 6: 1.33 ns from its pipeline register to its product, 3.93 ns for an adder that is taken to
be no slower than the whole multiplier, 0.08 ns that a register of the slice wants before the clock."""


WORST = 5  # paths that are told of


@dataclass(frozen=True, kw_only=True)
class Worst:
    """A path that limits the clock.

    Attributes
    ----------
    ns : from clock edge to clock edge; logic_ns : of that, what is no wire
    through : Components that it passes, in order
    """

    ns: float
    logic_ns: float
    through: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a design takes, and how fast it is.

    Attributes
    ----------
    multipliers : that work on every step; slices : cells of the FPGA's own multipliers, used or not
    luts, carries, registers, memories : cells; of ECP5s LUT4, CCU2C, TRELLIS_FF, DP16KD
    lut_equivalents : LUTs and those of carry chains; of ECP5s LUT4 + 2·CCU2C (and 4 of each LUT RAM)
    mhz : of each seed; 0 of one that does not route
    paths : of the core, the worst, each of another pair of Components, at the median seed
    """

    design: str
    target: str
    config: dict[str, Any]
    multipliers: int
    slices: int
    luts: int
    carries: int
    registers: int
    memories: int
    lut_equivalents: int
    mhz: tuple[float, ...]
    paths: tuple[Worst, ...] = ()

    @property
    def a_multiplier(self) -> float:
        """LUT equivalents a multiplier."""
        return self.lut_equivalents / self.multipliers

    @property
    def median_mhz(self) -> float | None:
        return median(self.mhz) if self.mhz else None

    @property
    def gmacs(self) -> float | None:
        """10⁹ products a second."""
        return None if self.median_mhz is None else self.multipliers * self.median_mhz / 1000

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        mhz = [round(one, 2) for one in self.mhz]
        return {
            **asdict(self),
            "mhz": mhz,
            "fmax_mhz": {"min": min(mhz), "median": median(mhz), "max": max(mhz)} if mhz else None,
            "lut_equivalents_a_multiplier": round(self.a_multiplier, 2),
            "gmacs": None if self.gmacs is None else round(self.gmacs, 2),
        }


def title(config: Config) -> str:
    """A configuration in a few words."""
    soft = f", {config.soft_rows} soft rows" if config.soft_rows else ""
    return f"{config.rows}×{config.cols}, N = {config.n}, M = {config.m}, {config.pe}{soft}"


def design_of(config: Config, target: Target, seeds: tuple[int, ...], *, engine: bool = False) -> Design:
    """What is measured of a configuration: of an StaConfig the core between shift registers, else the array, or with
    `engine` the engine, between shift registers as well.

    Says on stderr that its Verilog is written, which takes some seconds.

    Raises
    ------
    InputError : the operands of the array take more block RAM than there is.
    """
    placed = target.family is ECP5
    about = f"{'engine of ' * engine}{title(config)} for {target.name}"
    core = isinstance(config, StaConfig)
    if not core and not engine:
        _check_memories(config, target)
    say(f"Verilog of {about} …")
    mapper: tuple[str, ...] = ()
    if core or engine:
        modules = emit_modules(CoreHarness(config), name="pins", prefix="sta" if core else "engine")
        mhz, placer = CORE_MHZ, CORE_PLACER
        if core and placed and config.pe == "ecp5" and not config.soft_rows:
            mapper = (CORE_MAPPER,)
    else:
        modules = emit_modules(ArrayHarness(config, target.family.name), name="array_harness")
        mhz, placer = ARRAY_MHZ, ()
    placement = placement_of(config, target.device, room=core or engine)
    if placement and config.soft_rows:  # most flip-flops are taken: no place is legal where some get a LUT each
        placement = replace(placement, own_luts=False)
    return Design(
        title=about,
        verilog="\n".join(modules.values()),
        script=target.script(next(iter(modules)), *mapper),
        place=target.place(ROUTER, mhz, *placer) if placed else None,
        placement=placement,
        delays=core,
        seeds=seeds if placed else (),
    )


def _check_memories(config: Config, target: Target) -> None:
    if target.family is ECP5 and target.block_rams is not None:
        widths = [row_step(config).size] * config.rows + [column_step(config).size] * config.cols
        needed = sum(ceil_div(width, BLOCK_WIDTH) for width in widths)
        if needed > target.block_rams:
            raise InputError(
                f"operands of {config.rows}x{config.cols} PEs with groups of {config.m} need {needed} block RAMs, "
                f"must be at most the {target.block_rams} of {target.name}"
            )


def report(config: Config, target: Target, measured: Measured, *, engine: bool = False) -> Report:
    """What was measured, counted as the target's family counts.

    Raises
    ------
    ToolError : cells of kinds that the family does not know.
    """
    family, cells = target.family, measured.cells
    if unknown := {kind: number for kind, number in sorted(cells.items()) if not matches(kind, family.known)}:
        kinds = ", ".join(f"{number} {kind}" for kind, number in unknown.items())
        raise ToolError(
            f"synthesis for {target.name} left {kinds}: kinds of cells that nmgen does not know how to count"
        )
    taken = {kind: luts_of(kind, family.luts) * number for kind, number in cells.items()}
    carries = count(cells, family.carries)
    return Report(
        design="core" if isinstance(config, StaConfig) else "engine" if engine else "array",
        target=target.name,
        config=asdict(config),
        multipliers=config.rows * config.cols * config.n,
        slices=count(cells, family.multipliers),
        luts=sum(taken.values()) - sum(taken[kind] for kind in cells if matches(kind, family.carries)),
        carries=carries,
        registers=count(cells, family.registers),
        memories=count(cells, family.memories),
        lut_equivalents=sum(taken.values()),
        mhz=measured.mhz,
        paths=_worst(measured),
    )


def _worst(measured: Measured) -> tuple[Worst, ...]:
    """The worst paths at the median of the seeds that route, one a pair of Components, where delays are kept."""
    by_speed = [folder for mhz, folder in sorted(zip(measured.mhz, measured.placed, strict=True)) if mhz]
    if not by_speed or not (delays := by_speed[(len(by_speed) - 1) // 2] / DELAYS).exists():
        return ()
    return tuple(
        Worst(ns=round(path.ns, 2), logic_ns=round(path.logic_ns, 2), through=tuple(passed(path)))
        for path in worst_by_component(read_paths(delays), WORST)
    )


def matches(kind: str, patterns: Iterable[str]) -> bool:
    """Whether a kind of cell is one of these; a pattern that ends in * stands for all that begin so."""
    return any(kind.startswith(one[:-1]) if one.endswith("*") else kind == one for one in patterns)


def count(cells: Mapping[str, int], patterns: Sequence[str]) -> int:
    """Cells of the kinds that match."""
    return sum(number for kind, number in cells.items() if matches(kind, patterns))


def luts_of(kind: str, luts: Mapping[str, int]) -> int:
    """That a cell of a kind takes."""
    return next((number for pattern, number in luts.items() if matches(kind, [pattern])), 0)


def speed(found: Report) -> str:
    """Its MHz: least, median, most; – where nothing was placed, or that seed does not route."""
    if found.median_mhz is None:
        return "–"
    least, middle, most = (f"{mhz:.1f}" if mhz else "–" for mhz in (min(found.mhz), found.median_mhz, max(found.mhz)))
    return f"{least} / **{middle}** / {most}"
