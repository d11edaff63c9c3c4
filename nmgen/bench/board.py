"""The encoder's image for a ULX3S: what it takes, its clocks over seeds, and MiniLM on it: ``make bench-board``.

The image is synthesised, placed and routed as `nmgen build` does. MiniLM runs on its Verilog, with the model of its
SDRAM, through link and driver (`nmgen board-sim`); every result is compared with the golden machine's. What the tools
make and what runs gave is kept in build/bench-board/, so a bench that was stopped goes on where it was. The tables go
into docs/results.md.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nmgen.bench.command import bench
from nmgen.bench.core_area import HAS, by_parts, resources
from nmgen.bench.cpu_time import KINDS_OF_CPU
from nmgen.bench.sections import replace_section
from nmgen.commands.build import MEMORY_MHZ, MHZ
from nmgen.console.ending import process
from nmgen.console.progress import say, stages
from nmgen.fpga.bitstream import find_board
from nmgen.fpga.encoder_image import Clock, clocks_of, design_of
from nmgen.fpga.place_and_route import CELLS, Design, Measured, Store, measure
from nmgen.fpga.place_and_route import seeds as seeds_of
from nmgen.fpga.report import title
from nmgen.fpga.tools import find_tool, tool_version
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from boards.encoder import EncoderConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench-board"
BOARD = "ulx3s-85f"
SEEDS = 3
RAN = "run.json"
NUMBER = "_#"  # stands for the numbers of alike parts
WITHIN = ("sta", "memory", "link")  # parts of the image that are told with their own


@dataclass(frozen=True)
class Image:
    """An accelerator on the board, and the pattern of the weights that it is for."""

    config: StaConfig
    pattern: str


@dataclass(frozen=True)
class Load:
    """What is run: sentences of so many tokens, all in one program."""

    tokens: int
    sentences: int = 1

    @property
    def title(self) -> str:
        return f"{self.sentences} × {self.tokens}" if self.sentences > 1 else f"{self.tokens}"


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """Of an image: of each seed its clocks by name, none of one that does not route."""

    seeds: tuple[dict[str, Clock], ...]

    def possible(self, name: str) -> list[float]:
        """MHz of each seed, 0 of one that does not route."""
        return [clocks[name].possible if clocks else 0.0 for clocks in self.seeds]

    @property
    def met(self) -> int:
        """Seeds with which every clock is as asked."""
        return sum(bool(one) and all(clock.possible >= clock.asked for clock in one.values()) for one in self.seeds)


IMAGES = (
    Image(StaConfig(device="LFE5U-85F", pe="ecp5"), "2:8"),
    # Weights of 16 lanes take 16 block RAMs more, which a smaller store makes room for.
    Image(StaConfig(device="LFE5U-85F", pe="ecp5", m=16, store_words=1536), "1:8"),
)
LOADS = (Load(128), Load(32), Load(32, sentences=4))


def encoder_config(config: StaConfig) -> "EncoderConfig":
    """Of an image of an accelerator, as `nmgen build` makes it."""
    from boards.encoder import EncoderConfig
    from boards.link import BAUD
    from boards.parts.sdram.chips import common

    board = find_board(BOARD)
    return EncoderConfig(
        sta=config,
        chip=common(board.memories),
        oscillator_mhz=board.oscillator_mhz,
        core_mhz=MHZ["encoder"],
        memory_mhz=MEMORY_MHZ,
        baud=BAUD,
        flash_offset=board.flash.offset if board.flash else None,
    )


def command(image: Image) -> str:
    """That builds it: all else is as it is unless told otherwise."""
    words = image.config.store_words
    store = "" if words == StaConfig().store_words else f" --store-words {words}"
    return f"`nmgen build {BOARD} --image encoder --m {image.config.m}{store}`"


def clocks(measured: Measured, config: "EncoderConfig") -> Clocks:
    """Of each seed of an image."""
    placements = zip(measured.mhz, measured.placed, strict=True)
    return Clocks(seeds=tuple(clocks_of(replace(measured, mhz=(mhz,), placed=(at,)), config) for mhz, at in placements))


def cycles(image: Image, load: Load) -> int:
    """That the core takes for a load on the simulated board.

    Raises
    ------
    InputError : a result is not the golden machine's
    """
    from boards.parts.sdram.chips import CHIPS
    from nmgen.bench.core import parameters
    from nmgen.families.bert.compiler import compile_encoder
    from nmgen.simulate.board_sim import BoardSimulation

    board = find_board(BOARD)
    with stages() as stage:
        simulation = BoardSimulation(
            board,
            image.config,
            CHIPS[board.memories[0]],
            core_mhz=MHZ["encoder"],
            memory_mhz=MEMORY_MHZ,
            folder=FOLDER,
            say=stage,
        )
        stage("compiling")
        program = compile_encoder(parameters(image.pattern), image.config, (load.tokens,) * load.sentences)
    key = [simulation.key, sha256(program.memory).hexdigest()]

    def run(folder: Path) -> None:
        import numpy as np

        from nmgen.driver.board import connected
        from nmgen.driver.places import places_of
        from sim.golden.machine import Machine

        rng = np.random.default_rng(load.tokens)
        vocabulary = program.about["vocabulary"]
        memory = program.image([rng.integers(vocabulary, size=one.tokens).tolist() for one in program.sequences])
        say(f"{title(image.config)}, {image.pattern}, {load.title} tokens on the simulated board …")
        with TemporaryDirectory() as scratch:
            preload = Path(scratch) / "memory.bin"
            preload.write_bytes(places_of(program, CHIPS[board.memories[0]].bytes)[0])
            with simulation.started(preload) as running, connected(running.port) as connection:
                connection.load(program, loaded=True)
                ran = connection.run(program, memory)
        machine = Machine(image.config, memory, address=program.address)
        machine.finish()
        for name, found in ran.results.items():
            if not np.array_equal(found, program.result(name, machine.memory)):
                raise InputError(f"{name} is not the golden machine's: {title(image.config)}, {load.title} tokens")
        (folder / RAN).write_text(json.dumps({"cycles": ran.cycles}))

    folder, _ = Store(FOLDER / "runs").made(key, run)
    found: int = json.loads((folder / RAN).read_text())["cycles"]
    return found


def components(stat: Mapping[str, Any], top: str) -> list[tuple[str, dict[str, int]]]:
    """(name, resources) of each part of the image, those of WITHIN followed by their own; alike ones together."""
    rows = []
    for name, part in _parts(stat, top):
        rows.append((name, part))
        if name in WITHIN:
            rows += [(f"– {inner}", numbers) for inner, numbers in _parts(stat, f"{top}.{name}")]
    return rows


def _parts(stat: Mapping[str, Any], module: str) -> list[tuple[str, dict[str, int]]]:
    """Of a module, the largest first."""
    found: dict[str, Counter[str]] = {}
    counts: Counter[str] = Counter()
    for kind, number in stat["modules"][f"\\{module}"]["num_cells_by_type"].items():
        if f"\\{kind}" not in stat["modules"]:
            continue
        name = kind.removeprefix(f"{module}.").partition("$")[0]
        head, _, last = name.rpartition("_")
        name = head + NUMBER if head and last.isdigit() else name
        counts[name] += number
        for what, of_one in resources(stat, kind).items():
            found.setdefault(name, Counter())[what] += number * of_one
    rows = sorted(found.items(), key=lambda row: -row[1]["LUTs"])
    return [
        (f"{name} ×{counts[name]}" if counts[name] > 1 else name, {what: numbers[what] for what in HAS})
        for name, numbers in rows
        if any(numbers.values())
    ]


def section(
    images: Mapping[Image, tuple[Mapping[str, int], Clocks]],
    parts: Sequence[tuple[str, Mapping[str, int]]],
    ran: Mapping[tuple[Image, Load], int],
    cpu_ms: Mapping[tuple[Load, str], float],
    *,
    versions: Sequence[str],
    cpu: str,
) -> str:
    """Markdown of docs/results.md.

    Parameters
    ----------
    images : resources, and clocks
    parts : of the first image
    ran : cycles of the core
    cpu_ms : of a load, by kind of numbers
    """
    first = next(iter(images.values()))[1]
    names = list(next(one for one in first.seeds if one)) if any(first.seeds) else []
    alone = "" if len(images) == len(IMAGES) else f" (`python -m nmgen.bench.board --m {next(iter(images)).config.m}`)"
    asked = f"{MHZ['encoder']:g} MHz for the core and {MEMORY_MHZ:g} for the SDRAM"
    text = [
        f"`make bench-board` writes these tables{alone}; last run on {date.today().isoformat()},",
        f"{len(first.seeds)} seed{'s' * (len(first.seeds) > 1)}, with {' and '.join(versions)}. "
        f"Images of {' and '.join(map(command, images))}: asked for are {asked}.",
        "Clocks are least / **median** / most of the seeds, – of one that does not route.",
        "",
        _row(("image", *HAS, *(f"{name}, MHz" for name in names), "seeds that meet all")),
        "|---|" + "---:|" * (len(HAS) + len(names) + 1),
    ]
    for image, (has, of_seeds) in images.items():
        used = (f"{has[kind]:,} ({has[kind] / there:.0%})" for kind, there in HAS.items())
        speeds = (_speeds(of_seeds.possible(name)) for name in names)
        text.append(_row((title(image.config), *used, *speeds, f"{of_seeds.met} of {len(of_seeds.seeds)}")))
    text += ["", f"Its parts with {title(next(iter(images)).config)}, synthesised without flattening:", ""]
    text += [_row(("Component", *HAS)), "|---|" + "---:|" * len(HAS)]
    text += [_row((name, *(f"{part[kind]:,}" for kind in HAS))) for name, part in parts]
    text += [
        "",
        "**MiniLM on it, ids to embedding.** Cycles of the core are counted on the image's Verilog in simulation, with",
        "the model of its SDRAM, refreshes and the clocks asked for; bit-exact. Milliseconds are these over the median",
        "clock of the core. Nobody has run it on a physical board. Beside it torch on two threads of this machine,",
        f"dense, in the same run ({cpu}), the least of some runs.",
        "",
        _row(
            (
                *("tokens", "pattern", "image", "cycles", "ms", "sentences a second"),
                *(f"ms, torch {name}" for name in KINDS_OF_CPU.values()),
            )
        ),
        "|---|---|---|" + "---:|" * (3 + len(KINDS_OF_CPU)),
    ]
    for (image, load), taken in ran.items():
        mhz = median(images[image][1].possible("core")) if names else 0.0
        ms = taken / 1000 / mhz if mhz else None
        speed = ("–", "–") if ms is None else (f"{ms:.1f}", f"{1000 * load.sentences / ms:.0f}")
        torch = (f"{cpu_ms[load, kind]:.1f}" for kind in KINDS_OF_CPU)
        text.append(_row((load.title, image.pattern, f"M = {image.config.m}", f"{taken:,}", *speed, *torch)))
    return "\n".join(text)


def _speeds(mhz: Sequence[float]) -> str:
    return " / ".join([_mhz(min(mhz)), f"**{_mhz(median(mhz))}**", _mhz(max(mhz))])


def _mhz(value: float) -> str:
    return f"{value:.1f}" if value else "–"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def designs(images: Sequence[Image], seeds: tuple[int, ...]) -> list[Design]:
    """Each image, then the parts of the first."""
    made = [design_of(find_board(BOARD), encoder_config(image.config)) for image in images]
    placed = [replace(one, title=title(image.config), seeds=seeds) for image, one in zip(images, made, strict=True)]
    return [*placed, by_parts(placed[0])]


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-board", description=f"The encoder's image for {BOARD}.")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"of place and route ({SEEDS})")
    parser.add_argument("--m", type=int, choices=[image.config.m for image in IMAGES], help="only the image of that M")
    parser.add_argument("--jobs", type=int, metavar="N", help="tools that run at a time (as many as cores)")
    args = parser.parse_args(argv)
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"jobs is {args.jobs}, must be at least 1")
    chosen = [image for image in IMAGES if args.m in (None, image.config.m)]
    *measured, parts = measure(designs(chosen, seeds_of(args.seeds)), FOLDER / "kept", jobs=args.jobs)
    images = {
        image: (_has(one.cells), clocks(one, encoder_config(image.config)))
        for image, one in zip(chosen, measured, strict=True)
    }
    ran = {(image, load): cycles(image, load) for load in LOADS for image in chosen}

    from nmgen.bench.cpu_time import milliseconds, processor

    cpu_ms = {(load, kind): milliseconds(load.tokens, kind, load.sentences) for load in LOADS for kind in KINDS_OF_CPU}
    stat = json.loads((parts.synthesised / CELLS).read_text())
    versions = [tool_version(find_tool(program), program) for program in ("yosys", "nextpnr-ecp5")]
    rows = components(stat, "encoder.encoder")
    text = section(images, rows, ran, cpu_ms, versions=versions, cpu=processor())
    replace_section(ROOT / "docs" / "results.md", "board", text)
    print(f"docs/results.md, {FOLDER.relative_to(ROOT)}/")
    return 0


def _has(cells: Mapping[str, int]) -> dict[str, int]:
    """The kinds of HAS among the cells of a flat netlist."""
    return resources({"modules": {"\\flat": {"num_cells_by_type": cells}}}, "flat")


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-board")


if __name__ == "__main__":
    sys.exit(process(main, "bench-board"))
