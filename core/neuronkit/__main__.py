"""``python -m neuronkit``: the command of the interpreter that is typed, in whichever environment."""

import sys

from neuronkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
