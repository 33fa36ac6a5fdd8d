"""Files are put back to what they held after a turn, byte for byte, and what cannot be taken back is said."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.approval import Verdict
from astrid.core.chain import decode_body, decode_frame
from astrid.core.grants import Mode
from astrid.core.records import FilesRewinding, FilesRewound, Kind, SessionStarted
from astrid.daemon import rewinding as daemon_rewinding
from astrid.errors import AstridError, InputError
from astrid.messages.gateway import EndSession, SessionOpened
from astrid.runtime.verify import verify_log
from astrid.wire import params as p
from astrid.wire.typed import encode
from tests.daemon.test_forking import forked
from tests.fakes.journal import FakeStore
from tests.fakes.minds import calls, task
from tests.fakes.rewinds import Tree, planned, rewinding, rewound, snapshot
from tests.fakes.runtime import Json, Runtime, call, running, turn
from tests.fakes.sleepers import ask
from tests.runtime.test_crash import bodies
from tests.runtime.test_subagents import minded

TURNS: list[list[Json]] = [
    [call("write_file", file_path="a.txt", content="a1\n"), call("write_file", file_path="d/new.txt", content="n1\n")],
    [call("edit_file", file_path="a.txt", old_string="a1", new_string="a2")],
    [
        call("write_file", file_path="d/new.txt", content="n3\n"),
        call("edit_file", file_path="b.txt", old_string="b", new_string="B"),
    ],
    [
        call("write_file", file_path="a.txt", content=""),
        call("edit_file", file_path="a.txt", old_string="no", new_string="x"),
    ],
]


def script_of(turns: list[list[Json]]) -> list[Json]:
    """One call an answer, so that they run one after the other."""
    lines: list[Json] = [{"model": {"name": "m"}}]
    for said in turns:
        lines += [*(turn(one) for one in said), turn(text="done")]
    return lines


async def lived(runtime: Runtime, turns: list[list[Json]]) -> list[Tree]:
    """A session that had these turns; what the workspace held after each, and before the first."""
    await runtime.grant(Mode.GUIDED)
    assert isinstance(await runtime.open(script_of(turns)), SessionOpened)
    trees = [snapshot(runtime.workspace)]
    for _ in turns:
        await runtime.say("go")
        await runtime.until("turn_complete")
        trees.append(snapshot(runtime.workspace))
    return trees


def prepared(runtime: Runtime) -> None:
    (runtime.workspace / "a.txt").write_text("a0\n")
    (runtime.workspace / "b.txt").write_bytes(b"b\r\n\xc3\xa9")


@pytest.mark.parametrize("to", range(len(TURNS) + 1))
@pytest.mark.parametrize("ended", [False, True])
async def test_each_file_holds_what_it_held_after_the_turn(tmp_path: Path, to: int, ended: bool) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        if ended:
            await ask(runtime, EndSession(session=runtime.session, reason="asked"))
            await runtime.until("session_ended")
        done = await rewound(runtime, runtime.session, to)
        assert snapshot(runtime.workspace) == trees[to]
        assert (done.done, done.left, done.stays, done.turn) == (True, (), (), to)
        again = await planned(runtime, runtime.session, to)
        assert (again.files, again.left) == ((), ())
    assert verify_log(runtime.world.keys, store.log.log, store.log.checkpoints()).tail == 0


async def test_it_is_in_the_log_before_and_after(tmp_path: Path) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        prepared(runtime)
        await lived(runtime, TURNS)
        kinds = (Kind.FILES_REWINDING, Kind.FILES_REWOUND)
        await planned(runtime, runtime.session, 1)
        assert not [kind for kind, _, _ in bodies(store.log) if kind in kinds]
        done = await rewound(runtime, runtime.session, 1)
        assert [(one.path.rpartition("/")[2], one.does) for one in done.files] == [
            ("a.txt", "restore"),
            ("new.txt", "restore"),
            ("b.txt", "restore"),
        ]
        found: list[Any] = [(body, session) for kind, body, session in bodies(store.log) if kind in kinds]
        (began, whose), (ended, _) = found
        assert whose == runtime.session
        assert isinstance(began, FilesRewinding)
        assert (began.turn, began.files) == (1, 3)
        assert isinstance(ended, FilesRewound)
        assert bodies(store.log)[ended.began - 1][0] is Kind.FILES_REWINDING
        assert (ended.restored, ended.left) == (3, 0)
        await rewound(runtime, runtime.session, 1)
        assert len([kind for kind, _, _ in bodies(store.log) if kind in kinds]) == 2


async def test_nothing_is_touched_before_the_log_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        seen: list[tuple[Tree, list[Kind]]] = []
        put_back = daemon_rewinding._put_back

        def look(*args: Any) -> Any:
            seen.append((snapshot(runtime.workspace), [kind for kind, _, _ in bodies(store.log)]))
            return put_back(*args)

        monkeypatch.setattr(daemon_rewinding, "_put_back", look)
        await rewound(runtime, runtime.session, 0)
        ((tree, kinds),) = seen
        assert tree == trees[-1]
        assert kinds[-1] is Kind.FILES_REWINDING


async def test_what_was_put_back_is_brought_again_by_going_to_a_later_turn(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        for to in (1, 3, 0, 4, 2):
            await rewound(runtime, runtime.session, to)
            assert snapshot(runtime.workspace) == trees[to]


async def test_only_what_was_shown_is_done(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        shown = await planned(runtime, runtime.session, 1)
        (runtime.workspace / "b.txt").write_text("theirs")
        with pytest.raises(InputError) as caught:
            await rewinding(runtime).answer(p.RewindFiles(session_id=shown.session_id, to=1, plan=shown.plan))
        assert caught.value.code == "files.other-plan"
        assert snapshot(runtime.workspace) == {**trees[-1], "b.txt": b"theirs"}
        with pytest.raises(InputError):
            await rewinding(runtime).answer(p.RewindFiles(session_id=shown.session_id, to=2, plan=shown.plan))


async def test_what_somebody_else_changed_stays_and_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        (runtime.workspace / "d/new.txt").write_text("theirs")
        done = await rewound(runtime, runtime.session, 0)
        assert snapshot(runtime.workspace) == {**trees[0], "d/new.txt": b"theirs"}
        (left,) = done.left
        assert (left.path, left.why) == (f"{runtime.workspace}/d/new.txt", "changed")


async def test_a_file_that_changes_at_the_last_moment_stays_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore()
    async with running(tmp_path, store=store) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        put_back = daemon_rewinding._put_back

        def late(*args: Any) -> Any:
            (runtime.workspace / "b.txt").write_text("theirs")
            return put_back(*args)

        monkeypatch.setattr(daemon_rewinding, "_put_back", late)
        done = await rewound(runtime, runtime.session, 0)
        assert snapshot(runtime.workspace) == {**trees[0], "b.txt": b"theirs"}
        (left,) = done.left
        assert (left.path, left.why) == (f"{runtime.workspace}/b.txt", "refused")
        assert "changed" in left.said
        ended: Any = bodies(store.log)[-1][1]
        assert (ended.restored, ended.left) == (2, 1)


async def test_what_is_not_kept_any_more_stays_and_is_said(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        for kept in runtime.world.home.kept.iterdir():
            kept.unlink()
        done = await rewound(runtime, runtime.session, 0)
        assert {(one.path.rpartition("/")[2], one.why) for one in done.left} == {
            ("a.txt", "unkept"),
            ("b.txt", "unkept"),
        }
        assert snapshot(runtime.workspace) == {name: trees[4][name] for name in ("a.txt", "b.txt")}


async def test_what_cannot_be_taken_back_is_listed(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        outside = tmp_path / "outside.txt"
        turns = [
            [call("bash", command="touch x")],
            [call("read_file", file_path="a.txt"), call("bash", command="touch y")],
            [call("write_file", file_path=str(outside), content="o")],
        ]
        await runtime.grant(Mode.GUIDED)
        await runtime.open(script_of(turns))
        await runtime.attend()
        for _ in turns:
            await runtime.say("go")
            while (event := (await runtime.until("turn_complete", "approval_needed"))[-1])["event"] != "turn_complete":
                await runtime.respond(event, Verdict.ONCE)
        assert outside.read_text() == "o"
        done = await rewound(runtime, runtime.session, 1)
        assert [(one.tool, one.why) for one in done.stays] == [("bash", "done"), ("write_file", "outside")]
        assert "touch y" in done.stays[0].arguments
        assert outside.read_text() == "o"
        assert (runtime.workspace / "y").exists()


async def test_what_is_too_much_to_be_listed_is_counted_and_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        one = (await planned(runtime, runtime.session, 0)).files[0]
        monkeypatch.setattr(daemon_rewinding, "MAX_LIST_BYTES", len(encode(one)))
        done = await rewound(runtime, runtime.session, 0)
        assert (done.files, done.not_listed) == ((one,), 2)
        assert snapshot(runtime.workspace) == trees[0]


async def test_what_a_sub_agent_wrote_is_taken_back_with_what_the_session_wrote_itself(
    tmp_path: Path,
) -> None:
    write = ("write_file", {"file_path": "a.txt", "content": "theirs"})
    edit = ("edit_file", {"file_path": "a.txt", "old_string": "theirs", "new_string": "both"})
    parts = {"go": ["ready", calls(task("do it")), calls(edit), "done"], "do it": [calls(write), "written"]}
    async with minded(tmp_path, parts) as (runtime, _):
        (runtime.workspace / "a.txt").write_text("ours")
        for _ in range(2):
            await runtime.say("go")
            await runtime.until("turn_complete")
        assert (runtime.workspace / "a.txt").read_text() == "both"
        done = await rewound(runtime, runtime.session, 1)
        assert (runtime.workspace / "a.txt").read_text() == "ours"
        assert (done.left, done.stays) == ((), ())


async def test_of_a_fork_only_its_own_writes_are_taken_back_and_the_others_are_named(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS[:2])
        origin = runtime.session
        model = tmp_path / "next.jsonl"
        model.write_text(
            "".join(json.dumps(line) + "\n" for line in [*script_of(TURNS[:2]), *script_of(TURNS[2:])[1:]])
        )
        await forked(runtime, origin, model=f"scripted:{model}")
        await runtime.say("go")
        await runtime.until("turn_complete")
        assert snapshot(runtime.workspace) != trees[2]
        done = await rewound(runtime, runtime.session, 1)
        assert done.forked_at == 2
        assert snapshot(runtime.workspace) == trees[2]
        assert (await planned(runtime, runtime.session, 2)).forked_at == 0
        await rewound(runtime, origin, 1)
        assert snapshot(runtime.workspace) == trees[1]


async def test_a_sub_agent_is_not_taken_back_alone(tmp_path: Path) -> None:
    write = ("write_file", {"file_path": "a.txt", "content": "theirs"})
    parts = {"go": [calls(task("do it")), "done"], "do it": [calls(write), "written"]}
    async with minded(tmp_path, parts) as (runtime, _):
        await runtime.say("go")
        await runtime.until("turn_complete")
        (child,) = [session for session in sessions_of(runtime) if session != runtime.session]
        with pytest.raises(AstridError) as caught:
            await planned(runtime, child, 0)
        assert caught.value.code == "session.sub-agent"
        assert (runtime.workspace / "a.txt").read_text() == "theirs"


def sessions_of(runtime: Runtime) -> list[bytes]:
    reader = runtime.world.store.reader()
    try:
        frames = [decode_frame(raw) for raw in reader.frames(1, 1000)]
    finally:
        reader.close()
    return [frame.session for frame in frames if isinstance(decode_body(frame), SessionStarted)]


@pytest.mark.parametrize(("to", "code"), [(5, "session.no-such-turn")])
async def test_a_turn_that_there_is_not_is_refused(tmp_path: Path, to: int, code: str) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        trees = await lived(runtime, TURNS)
        with pytest.raises(AstridError) as caught:
            await planned(runtime, runtime.session, to)
        assert caught.value.code == code
        assert snapshot(runtime.workspace) == trees[-1]


async def test_the_folder_that_is_there_now_is_the_one_in_which_it_worked_or_nothing_is_done(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        await lived(runtime, TURNS)
        runtime.workspace.rename(tmp_path / "elsewhere")
        runtime.workspace.mkdir()
        with pytest.raises(AstridError) as caught:
            await planned(runtime, runtime.session, 0)
        assert caught.value.code == "workspace.another"


async def test_nothing_is_put_back_while_a_turn_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        prepared(runtime)
        turns = [TURNS[0], [call("bash", command="touch x")]]
        await runtime.grant(Mode.GUIDED)
        await runtime.open(script_of(turns))
        await runtime.say("go")
        await runtime.until("turn_complete")
        await runtime.attend()
        await runtime.say("go")
        await runtime.until("approval_needed")
        with pytest.raises(AstridError) as caught:
            await planned(runtime, runtime.session, 0)
        assert caught.value.code == "session.busy"


NAMES = ("a.txt", "b.txt", "d/c.txt")
TEXTS = ("", "x", "xy\n", "yx")
WRITES = st.builds(
    lambda name, text: call("write_file", file_path=name, content=text), st.sampled_from(NAMES), st.sampled_from(TEXTS)
)
EDITS = st.builds(
    lambda name, old, new: call("edit_file", file_path=name, old_string=old, new_string=new, replace_all=True),
    st.sampled_from(NAMES),
    st.sampled_from(("x", "y")),
    st.sampled_from(("", "y", "xx")),
)
PLAYS = st.lists(st.lists(WRITES | EDITS, min_size=1, max_size=3), min_size=1, max_size=4)
FEW = settings(max_examples=25, deadline=None)


@FEW
@given(turns=PLAYS, start=st.dictionaries(st.sampled_from(("a.txt", "b.txt")), st.sampled_from(TEXTS)), data=st.data())
def test_whatever_was_written_each_turn_can_be_gone_back_to(
    turns: list[list[Json]], start: dict[str, str], data: st.DataObject
) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with running(Path(folder), store=FakeStore()) as runtime:
                for name, text in start.items():
                    (runtime.workspace / name).write_text(text)
                trees = await lived(runtime, turns)
                for to in data.draw(st.lists(st.integers(0, len(turns)), min_size=1, max_size=3)):
                    done = await rewound(runtime, runtime.session, to)
                    assert done.left == ()
                    assert snapshot(runtime.workspace) == trees[to]

    trio.run(live)


@FEW
@given(turns=PLAYS, data=st.data())
def test_nothing_that_somebody_else_wrote_is_ever_overwritten(turns: list[list[Json]], data: st.DataObject) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with running(Path(folder), store=FakeStore()) as runtime:
                await runtime.grant(Mode.GUIDED)
                await runtime.open(script_of(turns))
                to = data.draw(st.integers(0, len(turns)))
                theirs: set[str] = set()
                first: Tree = {}
                touched: set[str] = set()
                for number, said in enumerate(turns, 1):
                    before = snapshot(runtime.workspace)
                    await runtime.say("go")
                    await runtime.until("turn_complete")
                    after = snapshot(runtime.workspace)
                    if number > to:
                        names = {one["arguments"]["file_path"] for one in said}
                        for name in names - touched:
                            first[name] = before.get(name, b"")
                        touched |= {name for name in names if name in after}
                    if data.draw(st.booleans()):
                        name = data.draw(st.sampled_from(NAMES))
                        (runtime.workspace / name).parent.mkdir(exist_ok=True)
                        (runtime.workspace / name).write_text(f"theirs {number}")
                        theirs |= {name} & touched
                last = snapshot(runtime.workspace)
                await rewound(runtime, runtime.session, to)
                now = snapshot(runtime.workspace)
                for name in NAMES:
                    if name in theirs or name not in touched:
                        assert now.get(name) == last.get(name)
                    else:
                        assert now.get(name, b"") == first[name]

    trio.run(live)
