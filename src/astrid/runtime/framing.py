"""What the frame of a session is made of: the facts of here and now, and the files that instruct it.

Never: hands on a file that policy hides, or decides what a file is worth beyond what the user said of it.

Source: architecture 6 ("Labels"); threats 27, 44.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from astrid.core.frame import Environment, Passage, Standing
from astrid.core.resources import file_resource
from astrid.home import Home
from astrid.home.instructions import read_instructions
from astrid.home.trust import TrustList


def environment_of(root: str, mode: str, *, attended: bool, now_ns: int) -> Environment:
    """The facts of a session that starts now."""
    day = time.strftime("%Y-%m-%d", time.gmtime(now_ns // 10**9))
    return Environment(platform=sys.platform, workspace=os.fsencode(root), mode=mode, attended=attended, day=day)


def passages_of(root: str, home: Home, hides: Callable[[str], bool]) -> tuple[Passage, ...]:
    """What files tell a session in the workspace at ``root``.

    Raises:
        AstridError: the workspace cannot be opened, or a file of the home is not as it should be.
    """
    return tuple(
        one
        for one in read_instructions(root, home, TrustList(home))
        # Policy hides the whole home from tools, but the user's own instructions are addressed to the model.
        if isinstance(one, Passage) and (one.standing is Standing.OWN or not hides(file_resource(one.path).text))
    )
