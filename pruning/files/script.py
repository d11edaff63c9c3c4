"""What `python -m` does of a module that writes a folder."""

import argparse
from collections.abc import Callable
from pathlib import Path

from rtl.params import InputError


def script(module: str, about: str, usual: str, write: Callable[[Path], None]) -> None:
    """Writes the folder that the command line names, and says so; what is wrong ends it with status 2 and one line.

    about : the help
    usual : the folder without an argument
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, default=Path(usual), help=f"({usual})")
    folder = parser.parse_args().folder
    try:
        write(folder)
    except InputError as error:
        parser.exit(2, f"{module.rpartition('.')[2]}: {error}\n")
    print(f"wrote {folder}")
