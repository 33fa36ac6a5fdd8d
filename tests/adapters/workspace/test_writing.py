from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace import writing
from astrid.adapters.workspace.handles import Root
from astrid.adapters.workspace.matcher import Engine
from astrid.adapters.workspace.observe import MAX_FILE_BYTES, observe, observe_for_write
from astrid.adapters.workspace.paths import Target
from astrid.adapters.workspace.writing import edit, write
from astrid.errors import ConfigError, WorkspaceError
from tests.fakes.power import Power
from tests.fakes.workspace_bench import Bench, MakeBench

CHANGED = "what the call works on changed since it was decided; look at it again and repeat the call"


async def test_a_file_is_written_with_its_folders(bench: Bench) -> None:
    assert await bench.text("write_file", file_path="a/b/c.txt", content="héllo\n") == "Wrote 7 bytes to a/b/c.txt"
    assert (bench.folder / "a" / "b" / "c.txt").read_bytes() == "héllo\n".encode()
    assert os.listdir(bench.folder / "a" / "b") == ["c.txt"]


async def test_a_new_file_gets_the_mode_that_the_umask_leaves(bench: Bench) -> None:
    await bench.text("write_file", file_path="new", content="x")
    (bench.folder / "other").touch()
    assert stat.S_IMODE((bench.folder / "new").stat().st_mode) == stat.S_IMODE((bench.folder / "other").stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o444])
async def test_a_replaced_file_keeps_its_mode(bench: Bench, mode: int) -> None:
    path = bench.folder / "f"
    path.write_text("old")
    path.chmod(mode)
    await bench.text("write_file", file_path="f", content="new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


async def test_new_content_never_runs_as_its_owner(bench: Bench) -> None:
    path = bench.folder / "f"
    path.write_text("old")
    path.chmod(0o4755)
    await bench.text("write_file", file_path="f", content="new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


async def test_a_replaced_file_keeps_its_owner(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    path = bench.folder / "f"
    path.write_text("old")
    os.chown(path, 12345, 23456)
    await bench.text("write_file", file_path="f", content="new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


async def test_a_reader_keeps_the_old_text_while_it_is_replaced(bench: Bench) -> None:
    (bench.folder / "f").write_text("old")
    with (bench.folder / "f").open() as reader:
        await bench.text("write_file", file_path="f", content="new")
        assert reader.read() == "old"


async def test_writing_through_a_link_inside_changes_the_file_and_keeps_the_link(bench: Bench) -> None:
    (bench.folder / "real").write_text("old")
    (bench.folder / "link").symlink_to("real")
    preparation = await bench.prepare("write_file", file_path="link", content="new")
    assert [need.resource for need in preparation.needs] == [bench.name("real")]
    await bench.text("write_file", file_path="link", content="new")
    assert (bench.folder / "link").is_symlink()
    assert (bench.folder / "real").read_text() == "new"


async def test_a_file_with_another_name_is_not_replaced(bench: Bench) -> None:
    os.link(bench.folder.parent / "secret.txt", bench.folder / "f")
    assert "several names (hard links)" in await bench.failure("write_file", file_path="f", content="x")
    assert (bench.folder.parent / "secret.txt").read_text() == "TOP SECRET"


@pytest.mark.parametrize("path", [".", "d", "pipe"])
async def test_only_plain_files_are_replaced(bench: Bench, path: str) -> None:
    (bench.folder / "d").mkdir()
    os.mkfifo(bench.folder / "pipe")
    args: dict[str, object] = {"file_path": path, "content": "x"}
    if path == ".":
        assert (await bench.refusal("write_file", **args)).code == "workspace.protected"
    else:
        assert " is " in await bench.failure("write_file", **args)
    assert sorted(os.listdir(bench.folder)) == ["d", "pipe"]


async def test_a_large_file_is_neither_written_nor_replaced(bench: Bench) -> None:
    with (bench.folder / "big").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert "larger than 10 MiB" in await bench.failure("write_file", file_path="big", content="x")
    long = "x" * (MAX_FILE_BYTES + 1)
    assert "larger than 10 MiB" in await bench.failure("write_file", file_path="new", content=long)
    assert os.listdir(bench.folder) == ["big"]


# What changed since the decision --------------------------------------------------------------------------------------


def in_place(folder: Path) -> None:
    with (folder / "d" / "f").open("r+") as file:
        file.write("OLD")


def replaced_by_equal(folder: Path) -> None:
    (folder / "d" / "x").write_text("old")
    (folder / "d" / "x").rename(folder / "d" / "f")


def replaced_by_link(folder: Path) -> None:
    (folder / "d" / "f").unlink()
    (folder / "d" / "f").symlink_to(folder.parent / "secret.txt")


def replaced_by_link_inside(folder: Path) -> None:
    (folder / "d" / "f").unlink()
    (folder / "other").write_text("old")
    (folder / "d" / "f").symlink_to("../other")


def removed(folder: Path) -> None:
    (folder / "d" / "f").unlink()


def folder_swapped(folder: Path) -> None:
    (folder / "d").rename(folder / "e")
    (folder / "d").mkdir()
    os.link(folder / "e" / "f", folder / "d" / "f")
    (folder / "e" / "f").unlink()


def folder_becomes_link(folder: Path) -> None:
    (folder / "d").rename(folder.parent / "e")
    (folder / "d").symlink_to("../e")


CHANGES = [
    in_place,
    replaced_by_equal,
    replaced_by_link,
    replaced_by_link_inside,
    removed,
    folder_swapped,
    folder_becomes_link,
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("tool", ["write_file", "edit_file"])
async def test_a_file_that_changed_since_the_decision_is_left_alone(bench: Bench, tool: str, change: object) -> None:
    (bench.folder / "d").mkdir()
    (bench.folder / "d" / "f").write_text("old")
    what = {"content": "new"} if tool == "write_file" else {"old_string": "old", "new_string": "new"}
    args = {"file_path": "d/f", **what}
    call = bench.call(tool, await bench.prepare(tool, **args), **args)
    change(bench.folder)  # type: ignore[operator]
    before = {path: path.read_bytes() for path in bench.folder.parent.rglob("*") if path.is_file()}
    outcome = await bench.execute(call)
    assert outcome.is_error
    assert outcome.effect == "none"
    assert outcome.content.decode().split(";")[0] in (
        CHANGED.split(";")[0],
        "a link on the path leads out of the workspace",
    )
    assert {path: path.read_bytes() for path in bench.folder.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("what", ["file", "link", "folder on the way", "fifo"])
async def test_what_appeared_since_the_decision_is_not_replaced(bench: Bench, what: str) -> None:
    args = {"file_path": "d/f", "content": "new"}
    (bench.folder / "d").mkdir() if what != "folder on the way" else None
    call = bench.call("write_file", await bench.prepare("write_file", **args), **args)
    path = bench.folder / "d" / "f"
    match what:
        case "file":
            path.write_text("mine")
        case "link":
            path.symlink_to(bench.folder.parent / "secret.txt")
        case "fifo":
            os.mkfifo(path)
        case _:
            path.parent.mkdir()
    outcome = await bench.execute(call)
    assert outcome.is_error
    assert outcome.effect == "none"
    assert (bench.folder.parent / "secret.txt").read_text() == "TOP SECRET"
    assert what != "file" or path.read_text() == "mine"


# The steps of a write, and what can go wrong between them ------------------------------------------------------------


def prepared(root: Root, *parts: bytes) -> tuple[Target, tuple[object, ...]]:
    return Target(root, parts, True, "f"), observe_for_write(root, parts)


def code_of(root: Root, data: bytes, target: Target, pre: tuple[object, ...]) -> tuple[str, str]:
    with pytest.raises(WorkspaceError) as caught:
        write(target, data, pre)  # type: ignore[arg-type]
    return caught.value.code, caught.value.effect


def test_a_write_depends_on_the_file_and_the_nearest_folder_that_is_there(root: Root, folder: Path) -> None:
    (folder / "d").mkdir()
    found = {pre.path.rpartition("/ws")[2]: pre.ino for pre in observe_for_write(root, (b"d", b"new", b"f"))}
    assert found == {"/d/new/f": 0, "/d": (folder / "d").stat().st_ino}
    assert [pre.ino for pre in observe_for_write(root, ())] == [folder.stat().st_ino]


def test_a_write_without_what_was_found_is_refused(root: Root, folder: Path) -> None:
    target, _ = prepared(root, b"f")
    assert code_of(root, b"x", target, ()) == ("workspace.changed", "none")


def test_a_folder_that_is_another_by_now_is_not_written_to(root: Root, folder: Path) -> None:
    (folder / "d").mkdir()
    target, pre = prepared(root, b"d", b"f")
    (folder / "d").rename(folder / "e")
    (folder / "d").mkdir()
    assert code_of(root, b"x", target, pre) == ("workspace.changed", "none")
    assert list((folder / "d").iterdir()) == []


def test_a_folder_that_appeared_is_not_written_to(root: Root, folder: Path) -> None:
    target, pre = prepared(root, b"d", b"f")
    (folder / "d").mkdir()
    assert code_of(root, b"x", target, pre) == ("workspace.changed", "none")


def test_a_file_that_is_gone_is_not_made_again(root: Root, folder: Path) -> None:
    (folder / "f").write_text("old")
    target, pre = prepared(root, b"f")
    (folder / "f").unlink()
    assert code_of(root, b"x", target, pre) == ("workspace.changed", "none")
    assert list(folder.iterdir()) == []


def test_a_text_that_changed_is_not_edited(root: Root, folder: Path) -> None:
    (folder / "f").write_text("old")
    target, pre = prepared(root, b"f")
    (folder / "f").write_text("older")
    with pytest.raises(WorkspaceError) as caught:
        edit(target, "old", "new", every=False, expected=pre)  # type: ignore[arg-type]
    assert caught.value.code == "workspace.changed"
    assert (folder / "f").read_text() == "older"


def test_a_text_read_in_between_is_not_edited(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as it was before and after; only while it was read it was another."""
    (folder / "f").write_text("old")
    target, pre = prepared(root, b"f")
    other = msgspec.structs.replace(observe(root, (b"f",)), content=hashlib.sha256(b"old, other").digest())
    monkeypatch.setattr(writing, "read_text", lambda target: ("old, other", other))
    with pytest.raises(WorkspaceError) as caught:
        edit(target, "old", "new", every=False, expected=pre)  # type: ignore[arg-type]
    assert caught.value.code == "workspace.changed"
    assert (folder / "f").read_text() == "old"


def test_content_that_changes_while_the_call_is_checked_is_noticed_on_the_descriptor(root: Root, folder: Path) -> None:
    (folder / "f").write_text("old")
    target, pre = prepared(root, b"f")
    in_file = (folder / "f").open("r+")
    in_file.write("OLD")
    in_file.close()
    assert code_of(root, b"x", target, pre) == ("workspace.changed", "none")
    assert (folder / "f").read_text() == "OLD"


def test_another_file_under_the_name_at_the_last_moment_is_not_replaced(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "f").write_text("old")
    target, pre = prepared(root, b"f")
    fill = writing._fill

    def swap(descriptor: int, data: bytes, old: os.stat_result | None) -> None:
        fill(descriptor, data, old)
        (folder / "theirs").write_text("theirs")
        (folder / "theirs").rename(folder / "f")

    monkeypatch.setattr(writing, "_fill", swap)
    assert code_of(root, b"x", target, pre) == ("workspace.changed", "none")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"f": "theirs"}


def test_a_file_that_appears_at_the_last_moment_is_not_replaced(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, pre = prepared(root, b"f")
    fill = writing._fill

    def appear(descriptor: int, data: bytes, old: os.stat_result | None) -> None:
        fill(descriptor, data, old)
        (folder / "f").write_text("theirs")

    monkeypatch.setattr(writing, "_fill", appear)
    assert code_of(root, b"x", target, pre) == ("workspace.changed", "none")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"f": "theirs"}


@pytest.mark.parametrize(
    ("function", "codes"),
    [("_fill", errno.ENOSPC), ("_place_new", errno.EIO)],
)
def test_a_full_disk_leaves_nothing_behind(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, codes: int
) -> None:
    target, pre = prepared(root, b"f")

    def fail(*args: object) -> None:
        raise OSError(codes, os.strerror(codes))

    monkeypatch.setattr(writing, function, fail)
    assert code_of(root, b"x", target, pre) == ("workspace.io", "none")
    assert list(folder.iterdir()) == []


def test_folders_made_before_a_failure_are_owned_up_to(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, pre = prepared(root, b"a", b"f")

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing, "_fill", fail)
    assert code_of(root, b"x", target, pre) == ("workspace.io", "maybe")


def test_a_failure_after_the_new_name_is_no_failure_to_write(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, pre = prepared(root, b"f")
    sync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(writing.os, "fsync", fail_for_folders)
    assert code_of(root, b"x", target, pre) == ("workspace.io", "done")
    assert (folder / "f").read_bytes() == b"x"


@pytest.mark.parametrize("parts", [(b"new",), (b"old",), (b"a", b"new"), (b"a", b"b", b"c", b"new")])
def test_when_it_is_written_a_power_failure_takes_nothing_of_it(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...]
) -> None:
    (folder / "old").write_text("as it was")
    target, pre = prepared(root, *parts)
    power = Power(monkeypatch)
    write(target, b"x" * 100_000, pre)  # type: ignore[arg-type]
    assert (power.placed, power.torn, power.open_folders) == (1, [], set())


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_a_new_file_is_still_written(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    target, pre = prepared(root, b"f")

    def refuse(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(writing.os, "link", refuse)
    write(target, b"x", pre)  # type: ignore[arg-type]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"f": "x"}


def test_a_link_that_cannot_be_made_for_another_reason_is_an_error(
    root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, pre = prepared(root, b"f")

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(writing.os, "link", refuse)
    assert code_of(root, b"x", target, pre) == ("workspace.io", "none")
    assert list(folder.iterdir()) == []


def test_no_descriptor_is_left_by_success_or_failure(root: Root, folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (folder / "f").write_text("old")
    target, pre = prepared(root, b"f")
    write(target, b"new", pre)  # type: ignore[arg-type]
    code_of(root, b"again", target, pre)
    deep, found = prepared(root, b"a", b"b", b"c")
    write(deep, b"x", found)  # type: ignore[arg-type]
    assert len(os.listdir("/proc/self/fd")) == before


# Editing --------------------------------------------------------------------------------------------------------------


async def test_one_occurrence_is_edited(bench: Bench) -> None:
    (bench.folder / "f").write_text("one two three")
    assert await bench.text("edit_file", file_path="f", old_string="two", new_string="2") == "Edited f"
    assert (bench.folder / "f").read_text() == "one 2 three"


async def test_every_occurrence_is_replaced_if_asked(bench: Bench) -> None:
    (bench.folder / "f").write_text("a a a")
    args = {"file_path": "f", "old_string": "a", "new_string": "b", "replace_all": True}
    assert await bench.text("edit_file", **args) == "Replaced 3 occurrences in f"
    assert (bench.folder / "f").read_text() == "b b b"


async def test_a_text_that_is_not_there_is_said_to_be_missing(bench: Bench) -> None:
    (bench.folder / "f").write_text("abc")
    assert (
        await bench.failure("edit_file", file_path="f", old_string="x", new_string="y") == "old_string not found in f"
    )


async def test_an_ambiguous_text_is_not_edited(bench: Bench) -> None:
    (bench.folder / "f").write_text("a a")
    told = await bench.failure("edit_file", file_path="f", old_string="a", new_string="b")
    assert told == "old_string found 2 times in f — use replace_all or provide more context to make it unique"
    assert (bench.folder / "f").read_text() == "a a"


async def test_an_edit_that_would_make_too_much_is_refused_before_it_is_made(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.folder / "f").write_text("é" * 1000)
    monkeypatch.setattr(writing, "MAX_FILE_BYTES", 10_000)
    made: list[int] = []
    monkeypatch.setattr(writing, "write", lambda _target, data, _expected, _keep: made.append(len(data)))
    outcome = await bench.outcome("edit_file", file_path="f", old_string="é", new_string="x" * 11, replace_all=True)
    assert (outcome.is_error, outcome.effect, made) == (True, "none", [])
    assert outcome.content == b"the text is larger than 10 MiB; write less"
    await bench.text("edit_file", file_path="f", old_string="é", new_string="x" * 10, replace_all=True)
    assert made == [10_000]


async def test_line_ends_and_modes_survive_an_edit(bench: Bench) -> None:
    (bench.folder / "f").write_bytes(b"#!/bin/sh\r\nold\r\n")
    (bench.folder / "f").chmod(0o755)
    await bench.text("edit_file", file_path="f", old_string="old", new_string="new")
    assert (bench.folder / "f").read_bytes() == b"#!/bin/sh\r\nnew\r\n"
    assert stat.S_IMODE((bench.folder / "f").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "Path not found: f"), (b"a\0", "f appears to be a binary file"), (b"a\xff", "f is not valid UTF-8")],
)
async def test_what_cannot_be_read_cannot_be_edited(bench: Bench, content: bytes | None, told: str) -> None:
    if content is not None:
        (bench.folder / "f").write_bytes(content)
    assert await bench.failure("edit_file", file_path="f", old_string="a", new_string="b") == told


async def test_an_empty_old_text_is_refused(bench: Bench) -> None:
    error = await bench.refusal("edit_file", file_path="f", old_string="", new_string="b")
    assert error.message.startswith("Invalid arguments:")


@settings(max_examples=60, deadline=None)
@given(st.text("ab\n", max_size=12), st.text("ab\n", min_size=1, max_size=3), st.text("abc", max_size=3), st.booleans())
def test_an_edit_is_a_replacement_of_text(text: str, old: str, new: str, every: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "f").write_text(text, newline="")
        root = Root.open(Path(scratch))
        try:
            target, pre = prepared(root, b"f")
            try:
                count = edit(target, old, new, every=every, expected=pre)  # type: ignore[arg-type]
            except WorkspaceError as error:
                count = 0
                assert error.code == ("workspace.no-match" if old not in text else "workspace.many-matches")
                assert old not in text or (text.count(old) > 1 and not every)
        finally:
            root.close()
        assert (Path(scratch) / "f").read_bytes().decode() == (text.replace(old, new) if count else text)
        assert count in (0, text.count(old))


# ---- kept ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["write_file", "edit_file"])
async def test_what_a_file_held_is_kept_before_it_is_changed(make_bench: MakeBench, tool: str) -> None:
    kept: list[tuple[bytes, str]] = []
    bench = make_bench(engine=Engine(), keep=lambda content: kept.append((content, path.read_text())))
    path = bench.folder / "f"
    path.write_text("old")
    arguments = {"content": "new"} if tool == "write_file" else {"old_string": "old", "new_string": "new"}
    await bench.text(tool, file_path="f", **arguments)
    assert kept == [(b"old", "old")]
    assert path.read_text() == "new"


async def test_of_a_new_file_there_is_nothing_to_keep(make_bench: MakeBench) -> None:
    kept: list[bytes] = []
    await make_bench(engine=Engine(), keep=kept.append).text("write_file", file_path="new", content="x")
    assert kept == []


async def test_what_cannot_be_kept_is_not_changed(make_bench: MakeBench) -> None:
    def refuse(content: bytes) -> None:
        raise ConfigError("file.unwritable", "no room", where="kept", advice="make room")

    bench = make_bench(engine=Engine(), keep=refuse)
    (bench.folder / "f").write_text("old")
    outcome = await bench.outcome("write_file", file_path="f", content="new")
    assert outcome.is_error
    assert outcome.effect == "none"
    assert b"cannot be kept" in outcome.content
    assert not [name for name in os.listdir(bench.folder) if name.endswith(".tmp")]
    assert (bench.folder / "f").read_text() == "old"
