"""The command line: help at every level, one line for bad usage, exit statuses."""

import argparse
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from boards.known import BOARDS
from nmgen import cli
from nmgen.cli import COMMANDS, main
from nmgen.console import ending
from nmgen.console.options import add_configuration, add_simulation, configuration_from
from nmgen.fpga.targets import FPGA_FAMILIES
from rtl.params import PRESETS, VERSION, Config, InputError


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command line that is wrong: one line, exit status 2, nothing on stdout."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nmgen: ")
    assert said.err.endswith("\n")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)])
def test_help_at_every_level_has_an_example(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "\nexample:\n  nmgen " in said.out
    assert "exit status: 0 right, 1 a mismatch or missed timing, 2 bad input" in said.out
    if arguments:
        assert "--json" in said.out
    else:
        assert all(re.search(rf"\n    {command}\s", said.out) for command in COMMANDS)


@pytest.mark.parametrize("command", ["build", "report", "board-sim"])
def test_help_names_every_target(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boards; of `report`, which also only synthesises, families of FPGAs."""
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    (said,) = re.findall(r"^  BOARD +(.+)$", capsys.readouterr().out, re.MULTILINE)
    for name in (*BOARDS, *(FPGA_FAMILIES if command == "report" else ())):
        assert name in said


HEAVY = {"dask", "distributed", "matplotlib", "optuna", "scipy", "tokenizers", "torch", "transformers"}
MODULES = """import runpy, sys
sys.argv = ["nmgen", "--help"]
try:
    runpy.run_module("nmgen", run_name="__main__")
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_help_comes_at_once() -> None:
    """Half a second, as nothing heavy is imported for it."""
    said = subprocess.run([sys.executable, "-c", MODULES], check=True, capture_output=True, text=True)
    modules = said.stderr.split()
    assert not HEAVY & {name.partition(".")[0] for name in modules}
    assert len(modules) < 700


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"nmgen {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "COMMAND"),
        (["nonsense"], "'nonsense'"),
        (["--nonsense"], "COMMAND"),
        (["generate"], "-o"),
        (["generate", "-o"], "-o"),
        (["generate", "-o", "x", "nonsense"], "nonsense"),
        (["generate", "-o", "x", "--nonsense"], "--nonsense"),
        (["generate", "-o", "x", "--row", "2"], "--row"),
        (["generate", "-o", "x", "--preset", "small", "--config", "y.toml"], "--config"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(arguments, capsys)
    assert part in message
    assert "--help" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--n", "9"], "n is 9, must be at most m = 8"),
        (["--n", "0"], "n is 0, must be an integer from 1 to 8"),
        (["--m", "12"], "m is 12, must be 2, 4, 8, 16 or 32"),
        (["--m", "64"], "m is 64, must be 2, 4, 8, 16 or 32"),
        (["--rows", "0"], "rows is 0, must be an integer from 1 to"),
        (["--rows", "33"], "rows is 33, must be an integer from 1 to 32"),
        (["--cols", "33"], "cols is 33, must be an integer from 1 to 32"),
        (["--cols", "-1"], "cols is -1, must be an integer from 1 to"),
        (["--drain", "3"], "drain is 3, must be 1, 2, 4 or 8"),
        (["--port-bytes", "3"], "port_bytes is 3, must be 1, 2, 4, 8, 16, 32 or 64"),
        (["--max-tokens", "4097"], "max_tokens is 4097, must be an integer from 1 to 4096"),
        (["--max-k", "7"], "max_k is 7, must be an integer from 8 to 65536"),
        (["--rows", "2.5"], "rows is '2.5', must be an integer"),
        (["--rows", "many"], "rows is 'many', must be an integer"),
        (["--rows", "9" * 5000], "must be an integer"),
        (["--preset", "huge"], "preset is 'huge', must be one of base, small, sparse, wide"),
        (["--config", "missing.toml"], "missing.toml: No such file or directory"),
        (["--prefix", "1st"], "prefix is '1st', must be a letter"),
    ],
)
def test_a_bad_configuration_is_one_line_and_leaves_nothing(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(["generate", *flags, "-o", "build/design"], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rows = ", "is not a TOML file"),
        (b"rows = 2\nrows = 3\n", "is not a TOML file"),
        (b"\xff\xfe", "is not a TOML file"),
        (b"row = 2\n", "row is no parameter, must be one of n, m, rows"),
        (b"[array]\nrows = 2\n", "array is no parameter"),
        (b"rows = '2'\n", "rows is '2', must be an integer from 1 to"),
        (b"rows = 2.0\n", "rows is 2.0, must be an integer from 1 to"),
        (b"rows = true\n", "rows is True, must be an integer from 1 to"),
        (b"rows = [2]\n", "rows is [2], must be an integer from 1 to"),
        (b"n = 4\nm = 2\n", "n is 4, must be at most m = 2"),
    ],
)
def test_a_bad_configuration_file_is_one_line(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    said = fails(["generate", "--config", str(file), "-o", str(tmp_path / "design")], capsys)
    assert said.startswith(f"nmgen: {file}")
    assert message in said
    assert not (tmp_path / "design").exists()


def test_a_flag_makes_a_configuration_file_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "given.toml"
    file.write_text("m = 2\nn = 2\nmax_k = 64\n")
    said = fails(["generate", "--config", str(file), "--n", "4", "-o", str(tmp_path / "design")], capsys)
    assert said == f"nmgen: {file} with flags: n is 4, must be at most m = 2\n"


@pytest.mark.parametrize("place", ["file", "file/design", "/proc/nmgen/design"])
def test_a_place_that_cannot_be_written_is_one_line(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    assert f"cannot write {place}: " in fails(["generate", "-o", place], capsys)
    assert Path("file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def configuration(arguments: list[str]) -> Config:
    parser = argparse.ArgumentParser()
    add_configuration(parser)
    return configuration_from(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["disassemble", "p.nmp", "--seq", "32"], "--seq is a flag of nmgen prune, nmgen compile, nmgen estimate"),
        (["disassemble", "p.nmp", "--seq=32", "--seq=16"], "--seq is a flag of nmgen prune, nmgen compile, nmgen est"),
        (["disassemble", "--timeline", "x"], "--timeline is a flag of nmgen simulate"),  # beside a missing argument
        (["disassemble", "p.nmp", "-o", "x"], "-o is a flag of nmgen generate, nmgen prune, nmgen pack, nmgen "),
        (["estimate", "p.nmp", "--steps", "3", "--kind", "sta"], "--kind is a flag of nmgen generate"),
        (["estimate", "p.nmp", "--steps", "3", "--kind", "sta"], "--steps is a flag of nmgen prune"),
    ],
)
def test_a_flag_of_another_command_names_it(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fails(arguments, capsys)
    assert f"nmgen {arguments[0]} --help" in message or "(see nmgen --help)" in message
    assert f"; {hint}" in message
    assert message.count(hint) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["simulat", "p.nmp"], "perhaps simulate"),
        (["compile", "x", "-o", "y", "--sek", "32"], "--sek: perhaps --seq"),
        (["compile", "x", "-o", "y", "--groops=2", "--groops=4"], "--groops: perhaps --groups"),
        (["prune", "minilm", "--methd", "idp"], "--methd: perhaps --method"),  # beside a missing argument
    ],
)
def test_a_misspelt_name_is_told_the_nearest(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails(arguments, capsys).endswith(f"; {hint}\n")


def test_what_is_near_nothing_or_known_gets_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["xyz"], [], ["estimate", "p.nmp", "--qqqq"], ["estimate", "--seq", "x"]):
        assert "perhaps" not in fails(arguments, capsys)


def test_a_flag_that_is_known_or_of_nobody_has_no_owner(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["estimate", "p.nmp", "--nonsense"], ["generate", "--rows", "2"], ["nonsense", "--seq", "2"]):
        assert " is a flag of " not in fails(arguments, capsys)


def test_flags_override_presets_and_files(tmp_path: Path) -> None:
    file = tmp_path / "design.toml"
    file.write_text("n = 4\nm = 16\nrows = 3\n")
    assert configuration([]) == Config()
    for name, preset in PRESETS.items():
        assert configuration(["--preset", name]) == preset
    assert configuration(["--preset", "small", "--rows", "2"]) == Config(
        n=2, m=4, rows=2, cols=4, port_bytes=4, max_tokens=32, max_k=512
    )
    assert configuration(["--config", str(file)]) == Config(n=4, m=16, rows=3)
    assert configuration(["--config", str(file), "--n", "5", "--max-k", "160"]) == Config(n=5, m=16, rows=3, max_k=160)


def test_every_parameter_is_a_flag() -> None:
    flags = "--n 3 --m 4 --rows 5 --cols 6 --drain 8 --port-bytes 2 --max-tokens 9 --max-k 10"
    wanted = Config(n=3, m=4, rows=5, cols=6, drain=8, port_bytes=2, max_tokens=9, max_k=10)
    assert configuration(flags.split()) == wanted


def test_the_flags_of_a_simulation() -> None:
    parser = cli.Parser(example="none")
    add_simulation(parser)
    args = parser.parse_args([])
    assert (args.simulator, args.mem_latency, args.seed) == ("verilator", 30, 0)
    args = parser.parse_args(["--simulator", "icarus", "--mem-latency", "1", "--seed", "7"])
    assert (args.simulator, args.mem_latency, args.seed) == ("icarus", 1, 7)
    for wrong in (["--simulator", "x"], ["--mem-latency", "0"], ["--mem-latency", "x"], ["--seed", "-1"]):
        with pytest.raises(InputError, match=wrong[0][2:]):
            parser.parse_args(wrong)


def test_what_a_command_raises_becomes_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nmgen.commands import generate

    for error, status, line in (
        (InputError("two\n lines"), 2, "nmgen: two lines\n"),
        (FileNotFoundError(2, "No such file or directory", "x.npy"), 2, "nmgen: x.npy: No such file or directory\n"),
        (OSError("out of luck"), 2, "nmgen: out of luck\n"),
        (KeyboardInterrupt(), 130, "nmgen: interrupted\n"),
    ):

        def run(args: argparse.Namespace, error: BaseException = error) -> int:
            raise error

        monkeypatch.setattr(generate, "run", run)
        assert main(["generate", "-o", "x"]) == status
        assert capsys.readouterr().err == line


def test_a_closed_pipe_is_no_fault() -> None:
    program = "import sys; from nmgen.cli import main; sys.exit(main())"
    reader = "import time; time.sleep(0.1)"
    flags = "generate --preset small --rows 1 --cols 1 --json -o"
    script = f"d=$(mktemp -d); {sys.executable} -c '{program}' {flags} $d/x 2>$d/err | {sys.executable} -c '{reader}'; "
    script += "grep -v ^generating $d/err; rm -r $d"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_work_is_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the streams are made ready, for instance."""
    monkeypatch.setattr(ending, "open_streams", lambda: os.kill(os.getpid(), number))
    assert main(["--version"]) == 128 + number
    assert re.fullmatch("nmgen: (interrupted|terminated)\n", capsys.readouterr().err)


def test_the_module_and_the_command_are_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "nmgen", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
