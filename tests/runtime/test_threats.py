"""Threats 9, 11, 15, 17 and 19 through the whole tree of actors in one process: the attack is refused, and works once
its control is taken away.

Source: docs/security/threats.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from astrid.adapters.workspace import commands
from astrid.core import decide as decide_module
from astrid.core.approval import Verdict
from astrid.core.canon import Domain
from astrid.core.grants import Mode
from astrid.core.install import Revocation, sign_statement
from astrid.core.labels import Integrity
from astrid.core.prompt import PromptStatement, sign_prompt
from astrid.core.records import Kind
from astrid.errors import ChainError
from astrid.home import Home, open_home
from astrid.messages.gate import Done, Failed
from astrid.messages.gateway import AskCheckpoint, Declined, GiveAnswer, Input, RevokeToken, SessionOpened, Taken
from astrid.runtime import hearing as hearing_module
from astrid.runtime.boot import World
from astrid.runtime.log import read_past
from tests.fakes.clock import FakeEntropy, StillClock
from tests.fakes.home import USER
from tests.fakes.runtime import Runtime, call, running, turn

# --- 9: what a person signed counts once, where they said it


async def hear(runtime: Runtime, number: int, signature: bytes) -> Taken | Declined:
    message = Input(session=runtime.session, turn=number, text="do it", signer=USER.public, signature=signature)
    answer = await runtime.system.ask(runtime.gateway, message, within=30)
    assert isinstance(answer, Taken | Declined)
    return answer


async def replayed_prompt(folder: Path) -> tuple[Taken | Declined, list[Any]]:
    """What a person said in one session is said again to the next by somebody else: the answer, and its label."""
    async with running(folder) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.open([turn()], mode="safe")
        signature = sign_prompt(PromptStatement(runtime.aud, runtime.session, 1, b"do it"), USER)
        assert isinstance(await hear(runtime, 1, signature), Taken)
        await runtime.until("turn_complete")
        await runtime.open([turn()], mode="safe")
        answer = await hear(runtime, 1, signature)
        if isinstance(answer, Taken):
            await runtime.until("turn_complete")
        return answer, [body.integrity for kind, body in runtime.records() if kind is Kind.PROMPT]  # type: ignore[attr-defined]


async def test_an_old_prompt_is_refused_by_a_new_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, labels = await replayed_prompt(tmp_path / "kept")
    assert isinstance(answer, Declined)
    assert (answer.code, labels) == ("prompt.signature", [Integrity.SIGNED_USER])
    # The control removed: the signature is looked for and not what it is over.
    monkeypatch.setattr(hearing_module, "integrity_of", lambda *_: Integrity.SIGNED_USER)
    answer, labels = await replayed_prompt(tmp_path / "removed")
    assert labels == [Integrity.SIGNED_USER, Integrity.SIGNED_USER]


# --- 11: the past set back


def revocation(runtime: Runtime) -> bytes:
    [mode] = list(runtime.world.shelf.all())
    return sign_statement(Domain.REVOKE, Revocation(runtime.aud, mode.token.id, "token", 1, USER.public), USER)


async def lives(folder: Path) -> Path:
    """A grant; a copy of the whole home; then the grant is revoked, and a frontend keeps the checkpoint over that."""
    async with running(folder) as runtime:
        await runtime.grant(Mode.SAFE)
        await runtime.by_ticket(lambda number: AskCheckpoint(ticket=number))
    shutil.copytree(folder / "home", folder / "backup")
    async with running(folder) as runtime:
        answer = await runtime.by_ticket(lambda number: RevokeToken(ticket=number, statement=revocation(runtime)))
        assert isinstance(answer, Done)
        assert isinstance(await runtime.open([turn()], mode="safe"), Failed)
    home = Home(folder / "home")
    shutil.copy(home.anchor, home.witness)
    return folder / "backup"


def restore(backup: Path, home: Path, *, but: tuple[str, ...]) -> None:
    """The home as it was, but for what whoever restores it cannot reach."""
    old, now = Home(backup), Home(home)
    kept = {name: getattr(now, name).read_bytes() for name in but}
    shutil.rmtree(home)
    shutil.copytree(backup, home)
    for name, data in kept.items():
        getattr(now, name).write_bytes(data)
        getattr(now, name).chmod(0o600)
    assert old.log.read_bytes() == now.log.read_bytes()


@pytest.mark.parametrize("left", ["anchor", "witness"])
async def test_a_home_that_was_set_back_does_not_start_while_one_checkpoint_remembers(
    tmp_path: Path, left: str
) -> None:
    backup = await lives(tmp_path)
    restore(backup, tmp_path / "home", but=(left,))
    world = World(open_home(tmp_path / "home"), clock=StillClock(), entropy=FakeEntropy())
    with pytest.raises(ChainError) as refused:
        read_past(world.home, world.keys)
    assert refused.value.code == "chain.cut"


async def test_where_nothing_remembers_a_revoked_grant_would_live_again(tmp_path: Path) -> None:
    """The controls removed: every checkpoint that was kept elsewhere is set back too.  Only a frontend with a home of
    its own would notice, and sign nothing.
    """
    backup = await lives(tmp_path)
    restore(backup, tmp_path / "home", but=())
    async with running(tmp_path) as runtime:
        assert isinstance(await runtime.open([turn()], mode="safe"), SessionOpened)


# --- 15: revoked while the permit is on its way to the disk


async def revoked_while_a_call_is_asked_about(folder: Path) -> bool:
    """The grant that lets a session work is revoked while a person looks at one of its calls, and then says yes;
    whether the session does anything after that.
    """
    async with running(folder) as runtime:
        await runtime.grant(Mode.SAFE)
        read = turn(call("read_file", file_path="a"))
        (runtime.workspace / "a").write_text("the text")
        await runtime.open([turn(call("write_file", file_path="b", content="x")), read, turn()], mode="safe")
        await runtime.attend()
        await runtime.say("write")
        asked = (await runtime.until("approval_needed"))[-1]
        await runtime.by_ticket(lambda number: RevokeToken(ticket=number, statement=revocation(runtime)))
        await runtime.respond(asked, Verdict.ONCE)
        events = await runtime.until("turn_complete", "approval_needed")
        return any("the text" in event.get("result", "") for event in events)


async def test_after_a_revocation_nothing_more_is_done_on_what_was_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await revoked_while_a_call_is_asked_about(tmp_path / "kept")
    original = decide_module.check_live
    monkeypatch.setattr(
        decide_module,
        "check_live",
        lambda one, now: original(one, msgspec.structs.replace(now, revoked=frozenset[bytes]())),
    )
    assert await revoked_while_a_call_is_asked_about(tmp_path / "removed")


# --- 17: two answers at the same moment


async def test_of_two_answers_that_come_together_one_is_taken_and_one_counts(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.SAFE)
        same = turn(call("write_file", file_path="a", content="1"))
        await runtime.open([same, same, turn()], mode="safe")
        await runtime.attend()
        await runtime.say("write twice")
        asked = (await runtime.until("approval_needed"))[-1]
        question = await runtime.question(asked)
        answers: dict[Verdict, object] = {}

        async def give(verdict: Verdict) -> None:
            raw = runtime.answer_to(question, asked, verdict)
            answers[verdict] = await runtime.by_ticket(lambda number: GiveAnswer(ticket=number, answer=raw))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give, Verdict.ONCE)
            nursery.start_soon(give, Verdict.SESSION)
        taken = [verdict for verdict, answer in answers.items() if isinstance(answer, Done)]
        refused = [answer.code for answer in answers.values() if isinstance(answer, Failed)]
        assert (len(taken), refused) == (1, ["approval.settled"])
        events = await runtime.until("turn_complete", "approval_needed")
        # After a yes for once the same call is asked about again; after one for the session it is not.
        assert (events[-1]["event"] == "approval_needed") == (taken == [Verdict.ONCE])
        assert (runtime.workspace / "a").read_text() == "1"
        settled = [body.decision for kind, body in runtime.records() if kind is Kind.SETTLED]  # type: ignore[attr-defined]
        assert settled == taken


# --- 19: the script is rewritten while the person reads


async def rewritten_while_a_person_reads(folder: Path, swap: Callable[[Path], object]) -> bool:
    """A script is asked about, exchanged, and approved; whether what it was exchanged for ran."""
    async with running(folder) as runtime:
        await runtime.grant(Mode.GUIDED)
        script = runtime.workspace / "deploy.sh"
        script.write_text("#!/bin/sh\ntrue\n")
        script.chmod(0o755)
        await runtime.open([turn(call("bash", command="./deploy.sh")), turn()])
        await runtime.attend()
        await runtime.say("deploy")
        asked = (await runtime.until("approval_needed"))[-1]
        swap(script)
        assert isinstance(await runtime.respond(asked, Verdict.ONCE), Done)
        events = await runtime.until("turn_complete", "approval_needed")
        if events[-1]["event"] == "approval_needed":  # they are asked about what it is now
            await runtime.respond(events[-1], Verdict.DENY)
            await runtime.until("turn_complete")
        return (runtime.workspace / "ran").exists()


def _write(script: Path) -> None:
    script.write_text("#!/bin/sh\ntouch ran\n")


def _exchange(script: Path) -> None:
    other = script.with_name("other.sh")
    _write(other)
    other.chmod(0o755)
    other.rename(script)


@pytest.mark.parametrize("swap", [_write, _exchange])
async def test_a_script_that_was_rewritten_while_a_person_read_is_asked_about_again(
    tmp_path: Path, swap: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await rewritten_while_a_person_reads(tmp_path / "kept", swap)
    monkeypatch.setattr(commands._Survey, "_pin", lambda self, path: None)
    assert await rewritten_while_a_person_reads(tmp_path / "removed", swap)
