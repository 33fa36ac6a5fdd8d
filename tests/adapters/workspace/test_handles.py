from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace import openers
from astrid.adapters.workspace.handles import Opener, Parts, Root, check_outside, split
from astrid.adapters.workspace.openers import open_by_walking, open_in_kernel
from astrid.errors import InternalError, WorkspaceError


def nothing_blind(parts: Parts) -> bool:
    return False


def read(root: Root, parts: Parts) -> bytes:
    with root.file(parts) as descriptor:
        return os.read(descriptor, 100)


def real_path(descriptor: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % descriptor)


def refused(root: Root, parts: Parts) -> int:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is the answer
        os.close(root.open_file(parts))
    assert caught.value.errno is not None
    return caught.value.errno


# Opening ------------------------------------------------------------------------------------------------------------


def test_a_plain_file_is_opened_below_the_root(root: Root, folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "c.txt").write_bytes(b"hello")
    assert read(root, (b"a", b"b", b"c.txt")) == b"hello"


def test_the_root_itself_can_be_opened(root: Root, folder: Path) -> None:
    with root.folder(()) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), os.stat(folder))


@pytest.mark.parametrize(
    "make",
    [
        lambda ws: (ws / "x").symlink_to(ws.parent / "secret.txt"),
        lambda ws: (ws / "x").symlink_to("../secret.txt"),
        lambda ws: (ws / "x").symlink_to("/proc/self/root/etc/passwd"),
        lambda ws: (ws / "x").symlink_to("inside.txt"),
    ],
    ids=["absolute", "relative", "magic", "inside"],
)
def test_a_link_is_never_followed_by_opening(root: Root, folder: Path, make: Callable[[Path], None]) -> None:
    (folder / "inside.txt").write_bytes(b"fine")
    make(folder)
    assert refused(root, (b"x",)) == errno.ELOOP


def test_a_link_to_a_folder_is_not_followed_on_the_way(root: Root, folder: Path) -> None:
    (folder / "out").symlink_to(folder.parent)
    assert refused(root, (b"out", b"secret.txt")) == errno.ELOOP
    assert refused(root, (b"out", b"ws-evil", b"secret.txt")) == errno.ELOOP


def test_a_link_is_refused_as_a_folder_too(root: Root, folder: Path) -> None:
    (folder / "out").symlink_to(folder.parent)
    with pytest.raises(OSError, match="symbolic") as caught:
        root.open_folder((b"out",))
    assert caught.value.errno == errno.ELOOP


def test_a_file_on_the_way_is_no_folder(root: Root, folder: Path) -> None:
    (folder / "f").write_bytes(b"")
    assert refused(root, (b"f", b"x")) == errno.ENOTDIR


def test_what_is_missing_is_missing(root: Root) -> None:
    assert refused(root, (b"no", b"such")) == errno.ENOENT


def test_a_fifo_does_not_block_the_opening(root: Root, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    os.close(root.open_file((b"pipe",)))


@pytest.mark.parametrize("part", [b"..", b".", b"", b"a/b", b"/etc", b"a\0b"])
def test_a_component_that_is_itself_a_path_is_a_bug_not_an_opening(root: Root, part: bytes) -> None:
    with pytest.raises(InternalError) as caught:
        root.open_file((part,))
    assert caught.value.code == "internal.path-part"


def test_magic_links_of_proc_are_refused(opener: Opener) -> None:
    system = Root.of_system(opener)
    here = str(os.getpid()).encode()
    try:
        for parts in [
            (b"proc", b"self", b"status"),
            (b"proc", here, b"root", b"etc", b"passwd"),
            (b"proc", here, b"cwd"),
            (b"proc", here, b"fd", b"0"),
        ]:
            assert refused(system, parts) == errno.ELOOP
    finally:
        system.close()


def test_the_kernel_is_asked_again_when_a_rename_meets_the_lookup(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([-1, -1, 7])

    def syscall(*args: object) -> int:
        ctypes.set_errno(errno.EAGAIN)
        return next(answers)

    monkeypatch.setattr(openers, "_syscall", syscall)
    assert open_in_kernel(0, (b"x",), 0) == 7


def test_a_kernel_that_always_meets_renames_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def syscall(*args: object) -> int:
        ctypes.set_errno(errno.EAGAIN)
        return -1

    monkeypatch.setattr(openers, "_syscall", syscall)
    with pytest.raises(BlockingIOError):
        open_in_kernel(0, (b"x",), 0)


def test_only_linux_is_asked_for_openat2(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openers.sys, "platform", "darwin")
    assert not openers.kernel_opens(root.descriptor)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_without_openat2_files_are_opened_by_walking(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def syscall(*args: object) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(openers, "_syscall", syscall)
    (folder / "a").write_bytes(b"hello")
    root = Root.open(folder)
    try:
        assert read(root, (b"a",)) == b"hello"
    finally:
        root.close()


# Resolving ----------------------------------------------------------------------------------------------------------


def test_links_that_stay_inside_are_followed_to_the_real_path(root: Root, folder: Path) -> None:
    (folder / "real" / "deep").mkdir(parents=True)
    (folder / "real" / "deep" / "f").write_bytes(b"x")
    (folder / "one").symlink_to("real")
    (folder / "two").symlink_to(folder / "one" / "deep")
    (folder / "real" / "deep" / "up").symlink_to("../../two/f")
    assert root.resolve((b"one", b"deep", b"f"), nothing_blind) == (b"real", b"deep", b"f")
    assert root.resolve((b"two", b"up"), nothing_blind) == (b"real", b"deep", b"f")


@pytest.mark.parametrize(
    "target", ["..", "/", "/etc/passwd", "../ws-evil/secret.txt", "a/../../secret.txt", "/proc/self/cwd"]
)
def test_a_link_that_leads_out_is_refused_with_a_constant_text(root: Root, folder: Path, target: str) -> None:
    (folder / "a").mkdir()
    (folder / "x").symlink_to(target)
    (folder / "y").symlink_to("x")
    for parts in [(b"x",), (b"y",), (b"x", b"more")]:
        with pytest.raises(WorkspaceError) as caught:
            root.resolve(parts, nothing_blind)
        assert caught.value.code == "workspace.escape"
        assert str(caught.value) == "a link on the path leads out of the workspace [workspace.escape]"


def test_an_absolute_link_to_a_folder_with_the_same_beginning_is_outside(root: Root, folder: Path) -> None:
    (folder / "x").symlink_to(f"{folder}-evil/secret.txt")
    with pytest.raises(WorkspaceError, match="leads out"):
        root.resolve((b"x",), nothing_blind)


def test_links_in_a_circle_are_refused(root: Root, folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises(WorkspaceError) as caught:
        root.resolve((b"a",), nothing_blind)
    assert caught.value.code == "workspace.link-loop"


def test_what_is_missing_stays_as_written(root: Root, folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "l").symlink_to("d")
    assert root.resolve((b"l", b"new", b"file"), nothing_blind) == (b"d", b"new", b"file")


def test_nothing_is_looked_at_below_a_blind_name(root: Root, folder: Path) -> None:
    (folder / "hidden").mkdir()
    (folder / "hidden" / "link").symlink_to("../open")
    (folder / "open").write_bytes(b"")

    def blind(parts: Parts) -> bool:
        return parts == (b"hidden", b"link")

    assert root.resolve((b"hidden", b"link"), blind) == (b"hidden", b"link")
    assert root.resolve((b"hidden", b"link"), nothing_blind) == (b"open",)


# The root -----------------------------------------------------------------------------------------------------------


def test_a_root_given_through_a_link_is_known_by_both_paths(folder: Path, opener: Opener) -> None:
    alias = folder.parent / "alias"
    alias.symlink_to(folder)
    (folder / "f").write_bytes(b"x")
    (folder / "l").symlink_to(alias / "f")
    root = Root.open(alias, opener)
    try:
        assert root.path == split(os.fsencode(folder.resolve()))
        assert root.resolve((b"l",), nothing_blind) == (b"f",)
    finally:
        root.close()


def test_a_file_is_no_workspace(folder: Path, opener: Opener) -> None:
    (folder / "f").write_bytes(b"")
    with pytest.raises(WorkspaceError) as caught:
        Root.open(folder / "f", opener)
    assert caught.value.code == "workspace.cannot-open"
    assert caught.value.advice


def test_a_missing_folder_is_no_workspace(folder: Path, opener: Opener) -> None:
    with pytest.raises(WorkspaceError, match="no such file"):
        Root.open(folder / "missing", opener)


def test_a_folder_that_cannot_be_read_is_no_workspace(folder: Path, opener: Opener) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(WorkspaceError, match="permission denied"), as_an_ordinary_user():
        Root.open(closed, opener)


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """root may read everything, so a test about permissions must not be root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_the_whole_file_system_is_no_workspace(opener: Opener) -> None:
    with pytest.raises(WorkspaceError) as caught:
        Root.open(Path("/"), opener)
    assert caught.value.code == "workspace.root"


def test_a_workspace_that_was_moved_is_noticed(root: Root, folder: Path) -> None:
    root.check_in_place()
    folder.rename(folder.parent / "elsewhere")
    with pytest.raises(WorkspaceError) as caught:
        root.check_in_place()
    assert caught.value.code == "workspace.moved"
    folder.mkdir()
    with pytest.raises(WorkspaceError, match="moved or replaced"):
        root.check_in_place()


def test_a_root_can_be_closed_twice(folder: Path, opener: Opener) -> None:
    root = Root.open(folder, opener)
    root.close()
    root.close()
    assert root.descriptor == -1


def test_opening_and_closing_leaves_no_descriptor_behind(folder: Path, opener: Opener) -> None:
    (folder / "d").mkdir()
    (folder / "l").symlink_to("d")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        root = Root.open(folder, opener)
        root.check_in_place()
        root.resolve((b"l", b"x"), nothing_blind)
        root.status((b"d", b"x"))
        refused(root, (b"l", b"y"))
        refused(root, (b"d", b"y", b"z"))
        root.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("home", [".", "home", "..", "../.."])
def test_a_home_in_the_workspace_or_around_it_is_refused(folder: Path, home: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        check_outside(folder / home, folder)
    assert caught.value.code == "workspace.home-inside"


def test_a_home_reached_by_a_link_into_the_workspace_is_refused(folder: Path) -> None:
    (folder / "real-home").mkdir()
    (folder.parent / "alias").symlink_to(folder / "real-home")
    with pytest.raises(WorkspaceError):
        check_outside(folder.parent / "alias", folder)


def test_a_home_that_cannot_be_resolved_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os.path, "realpath", refuse)
    with pytest.raises(WorkspaceError) as caught:
        check_outside(folder.parent / "home", folder)
    assert caught.value.code == "workspace.cannot-open"


def test_a_home_beside_the_workspace_is_fine_even_with_the_same_beginning(folder: Path) -> None:
    assert check_outside(folder.parent / "ws-evil", folder) is None


# Races --------------------------------------------------------------------------------------------------------------


SWAP = """
import ctypes, sys
library = ctypes.CDLL(None)
while True:
    library.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)  # AT_FDCWD, RENAME_EXCHANGE
"""


@contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    """Two names change places all the time."""
    with subprocess.Popen([sys.executable, "-I", "-c", SWAP, str(first), str(second)]) as process:
        try:
            yield
        finally:
            process.kill()


def outcomes(root: Root, parts: Parts) -> set[bytes | int | None]:
    """What reading gives, tried until it both worked and failed a few hundred times."""
    seen: Counter[bytes | int | None] = Counter()
    worked = 0
    while not (worked > 300 and seen.total() - worked > 300):
        assert seen.total() < 1_000_000, f"the swapping never met the reading: {seen}"
        try:
            seen[read(root, parts)] += 1
            worked += 1
        except OSError as error:
            seen[error.errno] += 1
    return set(seen)


def test_a_folder_swapped_with_a_link_never_leads_out(root: Root, folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "secret.txt").write_bytes(b"harmless")
    (folder / "l").symlink_to(folder.parent)
    with swapping(folder / "d", folder / "l"):
        # The walk says ENOTDIR when the link is a folder again by the time it asks what was in the way.
        assert outcomes(root, (b"d", b"secret.txt")) <= {b"harmless", errno.ELOOP, errno.ENOTDIR}


def test_a_file_swapped_with_a_link_never_leads_out(root: Root, folder: Path) -> None:
    (folder / "f").write_bytes(b"harmless")
    (folder / "l").symlink_to(folder.parent / "secret.txt")
    with swapping(folder / "f", folder / "l"):
        assert outcomes(root, (b"f",)) <= {b"harmless", errno.ELOOP}


# Properties ---------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.one_of(
    st.sampled_from(["..", "/", "../..", ".", "/proc/self/root", "../outside", "ROOT", "ROOT/a", "ROOT-evil"]),
    st.lists(st.sampled_from(["a", "b", "c", ".."]), min_size=1, max_size=4).map("/".join),
)
THINGS = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.one_of(st.none(), TARGETS)), max_size=8)


@pytest.mark.parametrize("way", [open_in_kernel, open_by_walking], ids=["openat2", "walk"])
@settings(max_examples=150, deadline=None)
@given(things=THINGS, asked=st.lists(NAMES, min_size=1, max_size=4))
def test_whatever_is_opened_is_really_beneath_the_root(
    way: Opener, things: list[tuple[list[str], str | None]], asked: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch).resolve()
        ws = base / "ws"
        ws.mkdir()
        (base / "outside").mkdir()
        for path, target in things:
            place = ws.joinpath(*path)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                if os.path.realpath(place.parent) != str(place.parent):
                    continue  # do not build outside ourselves
                if target is None:
                    place.write_bytes(b"x")
                else:
                    place.symlink_to(target.replace("ROOT", str(ws)))
            except OSError:
                continue
        root = Root.open(ws, way)
        try:
            real = root.resolve(tuple(name.encode() for name in asked), nothing_blind)
            assert b".." not in real
            descriptor = root.open_file(real)
        except (WorkspaceError, OSError):
            return
        finally:
            root.close()
        path = real_path(descriptor)
        os.close(descriptor)
        assert path == b"/".join((os.fsencode(ws), *real))
        assert path == os.fsencode(os.path.realpath(ws.joinpath(*asked)))
