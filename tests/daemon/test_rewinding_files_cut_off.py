"""Files that were being put back when the daemon died, after each commit and each file: doing it again finishes it."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from astrid.adapters.workspace.undoing import Undoer
from astrid.core.grants import Mode
from astrid.core.records import Kind
from astrid.core.undo import Undo
from astrid.guard import audit
from astrid.ports import Batch
from astrid.runtime.verify import verify_log
from tests.daemon.test_resuming import session_of
from tests.daemon.test_rewinding_files import TURNS, lived, prepared, script_of
from tests.fakes.journal import FakeLog, FakeStore
from tests.fakes.rewinds import Tree, planned, rewound, snapshot
from tests.fakes.runtime import running
from tests.fakes.sleepers import is_in
from tests.runtime.test_crash import Life, Recorder, bodies, cut

TO = 1


class Filmed(Recorder):
    """A disk that remembers also what the workspace held."""

    def __init__(self, workspace: Path) -> None:
        super().__init__()
        self.workspace = workspace
        self.states: list[tuple[FakeLog, Tree]] = []

    def commit(self, batch: Batch) -> None:
        super().commit(batch)
        self.film()

    def film(self) -> None:
        self.states.append((self.moments[-1], snapshot(self.workspace)))


async def _live(folder: Path, log: Filmed) -> list[Tree]:
    async with running(folder, store=FakeStore(log)) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        log.states.clear()
        log.film()
        await rewound(runtime, runtime.session, TO)
        return trees


def test_cut_off_at_any_time_it_is_finished_by_doing_it_again(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("life")
    log = Filmed(folder / "workspace")
    put_back = Undoer.put_back

    def filmed(undoer: Undoer, undo: Undo) -> None:
        put_back(undoer, undo)
        log.film()

    with monkeypatch.context() as patched:
        patched.setattr(audit, "MAX_BATCH", 1)
        patched.setattr(Undoer, "put_back", filmed)
        trees = trio.run(_live, folder, log)
    life = Life(folder, log.moments)
    kinds = [sum(kind is Kind.FILES_REWINDING for kind, _, _ in bodies(moment)) for moment, _ in log.states]
    files = [tree for _, tree in log.states]
    assert (kinds[0], files[0]) == (0, trees[4])
    assert (1, trees[4]) in zip(kinds, files, strict=True), "announced, and nothing done"
    assert len([tree for tree in files if tree not in (trees[TO], trees[4])]) >= 2, "some files done"
    for moment, tree in log.states:
        trio.run(_again, life, moment, tree, trees[TO])


async def _work(folder: Path, log: Filmed) -> Tree:
    """Turns after the first are filmed; what there was after that one."""
    async with running(folder, store=FakeStore(log)) as runtime:
        prepared(runtime)
        await runtime.grant(Mode.GUIDED)
        await runtime.open(script_of(TURNS))
        wanted: Tree = {}
        for number in range(1, len(TURNS) + 1):
            await runtime.say("go")
            await runtime.until("turn_complete")
            if number == TO:
                wanted = snapshot(runtime.workspace)
                await is_in(runtime, runtime.session, "idle")
                log.states.clear()
        log.film()
        return wanted


def test_what_was_cut_off_in_the_middle_of_a_write_is_taken_back_whether_it_happened_or_not(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("life")
    log = Filmed(folder / "workspace")
    with monkeypatch.context() as patched:
        patched.setattr(audit, "MAX_BATCH", 1)
        wanted = trio.run(_work, folder, log)
    life = Life(folder, log.moments)
    seen = 0
    for (moment, before), (_, after) in pairwise(log.states):
        if bodies(moment)[-1][0] is Kind.PERMIT and bodies(moment)[-1][1].host_kind == "workspace":
            seen += before != after
            for tree in (before, after):
                trio.run(_again, life, moment, tree, wanted)
    assert seen >= 4, "no write is cut off"


def told(log: FakeLog) -> list[Kind]:
    return [kind for kind, _, _ in bodies(log) if kind in (Kind.FILES_REWINDING, Kind.FILES_REWOUND)]


async def _again(life: Life, moment: FakeLog, tree: Tree, wanted: Tree) -> None:
    workspace = life.folder / "workspace"
    for path in workspace.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in tree.items():
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_bytes(content)
    store = cut(life, moment)
    session = session_of(store.log)
    async with running(life.folder, store=store) as runtime:
        before = told(store.log)
        done = await rewound(runtime, session, TO)
        assert snapshot(workspace) == wanted
        assert done.left == ()
        through = before[-1:] == [Kind.FILES_REWOUND] or (tree == wanted and not before)
        assert told(store.log) == before + ([] if through else [Kind.FILES_REWINDING, Kind.FILES_REWOUND])
        assert (await planned(runtime, session, TO)).files == ()
    assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0
