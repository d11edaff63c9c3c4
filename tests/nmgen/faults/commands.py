"""Every command on small input, in a folder of its own, and what may be found there when it was stopped."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nmgen.cli import main
from nmgen.fpga.tools import TOOLS
from pruning.files.artefact import save
from rtl.sta.params import StaConfig
from tests.nmgen.encoders import artefact
from tests.nmgen.tools import pretend
from tests.pruning.samples import random_layer, write_model

ENGINE = "--n 1 --m 4 --rows 1 --cols 1 --port-bytes 4 --max-tokens 4 --max-k 32"
STA = StaConfig(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=64, hidden=16, store_words=128)
PROGRAM = " ".join(f"--{name.replace('_', '-')}={getattr(STA, name)}" for name in StaConfig.__dataclass_fields__)
TEXT = "".join(f"the fox crossed {'a river ' * (i % 3)}{'? ' * (i // 3)}.\n" for i in range(12))


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes
    ----------
    line : in a folder that `prepare` has filled
    kept : patterns of files that stay though it was stopped: what the next run goes on with
    """

    line: str
    kept: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return self.line.split()


# Those that start no other program.
ALONE = {
    "generate": Command(f"generate {ENGINE} -o out"),
    "generate again": Command(f"generate {ENGINE} --max-tokens 2 -o rtl"),
    "pack": Command("pack W.npy --pattern 2:8 -o out/A.safetensors"),
    "inspect": Command("inspect A.safetensors"),
    "compile": Command(f"compile A.safetensors --seq 7,5 {PROGRAM} -o out/P.nmp"),
    "disassemble": Command("disassemble P.nmp"),
    "estimate": Command("estimate P.nmp"),
    "evaluate": Command("evaluate A.safetensors --sts p.tsv"),
    "flash": Command("flash P.nmp -o out/P.flash"),
    "load": Command("load P.nmp --port ../port"),
    "run": Command("run P.nmp --port ../port --text fox a --output out/y.npy"),
    "boards": Command("boards --port ../port"),
    "prune": Command("prune m --patterns 2:8 --calibrate text.txt -o out"),
    "prune layers": Command("prune m --layers all --patterns 2:8 --sentences text.txt --tokens 4 -o out"),
    "train": Command(
        "prune m --data text.txt --patterns 2:8 --steps 2 --batch 4 -o out",
        ("out/run/*", "out/run", "out", "out/accuracy.png"),
    ),
}

# Those that do; here of programs that hang, with a child of their own.
HANGING = {
    "simulate": Command("simulate P.nmp --text fox a --simulator icarus --rtl rtl-sta --build b", ("b", "b/icarus-*")),
    "simulate a layer": Command(
        "simulate L.safetensors --layer fc --input x.npy --output out/y.npy --simulator icarus --rtl rtl --build b",
        ("b", "b/icarus-*"),
    ),
    "build": Command(f"build ulx3s-85f {ENGINE} -o out"),
    "report": Command(f"report generic {ENGINE} --seeds 1", ("build", "build/report")),
    "board-sim": Command("board-sim ulx3s-85f --preload P.nmp --build b"),
}


def prepare(folder: Path) -> None:
    """Fill a folder with what the commands read."""
    whole = artefact(hidden=16, heads=2, inner=24, layers=1, pattern="2:8", classes=3)
    save(folder / "A.safetensors", whole.layers.values(), whole.model)
    save(folder / "L.safetensors", [random_layer(1, 3, 8, 1, 4)])
    np.save(folder / "W.npy", np.eye(4, 16, dtype=np.int8))
    np.save(folder / "x.npy", np.ones((2, 8), np.int8))
    write_model(folder / "m")
    (folder / "text.txt").write_text(TEXT)
    (folder / "p.tsv").write_text("".join(f"{i}\tfox\tfox {'a ' * i}\n" for i in range(5)))
    (folder / "rtl-sta").mkdir()
    (folder / "rtl-sta" / "top.v").write_text("module top; endmodule\n")  # which only programs that hang are given
    manifest = {"kind": "sta", "parameters": asdict(STA), "top": "top", "files": ["top.v"]}
    (folder / "rtl-sta" / "manifest.json").write_text(json.dumps(manifest))
    before = Path.cwd()
    os.chdir(folder)
    try:
        for line in (f"compile A.safetensors --seq 7,5 {PROGRAM} -o P.nmp", f"generate {ENGINE} -o rtl"):
            assert main(line.split()) == 0
    finally:
        os.chdir(before)


def refill(folder: Path, prepared: Path) -> None:
    """Make a folder what prepare has made of another."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(prepared, folder, dirs_exist_ok=True)


def hanging(folder: Path, environment: dict[str, str]) -> None:
    """Programs that begin another, tell of it in the file folder/pid, and hang."""
    folder.mkdir()
    for program in ("iverilog", "vvp", "verilator", *TOOLS):
        # Bytes of a number, so that no half of it is read.
        pretend(folder, program, f"sleep 600 & echo $! > {folder}/now; mv {folder}/now {folder}/pid; wait")
    environment |= {variable: str(folder / program) for program, (variable, _) in TOOLS.items()}
    environment["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, by path: of files their bytes, of folders none."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
        if "pid" not in path.name
    }


# --- steps -----------------------------------------------------------------------------------------------------------

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp")
_told: list[Callable[[bool], None]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _told:
        return
    if event == "open":
        path, _, flags = arguments
        # Of the test's own files: what is imported, is so but once.
        if isinstance(path, str | bytes) and os.path.abspath(os.fsdecode(path)).startswith(str(Path.cwd().parent)):
            _told[0](bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
    elif event in CHANGES:
        _told[0](False)


sys.addaudithook(_audit)


@contextmanager
def steps(act: Callable[[int, bool], None]) -> Iterator[None]:
    """Call act before each step in which this process opens or changes a file: its number, and whether it is opened to
    be written to."""
    count = 0

    def tell(writes: bool) -> None:
        nonlocal count
        count += 1
        act(count, writes)

    _told.append(tell)
    try:
        yield
    finally:
        _told.clear()


def steps_of(command: Command) -> int:
    """How many steps a command has that ends as it should."""
    found = 0

    def count(number: int, _writes: bool) -> None:
        nonlocal found
        found = number

    with steps(count):
        assert main(command.words) == 0
    return found


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
