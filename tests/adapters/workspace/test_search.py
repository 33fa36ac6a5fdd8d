from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from astrid.adapters.workspace import grep_worker, matcher, search, walk
from astrid.adapters.workspace.handles import Root
from astrid.adapters.workspace.matcher import Engine, Matcher, find_engine
from astrid.adapters.workspace.observe import MAX_FILE_BYTES
from astrid.adapters.workspace.text import CUT_SUFFIX
from astrid.box_ports import Finished
from astrid.errors import WorkspaceError
from tests.fakes.workspace_bench import Bench, MakeBench


def fill(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# list_directory -------------------------------------------------------------------------------------------------------


async def test_folders_are_listed_before_files_with_their_size(bench: Bench) -> None:
    fill(bench.folder, b="12345", a__x="", _DOT_dot="1")
    (bench.folder / "link").symlink_to("b")
    os.mkfifo(bench.folder / "pipe")
    assert (await bench.text("list_directory", path=".")).splitlines() == [
        "a/",
        ".dot (1 bytes)",
        "b (5 bytes)",
        "link (symbolic link)",
        "pipe (special file)",
        "(1 directories, 4 files)",
    ]


async def test_an_empty_folder_is_said_to_be_empty(bench: Bench) -> None:
    (bench.folder / "d").mkdir()
    assert await bench.text("list_directory", path="d") == "d is empty"


async def test_a_file_is_not_listed(bench: Bench) -> None:
    fill(bench.folder, f="")
    assert (await bench.failure("list_directory", path="f")).startswith("f is not a directory")
    assert await bench.failure("list_directory", path="f/x") == "Path not found: f/x"


async def test_a_missing_folder_is_not_found(bench: Bench) -> None:
    assert await bench.failure("list_directory", path="no") == "Path not found: no"


async def test_a_huge_folder_is_refused_with_advice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_FOLDER_ENTRIES", 3)
    fill(bench.folder, a="", b="", c="")
    assert (await bench.text("list_directory", path=".")).endswith("(0 directories, 3 files)")
    fill(bench.folder, d="")
    assert await bench.failure("list_directory", path=".") == ". has more than 3 entries; use glob with a pattern"


async def test_hidden_and_odd_names_are_left_out_of_every_result(bench: Bench) -> None:
    fill(bench.folder, secret__key="needle", open="needle", _DOT_env="needle", **{"fi\u202ele": "needle"})
    (bench.folder / os.fsdecode(b"b\xff")).write_text("needle")
    bench.hidden |= {bench.name("secret"), bench.name(".env")}
    assert await bench.text("list_directory", path=".") == "open (6 bytes)\n(0 directories, 1 files)"
    assert await bench.text("glob", pattern="{**/*,.*}") == "open\n(1 files matched)"
    assert await bench.text("grep", pattern="needle") == "open:1:needle\n(1 matches in 1 files)"
    assert await bench.text("glob", pattern="secret/*") == 'No files matching "secret/*" found'


async def test_an_entry_that_vanishes_while_it_is_listed_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench.folder, a="", b="")
    hides = walk.Locator.hides

    def remove(self: walk.Locator, root: Root, parts: tuple[bytes, ...]) -> bool:
        (bench.folder / "a").unlink(missing_ok=True)
        return hides(self, root, parts)

    monkeypatch.setattr(walk.Locator, "hides", remove)
    assert "a (" not in await bench.text("list_directory", path=".")


# glob -----------------------------------------------------------------------------------------------------------------


async def test_files_are_found_newest_first(bench: Bench) -> None:
    fill(bench.folder, old_DOT_py="", sub__new_DOT_py="", other_DOT_txt="", _DOT_git__x_DOT_py="")
    os.utime(bench.folder / "old.py", (1, 1))
    assert await bench.text("glob", pattern="**/*.py") == "sub/new.py\nold.py\n(2 files matched)"
    assert await bench.text("glob", pattern="*.py", path="sub") == "sub/new.py\n(1 files matched)"


async def test_links_are_found_but_not_followed(bench: Bench) -> None:
    fill(bench.folder, d__f="")
    (bench.folder / "l").symlink_to("d")
    (bench.folder / "out").symlink_to(bench.folder.parent)
    found = (await bench.text("glob", pattern="**")).splitlines()
    assert sorted(found) == ["(3 files matched)", "d/f", "l", "out"]


async def test_nothing_found_is_said(bench: Bench) -> None:
    assert await bench.text("glob", pattern="*.x\x1b") == 'No files matching "*.x\\u{1b}" found'


async def test_a_bad_pattern_is_refused_before_anything_is_decided(bench: Bench) -> None:
    for args in ({"pattern": "../*"}, {"pattern": ""}, {"pattern": "/etc/*"}):
        assert (await bench.refusal("glob", **args)).message.startswith("Invalid arguments:")


async def test_a_long_result_keeps_its_footer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astrid.adapters.workspace.text.CEILING_BYTES", 60)
    fill(bench.folder, **{f"file{n}": "" for n in range(20)})
    text = await bench.text("glob", pattern="*")
    assert text.endswith(f"{CUT_SUFFIX}\n(20 files matched)")


async def test_a_walk_ends_at_its_limit_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_WALKED_ENTRIES", 4)
    fill(bench.folder, a__b="", c__d="", e="", f="")
    text = await bench.text("glob", pattern="**")
    assert "(stopped after 4 entries; name a smaller folder)" in text


async def test_a_folder_that_cannot_be_entered_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench.folder, a__b="", c="")
    scan = walk.scan

    def refuse(locator: object, root: object, parts: tuple[bytes, ...], *, limit: int) -> tuple[list[walk.Entry], int]:
        if parts == (b"a",):
            raise PermissionError(13, "Permission denied")
        return scan(locator, root, parts, limit=limit)  # type: ignore[arg-type]

    monkeypatch.setattr(walk, "scan", refuse)
    assert await bench.text("glob", pattern="**") == "c\n(1 folders could not be read)\n(1 files matched)"


async def test_a_walk_can_be_cancelled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench.folder, a__b__c="")
    entered = trio.Event()
    scan = walk.scan

    def announce(*args: object, **options: object) -> object:
        trio.from_thread.run_sync(entered.set)
        while True:  # only cancellation, looked for at each folder, ends this walk
            trio.from_thread.check_cancelled()
        return scan(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(walk, "scan", announce)
    with trio.fail_after(30), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: bench.outcome("glob", pattern="**"))
            await entered.wait()
            scope.cancel()
    assert scope.cancelled_caught


# grep -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def grepper(make_bench: MakeBench, engine: Engine) -> Bench:
    """A bench with each of the two programs that search."""
    return make_bench(engine=engine)


async def test_matching_lines_are_found_in_all_files(grepper: Bench) -> None:
    fill(grepper.folder, a="one\ntwo\n", sub__b="xtwo", _DOT_d__c="two", _DOT_rc="two")
    assert (await grepper.text("grep", pattern="t[wv]o$")).splitlines() == [
        ".rc:1:two",
        "a:2:two",
        "sub/b:1:xtwo",
        "(3 matches in 3 files)",
    ]


async def test_a_single_file_can_be_searched(grepper: Bench) -> None:
    fill(grepper.folder, a="one\ntwo\n", b="two")
    assert await grepper.text("grep", pattern="two", path="a") == "a:2:two\n(1 matches in 1 files)"
    assert await grepper.text("grep", pattern="three", path="a") == "No matches found in a"


async def test_no_match_in_a_folder_is_said(grepper: Bench) -> None:
    fill(grepper.folder, a="one")
    assert await grepper.text("grep", pattern="x+") == 'No matches for "x+" found'


async def test_context_is_shown_with_dashes_and_groups_are_apart(grepper: Bench) -> None:
    fill(grepper.folder, a="1\nhit\n3\n4\n5\nhit\n7\nhit\n")
    assert (await grepper.text("grep", pattern="hit", context=1)).splitlines() == [
        "a-1-1",
        "a:2:hit",
        "a-3-3",
        "--",
        "a-5-5",
        "a:6:hit",
        "a-7-7",
        "a:8:hit",
        "(3 matches in 1 files)",
    ]


async def test_case_counts_unless_asked_otherwise(grepper: Bench) -> None:
    fill(grepper.folder, a="Hit\nhit\n")
    assert "(1 matches" in await grepper.text("grep", pattern="hit")
    assert "(2 matches" in await grepper.text("grep", pattern="hit", case_insensitive=True)


async def test_names_narrow_the_search(grepper: Bench) -> None:
    fill(grepper.folder, a_DOT_py="x", sub__b_DOT_py="x", sub__c_DOT_txt="x")
    assert (await grepper.text("grep", pattern="x", glob="*.py")).endswith("(2 matches in 2 files)")
    assert (await grepper.text("grep", pattern="x", glob="sub/*")).endswith("(2 matches in 2 files)")
    assert (await grepper.text("grep", pattern="x", glob="*.{txt,rs}")).endswith("(1 matches in 1 files)")


async def test_binary_and_linked_files_are_not_searched(grepper: Bench) -> None:
    (grepper.folder / "bin").write_bytes(b"needle\0")
    (grepper.folder / "late").write_bytes(b"needle\n" + b"x" * 600 + b"\0")
    (grepper.folder / "link").symlink_to(grepper.folder.parent / "secret.txt")
    os.mkfifo(grepper.folder / "pipe")
    assert await grepper.text("grep", pattern="needle|SECRET") == "late:1:needle\n(1 matches in 1 files)"


async def test_lines_that_are_no_utf8_and_carriage_returns_are_shown_safely(grepper: Bench) -> None:
    (grepper.folder / "f").write_bytes(b"caf\xe9 needle\x1b[2J\r\nneedle\r\n")
    lines = (await grepper.text("grep", pattern="needle(.*J)?$")).splitlines()
    assert lines == ["f:1:caf\ufffd needle\\u{1b}[2J", "f:2:needle", "(2 matches in 1 files)"]


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]"])
async def test_what_is_no_expression_is_said(grepper: Bench, pattern: str) -> None:
    fill(grepper.folder, a="x")
    told = await grepper.failure("grep", pattern=pattern)
    assert told.startswith("Invalid arguments: the pattern is not a regular expression:")


@pytest.mark.parametrize("pattern", ["-v", "--help", "-e", "--", "-"])
async def test_a_pattern_is_never_an_option(grepper: Bench, pattern: str) -> None:
    fill(grepper.folder, a=f"x{pattern}x")
    assert (await grepper.text("grep", pattern=pattern)).endswith("(1 matches in 1 files)")


async def test_long_lines_are_cut(grepper: Bench) -> None:
    fill(grepper.folder, a="needle" + "x" * 5000)
    assert len((await grepper.text("grep", pattern="needle")).splitlines()[0]) == len("a:1:") + 2000


async def test_more_files_than_one_batch_are_searched(grepper: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BATCH_FILES", 3)
    fill(grepper.folder, **{f"f{n}": "x" for n in range(8)})
    before = len(os.listdir("/proc/self/fd"))
    assert (await grepper.text("grep", pattern="x")).endswith("(8 matches in 8 files)")
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # a thread's own, once


async def test_the_search_stops_after_enough_files(grepper: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_GREP_FILES", 2)
    fill(grepper.folder, a="x", b="x", c="x")
    assert (await grepper.text("grep", pattern="x")).splitlines() == [
        "a:1:x",
        "b:1:x",
        "(stopped early, there may be more; narrow the search)",
        "(2 matches in 2 files)",
    ]


async def test_the_search_stops_after_enough_text(grepper: Bench) -> None:
    fill(grepper.folder, a="needle\n" * 900, **{f"b{n}": "needle " + "y" * 1900 for n in range(40)})
    text = await grepper.text("grep", pattern="needle")
    assert len(text.encode()) <= 30_000 + 200
    assert "(stopped early" in text


async def test_large_files_are_counted_not_searched(grepper: Bench) -> None:
    with (grepper.folder / "big").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    told = 'No matches for "x" found\n(1 files larger than 10 MiB were not searched)'
    assert await grepper.text("grep", pattern="x") == told


async def test_a_hostile_expression_ends_at_the_deadline(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own expressions can take for ever; those of ``rg`` cannot."""
    monkeypatch.setattr(search, "SEARCH_SECONDS", 0.5)
    fill(bench.folder, a="a" * 60)
    with trio.fail_after(30):
        told = await bench.failure("grep", pattern="(a|a)*(a|a)*(a|a)*b$")
    assert told.startswith("Timeout after")


async def test_searching_what_is_not_there(bench: Bench) -> None:
    assert await bench.failure("grep", pattern="x", path="no") == "Path not found: no"
    os.mkfifo(bench.folder / "pipe")
    assert await bench.failure("grep", pattern="x", path="pipe") == "pipe is not a regular file"


async def test_a_file_that_vanishes_or_becomes_a_link_before_its_turn_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench.folder, a="SECRET", b="SECRET", c="SECRET")
    listed = search._list_files

    def change(walking: walk.Walk, names: object) -> list[walk.Entry]:
        found = listed(walking, names)  # type: ignore[arg-type]
        (bench.folder / "a").unlink()
        (bench.folder / "b").unlink()
        (bench.folder / "b").symlink_to(bench.folder.parent / "secret.txt")
        return found

    monkeypatch.setattr(search, "_list_files", change)
    assert await bench.text("grep", pattern="SECRET") == "c:1:SECRET\n(1 matches in 1 files)"


async def test_a_file_that_becomes_a_fifo_before_its_turn_is_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench.folder, a="x")
    listed = search._list_files

    def change(walking: walk.Walk, names: object) -> list[walk.Entry]:
        found = listed(walking, names)  # type: ignore[arg-type]
        (bench.folder / "a").unlink()
        os.mkfifo(bench.folder / "a")
        return found

    monkeypatch.setattr(search, "_list_files", change)
    with trio.fail_after(30):
        assert await bench.text("grep", pattern="x") == 'No matches for "x" found'


async def test_files_of_the_kernel_are_not_searched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench.folder, a="x", b="x")
    kernels = (bench.folder / "a").stat().st_ino
    monkeypatch.setattr(search, "is_plain", lambda status: status.st_ino != kernels)
    found = await bench.text("grep", pattern="x")
    assert "b" in found
    assert "a:" not in found


async def test_a_file_whose_disk_fails_is_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(bench.folder, a="x")

    def fail(descriptor: int, count: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(search.os, "pread", fail)
    assert await bench.text("grep", pattern="x") == 'No matches for "x" found'


async def test_a_nul_is_no_pattern(bench: Bench) -> None:
    assert (await bench.refusal("grep", pattern="a\0b")).message == "Invalid arguments: the pattern holds a NUL"


# The programs that search ---------------------------------------------------------------------------------------------


def test_rg_is_not_taken_from_the_workspace(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, bin__rg="#!/bin/sh\n")
    (folder / "bin" / "rg").chmod(0o755)
    monkeypatch.setattr(matcher, "FIXED_PATH", (str(folder / "bin"),))
    monkeypatch.setattr(sys, "executable", str(folder / "bin" / "python"))
    assert find_engine(root) == Engine(None)
    (folder.parent / "bin").mkdir()
    (folder.parent / "bin" / "rg").symlink_to(folder / "bin" / "rg")
    monkeypatch.setattr(matcher, "FIXED_PATH", (str(folder.parent / "bin"),))
    assert find_engine(root) == Engine(None)


def test_rg_is_taken_from_a_system_folder(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder.parent, bin__rg="#!/bin/sh\n")
    monkeypatch.setattr(matcher, "FIXED_PATH", (str(folder.parent / "bin"),))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert find_engine(root) == Engine(None)  # not executable
    (folder.parent / "bin" / "rg").chmod(0o755)
    assert find_engine(root) == Engine(str(folder.parent / "bin" / "rg"))


async def ended(monkeypatch: pytest.MonkeyPatch, returncode: int, stdout: bytes) -> dict[int, list[matcher.Line]]:
    async def answer(*args: object, **options: object) -> Finished:
        await trio.lowlevel.checkpoint()
        return Finished(returncode=returncode, stdout=stdout, stderr=b"", truncated=False, stopped="")

    monkeypatch.setattr(matcher, "run_process", answer)
    return await Matcher(Engine(), "x", 0, False, {}).search([5], seconds=1)


async def test_a_matcher_that_crashes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await ended(monkeypatch, -signal.SIGSEGV, b"")
    assert caught.value.message == "Execution failed: the search ended early"


async def test_only_whole_answers_about_our_files_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = '{"type":"%s","data":{"path":{"text":"/proc/self/fd/%d"},"lines":{"text":"t"},"line_number":1}}\n'
    rows = row % ("match", 5) + row % ("match", 6) + row % ("begin", 5) + row[:30]
    found = await ended(monkeypatch, 0, rows.encode())
    assert found == {5: [matcher.Line(1, True, "t")]}


@pytest.mark.parametrize(
    ("flags", "expression", "code", "numbers"),
    [("-", "hit", 0, [1, 2, 3, 5, 6]), ("i", "hit", 0, [1, 2, 3, 5, 6]), ("-", "none", 1, []), ("i", "(", 2, [])],
)
def test_the_worker_prints_what_rg_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, expression: str, code: int, numbers: list[int]
) -> None:
    (tmp_path / "f").write_text("1\nhit\n3\n4\n5\nhit")
    assert grep_worker.main([flags, "1", "10", expression, str(tmp_path / "f")]) == code
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [row["data"]["line_number"] for row in rows] == numbers
    assert {row["data"]["line_number"] for row in rows if row["type"] == "match"} == ({2, 6} if numbers else set())


def test_the_worker_stops_after_enough_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").write_text("x\n" * 10)
    assert grep_worker.main(["-", "0", "3", "x", str(tmp_path / "f")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_worker_imports_nothing_of_ours() -> None:
    source = Path(grep_worker.__file__).read_text()
    assert "import astrid" not in source
    assert "from astrid" not in source
