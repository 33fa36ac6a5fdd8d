"""Which skills there are, and whose name counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.core.frame import Standing
from astrid.home import Home, open_home
from astrid.home.instructions import LeftOut
from astrid.home.skills import MAX_SKILLS, FoundSkill, read_skills
from astrid.home.trust import TrustList


class Places:
    """A folder for each source of skills."""

    def __init__(self, folder: Path) -> None:
        self.home: Home = open_home(folder / "home", make=True)
        self.root = folder / "work"
        self.workspace = self.root / ".astrid" / "skills"
        self.built_in = folder / "actors" / "skills"
        self.root.mkdir()

    def add(self, folder: Path, name: str, text: str = "text") -> Path:
        file = folder / name / "SKILL.md"
        file.parent.mkdir(parents=True)
        file.write_text(f"---\nname: {name}\ndescription: d\n---\n{text}")
        return file

    def trust(self, file: Path) -> None:
        TrustList(self.home).add([(os.fsencode(file), file.read_bytes())])

    def found(self) -> list[tuple[str, Standing]]:
        return [(one.skill.name, one.file.standing) for one in self.all() if isinstance(one, FoundSkill)]

    def left_out(self) -> list[tuple[str, str]]:
        return [
            (os.path.relpath(os.fsdecode(one.path), self.root.parent), one.why)
            for one in self.all()
            if isinstance(one, LeftOut)
        ]

    def all(self) -> tuple[FoundSkill | LeftOut, ...]:
        return read_skills(self.built_in, str(self.root), self.home, TrustList(self.home))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_there_need_be_none(places: Places) -> None:
    assert places.all() == ()


def test_each_is_worth_what_its_place_and_its_content_are_worth(places: Places) -> None:
    places.add(places.built_in, "a")
    places.trust(places.add(places.workspace, "b"))
    places.add(places.workspace, "c")
    places.add(places.home.skills, "d")
    assert places.found() == [
        ("a", Standing.BUILT_IN),
        ("b", Standing.TRUSTED),
        ("d", Standing.OWN),
        ("c", Standing.UNTRUSTED),
    ]
    assert places.left_out() == []


def test_a_skill_that_changed_after_it_was_trusted_is_untrusted(places: Places) -> None:
    file = places.add(places.workspace, "b")
    places.trust(file)
    file.write_text(file.read_text() + ".")
    assert places.found() == [("b", Standing.UNTRUSTED)]


def test_nobody_takes_the_name_of_a_built_in_skill(places: Places) -> None:
    places.add(places.built_in, "x")
    places.trust(places.add(places.workspace, "x"))
    places.add(places.home.skills, "x")
    assert places.found() == [("x", Standing.BUILT_IN)]
    assert places.left_out() == [
        ("work/.astrid/skills/x/SKILL.md", "another skill has this name"),
        ("home/skills/x/SKILL.md", "another skill has this name"),
    ]


def test_a_trusted_skill_of_the_workspace_is_nearer_than_one_of_the_home(places: Places) -> None:
    places.trust(places.add(places.workspace, "x", "near"))
    places.add(places.home.skills, "x", "far")
    assert places.found() == [("x", Standing.TRUSTED)]


def test_an_untrusted_skill_does_not_take_the_name_of_the_users_own(places: Places) -> None:
    places.add(places.workspace, "x", "hostile")
    places.add(places.home.skills, "x", "mine")
    assert places.found() == [("x", Standing.OWN)]


def test_a_name_that_is_not_the_folders_is_no_way_around(places: Places) -> None:
    places.add(places.built_in, "x")
    file = places.add(places.workspace, "y")
    file.write_text("---\nname: x\ndescription: d\n---\n")
    assert places.found() == [("x", Standing.BUILT_IN)]
    assert places.left_out() == [("work/.astrid/skills/y/SKILL.md", "its name is not that of its folder")]


def link_folder(places: Places) -> None:
    outside = places.add(places.root.parent / "out", "x").parent
    places.workspace.mkdir(parents=True)
    (places.workspace / "x").symlink_to(outside)


def link_file(places: Places) -> None:
    outside = places.add(places.root.parent / "out", "x")
    (places.workspace / "x").mkdir(parents=True)
    (places.workspace / "x" / "SKILL.md").symlink_to(outside)


def link_above(places: Places) -> None:
    places.add(places.root.parent / "out" / "skills", "x")
    (places.root / ".astrid").symlink_to(places.root.parent / "out")


def fifo(places: Places) -> None:
    (places.workspace / "x").mkdir(parents=True)
    os.mkfifo(places.workspace / "x" / "SKILL.md")


def hidden(places: Places) -> None:
    places.add(places.workspace, ".x")


def odd_bytes(places: Places) -> None:
    (places.workspace / os.fsdecode(b"\xff\n")).mkdir(parents=True)


def malformed(places: Places) -> None:
    places.add(places.workspace, "x").write_text("# no front matter")


def far_too_many(places: Places) -> None:
    for number in range(MAX_SKILLS + 1):
        places.add(places.workspace, f"s{number}")


@pytest.mark.parametrize(
    "prepare", [link_folder, link_file, link_above, fifo, hidden, odd_bytes, malformed, far_too_many]
)
def test_what_is_not_plainly_a_skill_in_its_place_is_left_out_and_that_is_said(places: Places, prepare: object) -> None:
    assert callable(prepare)
    prepare(places)
    assert places.found() == []
    [(_, why)] = places.left_out()
    assert why


def test_a_folder_without_a_skill_is_nothing(places: Places) -> None:
    (places.workspace / "x").mkdir(parents=True)
    assert places.all() == ()
