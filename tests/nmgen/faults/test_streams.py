"""Standard streams that are closed, full or of another encoding, and arguments that are not UTF-8."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nmgen.cli import main
from nmgen.console.ending import CLEAR
from tests.nmgen.faults.commands import ALONE, HANGING, tree
from tests.nmgen.tools import pretend_all

LIGHT = ("pack", "inspect", "disassemble", "estimate")  # without torch
STREAMS = {
    # how: what a shell does, the exit status, what stderr says
    "stdout closed": (">&-", 0, ""),
    "stdout full": (">/dev/full", 2, "nmgen: stdout: No space left on device\n"),
    "stderr closed": ("2>&-", 0, ""),
    "stderr full": ("2>/dev/full", 0, ""),
    "all closed": ("<&- >&- 2>&-", 0, ""),
}


def run(line: str, streams: str = "", before: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command line, by a shell, in a process of its own."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "", **environment}
    command = f'{before}"{sys.executable}" -m nmgen {line} {streams}'
    return subprocess.run(
        ["sh", "-c", command], env=variables, capture_output=True, encoding="latin1", check=False, timeout=300
    )


def check(name: str, how: str) -> None:
    streams, status, said = STREAMS[how]
    before = tree(Path.cwd())
    done = run(ALONE[name].line, streams)
    progress = (
        "generating 1 x 1 processing elements ...\n" if "generate" in name and not streams.startswith("2") else ""
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == status
    if "prune" in name or name == "train":  # which say more of what they do
        assert done.stderr.endswith(said)
    else:
        assert done.stderr == progress * ("all" not in how) + said
    if "-o" in ALONE[name].words:
        assert tree(Path.cwd()) != before  # the work is done


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("name", ["pack", "inspect", "estimate"])
def test_streams(name: str, how: str) -> None:
    check(name, how)


@pytest.mark.nightly
@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("name", [name for name in ALONE if name not in ("pack", "inspect", "estimate")])
def test_streams_of_all_others(name: str, how: str) -> None:
    check(name, how)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("name", ["inspect", "disassemble"])  # by rich, and by print
def test_a_reader_that_has_seen_enough(name: str) -> None:
    done = run(ALONE[name].line, "; echo $? >&2; } | true", before="{ sleep 0.1; ")
    assert done.stderr == "141\n"


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("encoding", ["latin1", "ascii", "utf-8:strict"])
@pytest.mark.parametrize("line", ["prune --help", ALONE["inspect"].line])
def test_encodings(line: str, encoding: str) -> None:
    done = run(line, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > 500


@pytest.mark.usefixtures("work")
def test_the_locale_c() -> None:
    done = run(ALONE["inspect"].line, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("name", [*LIGHT, "compile", "evaluate", "prune", "prune layers", *HANGING])
def test_no_utf_8_in_any_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may be called so; whatever else is, and a file that is not there, is named in one line."""
    pretend_all(tmp_path / "tools", dict.fromkeys(("yosys", "nextpnr-ecp5", "ecppack"), "exit 3"), monkeypatch)
    words = (ALONE | HANGING)[name].words
    for place in range(1, len(words)):
        if words[place].startswith("-") or words[place - 1] in ("-o", "--build", "--output"):
            continue
        status = main([*words[:place], "caf\udce9", *words[place + 1 :]])
        out, err = capsys.readouterr()
        # As ASCII: pytest's own streams take no halves of characters.
        assert (status, out, err.count("\n"), "caf" in err) == (2, "", 1, True), ascii((words, place, out, err))


def test_a_file_whose_name_is_not_utf_8(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("pack", "compile"):
        words = ALONE[name].words
        assert main([*words[:-1], "caf\udce9"]) == 0
        assert Path("caf\udce9").is_file()
        assert main(["disassemble" if name == "compile" else "inspect", "caf\udce9", "--json"]) == 0
        Path("caf\udce9").unlink()
    assert (work / "A.safetensors").is_file()
    assert main(["inspect", "caf\udce9"]) == 2
    assert "No such file or directory" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("work")
def test_an_error_takes_the_place_of_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_all(tmp_path / "tools", dict.fromkeys(("yosys", "nextpnr-ecp5", "ecppack"), "exit 3"), monkeypatch)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    Path("full").symlink_to("/dev/full")
    monkeypatch.setattr("nmgen.fpga.tools.check_room", lambda folder: Path("full").write_bytes(bytes(1)))
    assert main(HANGING["build"].words) == 2
    last = terminal.getvalue().rpartition("\n")[0].rpartition(CLEAR)[2]
    assert last == "nmgen: cannot write out/selftest.bit: No space left on device"


def test_no_warning_beside_an_error() -> None:
    """What was printed is refused at the end only: a warning waits until it is known to be taken."""
    code = (
        "import sys; from nmgen.console.ending import process; from nmgen.models.model_program import warn\n"
        "sys.exit(process(lambda: (print('a table'), warn('w'), 0)[2]))"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "nmgen: stdout: No space left on device\n")
