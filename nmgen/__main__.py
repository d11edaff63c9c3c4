"""`python -m nmgen`: the same as the command `nmgen`."""

import sys

from nmgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
