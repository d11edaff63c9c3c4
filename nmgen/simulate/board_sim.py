"""A board in simulation: the Verilog of its image and its SDRAM in Verilator, its UART behind a pseudo-terminal."""

import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil
from pathlib import Path

from boards.board import Board
from boards.encoder import EncoderConfig
from boards.encoder_image import files_of
from boards.parts.sdram.chips import SdramChip
from nmgen.console.files import written_whole
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim import board as models
from sim import ecp5 as primitives
from sim.bench.runner import MAKE_VARIABLES, check_simulator, find_verilator, keep_objects
from sim.process import children
from sim.process.interrupts import held

TIMES = ("rcd", "rp", "ras", "rc", "rrd", "rfc", "wr", "refi", "power_up")
VERILATOR = (
    *("--cc", "--exe", "--build", "--no-timing", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
    *("--x-initial", "unique", "--x-assign", "unique"),
    *("--top-module", "board", "-Mdir", "."),
)
FLASH_NETS = {"cs": "flash_cs", "copi": "flash_copi", "cipo": "flash_cipo", "hold": "", "wp": ""}
CYCLES_A_BIT = 4  # of the UART in simulation: a real one would take most of the time


def parameters(chip: SdramChip) -> dict[str, int]:
    """Of the module sdram_chip: its times are in ps."""
    times = {f"T_{name.upper()}": round(1000 * getattr(chip, f"t_{name}")) for name in TIMES}
    return {
        "ROW_BITS": chip.row_bits,
        "COLUMN_BITS": chip.column_bits,
        "T_CK": int(1e6 / chip.mhz_max),
        **times,
        "MRD": chip.mrd,
    }


def half_period(mhz: float) -> int:
    """ps; rounded up, so that no clock is faster than told."""
    return ceil(5e5 / mhz)


def pins_of(board: Board) -> dict[str, str]:
    """Ports of the image, as amaranth-boards names them, and the nets of `board.v` that they are at."""
    memory = ("clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm", "dq")
    return {
        f"{board.platform().default_clk}_0__io": "clk",
        board.rx.port: "rx",
        board.tx.port: "tx",
        **{pin.port: f"led_{name}" for name, pin in board.leds.items()},
        **{replace(board.flash.pin, part=part).port: net for part, net in FLASH_NETS.items() if board.flash},
        "sdram_0__clk__io": "memory_clk",
        **{f"sdram_0__{name}__io": name for name in memory},
    }


class BoardSimulation:
    """The program that simulates a board; built once for each configuration, in a folder below `folder`.

    Parameters
    ----------
    board : that has the pins
    config, chip, core_mhz, memory_mhz : of the image
    say : gets what is done now

    Attributes
    ----------
    key : of all that it is made of

    Raises
    ------
    InputError : Verilator is missing, or cannot build it
    """

    def __init__(
        self,
        board: Board,
        config: StaConfig,
        chip: SdramChip,
        *,
        core_mhz: float,
        memory_mhz: float,
        folder: Path,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        check_simulator("verilator")
        baud = round(1e6 * core_mhz / CYCLES_A_BIT)
        image = EncoderConfig(
            sta=config,
            chip=chip,
            oscillator_mhz=board.oscillator_mhz,
            core_mhz=core_mhz,
            memory_mhz=memory_mhz,
            baud=baud,
            flash_offset=board.flash.offset if board.flash else None,
            simulated=True,
        )
        self._flash_offset = image.flash_offset
        self._clocks = [
            f"+half_core={half_period(core_mhz)}",
            f"+half_chip={half_period(memory_mhz)}",
            f"+step={round(1e6 / memory_mhz / image.phases)}",
        ]
        say("Verilog")
        text = files_of(board, image, "image")[".v"]
        sources = [models.BOARD, models.PADS, models.SDRAM_CHIP, models.FLASH, models.HARNESS]
        defines = {
            "CHIP": ", ".join(f".{name}({value})" for name, value in parameters(chip).items()),
            "BOARD_PINS": ", ".join(f".{port}({net})" for port, net in pins_of(board).items()),
        }
        made_of = [
            *_version(),
            *VERILATOR,
            *MAKE_VARIABLES,
            text,
            *defines.values(),
            *(path.read_text() for path in (*sources, primitives.CELLS)),
        ]
        self.key = sha256("\0".join(made_of).encode()).hexdigest()[:16]
        self._folder = folder / f"board-{self.key}"
        self._program = self._folder / "Vboard"
        if not self._program.exists():
            say("Verilator")
            self._build(text, defines, sources)

    def _build(self, text: str, defines: dict[str, str], sources: list[Path]) -> None:
        """In a folder of its own, so that several may build the same at a time; what runs is kept."""
        kept = self._folder.with_suffix(".log")  # of a build that failed
        with written_whole(self._folder, replace=True) as scratch:
            scratch.mkdir()
            files = [*sources, scratch / "image.v"]
            files[-1].write_text(text)
            command = [
                str(find_verilator()),
                *VERILATOR,
                *("-MAKEFLAGS", shlex.join([*MAKE_VARIABLES, keep_objects(self._folder.parent)])),
                *(f"-D{name}={value}" for name, value in defines.items()),
                *(str(path.resolve()) for path in (*files, *primitives.models(files))),
            ]
            log = scratch / "verilator.log"
            with log.open("wb") as output:
                status = children.run(command, folder=scratch, output=output)
            if status:
                children.check_room(scratch)
                log.replace(kept)
                raise InputError(f"verilator cannot build the board: see {kept}")
            for path in scratch.iterdir():
                if path.name != self._program.name:
                    path.unlink()
        kept.unlink(missing_ok=True)

    @contextmanager
    def started(
        self,
        preload: Path | None = None,
        flash: Path | None = None,
        *,
        speed: bool = False,
        arguments: Sequence[str] = (),
    ) -> Iterator["RunningBoard"]:
        """The board at work, to the end of the block.

        Parameters
        ----------
        preload : a file of bytes that are in the memory once it can be used
        flash : a file that lies in the board's flash, see `nmgen flash`
        speed : a line `cycles N busy M` of output every second, which has to be read
        arguments : more of the program's, see `sim/board/board.cpp`

        Raises
        ------
        InputError : it ends before it has a port
        """
        command = [str(self._program.resolve()), *self._clocks, f"+bit={CYCLES_A_BIT}", *arguments]
        if preload:
            command.append(f"+preload={preload}")
        if flash and self._flash_offset is not None:
            command += [f"+flash={flash}", f"+flash_at={self._flash_offset}"]
        if speed:
            command.append("+speed")
        child = None
        try:
            with held():
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,  # it ends when this does: so it does not outlive a command that is killed
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                )
            assert child.stdout
            port = child.stdout.readline().strip()
            if not port.startswith("/"):
                raise InputError(f"the simulated board does not start: {port or ending(child.wait())}")
            yield RunningBoard(port, child)
        finally:
            if child is not None:
                with held(), child:  # which closes its pipes
                    child.kill()


def _version() -> tuple[str, str]:
    """Which Verilator builds it, and what that says of its version."""
    program = str(find_verilator())
    said = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return program, said.stdout


@dataclass(frozen=True)
class RunningBoard:
    """A simulated board. port : name of the pseudo-terminal of its UART"""

    port: str
    process: "subprocess.Popen[str]"

    def lines(self) -> Iterator[str]:
        """What it says, until it ends: its speed, its LEDs, or which rule of the SDRAM was broken, `sdram: …`."""
        assert self.process.stdout
        for line in self.process.stdout:
            yield line.strip()


def ending(status: int) -> str:
    """How a process ended, by its exit status, negative of a signal."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
