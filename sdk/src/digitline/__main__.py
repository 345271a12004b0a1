"""`python -m digitline` is the command `digitline`."""

import sys

from digitline.command import main

if __name__ == "__main__":
    sys.exit(main())
