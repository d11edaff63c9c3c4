"""What a design can be measured on: the boards, placed and routed, and families of FPGAs, synthesised only."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nmgen.console.options import AnyConfig, configuration_of
from nmgen.fpga.bitstream import check_multipliers
from nmgen.fpga.place_and_route import CELLS, NETLIST, VERILOG
from rtl.params import Config, InputError

if TYPE_CHECKING:
    from boards.board import Board


NOTE = "$scopeinfo"  # of yosys, where cells come from: takes nothing


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of FPGAs, as yosys sees it.

    A cell of a kind that is in none of its lists is an error (`nmgen.fpga.report.report`): another version of yosys
    maps to other cells, and what nobody counts would look like nothing.

    Attributes
    ----------
    name : tells them apart; of "ecp5" the harness of the array takes the block RAM as it is (`ArrayHarness`)
    synthesis : commands of yosys between reading and counting; {top} is the module
    luts : LUTs that a cell of a kind takes; a kind that ends in * stands for all that begin so
    carries : kinds of cells of a carry chain; one that takes LUTs stands in `luts` as well, and is counted among the
        LUT equivalents, not among the LUTs
    registers, memories, multipliers : kinds of cells that are counted as such
    free : kinds that count for nothing: pads, clocks, constants, what comes with a LUT or a multiplier
    """

    name: str
    synthesis: str
    luts: Mapping[str, int]
    carries: tuple[str, ...] = ()
    registers: tuple[str, ...]
    memories: tuple[str, ...]
    multipliers: tuple[str, ...] = ()
    free: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All kinds of cells that there may be."""
        return (NOTE, *self.luts, *self.carries, *self.registers, *self.memories, *self.multipliers, *self.free)


ECP5 = Family(
    name="ecp5",
    synthesis="synth_ecp5 -top {top}",
    luts={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
    carries=("CCU2C",),
    registers=("TRELLIS_FF",),
    memories=("DP16KD",),
    multipliers=("MULT18X18D",),
    free=("PFUMX", "L6MUX21", "ALU54B"),
)
ICE40 = Family(
    name="ice40",
    # Without keep, ice40_dsp of yosys 0.52 and 0.70 takes the register of a product into the adder behind another, and
    # forgets the multiplier before it: half of the sum is undefined.
    synthesis="setattr -set keep 1 */w:product_*\nsynth_ice40 -dsp -top {top}",
    luts={"SB_LUT4": 1},
    carries=("SB_CARRY",),
    registers=("SB_DFF*",),
    memories=("SB_RAM40_4K*",),
    multipliers=("SB_MAC16",),
)
GOWIN = Family(
    name="gowin",
    synthesis="synth_gowin -family gw2a -top {top}",
    luts={"LUT*": 1, "INV": 1, "ALU": 1, "RAM16SDP*": 4},
    carries=("ALU",),
    registers=("DFF*",),
    memories=("SPX9", "SP", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9"),
    multipliers=("MULT9X9", "MULT18X18", "MULT36X36", "MULTALU*", "MULTADDALU*"),  # none of yosys 0.52
    free=("MUX2_LUT*", "IBUF", "OBUF", "GND", "VCC"),
)
XILINX = Family(
    name="xilinx",
    synthesis="synth_xilinx -family xc7 -flatten -top {top}",
    luts={"LUT*": 1, "SRL*": 1, "INV": 1}
    | {"RAM32M": 4, "RAM64M": 4, "RAM64X1D": 2, "RAM128X1D": 4, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4},
    carries=("CARRY4",),
    registers=("FD*",),
    memories=("RAMB18E1", "RAMB36E1"),
    multipliers=("DSP48E1",),
    free=("MUXF*", "IBUF", "OBUF", "BUFG", "GND", "VCC"),
)
GENERIC = Family(
    name="generic",
    # No FPGA: multipliers turn into LUTs, memories stay what they are. The commands are those of `synth` after its
    # label fine, but for abc: with abc9, which `synth` takes since yosys 0.70, logic behind an unknown cell is lost.
    synthesis="synth -flatten -lut 4 -top {top} -run begin:fine\n"
    "chtype -set memory_block t:$mem_v2\n"
    "opt -fast -full\n"
    "techmap\n"
    "opt -fast\n"
    "abc -lut 4\n"
    "opt -fast",
    luts={"$lut": 1},
    registers=("$_DFF*", "$_SDFF*"),
    memories=("memory_block",),
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a design is measured on.

    Attributes
    ----------
    device, package, speed : of the part that it is placed on; "" of what is only synthesised
    pe : kind of processing elements, unless told otherwise
    multipliers, block_rams : that there are; None where nobody asks
    """

    name: str
    title: str
    family: Family
    device: str = ""
    package: str = ""
    speed: str = ""
    pe: str = "portable"
    multipliers: int | None = None
    block_rams: int | None = None

    def script(self, top: str, *before: str) -> str:
        """What yosys does with VERILOG, after some commands: it writes CELLS and, of what is placed, NETLIST."""
        lines = [
            f"read_verilog {VERILOG}",
            *before,
            self.family.synthesis.format(top=top),
            f"tee -q -o {CELLS} stat -json",
        ]
        return "\n".join([*lines, *([f"write_json {NETLIST}"] if self.device else [])]) + "\n"

    def place(self, router: str, mhz: int, *more: str) -> tuple[str, ...]:
        """Arguments of nextpnr, which aims at a clock, and `more` of them; of a target with a device."""
        part = f"{DEVICES[self.device]} --package {self.package} --speed {self.speed}"
        return (*f"{part} --freq {mhz} --router {router} --lpf-allow-unconstrained".split(), *more)

    def check(self, config: Config) -> None:
        """InputError where the processing elements are none of this family's, or too many."""
        if config.pe == "ecp5" and self.family is not ECP5:
            raise InputError(f"pe is ecp5, {self.name} is {self.title}: must be portable")
        if config.pe == "ecp5" and config.device not in ("", self.device):
            raise InputError(f"device is {config.device}, {self.name} has an {self.device}")
        check_multipliers(config, self.multipliers, self.name)


DEVICES = {  # → the option of nextpnr-ecp5
    "LFE5U-25F": "--25k",
    "LFE5U-45F": "--45k",
    "LFE5U-85F": "--85k",
}

FPGA_FAMILIES = {
    target.name: target
    for target in (
        Target(name="ice40-up5k", title="an iCE40 UP5K", family=ICE40, multipliers=8, block_rams=30),
        Target(name="gowin", title="a Gowin GW2A", family=GOWIN),
        Target(name="xilinx", title="a 7 series of Xilinx", family=XILINX),
        Target(name="generic", title="no FPGA", family=GENERIC),
    )
}


def find_target(name: str) -> Target:
    """The board or family of that name.

    Raises
    ------
    InputError : unknown, or the packages for boards are not installed.
    """
    if name in FPGA_FAMILIES:
        return FPGA_FAMILIES[name]
    try:
        from boards.known import BOARDS
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is missing: pip install 'nmgen[build]'") from None
    if name not in BOARDS:
        raise InputError(f"board is {name!r}, must be one of {', '.join([*BOARDS, *FPGA_FAMILIES])}")
    return of_board(BOARDS[name])


def of_board(board: "Board") -> Target:
    """A board's FPGA, as a target."""
    return Target(
        name=board.name,
        title=board.title,
        family=ECP5,
        device=board.device,
        package=board.package,
        speed=board.speed,
        pe=board.pe,
        multipliers=board.multipliers,
        block_rams=board.block_rams,
    )


def configuration_for(args: argparse.Namespace, kind: type[AnyConfig], target: Target) -> AnyConfig:
    """The configuration that the flags describe, on a target.

    Where neither --pe nor a file says what processing elements are made of, the target does; those of DSP slices get
    places in its device.

    Raises
    ------
    InputError : as configuration_of and Target.check.
    """
    if args.pe is None and args.config is None:
        args.pe = target.pe
    config = configuration_of(args, kind)
    target.check(config)
    return replace(config, device=target.device) if config.pe == "ecp5" else config
