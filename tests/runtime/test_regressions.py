"""Holes of a first implementation, tried through the whole tree of actors in one process: what decides, what is spent,
and what is recorded.  Where a single check stands in the way, the attack is run again with that check taken out.

Source: docs/security/regressions.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrid.adapters.store.journal import SqliteReader
from astrid.adapters.workspace import tools as workspace_tools
from astrid.core import answers as answers_module
from astrid.core import gate_records
from astrid.core import question as question_module
from astrid.core.approval import Verdict
from astrid.core.blocks import NO_PARENT, UNLIMITED_MICROS, UNLIMITED_USES, Assurance, Block, Grant, Scope
from astrid.core.call import decode_call
from astrid.core.grants import Mode
from astrid.core.question import decode_question
from astrid.core.records import Kind, is_sealed
from astrid.core.tokens import issue
from astrid.home import write_guarded
from astrid.messages.approvals import ListOpen
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import AddToken, CancelTurn, GiveAnswer
from tests.fakes.clock import StillClock
from tests.fakes.home import HOLDER, USER, make_home
from tests.fakes.runtime import Json, Runtime, call, running, turn

EVERYTHING = (Grant("file://**", 0x7F, 0, 3, b""),)
ENDS = ("denied", "deferred", "tool_call_result")


def configured(folder: Path, text: str) -> None:
    """A home whose user wrote this configuration, and an empty workspace."""
    home, _ = make_home(folder / "home", now_s=StillClock().now_ns() // 10**9)
    write_guarded(home.config, text.encode(), what="the configuration")
    (folder / "workspace").mkdir()


def policy_of(**fields: object) -> str:
    return "[security.policy]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


async def ends_of(runtime: Runtime, *calls: Json, mode: str = "guided") -> list[Json]:
    """How each call of a session of its own ends, where nobody is there to be asked."""
    await runtime.open([*map(turn, calls), turn(text="done")], mode=mode)
    await runtime.say("go")
    events = await runtime.until("turn_complete")
    return [one for one in events if one["event"] in ENDS]


def names(ends: list[Json]) -> list[str]:
    return [one["event"] for one in ends]


async def let(runtime: Runtime, *grants: Grant) -> None:
    """The user signs these for ever, in this workspace, also under untrusted text."""
    now = runtime.world.clock.now_ns() // 10**9
    block = Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=os.urandom(16),
        issuer=USER.public,
        holder=HOLDER.public,
        aud=runtime.aud,
        session=b"",
        workspace=runtime.world.catalogue.place(str(runtime.workspace)).identity,
        scope=Scope.WORKSPACE,
        grants=tuple(sorted(grants)),
        not_before=now - 1,
        expires=now + 86400,
        uses=UNLIMITED_USES,
        purse=UNLIMITED_MICROS,
        depth=4,
        tainted_ok=True,
        call=b"",
        question=b"",
        assurance=Assurance.SEALED,
    )
    raw = issue(block, USER)
    assert isinstance(await runtime.by_ticket(lambda n: AddToken(ticket=n, token=raw, source="test")), Done)


def bodies(runtime: Runtime, kind: Kind) -> list[Any]:
    return [body for of, body in runtime.records() if of is kind]


# --- commands are judged as they would run, not as they are spelt

SPELLINGS = [
    "dd if=a of=b",
    "/usr/bin/dd if=a of=b",
    "true; dd if=a of=b",
    "true && dd if=a of=b",
    "cat a | dd of=b",
    "A=1 dd if=a of=b",
    "env X=1 dd if=a of=b",
    "nohup dd if=a of=b",
    "bash -c 'dd if=a of=b'",
    'echo "$(dd if=a)"',
    "echo `dd if=a`",
    "d\\d if=a of=b",
    "'d'd if=a of=b",
    "xargs dd if=a",
    "find . -exec dd if={} ';'",
    "rm -r -f /",
    "rm  --force --recursive  /",
    "rm -fr -- /",
    "chmod -R 777 .",
]


async def test_a_blocked_command_is_denied_in_every_spelling_and_nobody_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        (runtime.workspace / "a").write_text("x")
        await let(runtime, *EVERYTHING)
        ends = await ends_of(runtime, *(call("bash", command=line) for line in SPELLINGS))
        assert not bodies(runtime, Kind.ASKED)
        assert not (runtime.workspace / "b").exists()
    assert [(line, one["layer"]) for line, one in zip(SPELLINGS, ends, strict=True)] == [
        (line, "policy") for line in SPELLINGS
    ]
    assert {one["code"] for one in ends} == {"policy.command"}


@pytest.mark.parametrize("line", [SPELLINGS[0], SPELLINGS[7], SPELLINGS[11], SPELLINGS[18]])
async def test_without_the_list_of_blocked_commands_a_person_would_be_asked(tmp_path: Path, line: str) -> None:
    configured(tmp_path, policy_of(blocked_tools=[]))
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        assert names(await ends_of(runtime, call("bash", command=line))) == ["deferred"]


@pytest.mark.parametrize("mode", list(Mode))
async def test_each_command_asks_in_every_mode_whatever_was_signed_beforehand(tmp_path: Path, mode: Mode) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(mode)
        same = call("bash", command="id -u > out")
        assert names(await ends_of(runtime, same, mode=mode.value)) == ["deferred"]
        [asked] = await _open_questions(runtime)
        shown, made = decode_question(asked)
        assert [(one.argument, one.value) for one in shown.controls] == [("command", b"id -u > out")]
        await let(runtime, *(Grant(need.resource, need.permission, 0, 3, made.tooldef) for need in made.needs))
        assert names(await ends_of(runtime, same, mode=mode.value)) == ["deferred"]
        assert not (runtime.workspace / "out").exists()


async def _open_questions(runtime: Runtime) -> list[bytes]:
    approvals = runtime.directory.by_path["root/approvals"]
    return [one.question for one in await runtime.system.ask(approvals, ListOpen(), within=30)]  # type: ignore[attr-defined]


# --- policy holds above every token


@pytest.mark.parametrize("wanted", [[], ["read_file"], ["builtin:read_file"], ["workspace:read_file"]])
async def test_a_tool_that_policy_wants_asked_about_is_asked_about_whatever_covers_it(
    tmp_path: Path, wanted: list[str]
) -> None:
    configured(tmp_path, policy_of(approval_required_tools=wanted))
    async with running(tmp_path) as runtime:
        (runtime.workspace / "a").write_text("x")
        await runtime.grant(Mode.GUIDED)
        await let(runtime, *EVERYTHING)
        ends = await ends_of(runtime, call("read_file", file_path="a"), call("list_directory", path="."))
    # Without the entry the token is enough; with it the other tool goes on as before.
    assert names(ends) == ["deferred" if wanted else "tool_call_result", "tool_call_result"]


DENIED_NAMES = [
    "secret/k",
    "./secret/k",
    "x/../secret/k",
    "WS/secret/k",
    "WS/x/../secret/k",
    "//WS/secret/k",
    "l/k",
    "k",
]


def touches(name: str) -> list[Json]:
    return [
        call("read_file", file_path=name),
        call("write_file", file_path=name, content="gone"),
        call("edit_file", file_path=name, old_string="KEY", new_string="gone"),
        call("grep", pattern="KEY", path=name),
        call("list_directory", path=str(Path(name).parent) if name != "k" else "l"),
        call("glob", pattern="*", path=str(Path(name).parent) if name != "k" else "l"),
        call("bash", command=f"true < {name}"),
        call("bash", command=f"true > {name}"),
    ]


@pytest.mark.parametrize("denied", [True, False])
async def test_what_policy_denies_is_denied_by_where_a_path_leads_and_no_token_opens_it(
    tmp_path: Path, denied: bool
) -> None:
    folder = tmp_path / "workspace"
    configured(tmp_path, policy_of(denied_paths=[f"{folder.resolve()}/secret/**"] if denied else []))
    (folder / "secret").mkdir()
    (folder / "x").mkdir()
    (folder / "secret" / "k").write_text("KEY")
    (folder / "l").symlink_to("secret")
    (folder / "k").symlink_to("secret/k")
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        await let(runtime, *EVERYTHING)
        for name in DENIED_NAMES if denied else DENIED_NAMES[:1]:
            calls = touches(name.replace("WS", str(folder.resolve())))
            ends = await ends_of(runtime, *calls, mode="autonomous")
            if denied:
                assert [(one["event"], one.get("layer")) for one in ends] == [("denied", "policy")] * len(calls), name
            else:  # the very same calls, without the entry
                assert names(ends) == ["tool_call_result"] * 6 + ["deferred"] * 2
        assert (folder / "secret" / "k").read_text() == ("KEY" if denied else "gone")
        if denied:  # and what is read around it leaves it out
            ends = await ends_of(runtime, call("grep", pattern="KEY"), call("glob", pattern="**"), mode="autonomous")
            assert names(ends) == ["tool_call_result"] * 2
            assert not [one for one in ends if "secret/k" in one["result"] or "KEY:" in one["result"]]


async def test_a_token_on_every_file_reaches_neither_the_keys_nor_the_log(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        home = runtime.world.home
        await runtime.grant(Mode.AUTONOMOUS)
        await let(runtime, *EVERYTHING)
        kept = [home.holder_key, home.runtime_key, home.log, home.install, Path.home() / ".ssh" / "id_ed25519"]
        for path in kept:
            ends = await ends_of(
                runtime,
                call("read_file", file_path=str(path)),
                call("write_file", file_path=str(path), content="x"),
                call("grep", pattern=".", path=str(path.parent)),
                mode="autonomous",
            )
            assert names(ends) == ["denied"] * 3, path
            assert [ends[0]["layer"], ends[2]["layer"]] == ["policy", "policy"], path
        beside = await ends_of(runtime, call("list_directory", path=str(tmp_path)), mode="autonomous")
    assert names(beside) == ["tool_call_result"]  # the token is good for what is no secret


@pytest.mark.parametrize("limit", [1000, 0])
async def test_the_limit_on_arguments_holds_for_every_tool_and_every_depth(tmp_path: Path, limit: int) -> None:
    configured(tmp_path, policy_of(max_argument_size=limit))
    long = "x" * 1000
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        ends = await ends_of(
            runtime, call("write_file", file_path="a", content=long), call("grep", pattern=long, path=".")
        )
    assert [one.get("code") for one in ends] == (["policy.argument-size"] * 2 if limit else [None, None])


# --- a name is a name, whatever characters it has

ODD_NAMES = ["*.txt", "[a-z].txt", "?.txt", "{a,b}.txt", "**", "%2A.txt"]


async def asked_again_about_another(folder: Path, name: str) -> bool:
    """A person lets the session write a file of this name; whether it is asked about another file after that."""
    async with running(folder) as runtime:
        await runtime.grant(Mode.SAFE)
        writes = [call("write_file", file_path=one, content="1") for one in (name, name, "a.txt")]
        await runtime.open([*map(turn, writes), turn()], mode="safe")
        await runtime.attend()
        await runtime.say("write")
        asked = (await runtime.until("approval_needed"))[-1]
        assert isinstance(await runtime.respond(asked, Verdict.SESSION), Done)
        events = await runtime.until("approval_needed", "turn_complete")
        assert (runtime.workspace / name).read_text() == "1"
        if events[-1]["event"] == "turn_complete":
            assert (runtime.workspace / "a.txt").exists()
            return False
        assert isinstance(await runtime.respond(events[-1], Verdict.DENY), Done)
        await runtime.until("turn_complete")
        assert not (runtime.workspace / "a.txt").exists()
        return True


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_yes_to_a_file_whose_name_looks_like_a_pattern_is_for_that_file_alone(
    tmp_path: Path, name: str
) -> None:
    assert await asked_again_about_another(tmp_path, name)


async def test_a_grant_that_took_the_stars_of_a_name_for_stars_would_let_the_next_file_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = question_module.choices_for

    def unescaped(*args: Any, **options: Any) -> Any:
        return tuple(
            msgspec.structs.replace(
                choice,
                grants=tuple(
                    msgspec.structs.replace(one, pattern=one.pattern.replace("%2A", "*")) for one in choice.grants
                ),
            )
            for choice in original(*args, **options)
        )

    for module in (question_module, gate_records):  # who asks, and who signs
        monkeypatch.setattr(module, "choices_for", unescaped)
    assert not await asked_again_about_another(tmp_path, "*.txt")


@pytest.mark.parametrize(("pattern", "below"), [("*", "deferred"), ("**", "tool_call_result")])
async def test_a_star_in_a_grant_does_not_reach_into_folders(tmp_path: Path, pattern: str, below: str) -> None:
    async with running(tmp_path) as runtime:
        (runtime.workspace / "sub").mkdir()
        await runtime.grant(Mode.SAFE)
        await let(runtime, Grant(f"file:/{runtime.workspace.resolve()}/{pattern}", 0x7F, 0, 3, b""))
        ends = await ends_of(
            runtime,
            call("write_file", file_path="here", content="x"),
            call("write_file", file_path="sub/there", content="x"),
            mode="safe",
        )
    assert names(ends) == ["tool_call_result", below]


# --- an answer is an answer to one question


async def test_an_answer_to_one_question_settles_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        writes = [turn(call("write_file", file_path=name, content="1")) for name in ("harmless", "harmful")]
        await runtime.open([*writes, turn()], mode="safe")
        await runtime.say("write")
        events = await runtime.until("turn_complete")
        harmless, harmful = (one for one in events if one["event"] == "approval_needed")
        shown = await runtime.question(harmless)
        # What the person signed about the harmless one, handed in under the number of the other.
        raw = runtime.answer_to(shown, harmful, Verdict.SESSION)
        digest_of, text_of = question_module.question_digest(shown), answers_module.render_question(shown)
        # Three checks stand there one behind the other: the bytes, what the person saw, and what the token is for.
        for code in ("approval.question", "approval.display", "approval.wider"):
            refused = await runtime.by_ticket(lambda n: GiveAnswer(ticket=n, answer=raw))
            assert isinstance(refused, Failed)
            assert refused.code == code
            assert not bodies(runtime, Kind.SETTLED)
            if code == "approval.question":
                monkeypatch.setattr(answers_module, "question_digest", lambda raw: digest_of)
            else:
                monkeypatch.setattr(answers_module, "render_question", lambda raw: text_of)
        monkeypatch.setattr(answers_module, "_within", lambda leaf, offered: True)
        settled = await runtime.by_ticket(lambda n: GiveAnswer(ticket=n, answer=raw))
        assert isinstance(settled, Done)


# --- money


async def test_a_refusal_for_lack_of_money_is_in_the_log(tmp_path: Path) -> None:
    dear = {"model": {"name": "dear", "price": {"input_usd_per_million": "1000", "output_usd_per_million": "1000"}}}
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([dear, turn()], mode="safe", budget=1000)
        await runtime.say("hello")
        await runtime.until("turn_complete")
        denied = bodies(runtime, Kind.DENIED)
        assert [(one.layer, one.tool) for one in denied] == [("budget", "model")]
        assert not bodies(runtime, Kind.PERMIT)


@pytest.mark.parametrize("capped", [True, False])
async def test_the_cap_of_a_workspace_holds_over_all_its_sessions(tmp_path: Path, capped: bool) -> None:
    configured(tmp_path, '[budget]\nworkspace_max_usd = "0.30"\n' if capped else "")
    head = {"model": {"name": "dear", "price": {"input_usd_per_million": "0", "output_usd_per_million": "50"}}}
    says = {"text": "x", "usage": {"input_tokens": 1, "output_tokens": 4000}}  # twenty cents; at most 0.2048
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        ends: list[list[str]] = []
        for _ in range(2):
            await runtime.open([head, says], mode="safe")
            await runtime.say("go")
            ends.append([one["code"] for one in await runtime.until("turn_complete") if one["event"] == "denied"])
    assert ends == [[], ["budget.exceeded"] if capped else []]


async def test_what_is_refused_deferred_or_given_up_leaves_no_money_set_aside(tmp_path: Path) -> None:
    head = {"model": {"name": "dear", "price": {"input_usd_per_million": "0", "output_usd_per_million": "50"}}}
    calls = [call("read_file", file_path="/etc/passwd"), call("bash", command="true"), call("nothing"), call("bash")]
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([head, *map(turn, calls), turn(call("bash", command="sleep 1")), turn()], mode="safe")
        await runtime.say("go")
        await runtime.until("approval_needed")
        await runtime.until("approval_needed")
        await runtime.system.ask(runtime.gateway, CancelTurn(session=runtime.session), within=30)
        await runtime.until("turn_complete")
        purses = runtime.world.facts.ledger.purses
        assert purses
        assert {key: purse.reserved for key, purse in purses.items() if purse.reserved} == {}
        spent = sum(body.spent for body in bodies(runtime, Kind.OUTCOME))
        assert purses[b"session" + runtime.session].spent == spent


# --- the log says who, by whose leave, and what exactly


async def test_every_permit_names_a_principal_a_grant_the_log_knows_and_the_very_call(tmp_path: Path) -> None:
    """Neither zeros for the user, nor an approval that is nowhere, nor a call without its arguments."""
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        calls = [call("write_file", file_path=name, content=f"text of {name}") for name in ("a", "b", "c")]
        await runtime.open([*map(turn, calls), turn(call("read_file", file_path="a")), turn()], mode="safe")
        await runtime.attend()
        await runtime.say("go")
        for verdict in (Verdict.ONCE, Verdict.SESSION, Verdict.DENY):
            asked = (await runtime.until("approval_needed"))[-1]
            assert isinstance(await runtime.respond(asked, verdict), Done)
        await runtime.until("turn_complete")
    async with running(tmp_path) as runtime:
        records = runtime.records()
        reader = SqliteReader(runtime.world.home.log)
        try:
            _check_permits(records, reader)
        finally:
            reader.close()


def _check_permits(records: list[tuple[Kind, Any]], reader: SqliteReader) -> None:
    granted: set[bytes] = set()
    principals: set[bytes] = set()
    seen: list[str] = []
    for seq, (kind, body) in enumerate(records, 1):
        if kind is Kind.SESSION_STARTED:
            principals.add(body.principal)
        elif kind is Kind.GRANTED or (kind is Kind.SETTLED and any(body.block)):
            assert any(body.issuer if kind is Kind.GRANTED else body.signer)
            granted.add(body.block)
        elif kind is Kind.PERMIT:
            assert body.principal in principals
            assert granted & {charge.block for charge in body.charges}, "an approval that is nowhere"
            assert body.token in {charge.block for charge in body.charges}
            if body.tool != "model":
                kept = reader.payload(seq, 0)
                assert kept is not None
                assert is_sealed(body.bytes_, *kept)
                made = decode_call(kept[1])
                assert made.principal_key == body.principal
                seen.append(json.loads(made.args)["file_path"])
    assert seen == ["a", "b", "a"]


async def test_what_failed_is_recorded_as_failed_and_never_before_it_was_tried(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        ends = await ends_of(
            runtime,
            call("edit_file", file_path="none", old_string="x", new_string="y"),
            call("read_file", file_path="none"),
        )
        assert [one["is_error"] for one in ends if one["event"] == "tool_call_result"] == [True] * len(ends)
        tools = [body for body in bodies(runtime, Kind.OUTCOME) if not _of_a_model(runtime, body)]
        assert [(one.is_error, one.effect) for one in tools] == [(True, "none")] * len(ends)
        before = len(runtime.records())
        garbage = await runtime.by_ticket(lambda n: AddToken(ticket=n, token=b"none", source="test"))
        answer = await runtime.by_ticket(lambda n: GiveAnswer(ticket=n, answer=b"none"))
        assert isinstance(garbage, Failed)
        assert isinstance(answer, Failed)
        later = [kind for kind, _ in runtime.records()[before:]]
        assert not {Kind.GRANTED, Kind.SETTLED} & set(later)


def _of_a_model(runtime: Runtime, outcome: Any) -> bool:
    return runtime.records()[outcome.permit_seq - 1][1].tool == "model"  # type: ignore[attr-defined]


# --- what a command gets to see

VARIABLES = {"ANTHROPIC_API_KEY": "sk-CANARY", "AWS_SECRET_ACCESS_KEY": "CANARY", "ASTRID_HOME": "/CANARY"}


async def told_by_env(folder: Path) -> str:
    async with running(folder) as runtime:
        await runtime.grant(Mode.GUIDED)
        await runtime.open([turn(call("bash", command="env")), turn()])
        await runtime.attend()
        await runtime.say("go")
        asked = (await runtime.until("approval_needed"))[-1]
        assert isinstance(await runtime.respond(asked, Verdict.ONCE), Done)
        events = await runtime.until("turn_complete")
    [told] = [one["result"] for one in events if one["event"] == "tool_call_result"]
    assert "PATH=" in told
    return str(told)


async def test_a_command_that_a_person_approved_sees_no_variable_of_the_daemons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert "CANARY" not in await told_by_env(tmp_path / "kept")
    monkeypatch.setattr(workspace_tools, "tool_environment", lambda *_, **__: dict(os.environ))
    told = await told_by_env(tmp_path / "removed")
    assert "AWS_SECRET_ACCESS_KEY=CANARY" in told
    assert "sk-CANARY" not in told  # a vendor's key is nobody's variable any more


async def test_another_name_of_a_file_outside_is_read_like_any_file_and_never_written(tmp_path: Path) -> None:
    """What is said not to be guarded: a hard link is no path that leads out."""
    async with running(tmp_path) as runtime:
        (tmp_path / "outside").write_text("outside")
        (runtime.workspace / "inside").hardlink_to(tmp_path / "outside")
        await runtime.grant(Mode.GUIDED)
        ends = await ends_of(
            runtime, call("read_file", file_path="inside"), call("write_file", file_path="inside", content="x")
        )
        assert [("outside" in one["result"], one["is_error"]) for one in ends] == [(True, False), (False, True)]
        assert (tmp_path / "outside").read_text() == "outside"


# --- text is cut between characters


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lead=st.integers(0, 7), wide=st.sampled_from("é€😀한"), lines=st.booleans())
async def test_no_length_of_any_text_breaks_a_turn(
    tmp_path_factory: pytest.TempPathFactory, lead: int, wide: str, lines: bool
) -> None:
    text = "a" * lead + wide * 20_000
    folder = tmp_path_factory.mktemp("wide")
    async with running(folder) as runtime:
        (runtime.workspace / "f").write_text(
            "\n".join(text[n : n + 50] for n in range(0, len(text), 50)) if lines else text
        )
        await runtime.grant(Mode.SAFE)
        await runtime.open(
            [turn(call("read_file", file_path="f"), text=text), turn(call("grep", pattern=wide)), turn(text=text)],
            mode="safe",
        )
        await runtime.say(text)
        events = await runtime.until("turn_complete")
    assert [one["is_error"] for one in events if one["event"] == "tool_call_result"] == [False, False]
    assert "�" not in json.dumps(events, ensure_ascii=False)
