"""Tools that only pretend: programs that write what the real ones would, and log how they were called."""

import stat
from pathlib import Path

import pytest

from nmgen.fpga.tools import TOOLS, tool_version

VERSION = "pretended 1"
NETLIST = '{"modules": {"t": {"attributes": {"top": "1"}, "ports": {"clk": {"bits": [2]}}, "cells": {}}}}'


def pretend(folder: Path, name: str, script: str) -> None:
    """Make a program that runs a script of sh, unless it is asked for its version."""
    program = folder / name
    program.write_text(
        f'#!/bin/sh\ncase "$*" in -V|--version) echo {VERSION}; exit;; esac\n'
        f'echo "{name} $*" >> {folder}/calls\n{script}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def pretend_all(folder: Path, scripts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several, and have them found."""
    folder.mkdir()
    tool_version.cache_clear()
    for name, script in scripts.items():
        pretend(folder, name, script)
        monkeypatch.setenv(TOOLS[name][0], str(folder / name))


def calls(folder: Path) -> list[str]:
    """How the programs were called so far."""
    log = folder / "calls"
    return log.read_text().splitlines() if log.exists() else []
