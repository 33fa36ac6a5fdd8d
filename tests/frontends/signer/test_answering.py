"""The signer against a hostile daemon: what is shown, what is signed, and when nothing is.  Threats 6, 11."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.answers import MAX_ANSWER_BYTES, Answer, SignedAnswer, Verdict, decode_answer, verify_answer
from astrid.core.blocks import MAX_PAYLOAD_BYTES, Block
from astrid.core.call import Call, Need, decode_call, encode_call
from astrid.core.canon import MAX_U64, decode, encode
from astrid.core.display import display_digest, render_question
from astrid.core.keys import SigningKey, unseal
from astrid.core.merkle import leaf_hash
from astrid.core.question import MAX_QUESTION_BYTES, Choice, Question, choices_for, question_bytes, question_digest
from astrid.core.tokens import Scope, SignedBlock, Token
from astrid.errors import TokenError
from astrid.frontends.signer.protocol import AnswerQuestion, Failure, SignedReply
from astrid.home import write_guarded
from tests.fakes.authority import NOW, SESSION_KEY, WRITE
from tests.fakes.authority import call as some_call
from tests.fakes.authority import question as some_question
from tests.fakes.signing import PASSPHRASE, Bench, Person, ask, code


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home").made()


@pytest.fixture
def sealed(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "home").made(sealed=True)


def call_of(bench: Bench, **fields: Any) -> Call:
    return some_call(**({"aud": bench.aud} | fields))


def question_of(bench: Bench, made: Call | None = None, **fields: Any) -> Question:
    return some_question(call_of(bench) if made is None else made, **fields)


def put(bench: Bench, raw: bytes, person: Person | None, **checkpoint: Any) -> SignedReply | Failure:
    note = checkpoint.get("note", bench.checkpoint())
    told = ask(bench.service(person), AnswerQuestion(raw, note, checkpoint.get("proof", ())))
    assert isinstance(told, SignedReply | Failure)
    return told


def accepted(bench: Bench, raw: bytes, reply: SignedReply | Failure) -> tuple[Answer, Token | None]:
    """The answer as the daemon judges it."""
    assert isinstance(reply, SignedReply), reply
    token = encode((SignedBlock(reply.payload, reply.token_signature),)) if reply.payload else b""
    signed, answer = decode_answer(encode(SignedAnswer(reply.statement, reply.signature, token)))
    keeper = bench.key(bench.home.holder_key).public
    return answer, verify_answer(signed, answer, raw, bench.roots, keeper, now_s=bench.now)


@pytest.mark.parametrize(
    ("typed", "scope"), [("o", Scope.ONCE), ("s", Scope.SESSION), ("W", Scope.WORKSPACE), (" always ", Scope.ALWAYS)]
)
def test_a_yes_is_signed_as_the_choice_that_was_typed_and_the_daemon_takes_it(
    bench: Bench, typed: str, scope: Scope
) -> None:
    raw = question_bytes(question_of(bench))
    answer, token = accepted(bench, raw, put(bench, raw, Person(typed)))
    assert token is not None
    assert (answer.decision, token.leaf.scope) == (scope + 1, scope)


def test_a_no_is_signed_and_carries_no_token(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    answer, token = accepted(bench, raw, put(bench, raw, Person("d")))
    assert (answer.decision, token) == (Verdict.DENY, None)


def test_the_signed_display_is_the_text_that_the_person_saw(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    person = Person("o")
    answer, _ = accepted(bench, raw, put(bench, raw, person))
    assert render_question(raw) in person.seen
    assert answer.shown == display_digest(render_question(raw))
    assert answer.question == question_digest(raw)


def test_the_home_is_shown_with_each_question(bench: Bench) -> None:
    person = Person("o")
    put(bench, question_bytes(question_of(bench)), person)
    assert f'home: "{bench.home.root}"' in person.seen


def test_two_answers_to_one_question_are_two_tokens(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    first, second = (accepted(bench, raw, put(bench, raw, Person("o")))[1] for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_words_that_are_no_answer_are_asked_for_again(bench: Bench) -> None:
    person = Person("", "yes", "everything", "\N{CYRILLIC SMALL LETTER O}", "o")
    raw = question_bytes(question_of(bench))
    answer, _ = accepted(bench, raw, put(bench, raw, person))
    assert (len(person.prompts), answer.decision) == (5, Verdict.ONCE)


def test_a_person_who_breaks_off_signs_nothing_and_the_key_is_not_even_opened(sealed: Bench) -> None:
    sealed.home.user_key.unlink()
    assert code(put(sealed, question_bytes(question_of(sealed)), Person())) == "signer.aborted"


def test_without_a_terminal_no_question_is_answered_whatever_the_command_line_says(bench: Bench) -> None:
    service = bench.service(None, yes=True)
    told = ask(service, AnswerQuestion(question_bytes(question_of(bench)), bench.checkpoint(), ()))
    assert code(told) == "signer.no-terminal"


def test_the_key_is_opened_only_after_the_person_chose(sealed: Bench) -> None:
    person = Person("o", PASSPHRASE.decode())
    raw = question_bytes(question_of(sealed))
    accepted(sealed, raw, put(sealed, raw, person))
    assert [prompt.split()[0] for prompt in person.prompts] == ["Your", "Passphrase"]


# --- the hostile daemon


def lies(bench: Bench) -> dict[str, tuple[bytes, str]]:
    """Questions that a taken-over daemon may hand over -> the code of the refusal."""
    honest = question_of(bench)
    wide = honest.choices[0]
    other = call_of(bench, needs=(Need("file://w/secret.txt", WRITE),))
    choices = honest.choices

    def with_choice(**fields: Any) -> tuple[Choice, ...]:
        return (msgspec.structs.replace(wide, **fields), *choices[1:])

    def made(**fields: Any) -> bytes:
        return question_bytes(msgspec.structs.replace(honest, **fields))

    stranger = some_question(some_call(aud=b"X" * 32))
    return {
        "another install": (question_bytes(stranger), "signer.other-install"),
        "another install outside than inside": (made(aud=b"X" * 32), "question.mismatch"),
        "another call under the choices": (made(call=encode_call(other)), "question.choices"),
        "a wider pattern": (
            made(choices=with_choice(grants=(msgspec.structs.replace(wide.grants[0], pattern="file://w/**"),))),
            "question.choices",
        ),
        "more permissions": (
            made(choices=with_choice(grants=(msgspec.structs.replace(wide.grants[0], perms=255),))),
            "question.choices",
        ),
        "issuable permissions": (
            made(choices=with_choice(grants=(msgspec.structs.replace(wide.grants[0], issuable=2),))),
            "question.choices",
        ),
        "more uses": (made(choices=with_choice(uses=2)), "question.choices"),
        "a bigger purse": (made(choices=with_choice(purse=MAX_U64)), "question.choices"),
        "a later end": (made(choices=with_choice(expires=MAX_U64)), "question.choices"),
        "a choice more": (made(choices=(*choices, choices[-1])), "question.choices"),
        "a choice less": (made(choices=choices[:-1]), "question.choices"),
        "once only, and yet more": (made(once_only=True), "question.choices"),
        "strong, and yet standing": (made(strong=True), "question.mismatch"),
        "less risk than the call's own": (
            question_bytes(some_question(call_of(bench, risk=2), risk=1)),
            "question.mismatch",
        ),
        "expired": (question_bytes(question_of(bench, asked=NOW - 300, expires=NOW)), "question.time"),
        "asked in the future": (
            question_bytes(question_of(bench, asked=NOW + 301, expires=NOW + 600)),
            "question.time",
        ),
        "open for ever": (question_bytes(question_of(bench, expires=MAX_U64)), "question.time"),
        "asked for the user": (
            question_bytes(question_of(bench, call_of(bench, principal_key=bench.identity.install.roots[0].key))),
            "signer.principal",
        ),
        "asked for the daemon": (
            question_bytes(question_of(bench, call_of(bench, principal_key=bench.home.holder_public.read_bytes()))),
            "signer.principal",
        ),
        "asked for nobody": (question_bytes(question_of(bench, call_of(bench, principal_key=b"\1" * 32))), "key.weak"),
        "another version": (made(version=2), "question.mismatch"),
        "cut short": (question_bytes(honest)[:-1], "canon.malformed"),
        "with something behind": (question_bytes(honest) + b"\0", "canon.malformed"),
        "in another spelling": (b"\xdc\x00\x0c" + question_bytes(honest)[1:], "canon.second-spelling"),
        "no question at all": (b"rm -rf", "canon.malformed"),
        "a ready block": (put_block(bench), "canon.malformed"),
    }


def put_block(bench: Bench) -> bytes:
    told = put(bench, question_bytes(question_of(bench)), Person("o"))
    assert isinstance(told, SignedReply)
    return told.payload


LIES = (
    "another install",
    "another install outside than inside",
    "another call under the choices",
    "a wider pattern",
    "more permissions",
    "issuable permissions",
    "more uses",
    "a bigger purse",
    "a later end",
    "a choice more",
    "a choice less",
    "once only, and yet more",
    "strong, and yet standing",
    "less risk than the call's own",
    "expired",
    "asked in the future",
    "open for ever",
    "asked for the user",
    "asked for the daemon",
    "asked for nobody",
    "another version",
    "cut short",
    "with something behind",
    "in another spelling",
    "no question at all",
    "a ready block",
)


@pytest.mark.parametrize("lie", LIES)
def test_a_question_that_lies_is_not_shown_and_nothing_is_signed(bench: Bench, lie: str) -> None:
    raw, refusal = lies(bench)[lie]
    person = Person("o")
    told = put(bench, raw, person)
    assert (code(told), person.seen, person.prompts) == (refusal, "", [])


class _Agrees(tuple[Choice, ...]):
    """Equal to whatever it is compared with."""

    __slots__ = ()
    __hash__ = tuple.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


@pytest.mark.parametrize(
    "lie", ["a wider pattern", "more permissions", "a later end", "another call under the choices"]
)
def test_a_signer_that_believed_the_choices_it_is_given_would_sign_the_lie(
    bench: Bench, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 6.  The control removed: the choices are not computed again from the call."""
    raw, _ = lies(bench)[lie]
    monkeypatch.setattr("astrid.core.question.choices_for", lambda *_, **__: _Agrees())
    told = put(bench, raw, Person("o"))
    assert isinstance(told, SignedReply)
    signed = decode(told.payload, Block, max_bytes=MAX_PAYLOAD_BYTES, what="a block")
    offered = decode(raw, Question, max_bytes=MAX_QUESTION_BYTES, what="a question")
    rightful = choices_for(decode_call(offered.call), offered.risk, offered.asked, offered.expires, once_only=False)[0]
    assert (signed.grants, signed.expires) != (rightful.grants, rightful.expires)


def test_every_lie_is_told(bench: Bench) -> None:
    assert set(lies(bench)) == set(LIES)


def test_a_yes_covers_the_very_call_that_was_shown(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    other = question_bytes(question_of(bench, call_of(bench, args=b'{"path":"b.txt"}')))
    reply = put(bench, raw, Person("o"))
    with pytest.raises(TokenError) as refused:
        accepted(bench, other, reply)
    assert refused.value.code == "approval.question"


def test_a_question_longer_than_a_page_can_only_be_answered_once(bench: Bench) -> None:
    raw = question_bytes(question_of(bench, call_of(bench, args=b'{"text":"' + b"x" * 5000 + b'"}')))
    person = Person("s", "w", "a", "o")
    answer, _ = accepted(bench, raw, put(bench, raw, person))
    assert answer.decision == Verdict.ONCE
    assert person.seen.count("a question this long can only be answered once") == 3


def test_a_plain_key_is_not_offered_what_needs_a_sealed_one(bench: Bench) -> None:
    raw = question_bytes(question_of(bench, risk=2))
    person = Person("s", "w", "a", "o")
    answer, _ = accepted(bench, raw, put(bench, raw, person))
    assert answer.decision == Verdict.ONCE
    assert "session    not offered: a plain key cannot approve this" in person.seen


def test_to_what_never_stands_a_plain_key_can_only_say_no(bench: Bench) -> None:
    raw = question_bytes(question_of(bench, once_only=True, strong=True))
    answer, _ = accepted(bench, raw, put(bench, raw, Person("o", "once", "d")))
    assert answer.decision == Verdict.DENY


def test_a_sealed_key_may_say_yes_to_what_never_stands_once(sealed: Bench) -> None:
    raw = question_bytes(question_of(sealed, once_only=True, strong=True, risk=3))
    answer, token = accepted(sealed, raw, put(sealed, raw, Person("s", "o", PASSPHRASE.decode())))
    assert (answer.decision, token is not None) == (Verdict.ONCE, True)


def test_a_tainted_question_offers_nothing_without_an_end(bench: Bench) -> None:
    raw = question_bytes(question_of(bench, call_of(bench, tainted=True)))
    answer, token = accepted(bench, raw, put(bench, raw, Person("a", "w")))
    assert answer.decision == Verdict.WORKSPACE
    assert token is not None
    assert token.leaf.tainted_ok


def test_an_answer_that_comes_too_late_is_not_signed(bench: Bench) -> None:
    class Slow(Person):
        def ask(self, prompt: str, *, secret: bool = False, until_s: float | None = None) -> bytes:
            bench.now += 300
            return super().ask(prompt)

    told = put(bench, question_bytes(question_of(bench)), Slow("o"))
    assert code(told) == "question.time"


# --- whose key


def test_a_keeper_that_is_a_root_is_refused(bench: Bench) -> None:
    bench.home.holder_public.write_bytes(bench.identity.install.roots[0].key)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "install.keys"


def test_a_keeper_that_is_the_runtime_key_is_refused(bench: Bench) -> None:
    bench.home.holder_public.write_bytes(bench.identity.install.runtime_key)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "install.keys"


@pytest.mark.parametrize(("data", "refusal"), [(b"short", "key.length"), (b"\x01" + b"\0" * 31, "key.weak")])
def test_a_keeper_that_is_no_key_is_refused(bench: Bench, data: bytes, refusal: str) -> None:
    bench.home.holder_public.write_bytes(data)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == refusal


def test_what_outlives_a_session_is_held_by_the_daemons_holder_key_and_no_other(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    tokens = {typed: accepted(bench, raw, put(bench, raw, Person(typed)))[1] for typed in "oswa"}
    holders = {typed: token.holder for typed, token in tokens.items() if token is not None}
    keeper = bench.key(bench.home.holder_key).public
    assert holders == {"o": SESSION_KEY.public, "s": SESSION_KEY.public, "w": keeper, "a": keeper}


def test_a_key_that_the_install_statement_does_not_name_signs_nothing(bench: Bench) -> None:
    bench.home.user_key.write_bytes(b"\x77" * 32)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "signer.other-key"


def test_a_plain_key_in_the_place_of_a_sealed_one_signs_nothing(sealed: Bench) -> None:
    sealed.home.user_key.write_bytes(unseal(sealed.home.user_key.read_bytes(), PASSPHRASE))
    assert code(put(sealed, question_bytes(question_of(sealed)), Person("o"))) == "signer.not-sealed"


def test_a_key_file_that_others_may_read_is_refused(bench: Bench) -> None:
    bench.home.user_key.chmod(0o640)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "file.open-to-others"


# --- the log: protocol N11


def keep(bench: Bench, note: bytes) -> None:
    write_guarded(bench.home.witness, note, what="the last checkpoint seen", replace=True)


def test_the_first_checkpoint_that_is_seen_is_believed(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    accepted(bench, raw, put(bench, raw, Person("o"), note=bench.checkpoint(5)))


def test_a_log_that_grew_from_the_one_last_seen_is_believed_on_its_proof(bench: Bench) -> None:
    keep(bench, bench.checkpoint(1))
    raw = question_bytes(question_of(bench))
    proof = (leaf_hash(b"record"),)
    accepted(bench, raw, put(bench, raw, Person("o"), note=bench.checkpoint(2), proof=proof))


def test_without_the_proof_nothing_is_shown(bench: Bench) -> None:
    keep(bench, bench.checkpoint(1))
    person = Person("o")
    told = put(bench, question_bytes(question_of(bench)), person, note=bench.checkpoint(2))
    assert (code(told), person.seen) == ("checkpoint.split-view", "")


def test_a_log_that_was_set_back_gets_no_signature(bench: Bench) -> None:
    keep(bench, bench.checkpoint(9))
    told = put(bench, question_bytes(question_of(bench)), Person("o"), note=bench.checkpoint(8))
    assert code(told) == "checkpoint.rollback"


def test_a_log_that_was_set_back_and_grew_again_gets_no_signature(bench: Bench) -> None:
    keep(bench, bench.checkpoint(4, boot=3))
    told = put(bench, question_bytes(question_of(bench)), Person("o"), note=bench.checkpoint(5, boot=2))
    assert code(told) == "checkpoint.restored"


def test_another_log_of_the_same_length_gets_no_signature(bench: Bench) -> None:
    keep(bench, bench.checkpoint(2))
    other = bench.checkpoint(2, leaves=[b"forged"])
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"), note=other)) == "checkpoint.fork"


def test_a_checkpoint_of_another_runtime_key_gets_no_signature(bench: Bench) -> None:
    bench.home.runtime_key.write_bytes(b"\x55" * 32)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "checkpoint.unsigned"


@pytest.mark.parametrize("note", [b"", b"nothing", b"log.astrid/00\n1\n"])
def test_what_is_no_checkpoint_gets_no_signature(bench: Bench, note: bytes) -> None:
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"), note=note)).startswith("checkpoint.")


def test_a_damaged_witness_stops_all_signing(bench: Bench) -> None:
    keep(bench, b"damaged")
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))).startswith("checkpoint.")


def test_a_witness_that_cannot_be_read_stops_all_signing(bench: Bench) -> None:
    keep(bench, bench.checkpoint())
    bench.home.witness.chmod(0o666)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "file.open-to-others"


def test_a_witness_behind_a_link_stops_all_signing(bench: Bench) -> None:
    bench.home.witness.symlink_to(bench.home.install)
    assert code(put(bench, question_bytes(question_of(bench)), Person("o"))) == "file.unreadable"


def test_the_bytes_of_the_statement_are_the_one_spelling_of_an_answer(bench: Bench) -> None:
    raw = question_bytes(question_of(bench))
    reply = put(bench, raw, Person("o"))
    assert isinstance(reply, SignedReply)
    answer = decode(reply.statement, Answer, max_bytes=MAX_ANSWER_BYTES, what="an answer")
    assert SigningKey.from_seed(bench.home.user_key.read_bytes()).public == answer.signer


@given(st.data())
@settings(max_examples=100)
def test_a_changed_question_is_refused_or_is_what_was_shown_and_signed(made_once: Bench, data: st.DataObject) -> None:
    raw = bytearray(question_bytes(question_of(made_once)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    person = Person("o")
    reply = put(made_once, bytes(raw), person)
    if isinstance(reply, SignedReply):
        accepted(made_once, bytes(raw), reply)
        assert render_question(bytes(raw)) in person.seen
    else:
        assert (person.seen, person.prompts) == ("", [])


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("once") / "home").made()
