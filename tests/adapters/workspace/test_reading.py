from __future__ import annotations

import os
import socket
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace.observe import MAX_FILE_BYTES
from astrid.adapters.workspace.reading import MAX_LINE_BYTES, number_lines, split_lines
from astrid.adapters.workspace.text import CEILING_BYTES, cut
from astrid.core.images import MAX_IMAGE_BYTES, MAX_SIDE
from astrid.core.visible import visible
from tests.fakes.pictures import jpeg, png
from tests.fakes.workspace_bench import Bench


async def test_lines_are_numbered_from_one(bench: Bench) -> None:
    (bench.folder / "f").write_text("one\ntwo\n")
    assert await bench.text("read_file", file_path="f") == "     1\tone\n     2\ttwo"


async def test_offset_and_limit_choose_lines_and_say_so(bench: Bench) -> None:
    (bench.folder / "f").write_text("".join(f"{n}\n" for n in range(1, 6)))
    text = await bench.text("read_file", file_path="f", offset=2, limit=2)
    assert text == "     2\t2\n     3\t3\n(showing lines 2-3 of 5; use offset/limit for more)"


async def test_an_offset_past_the_end_is_said(bench: Bench) -> None:
    (bench.folder / "f").write_text("one\n")
    assert await bench.text("read_file", file_path="f", offset=9) == "(file has 1 lines, offset 9 is past end)"


async def test_an_empty_file_has_no_lines(bench: Bench) -> None:
    (bench.folder / "f").write_bytes(b"")
    assert await bench.text("read_file", file_path="f") == "(file has 0 lines, offset 1 is past end)"


async def test_two_thousand_lines_are_shown_unless_asked_otherwise(bench: Bench) -> None:
    (bench.folder / "f").write_text("\n" * 2500)
    text = await bench.text("read_file", file_path="f")
    assert text.endswith("  2000\t\n(showing lines 1-2000 of 2500; use offset/limit for more)")


async def test_a_long_line_is_cut_between_characters(bench: Bench) -> None:
    (bench.folder / "f").write_text("x" + "é" * 3000)
    assert await bench.text("read_file", file_path="f") == "     1\tx" + "é" * 999


async def test_a_long_file_is_cut_between_lines_and_says_where(bench: Bench) -> None:
    (bench.folder / "f").write_text(("x" * 1000 + "\n") * 100)
    text = await bench.text("read_file", file_path="f")
    assert text.endswith("(showing lines 1-29 of 100; use offset/limit for more)")
    assert len(text.encode()) <= CEILING_BYTES


async def test_what_cannot_be_seen_is_shown(bench: Bench) -> None:
    (bench.folder / "f").write_text("ok\u202e\x1b[2J\r\nend")
    assert await bench.text("read_file", file_path="f") == "     1\tok\\u{202e}\\u{1b}[2J\n     2\tend"


async def test_a_binary_file_is_not_shown(bench: Bench) -> None:
    (bench.folder / "f").write_bytes(b"x" * 8191 + b"\0")
    assert await bench.failure("read_file", file_path="f") == "f appears to be a binary file"


async def test_a_nul_after_the_probe_does_not_make_a_file_binary(bench: Bench) -> None:
    (bench.folder / "f").write_bytes(b"x\n" * 4096 + b"\0")
    assert "\\u{0}" in await bench.text("read_file", file_path="f", offset=4097)


async def test_what_is_no_utf8_is_said_to_be_none(bench: Bench) -> None:
    (bench.folder / "f").write_bytes(b"caf\xe9")
    assert await bench.failure("read_file", file_path="f") == "f is not valid UTF-8"


async def test_a_missing_file_is_not_found(bench: Bench) -> None:
    assert await bench.failure("read_file", file_path="no/such") == "Path not found: no/such"


async def test_a_file_is_no_folder_on_the_way(bench: Bench) -> None:
    (bench.folder / "f").write_bytes(b"")
    assert await bench.failure("read_file", file_path="f/x") == "Path not found: f/x"


async def test_a_folder_is_not_read(bench: Bench) -> None:
    assert (await bench.failure("read_file", file_path=".")).startswith(". is a directory; use list_directory")


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
async def test_what_is_no_plain_file_is_not_read_and_does_not_block(bench: Bench, kind: str) -> None:
    path = bench.folder / "odd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif os.geteuid() == 0:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero: endless if it were read
    else:
        pytest.skip("only root makes devices")
    text = await bench.failure("read_file", file_path="odd")
    assert text in ("odd is not a regular file", "I/O error: No such device or address")


async def test_a_large_file_is_refused_with_advice(bench: Bench) -> None:
    with (bench.folder / "f").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # sparse: no bytes on the disk
    assert (await bench.failure("read_file", file_path="f")).startswith("f is larger than 10 MiB; use grep")


async def test_a_file_of_the_largest_size_is_read(bench: Bench) -> None:
    (bench.folder / "f").write_bytes((b"x" * 1023 + b"\n") * (MAX_FILE_BYTES // 1024))
    assert "of 10240;" in await bench.text("read_file", file_path="f")


async def test_what_may_not_be_read_is_an_error_and_no_crash(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.folder / "f").write_bytes(b"x")
    call = bench.call("read_file", await bench.prepare("read_file", file_path="f"), file_path="f")

    def refuse(descriptor: int, count: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("astrid.adapters.workspace.reading.os.read", refuse)
    outcome = await bench.execute(call)
    assert outcome.content == b"I/O error: Input/output error"
    assert outcome.effect == "none"


LINES = st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=12), max_size=20)


@settings(max_examples=200, deadline=None)
@given(lines=LINES, offset=st.integers(1, 25), limit=st.integers(1, 25), ended=st.booleans())
def test_numbered_lines_are_a_slice_of_all_lines(lines: list[str], offset: int, limit: int, ended: bool) -> None:
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    naive = text.split("\n")
    naive = naive[:-1] if naive[-1] == "" else naive
    shown = number_lines(text, offset, limit).split("\n")
    wanted = list(enumerate(naive, start=1))[offset - 1 : offset - 1 + limit]
    if not wanted:
        assert shown == [f"(file has {len(naive)} lines, offset {offset} is past end)"]
        return
    rows = [f"{number:>6}\t{visible(cut(line.removesuffix(chr(13)), MAX_LINE_BYTES))}" for number, line in wanted]
    if len(wanted) < len(naive):
        rows.append(f"(showing lines {offset}-{offset + len(wanted) - 1} of {len(naive)}; use offset/limit for more)")
    assert shown == rows


def test_a_carriage_return_belongs_to_the_line_feed_after_it() -> None:
    assert split_lines("a\r\nb\rc\n\n") == ["a", "b\rc", ""]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
def test_no_file_of_the_kernel_takes_blocks() -> None:
    """INVARIANT: else one that is mounted elsewhere would be taken for a plain file."""
    found = [
        os.lstat(os.path.join(folder, name)).st_blocks
        for top in ("/proc/sys/kernel", "/sys/kernel")
        for folder, _, names in islice(os.walk(top), 200)
        for name in names
    ]
    found += [os.stat(f"/proc/self/{name}").st_blocks for name in ("environ", "mem", "maps", "status")]
    assert len(found) > 100
    assert set(found) == {0}


async def test_the_daemon_cannot_be_read_through_a_file_of_the_kernel(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = await bench.refusal("read_file", file_path=f"/proc/{os.getpid()}/environ")
    assert error.code == "workspace.kernel-files"
    # The same file system mounted elsewhere: only its device number tells.
    (bench.folder / "f").touch()
    device = (bench.folder / "f").stat().st_dev
    monkeypatch.setattr("astrid.adapters.workspace.reading._kernel_devices", lambda: {device})
    assert await bench.failure("read_file", file_path="f") == "f is not a regular file"


def test_the_devices_of_the_kernel_are_known() -> None:
    from astrid.adapters.workspace.reading import is_plain

    assert not is_plain(Path("/proc/self/environ").stat())
    assert is_plain(Path(__file__).stat())


@pytest.mark.parametrize("content", [png(640, 480), jpeg(640, 480)])
async def test_an_image_is_read_as_it_is_whatever_it_is_called(bench: Bench, content: bytes) -> None:
    (bench.folder / "notes.txt").write_bytes(content)
    outcome = await bench.outcome("read_file", file_path="notes.txt")
    assert (outcome.content, outcome.is_error, outcome.effect) == (content, False, "none")


@pytest.mark.parametrize("content", [png(0, 3), png(MAX_SIDE + 1, 3), png(size=MAX_IMAGE_BYTES + 1), jpeg(3, 0)])
async def test_an_image_that_is_broken_or_too_large_is_not_read(bench: Bench, content: bytes) -> None:
    (bench.folder / "f.png").write_bytes(content)
    told = await bench.failure("read_file", file_path="f.png")
    assert told.startswith("f.png is an image that cannot be shown")


async def test_what_is_only_called_an_image_is_a_file_as_any_other(bench: Bench) -> None:
    (bench.folder / "f.png").write_text("hello")
    assert await bench.text("read_file", file_path="f.png") == "     1\thello"
