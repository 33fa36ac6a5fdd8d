"""``python -m astrid.frontends.cli``: the command line, as ``launch.isolate`` starts it.

Source: threats 43.
"""

from __future__ import annotations

import sys

from astrid.frontends.cli import main

if __name__ == "__main__":
    sys.exit(main())
