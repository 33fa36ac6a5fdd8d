"""Keys, tokens, calls and questions of an install that exists only in tests.

Every default is valid; a test changes the one field it is about.
"""

from __future__ import annotations

from typing import Any

import msgspec

from astrid.core.answers import Answer, SignedAnswer
from astrid.core.blocks import NO_PARENT, UNLIMITED_USES, Assurance, Block, Grant, Permission, Scope
from astrid.core.call import Call, Need, encode_call
from astrid.core.canon import Domain, encode
from astrid.core.display import display_digest, render_question
from astrid.core.keys import SigningKey
from astrid.core.question import Question, answer_block, choices_for, question_bytes, question_digest, under
from astrid.core.tokens import Enrolled, Moment, Roots, Token, attenuate, issue, verify_chain


def key(number: int) -> SigningKey:
    """Key number ``number``."""
    return SigningKey.from_seed(bytes([number]) * 32)


USER, PLAIN_USER, HOLDER, SESSION_KEY, CHILD_KEY, DEVICE_KEY, RELAY_KEY, STRANGER = map(key, range(1, 9))
AUD, WORKSPACE, SESSION = b"A" * 32, b"W" * 32, b"S" * 16
NOW = 1_790_000_000
DAY = 24 * 3600
FOREVER = 2**64 - 1
SALT = b"s" * 32

ROOTS = Roots(
    {USER.public: Assurance.SEALED, PLAIN_USER.public: Assurance.PLAIN},
    1,
    {
        DEVICE_KEY.public: Enrolled(Assurance.DEVICE, NOW + DAY),
        RELAY_KEY.public: Enrolled(Assurance.RELAYED, NOW + DAY),
    },
)

READ, WRITE = int(Permission.READ), int(Permission.WRITE)
FILES = Grant("file://w/**", READ | WRITE, 0, 1, b"")


def block(**fields: Any) -> Block:
    """The block of a workspace grant, held by the daemon."""
    grant = Block(
        version=1,
        algorithm=1,
        parent=NO_PARENT,
        nonce=b"n" * 16,
        issuer=USER.public,
        holder=HOLDER.public,
        aud=AUD,
        session=b"",
        workspace=WORKSPACE,
        scope=Scope.WORKSPACE,
        grants=(FILES,),
        not_before=NOW - 10,
        expires=NOW + DAY,
        uses=UNLIMITED_USES,
        purse=10**9,
        depth=5,
        tainted_ok=True,
        call=b"",
        question=b"",
        assurance=Assurance.SEALED,
    )
    return msgspec.structs.replace(grant, **fields)


def token(signer: SigningKey = USER, /, **fields: Any) -> Token:
    """A verified chain of one block."""
    return verify_chain(issue(block(issuer=signer.public, **fields), signer), ROOTS)


def below(parent: Token, /, **fields: Any) -> Block:
    """A block that hands ``parent`` on to the session, one level deeper."""
    handed_on = msgspec.structs.replace(
        parent.leaf,
        parent=parent.id,
        nonce=b"m" * 16,
        issuer=parent.holder,
        holder=SESSION_KEY.public,
        depth=max(parent.leaf.depth - 1, 0),
    )
    return msgspec.structs.replace(handed_on, **fields)


def pass_on(parent: Token, signer: SigningKey, /, **fields: Any) -> Token:
    """``parent`` with one verified block more."""
    return verify_chain(attenuate(parent, below(parent, **fields), signer), ROOTS)


def moment(**fields: Any) -> Moment:
    """The present, in the session and workspace of the defaults."""
    now = Moment(NOW, AUD, SESSION, WORKSPACE, tainted=False, epoch=1, revoked=frozenset(), settled=frozenset())
    return msgspec.structs.replace(now, **fields)


def call(**fields: Any) -> Call:
    """A call that writes one file."""
    made = Call(
        version=1,
        aud=AUD,
        session=SESSION,
        workspace=WORKSPACE,
        principal_key=SESSION_KEY.public,
        caller_key=b"",
        host_kind="workspace",
        host_id="main",
        tooldef=b"T" * 32,
        tool="write_file",
        needs=(Need("file://w/a.txt", WRITE),),
        risk=0,
        tainted=False,
        cwd_rel="",
        profile=b"P" * 32,
        pre=(),
        max_micros=0,
        args=b'{"path":"a.txt"}',
    )
    return msgspec.structs.replace(made, **fields)


def question(made: Call | None = None, **fields: Any) -> Question:
    """A question about a call, with the choices that it gives rise to unless ``fields`` names others."""
    about = call() if made is None else made
    asked = Question(
        version=1,
        aud=about.aud,
        qid=b"q" * 16,
        asked=NOW,
        expires=NOW + 300,
        call=encode_call(about),
        why=b"no token covers this call",
        risk=max(about.risk, 1),
        once_only=False,
        strong=False,
        controls=(),
        choices=(),
    )
    asked = msgspec.structs.replace(asked, **fields)
    if "choices" in fields:
        return asked
    choices = choices_for(about, asked.risk, asked.asked, asked.expires, once_only=asked.once_only)
    return msgspec.structs.replace(asked, choices=choices)


def ask(made: Call | None = None, **fields: Any) -> bytes:
    """The bytes of a question."""
    return question_bytes(question(made, **fields))


def device_token(device: SigningKey = DEVICE_KEY, /, **fields: Any) -> Token:
    """What the user lets a device issue: everything in the workspace, and nothing to use itself."""
    issuable = Grant("file://w/**", 0, READ | WRITE, 1, b"")
    given = {"holder": device.public, "scope": Scope.ALWAYS, "tainted_ok": False, "grants": (issuable,)} | fields
    return token(USER, **given)


def yes(
    raw: bytes,
    scope: Scope = Scope.ONCE,
    *,
    by: SigningKey = USER,
    assurance: Assurance = Assurance.SEALED,
    parent: Token | None = None,
    changes: dict[str, Any] | None = None,
    **fields: Any,
) -> bytes:
    """The bytes of a yes to ``raw``.

    ``changes`` are fields of the block that differ from what was offered, ``fields`` those of the answer.
    """
    made = answer_block(raw, scope, issuer=by.public, assurance=assurance, keeper=HOLDER.public, nonce=b"z" * 16)
    if parent is not None:
        made = under(parent.leaf, parent.id, made)
    made = msgspec.structs.replace(made, **(changes or {}))
    chain = issue(made, by) if parent is None else attenuate(parent, made, by)
    given = {"decision": scope + 1, "payload": encode(made), "assurance": assurance} | fields
    return answer(raw, chain, by=by, **given)


def no(raw: bytes, *, by: SigningKey = USER, assurance: Assurance = Assurance.SEALED, **fields: Any) -> bytes:
    """The bytes of a denial."""
    return answer(raw, b"", by=by, **({"assurance": assurance} | fields))


def answer(raw: bytes, chain: bytes, *, by: SigningKey = USER, **fields: Any) -> bytes:
    """The bytes of any answer, its signature right whatever it says."""
    statement = Answer(
        version=1,
        aud=AUD,
        question=question_digest(raw),
        qid=b"q" * 16,
        decision=0,
        payload=b"",
        shown=display_digest(render_question(raw)),
        assurance=Assurance.SEALED,
        answered=NOW,
        signer=by.public,
    )
    statement = msgspec.structs.replace(statement, **fields)
    data = encode(statement)
    return encode(SignedAnswer(data, by.sign(Domain.APPROVAL, data), chain))
