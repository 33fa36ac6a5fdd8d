"""``astrid replay`` as a person uses it: a session with a sub-agent, a yes, a no and a refusal, lived through again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from astrid.core import decide, turn
from astrid.core.ids import parse_id
from astrid.core.replay import Proposed
from astrid.core.replay_log import Said, said
from astrid.core.risk import Risk
from astrid.daemon.replayed import as_json, as_text, exit_code
from astrid.runtime import replaying
from astrid.runtime.replaying import replay_home
from tests.e2e.test_kill import Watching, accept_grant, kill_daemon, told
from tests.fakes.processes import OUTSIDE, READ, Assurance, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
Json = dict[str, Any]
ASKING = '[security.policy]\napproval_required_tools = ["bash"]\n'
WRITE = {"name": "write_file", "arguments": {"file_path": "made.txt", "content": "x"}}
TASK = {"name": "task", "arguments": {"agent": "explorer", "description": "look", "prompt": "as a sub-agent"}}
CHILD = {"when": {"last_text_contains": "as a sub-agent"}, "text": "I look", "tool_calls": [READ], "goto": "child"}


def command(line: str) -> Json:
    return {"name": "bash", "arguments": {"command": line}}


TURNS = (
    {"choose": [CHILD, {"text": "Let me see.", "tool_calls": [READ, OUTSIDE, WRITE, TASK]}]},
    {"text": "May I?", "tool_calls": [command("touch yes")]},
    {"text": "And that?", "tool_calls": [command("touch no")]},
    {"text": "done", "goto": "end"},
    {"label": "child", "text": "I saw it"},
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("place"), assurance=Assurance.PLAIN)
    made.home.config.write_text(ASKING)
    with made.daemon() as daemon:
        accept_grant(made)
        with Watching(made, *TURNS, mode="guided") as terminal:
            for answer in ("o", "d"):
                terminal.sees("and Enter: ")
                terminal.types(f"{answer}\r")
            assert terminal.ends() == 3, terminal.text
        assert (made.workspace / "yes").exists()
        assert not (made.workspace / "no").exists()
        kill_daemon(daemon)
    yield made
    made.stop()


def sessions(place: Place) -> dict[str, str]:
    """The first words of each session, and its name."""
    return {one["prompt"]: one["session_id"] for one in told(place, "sessions", "list", "--all")["sessions"]}


def replay(place: Place, prompt: str, *options: str) -> tuple[int, Json]:
    done = place.astrid("replay", sessions(place)[prompt], *options, "--json")
    assert done.stderr == "", done
    return done.returncode, json.loads(done.stdout)


def kinds(found: Json) -> list[tuple[str, str]]:
    return [(one["tool"], one["was"]["what"]) for one in found["decisions"] if one["tool"] != "model"]


def test_a_session_comes_out_as_it_was_without_a_daemon_and_beside_one(place: Place) -> None:
    code, found = replay(place, "go")
    assert (code, found["same"], found["difference"]) == (0, True, None), found
    assert sorted(kinds(found)[:4]) == [  # they are decided at once
        ("read_file", "denied"),
        ("read_file", "permitted"),
        ("task", "permitted"),
        ("write_file", "permitted"),
    ]
    assert kinds(found)[4:] == [
        ("bash", "asked"),
        ("bash", "permitted"),
        ("bash", "asked"),
        ("bash", "denied"),
    ]
    untold = [one["untold"] for one in found["decisions"] if one["untold"]]
    assert untold == ["the log has no call for what the layer `approval` refused"]
    text = place.astrid("replay", sessions(place)["go"]).stdout
    assert "replays to itself" in text
    assert "0 otherwise, 1 not to be told" in text
    place.stop()
    alone = place.astrid("replay", found["session_id"])
    assert (alone.returncode, alone.stdout) == (0, text)


def replayed_here(place: Place) -> tuple[int, str, Json]:
    """By this very process, in which a test can break something."""
    found = replay_home(place.home, parse_id("session", sessions(place)["go"]), None)
    return exit_code(found), as_text(found), json.loads(as_json(found))


def test_a_machine_that_does_otherwise_is_named_at_its_first_row(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replayed_here(place)[0] == 0
    monkeypatch.setattr(turn.texts, "result_text", lambda *_: "cut")
    code, text, found = replayed_here(place)
    assert (code, found["same"], found["difference"]["now"]["content"]) == (4, False, "cut")
    assert f"the first difference is row {found['difference']['row']}\n    content: was " in text
    assert found["difference"]["was"]["content"] != "cut"


def test_a_gate_that_decides_otherwise_is_named_at_each_record(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "base_risk", lambda _: Risk.HIGH)
    code, text, found = replayed_here(place)
    assert (code, found["same"], found["difference"]) == (4, False, None)
    differs = [one for one in found["decisions"] if one["differs"]]
    assert ("read_file", "permitted", "asked") in [
        (one["tool"], one["was"]["what"], one["now"]["what"]) for one in differs
    ]
    assert f"record {differs[0]['record']}: {differs[0]['tool']} was permitted; would be " in text


def test_a_call_that_is_not_proposed_any_more_is_named_by_two_digests(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(proposed: Proposed, since: int) -> Said:
        one = said(proposed, since)
        return replace(one, args=b"{}", size=2) if one.tool == "write_file" else one

    monkeypatch.setattr(replaying, "said", other)
    code, text, found = replayed_here(place)
    difference = found["difference"]
    assert (code, difference["tool"]) == (4, "write_file")
    assert difference["was"] != difference["now"]
    assert f"its digest was {difference['was']}, is {difference['now']}" in text


def test_a_sub_agents_session_is_replayed_by_its_own_name(place: Place) -> None:
    code, found = replay(place, "as a sub-agent")
    assert (code, found["same"]) == (0, True), found
    assert kinds(found) == [("read_file", "permitted")]


STRICTER = """
[security.policy]
blocked_tools = ["touch no", "write_file", "su"]
approval_required_tools = ["bash", "read_file"]
denied_paths = []
"""


def policy_file(place: Place, text: str) -> str:
    path = place.root / "other.toml"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_what_another_policy_would_have_changed_is_listed_with_its_rules(place: Place) -> None:
    before = place.home.root / "config.toml"
    kept = before.read_bytes() if before.exists() else None
    code, found = replay(place, "go", "--policy", policy_file(place, STRICTER))
    assert (code, found["same"], found["difference"]) == (4, False, None), found
    differ = [
        (one["tool"], one["was"]["what"], one["now"]["what"], one["now"]["rules"])
        for one in found["decisions"]
        if one["differs"]
    ]
    assert sorted(differ) == [
        ("bash", "asked", "denied", ["blocked_tools: touch no"]),
        ("read_file", "denied", "asked", ["approval_required_tools: read_file"]),
        ("read_file", "permitted", "asked", ["approval_required_tools: read_file"]),
        ("write_file", "permitted", "denied", ["blocked_tools: write_file"]),
    ]
    text = place.astrid("replay", found["session_id"], "--policy", policy_file(place, STRICTER)).stdout
    assert "write_file was permitted; would be denied: [policy.tool]" in text
    assert "(blocked_tools: write_file)" in text
    assert (before.read_bytes() if before.exists() else None) == kept


def test_by_the_policy_that_there_is_nothing_would_change(place: Place) -> None:
    code, found = replay(place, "go", "--policy", policy_file(place, ASKING))
    assert (code, found["same"]) == (0, True), found


def test_a_policy_that_is_not_there_is_not_one_that_forbids_nothing(place: Place) -> None:
    done = place.astrid("replay", sessions(place)["go"], "--policy", str(place.root / "none.toml"))
    assert (done.returncode, done.stdout, "[replay.no-policy]" in done.stderr) == (1, "", True), done


def test_a_policy_that_makes_no_sense_is_refused(place: Place) -> None:
    path = policy_file(place, '[security.policy]\ndenied_paths = ["relative"]\n')
    done = place.astrid("replay", sessions(place)["go"], "--policy", path)
    assert (done.returncode, done.stdout, "[config.policy]" in done.stderr) == (1, "", True), done


@pytest.mark.parametrize(("name", "code"), [("session:" + "0" * 32, "replay.no-session"), ("go", "id.malformed")])
def test_a_session_that_the_log_does_not_know_is_an_error(place: Place, name: str, code: str) -> None:
    done = place.astrid("replay", name)
    assert (done.returncode, done.stdout, f"[{code}]" in done.stderr) == (1, "", True), done


def test_a_journal_that_was_changed_on_the_disk_is_refused(place: Place) -> None:
    session = sessions(place)["go"]
    place.stop()
    base = sqlite3.connect(place.home.log)
    try:
        [(key, row)] = base.execute("SELECT key, row FROM journal WHERE instr(row, ?)", (b'"text":"done"',)).fetchall()
        base.execute("DROP TRIGGER IF EXISTS journal_no_update")
        base.execute("UPDATE journal SET row = ? WHERE key = ?", (row.replace(b"done", b"gone"), key))
        base.commit()
        done = place.astrid("replay", session)
        assert (done.returncode, done.stdout, "[session.changed]" in done.stderr) == (1, "", True), done
        base.execute("UPDATE journal SET row = ? WHERE key = ?", (row, key))
        base.commit()
    finally:
        base.close()
    assert place.astrid("replay", session).returncode == 0
