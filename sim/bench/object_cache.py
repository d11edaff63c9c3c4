"""Compiles Verilator's own run-time library once instead of with every design: half the time of a small build.

Verilator's makefiles put it before the compiler's command: python object_cache.py FOLDER c++ … -c -o OUT IN.
Objects of the library depend on the command and on Verilator's files alone, and are kept in FOLDER under a hash of
these. Everything else is compiled as if this were not there.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def main(folder: Path, command: list[str]) -> int:
    source = Path(command[-1])
    if not source.name.startswith("verilated"):
        return subprocess.run(command, check=False).returncode
    target = Path(command[command.index("-o") + 1])
    digest = hashlib.sha256("\0".join(command).encode())
    for path in sorted(source.parent.glob("verilated*")):
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\0".encode())
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
