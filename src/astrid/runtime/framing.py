"""What the frame of a session is made of: the facts of here and now, and the files that instruct it.

Never: hands on a file that policy hides, or decides what a file is worth beyond what the user said of it.

Source: architecture 6 ("Labels"); threats 27, 44.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from astrid.core.frame import Environment, Listed, Passage, Standing
from astrid.core.resources import file_resource
from astrid.home import Home
from astrid.home.instructions import read_instructions
from astrid.home.skills import FoundSkill, read_skills
from astrid.home.trust import TrustList


def environment_of(root: str, mode: str, *, attended: bool, now_ns: int) -> Environment:
    """The facts of a session that starts now."""
    day = time.strftime("%Y-%m-%d", time.gmtime(now_ns // 10**9))
    return Environment(platform=sys.platform, workspace=os.fsencode(root), mode=mode, attended=attended, day=day)


class Texts:
    """What files tell the sessions in one workspace.  What policy hides is not there; but it hides the whole home from
    tools, and the user's own texts are addressed to the model.
    """

    def __init__(self, root: str, home: Home, built_in: Path, hides: Callable[[str], bool]) -> None:
        self._root = root
        self._home = home
        self._built_in = built_in
        self._hides = hides

    def passages(self) -> tuple[Passage, ...]:
        """The files that instruct, the nearest first.

        Raises:
            AstridError: the workspace cannot be opened, or a file of the home is not as it should be.
        """
        found = read_instructions(self._root, self._home, TrustList(self._home))
        return tuple(one for one in found if isinstance(one, Passage) and self._shows(one))

    def skills(self) -> tuple[FoundSkill, ...]:
        """The skills, each name once.

        Raises:
            ConfigError: the list of trusted files is not as it should be.
        """
        found = read_skills(self._built_in, self._root, self._home, TrustList(self._home))
        return tuple(one for one in found if isinstance(one, FoundSkill) and self._shows(one.file))

    def vouched(self) -> dict[str, str]:
        """The texts of the skills that somebody stands behind, by name."""
        return {one.skill.name: one.skill.body for one in self.skills() if one.vouched}

    def _shows(self, file: Passage) -> bool:
        of_workspace = file.standing in (Standing.TRUSTED, Standing.UNTRUSTED)
        return not of_workspace or not self._hides(file_resource(file.path).text)


def listed(skills: tuple[FoundSkill, ...]) -> tuple[Listed, ...]:
    """``skills`` as the frame lists them."""
    return tuple(
        Listed(name=one.skill.name, description=one.skill.description, standing=one.file.standing) for one in skills
    )
