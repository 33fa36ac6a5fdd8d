"""Whether a path means something else to each process that opens it.

`/proc/self/cwd/x` is one file to whoever judges a line and another to the shell that runs it; so is what a link in the
workspace that leads there begins.  The number of a process says nothing before that process is there.

Never: opens what it looks at, or raises.

Source: proc(5), path_resolution(7); threats 19, 21.
"""

from __future__ import annotations

import os
import re

from astrid.adapters.workspace.handles import MAX_LINKS, split

_OF_A_PROCESS = re.compile(rb"/proc/(?:self|thread-self|[0-9]+)")


def is_of_a_process(path: bytes) -> bool:
    """Whether the absolute ``path``, its links followed, leads through the folder of a process."""
    todo = list(reversed(split(path)))
    here = b""
    links = 0
    while todo and links <= MAX_LINKS:
        name = todo.pop()
        if name == b"..":
            here = os.path.dirname(here).rstrip(b"/")
            continue
        here += b"/" + name
        if _OF_A_PROCESS.fullmatch(here):
            return True
        try:
            target = os.readlink(here)
        except (OSError, ValueError):  # no link, not there, or no path at all
            continue
        links += 1
        here = b"" if target.startswith(b"/") else os.path.dirname(here).rstrip(b"/")
        todo.extend(reversed(split(target)))
    return False
