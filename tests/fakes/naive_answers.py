"""When an answer counts: from the words of the protocol, and answers of every kind drawn from a tape.

It shares with the product the shapes of what is signed, the hashes and the text that is shown (which has tests of its
own); what a yes must be is spelt out again.

Source: protocol N5, N6.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from astrid.core.answers import Answer, SignedAnswer
from astrid.core.blocks import NO_PARENT, Block, Grant
from astrid.core.call import Call, Need, call_digest
from astrid.core.canon import Domain, digest, encode
from astrid.core.display import display_digest, render_question
from astrid.core.keys import SigningKey
from astrid.core.question import Question, question_bytes
from astrid.core.tokens import Roots
from tests.fakes.authority import (
    AUD,
    DAY,
    DEVICE_KEY,
    HOLDER,
    NOW,
    PLAIN_USER,
    RELAY_KEY,
    STRANGER,
    USER,
    WORKSPACE,
    call,
    key,
    question,
)
from tests.fakes.authority import ROOTS as ENROLLED
from tests.fakes.chains import FIELDS, KEYS, Tape, raw
from tests.fakes.naive_chain import DEVICE, ONCE, PLAIN, RELAYED, SEALED, Made, allowed, faults

OTHER_DEVICE = key(28)
ROOTS = Roots(ENROLLED.keys, 1, {**ENROLLED.devices, OTHER_DEVICE.public: ENROLLED.devices[DEVICE_KEY.public]})
"""Two keys, and two devices of one kind: so that the one can try to speak for the other."""
SIGNERS = (USER, DEVICE_KEY, PLAIN_USER, RELAY_KEY, OTHER_DEVICE, STRANGER)
BIG, FOREVER, MANY = 2**64 - 1, 2**64 - 1, 2**32 - 1


class Said(NamedTuple):
    """An answer as somebody made it: ``signer`` really signed it, ``genuine``: these bytes, for this use."""

    answer: Answer
    signer: bytes
    signature: bytes
    genuine: bool
    chain: tuple[Made, ...]

    def raw(self) -> bytes:
        """Its bytes."""
        return encode(SignedAnswer(encode(self.answer), self.signature, raw(self.chain) if self.chain else b""))


def some_question(tape: Tape, number: int) -> tuple[Question, Call]:
    """A question about a call that touches a file or two."""
    needs = tape.pick((("file://w/a",), ("file://w/b",), ("file://w/a", "file://w/b"), ("file://w/**",)))
    made = call(
        needs=tuple(Need(one, tape.pick((1, 3, 8))) for one in needs),
        risk=tape.pick((0, 1, 2)),
        tainted=tape.pick((False, True)),
        max_micros=tape.pick((0, 50)),
        args=b'{"n":%d}' % number if not tape.one_in(16) else b'{"long":"%s"}' % (b"x" * 5000),
    )
    once_only = tape.one_in(4)
    fields = {
        "once_only": once_only,
        "strong": once_only and tape.one_in(2),
        "expires": NOW + tape.pick((300, 2 * DAY)),
    }
    risk = min(made.risk + tape.pick((0, 1)), 3)
    return question(made, qid=bytes([number]) * 16, risk=risk, **fields), made


def offered(asked: Question, about: Call, decision: int) -> Block | None:
    """The block of a yes that is offered, but for whose it is and where it hangs; ``None`` if it is not offered."""
    if decision - 1 not in [0] + ([] if asked.once_only else [1, 2] + ([] if about.tainted else [3])):
        return None
    scope, some_money = decision - 1, BIG if about.max_micros else 0
    narrow = scope <= 1
    return Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=bytes(16),
        issuer=NO_PARENT,
        holder=about.principal_key if narrow else HOLDER.public,
        aud=asked.aud,
        session=about.session if narrow else b"",
        workspace=about.workspace if scope < 3 else b"",
        scope=scope,
        grants=tuple(sorted({Grant(n.resource, n.permission, 0, asked.risk, about.tooldef) for n in about.needs})),
        not_before=asked.asked,
        expires=(asked.expires, asked.asked + DAY, asked.asked + 30 * DAY, FOREVER)[scope],
        uses=MANY if scope else 1,
        purse=some_money if scope else about.max_micros,
        depth=(0, 4, 5, 5)[scope],
        tainted_ok=about.tainted,
        call=b"" if scope else call_digest(asked.call),
        question=digest(Domain.QUESTION, question_bytes(asked)),
        assurance=0,
    )


def known_as(signer: bytes, roots: Roots, now: int) -> int | None:
    """How well the install says that a key is kept; ``None`` of a key that may not answer."""
    device = roots.devices.get(signer)
    if device is not None and now < device.expires_s:
        return device.assurance
    return roots.keys.get(signer)


def why_not(said: Said, asked: Question, about: Call, now: int) -> Iterator[str]:
    """Every rule of N6 that an answer to an open question breaks."""
    answer, shown = said.answer, render_question(question_bytes(asked))
    if not now < asked.expires:
        yield "late"
    if (answer.version, answer.aud, answer.qid) != (1, asked.aud, asked.qid) or answer.decision > 4:
        yield "another"
    if answer.question != digest(Domain.QUESTION, question_bytes(asked)):
        yield "question"
    if answer.shown != display_digest(shown):
        yield "text"
    if known_as(answer.signer, ROOTS, now) != answer.assurance:
        yield "assurance"
    if said.signer != answer.signer or not said.genuine:
        yield "signature"
    if answer.decision == 0:
        if said.chain or answer.payload:
            yield "a no with a token"
    else:
        yield from _why_no_yes(said, asked, about, long=len(shown) > 4096)


def _why_no_yes(said: Said, asked: Question, about: Call, *, long: bool) -> Iterator[str]:
    answer, scope = said.answer, said.answer.decision - 1
    if long and scope != ONCE:
        yield "too long"
    if answer.assurance == RELAYED and (scope != ONCE or asked.risk > 1):
        yield "relayed"
    if answer.assurance in (PLAIN, RELAYED) and (asked.strong or (scope != ONCE and asked.risk > 1)):
        yield "weak key"
    if list(faults(said.chain, ROOTS)):
        yield "chain"
        return
    *before, leaf = (made.block for made in said.chain)
    if leaf.issuer != answer.signer or said.chain[-1].payload != answer.payload:
        yield "payload"
    if any(block.question for block in before):
        yield "an answer below an answer"
    wanted = offered(asked, about, answer.decision)
    if wanted is None:
        yield "not offered"
        return
    if leaf.assurance != answer.assurance:
        yield "assurance of the block"
    for name in ("holder", "aud", "session", "workspace", "scope", "call", "question"):
        if getattr(leaf, name) != getattr(wanted, name):
            yield name
    for name in ("expires", "uses", "purse", "depth", "tainted_ok"):
        if getattr(leaf, name) > getattr(wanted, name):
            yield name
    if leaf.not_before < wanted.not_before:
        yield "not_before"
    for grant in leaf.grants:
        if grant.issuable or not any(
            not allowed(grant) & ~allowed(one) and grant.tooldef == one.tooldef for one in wanted.grants
        ):
            yield "grants"


# --- answers


def some_answer(tape: Tape, asked: Question, about: Call) -> Said:
    """An answer as it should be, or with something about it that should not be."""
    by = tape.pick((*SIGNERS, USER, USER, DEVICE_KEY, RELAY_KEY, RELAY_KEY))
    decision = tape.pick((1, 0, 2, 1, 3, 4) if by != RELAY_KEY else (1, 1, 0, 1, 2))
    assurance = known_as(by.public, ROOTS, NOW) or SEALED
    chain = () if decision == 0 and not tape.one_in(8) else _chain(tape, asked, about, decision or 1, by, assurance)
    fields: dict[str, Any] = {
        "version": 1,
        "aud": AUD,
        "question": digest(Domain.QUESTION, question_bytes(asked)),
        "qid": asked.qid,
        "decision": decision,
        "payload": chain[-1].payload if chain else b"",
        "shown": display_digest(render_question(question_bytes(asked))),
        "assurance": assurance,
        "answered": NOW,
        "signer": by.public,
    }
    twin = {DEVICE_KEY: OTHER_DEVICE, OTHER_DEVICE: DEVICE_KEY}.get(by)
    if twin is not None and tape.one_in(8):
        fields["signer"] = twin.public  # as good a key, but not the one that signed the token
    elif tape.one_in(3):
        odd = {
            "version": (2,),
            "aud": (b"B" * 32,),
            "question": (b"Q" * 32,),
            "decision": (0, 1, 2, 3, 4, 5),
            "payload": (b"", chain[0].payload if chain else b"x", fields["payload"] + b"\0"),
            "shown": (b"x" * 32, digest(Domain.DISPLAY, b"")),
            "assurance": (SEALED, DEVICE, PLAIN, RELAYED, 0),
            "answered": (0, BIG),
            "signer": tuple(one.public for one in SIGNERS),
        }
        name = tape.pick(tuple(odd))
        fields[name] = tape.pick(odd[name])
    answer = Answer(**fields)
    signer = tape.pick(SIGNERS) if tape.one_in(12) else KEYS.get(answer.signer, STRANGER)
    genuine = not tape.one_in(16)
    signature = signer.sign(Domain.APPROVAL if genuine else Domain.PROMPT, encode(answer))
    return Said(answer, signer.public, signature, genuine, chain)


def _chain(tape: Tape, asked: Question, about: Call, decision: int, by: SigningKey, assurance: int) -> tuple[Made, ...]:
    """The token of a yes: a root's block alone, a device's below the one that lets it issue."""
    block = offered(asked, about, decision) or offered(asked, about, 1)
    assert block is not None
    block = msgspec.structs.replace(block, issuer=by.public, assurance=assurance, nonce=b"z" * 16)
    if assurance == RELAYED and not tape.one_in(4):
        low = {msgspec.structs.replace(grant, max_risk=min(grant.max_risk, 1)) for grant in block.grants}
        block = msgspec.structs.replace(block, grants=tuple(sorted(low)))
    above: tuple[Made, ...] = ()
    if by.public in ROOTS.devices:
        if by == OTHER_DEVICE and tape.one_in(2):
            # What one device answered, handed to the other, which says that it answers.
            above = (_sign(_lets_issue(tape, DEVICE_KEY)),)
            given = {"issuer": DEVICE_KEY.public, "holder": by.public, "nonce": b"y" * 16, "depth": 6}
            above = (*above, _sign(_under(above[-1], msgspec.structs.replace(block, **given))))
        else:
            above = (_sign(_lets_issue(tape, by)),)
        if tape.one_in(12):
            above = (_sign(msgspec.structs.replace(above[0].block, question=b"R" * 32)), *above[1:])
        block = _under(above[-1], block) if not tape.one_in(8) else _hung(above[-1], block)
    for _ in range(tape.pick((0, 0, 0, 0, 1, 1, 2))):
        name = tape.pick((*FIELDS, "grants", "grants", "holder", "expires", "not_before"))
        block = msgspec.structs.replace(block, **{name: FIELDS[name](tape, block)})
    return (*above, _sign(block))


def _lets_issue(tape: Tape, by: SigningKey) -> Block:
    """What the user lets a device issue: much, or less than somebody asks for."""
    grants = tape.pick(
        (
            (Grant("file://w/**", 0, 0xFF, 3, b""),),
            (Grant("file://w/a", 0, 0x03, 1, b""),),
            (Grant("file://w/**", 0, 0xFF, 1, b"T" * 32),),
            (Grant("file://w/*", 0x03, 0x08, 3, b""),),
            (Grant("file://w/**", 0xFF, 0, 3, b""),),
            (Grant("file://w/**", 0, 0xFF, 3, b"X" * 32),),
        )
    )
    if not tape.one_in(2):
        tape, grants = Tape(b""), (Grant("file://w/**", 0, 0xFF, 3, b""),)  # the usual: everything that may be asked
    always = not tape.one_in(3)
    return Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=b"d" * 16,
        issuer=USER.public,
        holder=by.public,
        aud=AUD,
        session=b"",
        workspace=b"" if always else WORKSPACE,
        scope=3 if always else 2,
        grants=grants,
        not_before=NOW - 10,
        expires=NOW + tape.pick((2 * DAY, 100, 40 * DAY)),
        uses=tape.pick((MANY, 5)),
        purse=tape.pick((BIG, 49)),
        depth=tape.pick((6, 3, 1, 0)),
        tainted_ok=not always,
        call=b"",
        question=b"",
        assurance=SEALED,
    )


def _hung(above: Made, block: Block) -> Block:
    return msgspec.structs.replace(block, parent=digest(Domain.BLOCK, above.payload))


def _under(above: Made, block: Block) -> Block:
    """``block`` below ``above``, narrowed to it where numbers are concerned."""
    parent = above.block
    narrow = {
        name: min(getattr(block, name), getattr(parent, name)) for name in ("expires", "uses", "purse", "tainted_ok")
    }
    narrow["not_before"] = max(block.not_before, parent.not_before)
    return msgspec.structs.replace(_hung(above, block), depth=min(block.depth, max(parent.depth - 1, 0)), **narrow)


def _sign(block: Block) -> Made:
    payload, signer = encode(block), KEYS.get(block.issuer, STRANGER)
    return Made(block, payload, signer.sign(Domain.BLOCK, payload), signer.public)
