from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astrid.core.ids import show_id
from astrid.core.tokens import Permission, SignedBlock, Token, issue, verify_chain
from astrid.errors import AstridError, InputError
from astrid.frontends.cli import approvals, tokens
from astrid.frontends.signer.protocol import SignedReply
from astrid.home import Home
from astrid.wire import params as p
from astrid.wire import results as r
from tests.fakes.authority import NOW, ROOTS, USER, block
from tests.fakes.signing import Bench

TOKEN = verify_chain(issue(block(), USER), ROOTS)
OTHER = verify_chain(issue(block(nonce=b"o" * 16), USER), ROOTS)


def info(token: Token = TOKEN, **fields: Any) -> r.TokenInfo:
    leaf = token.leaf
    given: dict[str, Any] = {
        "token_id": show_id("token", token.id),
        "scope": "workspace",
        "issuer": leaf.issuer,
        "holder": leaf.holder,
        "assurance": "sealed",
        "not_before_s": str(leaf.not_before),
        "expires_s": str(leaf.expires),
        "uses": 7,
        "used": 2,
        "purse_micros": "1500000",
        "spent_micros": "250000",
        "revoked": False,
        "grants": (r.GrantInfo(pattern="file://w/**", perms=3, issuable=0, max_risk=1),),
    }
    return r.TokenInfo(**(given | fields))


class World:
    """A daemon and a signer, played by the test."""

    def __init__(self) -> None:
        self.calls: list[p.Params] = []
        self.signed: list[tuple[str, Any]] = []
        self.known: tuple[r.TokenInfo, ...] = (info(),)
        self.chain = TOKEN.raw
        self.outcome: Any = "settled"

    @contextlib.asynccontextmanager
    async def connect(self, home: Home, *, start_daemon: bool = False) -> AsyncIterator[World]:
        yield self

    @contextlib.asynccontextmanager
    async def start(self, home: Home, **options: Any) -> AsyncIterator[World]:
        self.signed.append(("start", options))
        yield self

    def attended(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    async def call(self, method: str, params: p.Params) -> r.Answer:
        self.calls.append(params)
        match method:
            case "tokensList":
                return r.Tokens(tokens=self.known)
            case "tokensShow":
                return r.TokenShown(info=info(), chain=self.chain)
            case "tokensAdd":
                return r.TokenAdded(token_id=show_id("token", TOKEN.id))
            case "tokensRevoke":
                return r.TokensRevoked(revoked=3)
            case "listApprovals":
                asked = r.OpenQuestion(
                    question_id="question:" + "0" * 32,
                    session_id="session:" + "1" * 32,
                    asked_s=NOW,
                    expires_s=NOW + 300,
                )
                return r.Approvals(questions=(asked,))
            case _:
                raise AssertionError(method)

    async def grant_workspace(self, *args: Any, **kwargs: Any) -> SignedReply:
        self.signed.append(("workspace", (args, kwargs)))
        return reply()

    async def grant(self, *args: Any) -> SignedReply:
        self.signed.append(("patterns", args))
        return reply()

    async def revoke(self, target: bytes) -> SignedReply:
        self.signed.append(("revoke", target))
        return SignedReply(b"statement", b"", b"", b"")


def reply() -> SignedReply:
    (signed,) = tokens.read_chain(TOKEN.raw)
    return SignedReply(b"", b"", signed.payload, signed.signature)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("ASTRID_HOME", str(Bench(tmp_path / "home").home.root))
    made = World()
    for module in (tokens, approvals):
        monkeypatch.setattr(module, "connect", made.connect)
        monkeypatch.setattr(module, "Signer", made)
    return made


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    tokens.add_arguments(parser)
    return parser.parse_args(words)


def run(*words: str) -> int:
    return tokens.run(parsed(*words))


# --- grant


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ([], "tokens.what"),
        (["--workspace", "w"], "tokens.what"),
        (["--mode", "safe", "--workspace", "w", "--pattern", "file://a"], "tokens.what"),
        (["--mode", "safe"], "tokens.mode"),
        (["--mode", "safe", "--workspace", "w", "--perms", "read"], "tokens.mode"),
        (["--mode", "safe", "--workspace", "w", "--uses", "1"], "tokens.mode"),
        (["--mode", "safe", "--workspace", "w", "--tainted-ok"], "tokens.mode"),
        (["--mode", "safe", "--workspace", "w", "--also-read", "/"], "tokens.what"),
        (["--also-read", "/", "--also-write", "/", "--workspace", "w"], "tokens.what"),
        (["--also-read", "/"], "tokens.also"),
        (["--also-write", "/", "--workspace", "w", "--perms", "read"], "tokens.also"),
        (["--also-read", "/", "--workspace", "w", "--tainted-ok"], "tokens.also"),
        (["--also-read", "/nowhere/at/all", "--workspace", "w"], "tokens.path"),
        (["--pattern", "file://a"], "tokens.permission"),
        (["--pattern", "file://a", "--perms", ","], "tokens.permission"),
        (["--pattern", "file://a", "--perms", "read,fly"], "tokens.permission"),
        (["--pattern", "nonsense", "--perms", "read"], "pattern.scheme"),
        (["--pattern", "file://a", "--perms", "read", "--uses", "0"], "tokens.uses"),
        (["--pattern", "file://a", "--perms", "read", "--days", "0"], "tokens.days"),
        (["--pattern", "file://a", "--perms", "read", "--days", "70000"], "tokens.days"),
        (["--pattern", "file://a", "--perms", "read", "--purse", "1e3"], "money.malformed"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused_before_anybody_is_asked(
    world: World, words: list[str], refusal: str
) -> None:
    with pytest.raises(InputError) as refused:
        run("grant", *words)
    assert refused.value.code == refusal
    assert (world.calls, world.signed) == ([], [])


@pytest.mark.parametrize("words", [["--mode", "yolo"], ["--risk", "none"], ["--days", "many"]])
def test_words_that_are_none_are_wrong_usage(world: World, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("grant", *words)
    assert ended.value.code == 2


def test_permissions_are_read_by_name() -> None:
    assert tokens.parse_permissions("read,write,delete") == Permission.READ | Permission.WRITE | Permission.DELETE


def test_a_mode_is_signed_and_handed_to_the_daemon(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("grant", "--workspace", "w", "--mode", "guided", "--days", "3", "--purse", "2.50", "--yes") == 0
    (_, options), (_, (args, kwargs)) = world.signed
    assert options == {"passphrase_fd": None, "assume_yes": True}
    assert (args[0], args[1].value, kwargs) == (Path("w"), "guided", {"days": 3, "purse_micros": 2_500_000})
    assert world.calls == [p.TokensAdd(token=TOKEN.raw)]
    assert show_id("token", TOKEN.id) in capsys.readouterr().out


def test_patterns_are_signed_with_all_that_was_said_about_them(world: World) -> None:
    words = ["--pattern", "file://a", "--pattern", "file://b", "--perms", "read", "--risk", "high", "--uses", "4"]
    assert run("grant", *words, "--workspace", "w", "--tainted-ok", "--json") == 0
    _, (_, (patterns, perms, risk, terms)) = world.signed
    assert (patterns, perms, risk.name) == (["file://a", "file://b"], Permission.READ, "HIGH")
    assert (terms.uses, terms.days, terms.folder, terms.tainted_ok) == (4, 30, Path("w"), True)


@pytest.mark.parametrize(
    ("words", "perms", "risk"),
    [
        (["--also-read"], Permission.READ | Permission.LIST, "MEDIUM"),
        (["--also-write"], Permission.READ | Permission.LIST | Permission.WRITE | Permission.CREATE, "HIGH"),
        (["--risk", "low", "--also-read"], Permission.READ | Permission.LIST, "LOW"),
        (["--risk", "critical", "--also-write"], None, "CRITICAL"),
    ],
)
def test_a_path_beside_a_folder_is_signed_as_where_it_really_is(
    world: World, tmp_path: Path, words: list[str], perms: Permission | None, risk: str
) -> None:
    there = tmp_path.resolve() / "the*re"
    there.mkdir()
    (tmp_path / "link").symlink_to(there)
    assert run("grant", "--workspace", "w", *words, str(tmp_path / "link" / ".")) == 0
    _, (_, (patterns, signed, level, terms)) = world.signed
    assert patterns == [f"file:/{tmp_path.resolve()}/the%2Are/**"]
    assert (signed, level.name) == (perms or signed, risk)
    assert (terms.folder, terms.tainted_ok) == (Path("w"), True)


def test_a_token_that_is_written_to_a_file_is_not_handed_over(world: World, tmp_path: Path) -> None:
    out = tmp_path / "token"
    assert run("grant", "--workspace", "w", "--mode", "safe", "--out", str(out)) == 0
    assert (out.read_bytes(), out.stat().st_mode & 0o777, world.calls) == (TOKEN.raw, 0o600, [])


def test_a_file_that_is_there_is_not_overwritten(world: World, tmp_path: Path) -> None:
    out = tmp_path / "token"
    out.write_text("mine")
    with pytest.raises(AstridError) as refused:
        run("grant", "--workspace", "w", "--mode", "safe", "--out", str(out))
    assert (refused.value.code, out.read_text()) == ("file.exists", "mine")


# --- list, show, revoke


def test_the_list_says_what_each_token_covers_and_what_is_left(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.known = (info(), info(revoked=True, uses=2**32 - 1, purse_micros=str(2**64 - 1)))
    assert run("list") == 0
    out = capsys.readouterr().out
    assert "2 of 7 uses, $0.25 of $1.50 spent" in out
    assert 'read+write "file://w/**", up to risk medium' in out
    assert " workspace revoked, signed sealed" in out
    assert "any number of uses, $0.25 spent" in out


def test_a_pattern_that_plays_tricks_cannot_leave_its_quotes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    trick = r.GrantInfo(pattern='x"\x1b[2K\nall is well', perms=1, issuable=0, max_risk=9)
    world.known = (info(grants=(trick,)),)
    assert run("list") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert '\\"\\u{1b}[2K\\u{a}all is well"' in out


def test_the_list_as_json_has_every_field(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["tokens"]
    assert (told["uses"], told["used"], told["spent_micros"]) == (7, 2, 250_000)
    assert told["grants"] == [{"pattern": "file://w/**", "perms": ["read", "write"], "max_risk": 1}]


def test_show_reads_the_token_from_its_own_bytes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", show_id("token", TOKEN.id)) == 0
    out = capsys.readouterr().out
    assert 'allows: read+write "file://w/**", up to risk medium' in out
    assert run("show", show_id("token", TOKEN.id), "--json") == 0
    assert json.loads(capsys.readouterr().out)["chain"] == TOKEN.raw.hex()


def test_a_daemon_that_shows_another_token_is_not_believed(world: World) -> None:
    world.chain = OTHER.raw
    with pytest.raises(AstridError) as refused:
        run("show", show_id("token", TOKEN.id))
    assert refused.value.code == "tokens.other"


def test_a_revocation_is_signed_and_handed_over(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("revoke", show_id("token", TOKEN.id), "--yes") == 0
    assert ("revoke", TOKEN.id) in world.signed
    assert world.calls == [p.TokensRevoke(statement=b"statement")]
    assert "3 known tokens" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["show", "revoke"])
def test_an_id_that_is_none_is_refused_before_anybody_is_asked(world: World, action: str) -> None:
    with pytest.raises(AstridError) as refused:
        run(action, "token:zz")
    assert (refused.value.code, world.calls) == ("id.malformed", [])


# --- approvals


def ask(*words: str) -> int:
    parser = argparse.ArgumentParser()
    approvals.add_arguments(parser)
    return approvals.run(parser.parse_args(words))


def test_open_questions_are_listed_by_name_and_end(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("list") == 0
    assert "question:" + "0" * 32 + " of session:" in capsys.readouterr().out


@pytest.mark.parametrize(("outcome", "code"), [("settled", 0), ("expired", 1), ("refused", 1), ("already-settled", 1)])
def test_an_answer_counts_only_if_it_was_settled(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: Any, code: int
) -> None:
    async def settled(*_: object) -> r.Settled:
        return r.Settled(outcome=outcome, reason="because\x1b")

    monkeypatch.setattr(approvals, "answer_question", settled)
    if code:
        with pytest.raises(AstridError) as refused:
            ask("answer", "question:" + "0" * 32)
        assert "\x1b" not in refused.value.render()
    else:
        assert ask("answer", "question:" + "0" * 32, "--json") == 0
        assert json.loads(capsys.readouterr().out)["outcome"] == "settled"


def test_a_persons_no_and_a_persons_break_have_exit_codes_of_their_own(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for code, exit_code in (("signer.refused", 3), ("signer.aborted", 130)):

        async def refuse(*_: object, code: str = code, **__: object) -> SignedReply:
            raise InputError(code, "the person said so")

        monkeypatch.setattr(world, "grant_workspace", refuse)
        assert run("grant", "--workspace", "w", "--mode", "safe") == exit_code
        assert capsys.readouterr().err == f"astrid: the person said so [{code}]\n"
    assert world.calls == []


def test_the_block_of_a_chain_is_read_as_it_was_signed() -> None:
    (signed,) = tokens.read_chain(TOKEN.raw)
    assert isinstance(signed, SignedBlock)
    assert tokens.read_block(signed) == TOKEN.leaf
