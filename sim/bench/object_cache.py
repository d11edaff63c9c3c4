"""Compiles what designs share once instead of with every design: half the time of a small build.

Verilator's makefiles put it before the compiler's command: python object_cache.py FOLDER c++ … -c -o OUT IN.
Objects of Verilator's run-time library depend on the command and on Verilator's files alone, that of cocotb's main
program also on the header of the top, which is the same for all designs in one bench. They are kept in FOLDER under a
hash of these. Everything else is compiled as if this were not there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

MAIN = "verilator.cpp"  # cocotb's
TOP_HEADER = "Vtop.h"  # in the folder of the build; all of a design that MAIN includes


def main(folder: Path, command: list[str]) -> int:
    source = Path(command[-1])
    if not source.name.startswith(("verilated", MAIN)):
        return subprocess.run(command, check=False).returncode
    target = Path(command[command.index("-o") + 1])
    digest = hashlib.sha256("\0".join(command).encode())
    library = next(Path(one.removeprefix("-I")) for one in command if (Path(one[2:]) / "verilated.h").exists())
    for path in [source, *sorted(library.glob("verilated*"))]:
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\0".encode())
    if source.name == MAIN:
        digest.update(Path(TOP_HEADER).read_bytes())
    kept = folder / f"{source.stem}-{digest.hexdigest()[:16]}.o"
    if not kept.exists():
        status = subprocess.run(command, check=False).returncode
        if status != 0:
            return status
        # In the folder of this build first, which goes when the build is stopped; several may be at this point.
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(shutil.copyfile(target, target.with_suffix(".kept")), kept)
    shutil.copyfile(kept, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
