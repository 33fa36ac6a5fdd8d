"""The skills that a session may use: built in, in the workspace's ``.astrid/skills``, in the home's ``skills``.

Of several with one name the nearest counts: the workspace before the home.  But nothing takes the name of one that is
built in, and one that nobody vouches for takes no name of one that somebody does.

Never: follows a link, or reads more than so many files of so many bytes.

Source: threats 27, 44; the common places and form of such files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from astrid.core.frame import Passage, Standing
from astrid.core.skill import MAX_SKILL_BYTES, Skill, is_skill_name, parse_skill
from astrid.errors import InputError
from astrid.home.instructions import (
    FOLDER,
    Beginning,
    LeftOut,
    as_passage,
    read_beginning,
    standing_of,
    why_not,
)
from astrid.home.layout import Home
from astrid.home.trust import TrustList

MAX_SKILLS = 64  # in one folder
FILE = "SKILL.md"
IN_WORKSPACE = (".astrid", "skills")
Judge = Callable[[Beginning], Standing]


class FoundSkill(msgspec.Struct, frozen=True):
    """A skill, and the file that it was read from."""

    skill: Skill
    file: Passage

    @property
    def vouched(self) -> bool:
        """Whether somebody stands behind it."""
        return self.file.standing is not Standing.UNTRUSTED


def read_skills(built_in: Path, root: str, home: Home, trusted: TrustList) -> tuple[FoundSkill | LeftOut, ...]:
    """The skills of a session in the workspace at ``root``; each name once."""
    ours = _in_folder(os.fsencode(built_in.parent), (built_in.name,), lambda _: Standing.BUILT_IN)
    near = _in_folder(os.fsencode(root), IN_WORKSPACE, lambda found: standing_of(found, trusted))
    own = _in_folder(os.fsencode(home.skills.parent), (home.skills.name,), lambda _: Standing.OWN)
    # SAFETY: whoever made the workspace must not speak under a name that the user knows to be somebody else's.
    return tuple(_each_once((*ours, *sorted((*near, *own), key=_is_unknown))))


def _is_unknown(one: FoundSkill | LeftOut) -> bool:
    return isinstance(one, FoundSkill) and not one.vouched


def _each_once(found: Iterable[FoundSkill | LeftOut]) -> Iterator[FoundSkill | LeftOut]:
    taken: set[str] = set()
    for one in found:
        if isinstance(one, FoundSkill) and one.skill.name in taken:
            yield LeftOut(one.file.path, "another skill has this name")
            continue
        if isinstance(one, FoundSkill):
            taken.add(one.skill.name)
        yield one


def _in_folder(above: bytes, parts: tuple[str, ...], judge: Judge) -> list[FoundSkill | LeftOut]:
    """What is in the folder ``parts`` below ``above``, by name; nothing, if that is not there."""
    here, path = -1, above
    try:
        here = os.open(above, FOLDER)
        for part in parts:
            path = os.path.join(path, os.fsencode(part))
            below = os.open(part, FOLDER, dir_fd=here)
            os.close(here)
            here = below
        with os.scandir(here) as entries:
            names = sorted(entry.name for entry in islice(entries, MAX_SKILLS + 1))
        if len(names) > MAX_SKILLS:
            return [LeftOut(path, f"it holds more than {MAX_SKILLS} skills")]
        return [one for name in names if (one := _skill(here, path, os.fsencode(name), judge)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        return [LeftOut(path, why_not(error))]
    finally:
        if here >= 0:
            os.close(here)


def _skill(folder: int, above: bytes, name: bytes, judge: Judge) -> FoundSkill | LeftOut | None:
    path = os.path.join(above, name)
    if not is_skill_name(os.fsdecode(name)):
        return LeftOut(path, "no skill may be called so")
    try:
        inside = os.open(name, FOLDER, dir_fd=folder)
    except OSError as error:
        return LeftOut(path, why_not(error))
    try:
        found = read_beginning(inside, path, os.fsencode(FILE), MAX_SKILL_BYTES + 1)
    finally:
        os.close(inside)
    if found is None or isinstance(found, LeftOut):
        return found
    try:
        skill = parse_skill(found.data)
    except InputError as error:
        return LeftOut(found.path, error.message)
    if os.fsencode(skill.name) != name:
        return LeftOut(found.path, "its name is not that of its folder")
    return FoundSkill(skill, as_passage(found, judge(found)))
