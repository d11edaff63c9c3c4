"""The image that runs programs, for a board: from its Verilog to a bitstream, by the flow of `nmgen report`."""

import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boards.parts.pll import OUTPUTS
from nmgen.console.files import written_whole
from nmgen.fpga.bitstream import check_cells
from nmgen.fpga.block_ram import memories
from nmgen.fpga.floorplan import placement_of
from nmgen.fpga.place_and_route import CHIP, NETLIST, PLACED, Design, Measured, measure
from nmgen.fpga.report import CORE_PLACER
from nmgen.fpga.router_watchdog import ROUTER
from nmgen.fpga.targets import of_board
from nmgen.fpga.tools import ToolError, find_tool, run_tool
from rtl.array.grid import ELEMENT
from rtl.array.instances import BANK
from rtl.params import InputError
from rtl.sta.instances import SOFTMAX, STORE

if TYPE_CHECKING:
    from boards.board import Board
    from boards.encoder import EncoderConfig

NAME = "encoder"  # of the design, and of its files
# A block RAM's word that is read while it is written may be anything, as in the Verilog of `nmgen generate`.
NO_CHECK = "setattr -set no_rw_check 1 m:*"
# The rows of the array pass the same marks, one a cycle behind the other. Where nothing is reset, yosys takes registers
# of the same value for one: 15 for the `first` of 64 elements, from one edge of the chip to the other. Those of the
# elements, of each row's softmax and of its bank of the store are kept.
MARKED = [name.replace("{}", "*") for name in (ELEMENT, SOFTMAX, f"{STORE}.{BANK}")]
MARKS = [f"*.{name}/w:{mark}_*" for name in MARKED for mark in ("valid", "first", "last", "keep")]
REGISTERS = "t:$dff t:$dffe t:$sdff %u %u"
KEEP_MARKS = f"proc\nsetattr -set keep 1 {' '.join(MARKS)}{' %u' * (len(MARKS) - 1)} %ci1:+[Q] {REGISTERS} %i"
CLOCKS = ("core", "memory", "memory's pin")  # outputs of the PLL


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock in MHz: what was asked for, and the fastest that the router's timing allows."""

    asked: float
    possible: float


@dataclass(frozen=True, kw_only=True)
class EncoderBuild:
    """A bitstream, and how good it is.

    Attributes
    ----------
    config, chip : of the accelerator; the memory's name
    clocks : by name
    seed, tried : of place and route, the best one; of each, by how much its slowest clock is faster than asked
    cells : in the netlist, by kind
    program : command that loads the bitstream
    """

    board: str
    title: str
    config: dict[str, Any]
    chip: str
    bitstream: str
    clocks: dict[str, Clock]
    seed: int
    tried: dict[int, float]
    cells: dict[str, int]
    seconds: float
    program: str
    baud: int

    @property
    def timing_met(self) -> bool:
        return all(clock.possible >= clock.asked for clock in self.clocks.values())

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "timing_met": self.timing_met}


def design_of(board: "Board", config: "EncoderConfig") -> Design:
    """The image as what is measured, without seeds. Takes some seconds."""
    from boards.encoder_image import files_of

    files = files_of(board, config, NAME)
    target = of_board(board)
    # Without the core's CORE_MAPPER: a quarter fewer LUTs, and fast enough for the clocks that are asked for.
    return Design(
        title=f"{NAME} for {board.name}",
        verilog=files[".v"],
        script=target.script(NAME, NO_CHECK, KEEP_MARKS),
        place=target.place(ROUTER, round(config.core_mhz), *CORE_PLACER),
        placement=placement_of(config.sta, board.device, room=True),
        delays=True,
        pins=files[".lpf"],
    )


def check_memories(board: "Board", config: "EncoderConfig") -> None:
    """InputError where the memories take more block RAM than the FPGA has: minutes before synthesis tells."""
    from boards.encoder_image import EncoderImage

    taken = sum(shape.block_rams for shape in memories(EncoderImage(board, config), board.platform()))
    if taken > board.block_rams:
        raise InputError(
            f"the design takes {taken} block RAMs, must be at most the {board.block_rams} of {board.name}; "
            f"fewer with a smaller store_words, {config.sta.store_words} now, max_k, {config.sta.max_k}, "
            f"or hidden, {config.sta.hidden}"
        )


def clocks_of(measured: Measured, config: "EncoderConfig") -> dict[str, Clock]:
    """The clocks of the one placement that was measured; none if it does not route.

    Raises
    ------
    ToolError : the router does not tell of each.
    """
    (mhz,), (placed,) = measured.mhz, measured.placed
    if not mhz:
        return {}
    fmax = json.loads((placed / PLACED).read_text())["fmax"]
    found = {net.removeprefix("$glbnet$"): clock["achieved"] for net, clock in fmax.items()}
    asked = (config.core_mhz, config.memory_mhz, config.memory_mhz)
    clocks: dict[str, Clock] = {}
    for name, wanted, nets in zip(CLOCKS, asked, _outputs(measured.synthesised / NETLIST), strict=True):
        if not (told := nets & found.keys()):
            raise ToolError(f"place and route tells of no clock of {name}, but of {', '.join(found)}")
        clocks[name] = Clock(asked=wanted, possible=min(found[net] for net in told))
    return clocks


def _outputs(netlist: Path) -> list[set[str]]:
    """The names of the net behind each output of the PLL and its gate: nextpnr takes any of them."""
    modules = json.loads(netlist.read_text())["modules"].values()
    top = next(module for module in modules if int(module["attributes"].get("top", "0"), 2))
    (pll,) = (cell for cell in top["cells"].values() if cell["type"] == "EHXPLLL")
    connections = [cell["connections"] for cell in top["cells"].values() if cell["type"] == "DCCA"]
    gated = {one["CLKI"][0]: one["CLKO"] for one in connections}
    bits = [gated[pll["connections"][output][0]] for output in OUTPUTS[: len(CLOCKS)]]
    return [{name for name, net in top["netnames"].items() if net["bits"] == bit} for bit in bits]


def build_encoder(board: "Board", config: "EncoderConfig", out: Path, *, seeds: Iterable[int]) -> EncoderBuild:
    """Build the image into out: `encoder.bit`, `build.json`, and what the tools made in `kept`.

    Progress goes to stderr.

    Parameters
    ----------
    seeds : of place and route, tried until every clock is met; else the best is kept

    Raises
    ------
    InputError : a tool is missing; the design takes more block RAM or multipliers than there are
    ToolError : a tool failed before any seed had a bitstream, or no seed routes
    """
    packer = find_tool("ecppack")
    begun = time.monotonic()
    tried: dict[int, float] = {}
    best: tuple[float, int, Measured] | None = None
    check_memories(board, config)
    design = design_of(board, config)
    kept = out / "kept"
    (synthesised,) = measure([design], kept, jobs=1)
    check_cells(board, synthesised.cells)
    for seed in seeds:
        try:
            (measured,) = measure([replace(design, seeds=(seed,))], kept, jobs=1)
        except ToolError:
            if best is None:
                raise
            break  # what an earlier seed has is kept
        clocks = clocks_of(measured, config)
        tried[seed] = min((clock.possible / clock.asked for clock in clocks.values()), default=0.0)
        if clocks and (best is None or tried[seed] > best[0]):
            best = tried[seed], seed, measured
        if tried[seed] >= 1:
            break
    if best is None:
        raise ToolError(f"none of the seeds {', '.join(map(str, tried))} routes on {board.name}")
    _, seed, measured = best
    with written_whole(out / f"{NAME}.bit") as bitstream:
        shutil.copyfile(measured.placed[0] / CHIP, bitstream.parent / CHIP)
        run_tool([packer, "--compress", CHIP, bitstream.name], bitstream.parent, "bitstream", log="ecppack.log")
        result = EncoderBuild(
            board=board.name,
            title=board.title,
            config=asdict(config.sta),
            chip=config.chip.name,
            bitstream=str(out / bitstream.name),
            clocks=clocks_of(measured, config),
            seed=seed,
            tried={number: round(ratio, 3) for number, ratio in tried.items()},
            cells=measured.cells,
            seconds=round(time.monotonic() - begun, 1),
            program=board.program.format(bit=out / bitstream.name),
            baud=config.baud,
        )
        (bitstream.parent / "build.json").write_text(json.dumps(result.facts(), indent=2) + "\n")
        os.replace(bitstream.parent / "build.json", out / "build.json")
    return result
