"""Where this very Python loads its code from: what the next daemon and the next signer will be made of.

A virtual environment often lies in the project that is worked on.  Whoever writes there is the reference monitor from
then on, and sits in the process that opens the user's key.

Source: threats 5, 27, 43; site(7) (a ``.pth`` file is run at each start), PEP 405.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import astrid

# The system's own prefixes hold much that is not Python's; of those only the folders that are searched are meant.
_SHARED = frozenset({"/", "/usr", "/usr/local"})


def code_folders() -> tuple[Path, ...]:
    """Every folder of code of this interpreter, in order.  A folder may not be there yet."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix} - _SHARED
    programs = {os.path.dirname(name) for name in (sys.executable, os.path.realpath(sys.executable))}
    package = os.path.dirname(os.path.abspath(astrid.__file__))
    found = {*prefixes, *programs, package, *sys.path}
    return tuple(Path(name) for name in sorted(found) if os.path.isabs(name))
