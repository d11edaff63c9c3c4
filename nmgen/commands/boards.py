"""`nmgen boards`: the boards that there are, and what answers at the ports of this machine."""

import argparse
import json
from typing import Any

NAME = "boards"
HELP = "List the boards that images are built for, and those that answer at this machine's USB serial ports of such."
EXAMPLE = "nmgen boards"
NOT_OURS = "its USB chip is none of these boards': ask with --port"
ATTEMPTS = 2  # a second and a half at each port


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", metavar="DEV", help="ask at this port alone, whatever is there")


def run(args: argparse.Namespace) -> int:
    from rtl.params import InputError

    try:
        from serial.tools.list_ports import comports

        from boards.known import BOARDS
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is missing: pip install 'nmgen[board]'") from None
    known: list[dict[str, Any]] = [
        {
            "board": board.name,
            "title": board.title,
            "block_rams": board.block_rams,
            "multipliers": board.multipliers,
            "memories": list(board.memories),
        }
        for board in BOARDS.values()
    ]
    if args.port:
        found = [_answer(args.port)]
    else:
        # Others are not opened: that resets what many of them belong to.
        ours = {board.usb for board in BOARDS.values()}
        found = [
            _answer_or_why(one.device)
            if (one.vid, one.pid) in ours
            else {"port": one.device, "said": f"not asked, {NOT_OURS}"}
            for one in comports()
            if one.vid is not None
        ]
    if args.json:
        print(json.dumps({"boards": known, "connected": found}, indent=2))
    else:
        _show(known, found)
    return 0


def _answer(port: str) -> dict[str, Any]:
    """What answers at a port.

    Raises
    ------
    InputError : nothing, or no image that runs programs
    """
    from nmgen.driver.host import Host
    from nmgen.driver.port import SerialWire

    with SerialWire(port) as wire:
        wire.quiet()
        hello = Host(wire).hello(ATTEMPTS)
    said = (
        f"accelerator {hello.identification:#010x} ({hello.array}), core {hello.core_khz / 1000:g} MHz, "
        f"memory {hello.memory_bytes >> 20} MB at {hello.memory_khz / 1000:g} MHz"
        + ", simulated"
        * bool(hello.simulated)
    )
    return {"port": port, "said": said, **vars(hello)}


def _answer_or_why(port: str) -> dict[str, Any]:
    from rtl.params import InputError

    try:
        return _answer(port)
    except InputError as error:
        return {"port": port, "said": str(error).removeprefix(f"{port}: ")}


def _show(known: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    for board in known:
        has = f"{board['block_rams']} block RAMs, {board['multipliers']} multipliers"
        print(f"{board['board']:14}{board['title']}: {has}")
        print(f"{'':14}memory {' or '.join(board['memories'])}")
    for port in found:
        print(f"{port['port']}: {port['said']}")
    if not found:
        print("connected: none")
