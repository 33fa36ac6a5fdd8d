"""Paths beside a workspace of which a person signed that nobody need be asked: what that reaches, and what it does not.

The grant is drawn from the words of ``astrid tokens grant``, as the command and the signer do it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec
import pytest

from astrid.core.grants import Mode
from astrid.core.ids import InstallId
from astrid.core.question import decode_question
from astrid.core.tokens import Assurance, Grant, issue, verify_chain
from astrid.errors import TokenError
from astrid.frontends.cli import tokens
from astrid.frontends.signer.granting import Signing, patterns_block
from astrid.frontends.signer.protocol import GrantPatterns
from astrid.messages.gate import Done
from astrid.messages.gateway import AddToken
from tests.fakes.home import HOLDER, USER
from tests.fakes.runtime import Json, Runtime, call, running, turn

RUNS, ASKS, DENIED = "tool_call_result", "approval_needed", "denied"


def files(folder: Path) -> None:
    for name in ("also/sub", "also-evil", "other"):
        (folder / name).mkdir(parents=True)
    for name in ("also/file", "also/sub/file", "also-evil/file", "other/file"):
        (folder / name).write_text("beside\n")
    (folder / "also" / "link").symlink_to(folder / "other")


async def sign(runtime: Runtime, *words: str) -> bytes:
    """What a person types after ``astrid tokens grant --workspace``, signed and taken in."""
    parser = argparse.ArgumentParser()
    tokens.add_arguments(parser)
    args = parser.parse_args(["grant", "--workspace", str(runtime.workspace), *words])
    terms = tokens._asked(args)
    patterns, perms, risk = tokens._named(args)
    asked = GrantPatterns(
        patterns=tuple(patterns),
        perms=perms,
        risk=risk,
        days=terms.days,
        uses=terms.uses,
        purse=terms.purse_micros,
        folder=os.fsencode(runtime.workspace),
        tainted_ok=terms.tainted_ok,
    )
    now_s = runtime.world.clock.now_ns() // 10**9
    signing = Signing(
        issuer=USER.public,
        assurance=Assurance.SEALED,
        holder=HOLDER.public,
        aud=InstallId(runtime.aud),
        now_s=now_s,
        nonce=os.urandom(16),
    )
    workspace = runtime.world.catalogue.place(str(runtime.workspace)).identity
    raw = issue(patterns_block(asked, signing, workspace=workspace), USER)
    assert isinstance(await runtime.by_ticket(lambda n: AddToken(ticket=n, token=raw, source="test")), Done)
    return raw


async def how(runtime: Runtime, *calls: Json) -> tuple[str, Json]:
    """What becomes of the last of these calls, in a session of its own, and what is told of it."""
    await runtime.open([*map(turn, calls), turn()])
    await runtime.attend()
    await runtime.say("go", signed=True)
    [*_, last] = [(await runtime.until(RUNS, ASKS, DENIED))[-1] for _ in calls]
    return last["event"], last


def reads(path: Path | str) -> Json:
    return call("read_file", file_path=str(path))


def writes(path: Path | str) -> Json:
    return call("write_file", file_path=str(path), content="x")


@pytest.mark.parametrize("signed", [True, False])
async def test_what_may_also_be_read_is_read_without_a_question(tmp_path: Path, signed: bool) -> None:
    """Also with untrusted text in view, which is after the first file."""
    files(tmp_path)
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        if signed:
            await sign(runtime, "--also-read", str(tmp_path / "also"))
        expected = RUNS if signed else ASKS
        for one in (reads(tmp_path / "also/file"), call("grep", pattern="x", path=str(tmp_path / "also"))):
            found, event = await how(runtime, one)
            assert found == expected
            assert not event.get("is_error")
        if signed:
            (runtime.workspace / "page").write_text("read on")
            assert (await how(runtime, reads("page"), reads(tmp_path / "also/sub/file")))[0] == RUNS


async def test_nothing_but_what_may_also_be_read_is(tmp_path: Path) -> None:
    files(tmp_path)
    also = tmp_path / "also"
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.AUTONOMOUS)
        await sign(runtime, "--also-read", str(also))
        for one in (
            reads(tmp_path / "also-evil" / "file"),  # begins alike
            reads(f"{also}/../other/file"),
            reads(tmp_path),
            writes(also / "file"),
            call("bash", command="true", read=[str(also)]),  # what a line starts would see all of it
        ):
            assert (await how(runtime, one))[0] == ASKS
        found, event = await how(runtime, reads(also / "link" / "file"))
        assert (found, event["is_error"]) == (RUNS, True)  # no link is followed there
        assert "beside" not in event["result"]
        assert (also / "file").read_text() == "beside\n"


async def test_a_path_outside_is_asked_about_as_where_it_leads(tmp_path: Path) -> None:
    files(tmp_path)
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        _, event = await how(runtime, reads("a/../../also/./file"))
        question, asked = decode_question(await runtime.question(event))
    assert [need.resource for need in asked.needs] == [f"file:/{tmp_path}/also/file"]
    assert [one.value for one in question.controls] == [os.fsencode(tmp_path / "also/file")]


async def test_what_may_also_be_written_asks_once_untrusted_text_is_in_view(tmp_path: Path) -> None:
    files(tmp_path)
    async with running(tmp_path) as runtime:
        (runtime.workspace / "page").write_text("Write it.")
        await runtime.grant(Mode.GUIDED)
        assert (await how(runtime, writes(tmp_path / "also/file")))[0] == ASKS
        await sign(runtime, "--also-write", str(tmp_path / "also"))
        assert (await how(runtime, writes(tmp_path / "also/new")))[0] == RUNS
        assert (await how(runtime, reads("page"), writes(tmp_path / "also/file")))[0] == ASKS
        await sign(runtime, "--also-write", str(tmp_path / "also"), "--risk", "critical")
        assert (await how(runtime, reads("page"), writes(tmp_path / "also/file")))[0] == RUNS
        assert (await how(runtime, writes(tmp_path / "also-evil/file")))[0] == ASKS
    assert [(tmp_path / name).read_text() for name in ("also/new", "also/file", "also-evil/file")] == [
        "x",
        "x",
        "beside\n",
    ]


async def test_policy_and_what_is_protected_stand_above_it(tmp_path: Path) -> None:
    files(tmp_path)
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        await sign(runtime, "--also-write", "/", "--risk", "critical")
        assert (await how(runtime, reads("/etc/passwd")))[0] == DENIED  # denied_paths, of the user's own file
        assert (await how(runtime, reads(runtime.world.home.holder_key)))[0] == DENIED
        assert (await how(runtime, writes(tmp_path / "also/AGENTS.md")))[0] == ASKS


async def test_no_session_makes_it_wider(tmp_path: Path) -> None:
    """Whoever hands it on, with the daemon's own key."""
    files(tmp_path)
    async with running(tmp_path) as runtime:
        await runtime.grant(Mode.GUIDED)
        raw = await sign(runtime, "--also-read", str(tmp_path / "also"))
        token = verify_chain(raw, runtime.world.facts.roots)
        [grant] = token.leaf.grants
        wallet = runtime.world.wallet

        def hand_on(one: Grant) -> bytes:
            return wallet.pass_on(token, (one,), holder=wallet.key_of(b"s" * 16), session=b"s" * 16, purse_micros=0)

        assert hand_on(grant)
        for wider in (
            {"pattern": f"file:/{tmp_path}/**"},
            {"perms": grant.perms | 2},
            {"max_risk": grant.max_risk + 1},
        ):
            with pytest.raises(TokenError) as caught:
                hand_on(msgspec.structs.replace(grant, **wider))
            assert caught.value.code == "token.wider"
