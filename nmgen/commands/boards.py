"""`nmgen boards`: the boards that there are, and what answers at the ports of this machine."""

import argparse
import json
from typing import Any

from nmgen.driver.port import BAUD

NAME = "boards"
HELP = "List the boards that images are built for, and those that are connected."
EXAMPLE = "nmgen boards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", metavar="DEV", help="look at this port alone")


def run(args: argparse.Namespace) -> int:
    from boards.known import BOARDS

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
    found = _connected(args.port)
    if args.json:
        print(json.dumps({"boards": known, "connected": found}, indent=2))
        return 0
    for board in known:
        print(
            f"{board['board']:14}{board['title']}: {board['block_rams']} block RAMs, {board['multipliers']} multipliers"
        )
        print(f"{'':14}memory {' or '.join(board['memories'])}")
    for port in found:
        print(f"{port['port']}: {port['said']}")
    if not found:
        print("connected: none")
    return 0


def _connected(port: str | None) -> list[dict[str, Any]]:
    """What answers: at this port, or at each of the USB ports of this machine."""
    from serial.tools.list_ports import comports

    from nmgen.driver.host import Host
    from nmgen.driver.port import SerialWire
    from rtl.params import InputError

    found = []
    for device in [port] if port else [one.device for one in comports() if one.vid is not None]:
        try:
            wire = SerialWire(device, BAUD)
            wire.quiet()
            hello = Host(wire, attempts=2).hello()
            wire.close()
            said = (
                f"accelerator {hello.identification:#010x}, core {hello.core_khz / 1000:g} MHz, "
                f"memory {hello.memory_bytes >> 20} MB at {hello.memory_khz / 1000:g} MHz"
            )
            found.append({"port": device, "said": said, **vars(hello)})
        except InputError as error:
            found.append({"port": device, "said": str(error)})
    return found
