"""``python -m weightspace``: the program, for launchers that start Python modules."""

import sys

from weightspace.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
