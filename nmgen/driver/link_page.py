"""docs/link.md, from the tables of both ends: ``python -m nmgen.driver.link_page``."""

from pathlib import Path
from textwrap import fill

from boards import link
from boards.link import (
    ABOUT_OPERATIONS,
    ABOUT_REGISTERS,
    ABOUT_STATUS,
    EXECUTED_ONCE,
    BoardRegister,
    Hello,
    Operation,
    Status,
)
from nmgen.console.files import written_whole

PAGE = Path(__file__).parents[2] / "docs" / "link.md"
MADE_BY = "python -m nmgen.driver.link_page"


def wrapped(text: str) -> list[str]:
    """A paragraph."""
    return fill(text, 120, break_on_hyphens=False, break_long_words=False).split("\n")


def page() -> str:
    """The whole page."""
    example = link.stuffed(link.REQUEST.pack(7, Operation.GET, 0, 0x0C))
    *some, last = (operation.name for operation in EXECUTED_ONCE)
    once = f"{', '.join(some)} and {last}"
    flag, escape = f"{link.FLAG:#04x}", f"{link.ESCAPE:#04x}"
    board = f"{link.BOARD_REGISTERS:#x}"
    words = ", ".join(f"`{name}`" for name in Hello.__annotations__)
    lines = [
        "# The link to a board",
        "",
        f"Made by `{MADE_BY}` from `boards/link.py`: change that.",
        "",
        *wrapped(
            "A host asks and a board answers, over a UART of 8 data bits, no parity, 1 stop bit, without flow "
            "control. `nmgen load` and `nmgen run` speak it; here is what another host needs. Numbers are "
            "little-endian."
        ),
        "",
        "## Frames",
        "",
        *wrapped(
            f"A frame is a header, a payload of at most {link.PAYLOAD_MAX} bytes, and the CRC-32 of both, as "
            f"zlib has it. On the wire it stands between two bytes {flag}. Within it, {flag} and {escape} are "
            f"sent as {escape} and the byte exclusive-or {link.FLIP:#04x}. A frame with a wrong CRC, one of fewer "
            f"than {link.REQUEST.size + link.CRC.size} bytes or more than "
            f"{link.REQUEST.size + link.PAYLOAD_MAX + link.CRC.size}, and one that ends with {escape} is dropped "
            "without an answer. A request whose length is not its payload's is BAD_REQUEST."
        ),
        "",
        "| bytes | of a request | of an answer |",
        "|---|---|---|",
        "| 1 | number | number of its request |",
        "| 1 | operation | status |",
        "| 2 | length | bytes of the payload |",
        "| 4 | address | – |",
        "| length | payload | payload |",
        "| 4 | CRC-32 | CRC-32 |",
        "",
        f"Request 7, GET of the register at 0x0C, `status` of STA: `{example.hex(' ')}`.",
        "",
        "## Operations",
        "",
        "| operation | | |",
        "|---|---|---|",
        *(f"| {operation} | {operation.name} | {ABOUT_OPERATIONS[operation]} |" for operation in Operation),
        "",
        *wrapped(
            f"Registers below {board} are the accelerator's ([isa](isa.md)). From {board} on are the board's own, "
            f"which can only be read. The answer to HELLO is these words of 32 bits: {words}. `simulated` is 1 of a "
            "board in a simulation, whose answers a host waits for much longer."
        ),
        "",
        "| register | | |",
        "|---|---|---|",
        *(f"| {one.address:#x} | {one.name} | {ABOUT_REGISTERS[one]} |" for one in BoardRegister),
        "",
        "| status | | |",
        "|---|---|---|",
        *(f"| {status} | {status.name} | {ABOUT_STATUS[status]} |" for status in Status),
        "",
        "## Order, and what is lost",
        "",
        *wrapped(
            f"Numbers count modulo {link.SEQUENCES}. The board executes the request with the number it "
            f"expects, and expects the next one. A number behind it, by less than {link.SEQUENCES // 2}, was "
            f"executed before: {once} are not executed again, the others are, and all are answered. A number "
            "ahead is OUT_OF_ORDER. So a host that hears nothing for a while sends the oldest request without "
            f"an answer again, and after OUT_OF_ORDER all that have none. At most {link.WINDOW} requests are "
            "under way."
        ),
        "",
        *wrapped(
            "The board holds one request while it executes another; one that ends while another is still held "
            "is dropped. So a host has at most two requests under way whose answers are long, or that take "
            "long: READ and CHECKSUM."
        ),
    ]
    return "\n".join(lines) + "\n"


def write(path: Path = PAGE) -> None:
    """The file, whole or not at all."""
    with written_whole(path) as written:
        written.write_text(page())


if __name__ == "__main__":
    write()
