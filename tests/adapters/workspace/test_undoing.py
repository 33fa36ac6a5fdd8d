"""Files put back to what they held: whatever calls wrote, and nothing that is not theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from astrid.adapters.workspace import writing
from astrid.adapters.workspace.undoing import Undoer, shown_path
from astrid.core.undo import Change, Undo, plan_undo
from astrid.errors import ConfigError, WorkspaceError
from astrid.home.kept import KeptFiles
from tests.fakes.workspace_bench import Bench, MakeBench

ABSENT = b""


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Kept:
    """A workspace whose files are kept, and what was done to them."""

    def __init__(self, make_bench: MakeBench, store: KeptFiles) -> None:
        self.bench: Bench = make_bench(keep=store.keep)
        self.undoer: Undoer = self.bench.tools.undoer(store.get)
        self.changes: list[Change] = []

    async def do(self, tool: str, **args: object) -> Change:
        call = self.bench.call(tool, await self.bench.prepare(tool, **args), **args)
        outcome = await self.bench.execute(call)
        assert outcome.effect == "done", outcome.content
        change = self.undoer.change_of(call, True)
        assert change is not None
        self.changes.append(change)
        return change

    def undo(self) -> list[str]:
        """Put back what can be; the paths that are left alone."""
        held = {change.path: self.undoer.held(change.path) for change in self.changes}
        undos, left = plan_undo(self.changes, held)
        for undo in undos:
            assert self.undoer.is_kept(undo.then)
            self.undoer.put_back(undo)
        return [one.path.rpartition("/")[2] for one in left]

    def refusal(self, undo: Undo) -> str:
        with pytest.raises(WorkspaceError) as caught:
            self.undoer.put_back(undo)
        assert caught.value.effect == "none"
        return caught.value.code


@pytest.fixture
def kept(make_bench: MakeBench, tmp_path: Path) -> Kept:
    return Kept(make_bench, KeptFiles(tmp_path / "kept", 10**7))


async def test_writes_edits_and_new_files_are_taken_back(kept: Kept, folder: Path) -> None:
    (folder / "a.txt").write_text("one two one\n")
    (folder / "a.txt").chmod(0o640)
    await kept.do("edit_file", file_path="a.txt", old_string="one", new_string="1", replace_all=True)
    await kept.do("write_file", file_path="new/b.txt", content="b")
    await kept.do("edit_file", file_path="a.txt", old_string="two", new_string="2")
    await kept.do("write_file", file_path="new/b.txt", content="")
    assert (folder / "a.txt").read_text() == "1 2 1\n"
    assert kept.undo() == []
    assert (folder / "a.txt").read_text() == "one two one\n"
    assert (folder / "a.txt").stat().st_mode & 0o777 == 0o640
    assert list((folder / "new").iterdir()) == []
    assert kept.undo() == []


async def test_what_was_put_back_can_be_brought_again(kept: Kept, folder: Path) -> None:
    change = await kept.do("write_file", file_path="a.txt", content="made")
    undo = Undo(change.path, sha("made"), ABSENT)
    kept.undoer.put_back(undo)
    assert not (folder / "a.txt").exists()
    kept.undoer.put_back(Undo(change.path, ABSENT, sha("made")))
    assert (folder / "a.txt").read_text() == "made"


async def test_what_somebody_else_wrote_stays(kept: Kept, folder: Path) -> None:
    (folder / "a.txt").write_text("old")
    await kept.do("write_file", file_path="a.txt", content="new")
    await kept.do("write_file", file_path="b.txt", content="new")
    (folder / "a.txt").write_text("theirs")
    (folder / "b.txt").write_text("theirs")
    assert kept.undo() == ["a.txt", "b.txt"]
    for change, then in zip(kept.changes, (sha("old"), ABSENT), strict=True):
        assert kept.refusal(Undo(change.path, sha("new"), then)) == "workspace.changed"
    assert [(folder / name).read_text() for name in ("a.txt", "b.txt")] == ["theirs", "theirs"]


@pytest.mark.parametrize("then", [ABSENT, sha("old")])
async def test_another_file_under_the_name_at_the_last_moment_stays(
    kept: Kept, folder: Path, monkeypatch: pytest.MonkeyPatch, then: bytes
) -> None:
    (folder / "a.txt").write_text("old")
    change = await kept.do("write_file", file_path="a.txt", content="new")
    look = writing._check_replaceable

    def swap(*args: object) -> object:
        found = look(*args)  # type: ignore[arg-type]
        (folder / "theirs").write_text("theirs")
        (folder / "theirs").rename(folder / "a.txt")
        return found

    monkeypatch.setattr(writing, "_check_replaceable", swap)
    assert kept.refusal(Undo(change.path, sha("new"), then)) == "workspace.changed"
    assert (folder / "a.txt").read_text() == "theirs"


@pytest.mark.parametrize("then", [ABSENT, sha("old")])
async def test_no_link_is_followed_out_of_the_workspace_or_to_another_place_in_it(
    kept: Kept, folder: Path, then: bytes
) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "a.txt").write_text("old")
    change = await kept.do("write_file", file_path="d/a.txt", content="new")
    outside = folder.parent / "outside"
    for place in (outside, folder / "elsewhere"):
        (folder / "d").rename(place)
        (folder / "d").symlink_to(place)
        assert kept.undoer.held(change.path) is None
        assert kept.undo() == ["a.txt"]
        assert kept.refusal(Undo(change.path, sha("new"), then)) in {"workspace.changed", "workspace.escape"}
        assert (place / "a.txt").read_text() == "new"
        (folder / "d").unlink()
        place.rename(folder / "d")
    (folder / "d" / "a.txt").rename(outside)
    (folder / "d" / "a.txt").symlink_to(outside)
    assert kept.refusal(Undo(change.path, sha("new"), then)) in {"workspace.changed", "workspace.escape"}
    assert outside.read_text() == "new"


async def test_a_file_with_a_second_name_stays(kept: Kept, folder: Path) -> None:
    change = await kept.do("write_file", file_path="a.txt", content="new")
    (folder / "other").hardlink_to(folder / "a.txt")
    assert kept.refusal(Undo(change.path, sha("new"), ABSENT)) == "workspace.hard-link"
    assert (folder / "a.txt").exists()


async def test_what_policy_hides_by_now_is_not_looked_at_nor_put_back(kept: Kept, folder: Path) -> None:
    change = await kept.do("write_file", file_path="a.txt", content="new")
    kept.bench.hidden.add(kept.bench.name("a.txt"))
    assert kept.undoer.held(change.path) is None
    assert kept.refusal(Undo(change.path, sha("new"), ABSENT)) == "workspace.changed"
    assert (folder / "a.txt").read_text() == "new"


async def test_what_no_tool_may_write_is_not_put_back(kept: Kept, folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("theirs")
    path = (await kept.do("write_file", file_path="a.txt", content="new")).path.replace("a.txt", ".git/config")
    assert kept.refusal(Undo(path, sha("theirs"), ABSENT)) == "workspace.protected"
    assert (folder / ".git" / "config").read_text() == "theirs"


async def test_a_file_outside_the_workspace_is_none_of_it(kept: Kept, folder: Path) -> None:
    outside = folder.parent / "outside.txt"
    args = {"file_path": str(outside), "content": "x"}
    call = kept.bench.call("write_file", await kept.bench.prepare("write_file", **args), **args)
    assert kept.undoer.change_of(call, True) is None
    outside.write_text("x")
    assert kept.undoer.held(call.pre[0].path) is None
    path = call.needs[0].resource.removeprefix("file://")
    assert kept.refusal(Undo(path, sha("x"), ABSENT)) == "workspace.changed"
    assert outside.read_text() == "x"


async def test_what_is_not_kept_any_more_is_said_and_nothing_is_changed(kept: Kept, folder: Path) -> None:
    (folder / "a.txt").write_text("old")
    change = await kept.do("edit_file", file_path="a.txt", old_string="old", new_string="new")
    assert (change.before, change.after) == (sha("old"), sha("new"))
    for file in (folder.parent / "kept").iterdir():
        file.unlink()
    assert not kept.undoer.is_kept(sha("old"))
    assert kept.refusal(Undo(change.path, sha("new"), sha("old"))) == "workspace.not-kept"
    assert (folder / "a.txt").read_text() == "new"
    args = {"file_path": "a.txt", "old_string": "new", "new_string": "newer"}
    call = kept.bench.call("edit_file", await kept.bench.prepare("edit_file", **args), **args)
    assert kept.undoer.change_of(call, True) == Change(change.path, sha("new"), None)


async def test_what_cannot_be_kept_is_not_taken_away(kept: Kept, folder: Path) -> None:
    change = await kept.do("write_file", file_path="a.txt", content="new")

    def full(content: bytes) -> None:
        raise ConfigError("home.unusable", "no room", where="", advice="")

    kept.undoer._keep = full
    assert kept.refusal(Undo(change.path, sha("new"), ABSENT)) == "workspace.unkept"
    assert (folder / "a.txt").read_text() == "new"


def test_a_path_is_shown_on_one_line() -> None:
    assert shown_path("srv/a%0Ab") == "/srv/a\\u{a}b"
