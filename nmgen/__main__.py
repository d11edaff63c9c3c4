"""`python -m nmgen`: the same as the command `nmgen`."""

import sys

from nmgen.cli import command

if __name__ == "__main__":
    sys.exit(command())
