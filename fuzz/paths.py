"""INVARIANT: what was checked is what is opened and what is written, whatever is renamed or linked in between.

Trees of folders, files and links of every direction are drawn, in a workspace and beside it.  Somebody else changes
them between the check and the use, and between any two system calls of the use.  What was opened in truth is asked of
the kernel; what was written is looked for in the whole tree.  Each file has a text of its own, so that none can be lost
or replaced unseen.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio
from hypothesis import given
from hypothesis import strategies as st

from astrid.adapters.workspace.handles import Opener, Root
from astrid.adapters.workspace.matcher import Engine
from astrid.adapters.workspace.openers import Parts, kernel_opens, open_by_walking, open_in_kernel
from astrid.adapters.workspace.paths import Locator, Target
from astrid.adapters.workspace.shell import OpenShell
from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.errors import AstridError, WorkspaceError
from astrid.ports import ToolOutcome
from tests.fakes.workspace_bench import Bench

NAMES = ("a", "b", "c")
MARK = "what the tool wrote"
_EXCHANGE = 2
_AT_FDCWD = -100
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)

places = st.tuples(st.sampled_from(("ws", "ws", "out")), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)).map(
    lambda drawn: "/".join((drawn[0], *drawn[1]))
)
link_targets = st.one_of(
    st.lists(st.sampled_from((*NAMES, "..", ".", "", "ws", "out")), min_size=1, max_size=5).map("/".join),
    places.map(lambda place: "{base}/" + place),
    st.sampled_from("{base} {base}/ws {base}/ws-alias/a / /proc/self/cwd/a /proc/self/root /dev/null".split()),
    places.map(lambda place: "/proc/self/root{base}/" + place),
)
steps = st.one_of(
    st.tuples(st.just("folder"), places, st.just("")),
    st.tuples(st.just("file"), places, st.just("")),
    st.tuples(st.just("link"), places, link_targets),
    st.tuples(st.just("move"), places, places),
    st.tuples(st.just("exchange"), places, places),
    st.tuples(st.just("hard link"), places, places),
)
Step = tuple[str, str, str]
texts = st.one_of(
    st.lists(st.sampled_from((*NAMES, *NAMES, "..", ".", "")), min_size=1, max_size=5).map("/".join),
    places.map(lambda place: "{base}/" + place),
    places.map(lambda place: "{base}/ws/../" + place),
    places.map(lambda place: "{base}/ws-alias" + place.removeprefix("ws")),
    places.map(lambda place: "~/" + place),
)


@dataclass
class World:
    """A folder with a workspace in it, and what is beside that."""

    base: Path
    texts: set[bytes] = field(default_factory=set[bytes])

    def apply(self, step: Step) -> None:
        """Change the tree, as far as it can be changed so; nothing that is there is ever lost."""
        what, place, other = step
        at = self.base / place
        with contextlib.suppress(OSError):
            match what:
                case "folder":
                    at.mkdir(parents=True)
                case "file":
                    text = f"text {len(self.texts)}".encode()
                    at.parent.mkdir(parents=True, exist_ok=True)
                    with at.open("xb") as file:
                        file.write(text)
                    self.texts.add(text)
                case "link":
                    at.symlink_to(other.format(base=self.base))
                case "hard link":
                    os.link(at, self.base / other, follow_symlinks=False)
                case "exchange":
                    exchange(at, self.base / other)
                case _:
                    if not os.path.lexists(self.base / other):
                        at.rename(self.base / other)

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Every plain file, however deep, by its own name."""
        for folder, _, names in os.walk(self.base):
            for name in names:
                path = Path(folder, name)
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path, path.read_bytes()

    def shape(self) -> dict[str, object]:
        """Everything that is there, as far as a program can tell."""
        found: dict[str, object] = {}
        for folder, folders, names in os.walk(self.base):
            for name in (*folders, *names):
                path = Path(folder, name)
                status = path.lstat()
                regular = stat.S_ISREG(status.st_mode)
                said = path.read_bytes() if regular else os.readlink(path) if path.is_symlink() else ""
                found[str(path)] = (status.st_mode, said)
        return found


def exchange(one: Path, other: Path) -> None:
    """Two names for each other's things, at once, where the system can."""
    if _renameat2 is not None:
        _renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)


@contextlib.contextmanager
def world(before: list[Step]) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="astrid-paths-") as folder:
        made = World(Path(os.path.realpath(folder)))
        for name in ("ws", "out", "home"):
            (made.base / name).mkdir()
        (made.base / "ws-alias").symlink_to("ws")
        for step in before:
            made.apply(step)
        yield made


def openers() -> list[Opener]:
    top = os.open("/", os.O_RDONLY)
    try:
        return [open_by_walking, open_in_kernel] if kernel_opens(top) else [open_by_walking]
    finally:
        os.close(top)


@contextlib.contextmanager
def locator(made: World, opener: Opener) -> Iterator[Locator]:
    # The workspace may be gone or be a link by now: then there is nothing to check.
    root, system = Root.open(made.base / "ws-alias", opener), Root.of_system(opener)
    try:
        yield Locator(root, system, made.base / "home", lambda resource: False)
    finally:
        root.close()
        system.close()


def located(finder: Locator, text: str) -> Target | None:
    try:
        return finder.locate(text)
    except WorkspaceError as error:
        assert error.effect == "none"
        return None


def opened(target: Target) -> tuple[bytes | None, int]:
    """What the kernel says it opened, or the number of its error."""
    try:
        with target.root.file(target.parts) as descriptor:
            return os.readlink(b"/proc/self/fd/%d" % descriptor), 0
    except OSError as error:
        return None, error.errno or 0


@given(st.lists(steps, max_size=12), texts, st.lists(steps, max_size=4))
def test_what_is_opened_is_what_was_checked(before: list[Step], text: str, between: list[Step]) -> None:
    if sys.platform != "linux":
        return  # elsewhere the kernel does not say what it opened
    with world(before) as made:
        for opener in openers():
            with locator(made, opener) as finder:
                target = located(finder, text.format(base=made.base))
                for step in between:
                    made.apply(step)
                if target is None:
                    continue
                really, _ = opened(target)
                where = b"/" + b"/".join((*target.root.path, *target.parts))
                assert really in (None, where)
                assert not target.inside or f"{os.fsdecode(where)}/".startswith(f"{made.base}/ws/")


@given(st.lists(steps, max_size=12), texts)
def test_both_ways_of_opening_give_the_same_answer(before: list[Step], text: str) -> None:
    with world(before) as made:
        answers: list[tuple[bytes | None, int] | None] = []
        for opener in openers():
            with locator(made, opener) as finder:
                target = located(finder, text.format(base=made.base))
                answers.append(opened(target) if target is not None else None)
        assert len(set(answers)) == 1


@given(st.lists(steps, max_size=12), texts)
def test_a_path_means_what_the_system_would_make_of_it_or_nothing(before: list[Step], text: str) -> None:
    with world(before) as made, locator(made, openers()[-1]) as finder:
        spelled = text.format(base=made.base)
        target = located(finder, spelled)
        if target is None:
            return
        from_home = os.path.normpath(f"{made.base}/home/{spelled[2:]}") if spelled.startswith("~/") else spelled
        plain = os.path.normpath(os.path.join(made.base / "ws", from_home)).replace("//", "/")
        if target.inside:
            assert target.absolute == os.path.realpath(plain)
        else:
            assert target.absolute == plain  # no link of an outside path is followed, neither now nor later


# ---- writing --------------------------------------------------------------------------------------------------------


class Race:
    """Somebody else, who acts just before the n-th system call that opens, makes, links or renames."""

    current: Race | None = None

    def __init__(self, made: World, at: int, step: Step, name: str) -> None:
        self._made = made
        self._left = at
        self._step = step
        self._name = name

    def event(self, event: str) -> None:
        """One such call is about to happen."""
        self._left -= 1
        if self._left != 0:
            return
        # Between its last look at the old file and the rename over it no program can hold a name still: what others
        # then put under that very name is theirs to lose.
        if event == "os.rename" and self._name in (Path(self._step[1]).name, Path(self._step[2]).name):
            return
        Race.current = None
        self._made.apply(self._step)


def _audit(event: str, _arguments: tuple[object, ...]) -> None:
    race = Race.current
    if race is not None and event in ("open", "os.mkdir", "os.rename", "os.link"):
        race.event(event)


sys.addaudithook(_audit)


def racing(opener: Opener) -> Opener:
    """The opener, watched like the rest: the kernel's own way of opening tells no audit hook."""

    def open_while_others_act(folder: int, parts: Parts, flags: int) -> int:
        if Race.current is not None:
            Race.current.event("open")
        return opener(folder, parts, flags)

    return open_while_others_act


async def attempt(bench: Bench, tool: str, path: str, between: Callable[[], None]) -> tuple[str, ToolOutcome] | None:
    args: dict[str, object] = {"file_path": path, "content": MARK}
    if tool == "edit_file":
        args = {"file_path": path, "old_string": "text", "new_string": MARK}
    try:
        preparation = await bench.prepare(tool, **args)
    except AstridError:
        return None
    # With enough dots a path leads out of the world that is thrown away afterwards; a person may allow that, and nobody
    # is asked here.
    if not all(need.resource.startswith(f"file:/{bench.folder.parent}/") for need in preparation.needs):
        return None
    call = bench.call(tool, preparation, **args)
    between()
    try:
        outcome = await bench.execute(call)
    finally:
        Race.current = None
    (resource,) = {need.resource for need in preparation.needs}
    return resource.removeprefix("file:/"), outcome


def bench_of(made: World, opener: Opener) -> Bench:
    tools = WorkspaceTools(
        made.base / "ws",
        home=made.base / "home",
        profile=b"\7" * 32,
        shell=OpenShell(),
        hidden=lambda resource: False,
        opener=racing(opener),
        engine=Engine(),
    )
    return Bench(made.base / "ws", made.base / "home", tools)


TOOLS = st.sampled_from(("write_file", "edit_file"))


@given(st.lists(steps, max_size=12), TOOLS, texts, st.lists(steps, max_size=3), st.booleans())
def test_only_the_file_that_was_decided_is_written(
    before: list[Step], tool: str, text: str, between: list[Step], in_kernel: bool
) -> None:
    with world(before) as made:
        bench = bench_of(made, openers()[in_kernel and len(openers()) - 1])
        shapes: list[dict[str, object]] = []
        when_decided = made.shape()

        def act() -> None:
            for step in between:
                made.apply(step)
            shapes.append(made.shape())

        try:
            done = trio.run(attempt, bench, tool, text.format(base=made.base), act)
        finally:
            bench.tools.close()
        if done is None:
            return
        decided, outcome = done
        after = made.shape()
        changed = {path for path in after if after[path] != shapes[0].get(path)} | (shapes[0].keys() - after.keys())
        if outcome.effect == "none":
            assert changed == set(), json.loads(json.dumps(outcome.content.decode()))
            return
        assert when_decided.get(decided) == shapes[0].get(decided), "it was not what the decision was about"
        assert decided in changed
        assert os.path.realpath(decided) == decided, "it was reached through a link"
        above = {str(folder) for folder in Path(decided).parents}
        assert changed - {decided} <= above
        assert not any(path in shapes[0] for path in changed - {decided}), "a folder was replaced"
        assert MARK in Path(decided).read_text()


@given(st.lists(steps, max_size=12), TOOLS, texts, st.integers(1, 30), steps, st.booleans())
def test_nobody_who_acts_during_a_write_turns_it_elsewhere(
    before: list[Step], tool: str, text: str, at: int, step: Step, in_kernel: bool
) -> None:
    with world(before) as made:
        bench = bench_of(made, openers()[in_kernel and len(openers()) - 1])
        path = text.format(base=made.base)
        folders: dict[int, str] = {}

        def act() -> None:
            for folder, _, _ in os.walk(made.base):
                folders[os.stat(folder).st_ino] = folder
            Race.current = Race(made, at, step, Path(path).name)

        try:
            done = trio.run(attempt, bench, tool, path, act)
        finally:
            bench.tools.close()
        there = dict(made.files())
        written = [path for path, content in there.items() if MARK.encode() in content]
        lost = {hashlib.sha256(known).digest() for known in made.texts - set(there.values())}
        if done is None or done[1].effect == "none":
            assert (written, lost) == ([], set())
            return
        decided = Path(done[0])
        assert len(lost) <= 1  # at most the text that was to be replaced
        for path in written:
            # The folder may have been moved meanwhile, but it is the one that was decided, or one made below it.
            assert path.name == decided.name
            folder = folders.get(path.parent.stat().st_ino)
            assert folder is None or Path(folder) == decided.parent
