"""Threats 1 to 4, 7, 8, 13, 15 to 17 and 26 against the gate: refused, and successful once the control is taken away.

Source: docs/security/threats.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any, cast

import msgspec
import pytest
from blake3 import blake3

from astrid.core import approval as approval_module
from astrid.core import blocks as blocks_module
from astrid.core import decide as decide_module
from astrid.core import gate as gate_module
from astrid.core import gate_records as gate_records_module
from astrid.core import gate_state as gate_state_module
from astrid.core import tokens as tokens_module
from astrid.core.budget import Cap, Charge, Use
from astrid.core.call import call_digest, decode_call, encode_call
from astrid.core.canon import Domain, Signed, digest, encode
from astrid.core.chain import decode_body, decode_frame
from astrid.core.decide import Circumstances, Denied, Permit, decide
from astrid.core.driver_disk import Disk
from astrid.core.facts import Facts
from astrid.core.gate import Gate
from astrid.core.gate_messages import Approved, Outcome, Propose
from astrid.core.gate_state import Stage
from astrid.core.keys import SigningKey
from astrid.core.merkle import leaf_hash
from astrid.core.question import answer_block, decode_question
from astrid.core.records import Kind, Payload, Sealed, seal
from astrid.core.tokens import Assurance, Grant, Permission, Scope, SignedBlock, Token, block_id, issue, verify_chain
from tests.fakes.authority import (
    AUD,
    CHILD_KEY,
    HOLDER,
    ROOTS,
    SESSION,
    SESSION_KEY,
    STRANGER,
    USER,
    WORKSPACE,
    below,
    key,
    pass_on,
    token,
    yes,
)
from tests.fakes.driver_bench import Bench as DriverBench
from tests.fakes.gate_bench import CHILD, FILES, PARENT, READ, STANDING, TOOLS, Ask, Bench, Execute, preparation

FRESH = preparation(fresh=True, why="a person has to see it")
WHOLE = token(
    holder=SESSION_KEY.public, grants=(Grant("file://w/**", 0xFF, 0, 3, b""),), session=SESSION, scope=Scope.SESSION
)

USELESS_HERE = token(
    holder=SESSION_KEY.public, grants=(Grant("file://v/**", READ, 0, 3, b""),), session=SESSION, scope=Scope.SESSION
)


# --- 1: who proposes is what the kernel stamps, whatever the message says


class Claim(Propose, frozen=True, kw_only=True):
    """A proposal that names its own sender."""

    principal: int


def child_that_says_it_is_the_parent(bench: Bench) -> None:
    claim = Claim(proposal=1, tool="read_file", args=b"{}", tokens=(WHOLE.raw,), tainted=False, principal=PARENT)
    bench.do(bench.gate.propose(CHILD, claim))
    bench.prepared(made=preparation("secret"))
    bench.sync()


def test_a_child_that_says_it_is_the_parent_is_the_child() -> None:
    bench = Bench(asks=False)
    child_that_says_it_is_the_parent(bench)
    assert [answer.code for answer in bench.answers(CHILD)] == ["token.possession"]
    assert not bench.sent(Execute)


def test_a_gate_that_compared_with_a_field_of_the_message_would_take_the_child_for_the_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Gate.propose
    monkeypatch.setattr(Gate, "propose", lambda self, sender, message: original(self, message.principal, message))
    bench = Bench(asks=False)
    child_that_says_it_is_the_parent(bench)
    assert bench.sent(Execute)


# --- 2: one use, however its token is spelt and whatever is hung behind it


WIDER: dict[int, tuple[tuple[int, int], ...]] = {
    **dict.fromkeys(range(0x80), ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xD0, 1), (0xD3, 8))),
    **dict.fromkeys(range(0x90, 0xA0), ((0xDC, 2), (0xDD, 4))),
    **dict.fromkeys(range(0xA0, 0xC0), ((0xD9, 1), (0xDA, 2), (0xDB, 4))),
    0xC4: ((0xC5, 2), (0xC6, 4)),
    0xC5: ((0xC6, 4),),
    0xD9: ((0xDA, 2), (0xDB, 4)),
    0xCC: ((0xCD, 2), (0xCE, 4), (0xCF, 8)),
    0xCD: ((0xCE, 4), (0xCF, 8)),
    0xCE: ((0xCF, 8),),
}


def respellings(data: bytes) -> Iterator[bytes]:
    """Every other way to write the header of each array, text, byte string and number in ``data``, one at a time."""
    at = 0
    while at < len(data):
        first = data[at]
        sizes = {0xC4: 1, 0xC5: 2, 0xD9: 1, 0xDA: 2, 0xDC: 2, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
        extra = sizes.get(first, 0)
        if extra:
            number = int.from_bytes(data[at + 1 : at + 1 + extra], "big")
        else:
            number = first & (0x0F if 0x90 <= first < 0xA0 else 0x1F if 0xA0 <= first < 0xC0 else 0x7F)
        for tag, size in WIDER.get(first, ()):
            yield data[:at] + bytes([tag]) + number.to_bytes(size, "big") + data[at + 1 + extra :]
        at += 1 + extra + (number if first in (0xC4, 0xC5, 0xD9, 0xDA) or 0xA0 <= first < 0xC0 else 0)


def signed_by(signer: SigningKey, payload: bytes) -> SignedBlock:
    return SignedBlock(payload, signer.sign(Domain.BLOCK, payload))


def once_for(bench: Bench) -> Token:
    """A token for exactly one call of the parent's, which no question stands behind."""
    bench.at(Stage.ASKING)
    question = bench.sent(Ask)[0].question
    made = answer_block(
        question, Scope.ONCE, issuer=USER.public, assurance=Assurance.SEALED, keeper=HOLDER.public, nonce=b"n" * 16
    )
    bench.cancel()
    return verify_chain(issue(msgspec.structs.replace(made, question=b""), USER), ROOTS)


def variants(once: Token) -> dict[str, bytes]:
    """The once token, and everything that its holder can make of it."""
    payload = encode(once.leaf)
    (signed,) = msgspec.msgpack.decode(once.raw, type=tuple[SignedBlock, ...])
    made = {"as it is": once.raw, "with bytes behind it": once.raw + b"\xc0"}
    outer = [raw for raw in respellings(once.raw) if raw != once.raw]
    made |= {f"spelling {number}": raw for number, raw in enumerate(outer)}
    # Inside the payload the signature no longer fits; it is tried with the old one all the same.
    for number, inner in enumerate(respellings(payload)):
        made[f"payload spelling {number}"] = encode((SignedBlock(inner, signed.signature),))
    chain, parent, signer = [signed], once, SESSION_KEY
    for depth in range(1, 4):
        holder = key(40 + depth)
        block = below(parent, holder=holder.public, depth=0)
        chain.append(signed_by(signer, encode(block)))
        made[f"with {depth} more blocks"] = encode(tuple(chain))
        parent, signer = Token(b"", (block,), (block_id(encode(block)),), (), 1), holder
    mine = below(once, holder=SESSION_KEY.public, depth=0)
    made["handed on to its own holder"] = encode((signed, signed_by(SESSION_KEY, encode(mine))))
    return made


def permits_of(bench: Bench, raws: dict[str, bytes]) -> int:
    """Propose the one call with each of them, twice, by the parent and by the child; how often it was permitted."""
    for _ in range(2):
        for raw in raws.values():
            for sender in (PARENT, CHILD):
                bench.propose("read_file", raw, sender=sender)
                bench.prepared(made=FRESH)
                for ref in [ref for ref, one in bench.gate.pending.items() if one.stage is Stage.ASKING]:
                    bench.put(ref, code="approval.too-many")
                bench.sync()
                for ref in list(bench.gate.pending):
                    bench.executed(ref)
                bench.sync()
    return len(bench.records(Kind.PERMIT))


def test_a_once_token_in_every_spelling_and_with_every_extension_is_one_permit() -> None:
    bench = Bench()
    raws = variants(once_for(bench))
    assert len(raws) > 100
    assert len(set(raws.values())) == len(raws)
    assert permits_of(bench, raws) == 1


def test_a_reader_that_is_lenient_and_counts_by_the_chains_digest_would_give_a_use_to_each_spelling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    raws = variants(once_for(bench))
    seen: dict[bytes, bytes] = {}

    def lenient(raw: bytes, roots: object, known: object) -> Token:
        value = msgspec.msgpack.decode(raw, type=tuple[SignedBlock, ...])
        verified = verify_chain(encode(value), ROOTS)
        seen[verified.id] = raw
        return verified

    original = decide_module.charge_of

    def by_chain(call: Any, verified: Token, limits: Any) -> Charge:
        charge = original(call, verified, limits)
        return msgspec.structs.replace(charge, uses=(Use(digest(Domain.BLOCK, seen[verified.id]), 1),))

    monkeypatch.setattr(gate_state_module, "verify_chain", lenient)
    monkeypatch.setattr(decide_module, "charge_of", by_chain)
    assert permits_of(bench, raws) > 3


# --- 3: a hundred children have between them what their parent has


def hundred_children(bench: Bench, kinds: str) -> tuple[int, int]:
    """The parent hands all that it has to each of a hundred children; permits and money that they get out of it."""
    parent = token(
        uses=10,
        purse=50,
        holder=SESSION_KEY.public,
        session=SESSION,
        scope=Scope.SESSION,
        nonce=kinds.encode().ljust(16),
    )
    for number in range(100):
        child = SigningKey.from_seed(b"child" + bytes([number]) * 27)
        sender = 1000 + number
        bench.register(sender, child.public, asks=False)
        mine = pass_on(parent, SESSION_KEY, holder=child.public, nonce=bytes([number]) * 16)
        bench.propose("read_file", mine, sender=sender)
        bench.prepared(made=preparation(max_micros=10 if kinds == "money" else 0))
    bench.sync()
    permits = bench.records(Kind.PERMIT)
    return len(permits), sum(permit.micros for permit in permits)


def test_a_hundred_children_get_the_uses_and_the_purse_of_their_parent_once() -> None:
    assert hundred_children(Bench(), "uses") == (10, 0)
    assert hundred_children(Bench(), "money") == (5, 50)


def test_narrowing_alone_would_give_each_child_as_much_as_the_parent_has(monkeypatch: pytest.MonkeyPatch) -> None:
    original = decide_module.charge_of

    def leaf_alone(call: Any, verified: Token, limits: Any) -> Charge:
        charge = original(call, verified, limits)
        caps = tuple(cap for cap in charge.caps if cap.key not in verified.ids[:-1])
        return msgspec.structs.replace(charge, caps=caps, uses=charge.uses[-1:])

    monkeypatch.setattr(decide_module, "charge_of", leaf_alone)
    assert hundred_children(Bench(), "uses") == (100, 0)
    assert hundred_children(Bench(), "money") == (100, 1000)


def test_every_block_and_both_purses_of_a_permit_are_in_its_charge() -> None:
    bench = Bench()
    child = pass_on(WHOLE, SESSION_KEY, holder=CHILD_KEY.public)
    bench.propose("read_file", child, sender=CHILD)
    bench.prepared(made=preparation(max_micros=7))
    charge = bench.gate.pending[bench.ref].permit.charge
    limits = bench.facts.principals[CHILD].limits
    assert {use.block for use in charge.uses} == set(child.ids)
    assert set(charge.caps) == {
        *(Cap(identity, block.purse, "token") for identity, block in zip(child.ids, child.blocks, strict=True)),
        Cap(b"session" + SESSION, limits.session_micros, "session"),
        Cap(b"workspace" + WORKSPACE, limits.workspace_micros, "workspace"),
    }


# --- 4: a call that somebody makes for somebody else


@pytest.mark.parametrize("caller", [CHILD_KEY.public, SESSION_KEY.public, USER.public])
def test_nobody_makes_a_call_for_another_on_their_own_chain(caller: bytes) -> None:
    bench = Bench()
    bench.at(Stage.RUNNING)
    alone = decode_call(bench.sent(Execute)[-1].call)
    around = Circumstances(
        bench.facts.policy,
        bench.facts.ledger,
        bench.facts.principals[PARENT].limits,
        bench.facts.moment(alone, bench.now_ns),
        standing=True,
        fresh_reason="",
    )
    for made in (alone, msgspec.structs.replace(alone, caller_key=caller)):
        decision = decide(made, call_digest(encode_call(made)), TOOLS["read_file"][0], [STANDING], around)
        # Decided on the callee's chain alone, the second would be permitted as the first is.
        assert isinstance(decision, Denied if made.caller_key else Permit)


# --- 7: a yes is good where it was given


def elsewhere(aud: bytes = AUD, session: bytes = SESSION, workspace: bytes = WORKSPACE) -> Bench:
    """Another daemon, session or workspace, whose principal even has the same key."""
    bench = Bench(asks=False)
    bench.gate = Gate(Facts(aud=aud, roots=ROOTS, policy=bench.facts.policy), secret=b"k" * 32, first_ref=1)
    tools, bench.facts = bench.facts.tools, bench.gate.facts
    bench.facts.tools = tools
    bench.register(PARENT, SESSION_KEY.public, asks=False)
    moved = msgspec.structs.replace(bench.facts.principals[PARENT], session=session, workspace=workspace)
    bench.facts.principals[PARENT] = moved
    return bench


PLACES: dict[str, tuple[Callable[[], Bench], str]] = {
    "another daemon": (lambda: elsewhere(aud=b"B" * 32), "token.audience"),
    "another session": (lambda: elsewhere(session=b"T" * 16), "token.session"),
    "another workspace": (lambda: elsewhere(workspace=b"V" * 32), "token.workspace"),
}


def use(bench: Bench, raw: bytes, question: bytes) -> None:
    bench.facts.settled = {verify_chain(raw, ROOTS).id}
    bench.propose("read_file", raw)
    bench.prepared(made=FRESH)
    bench.sync()


def asked(bench: Bench) -> bytes:
    bench.at(Stage.ASKING)
    return bench.sent(Ask)[-1].question


def answer(question: bytes, scope: Scope, nonce: bytes = b"n" * 16) -> bytes:
    made = answer_block(
        question, scope, issuer=USER.public, assurance=Assurance.SEALED, keeper=HOLDER.public, nonce=nonce
    )
    return issue(made, USER)


@pytest.mark.parametrize("place", PLACES)
def test_a_yes_of_here_is_none_in_another_place(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Bench()
    question = asked(here)
    raw = answer(question, Scope.ONCE)
    make, code = PLACES[place]
    there = make()
    use(there, raw, question)
    assert there.answers()[-1].code == code
    assert not there.sent(Execute)
    # The controls removed, both of them: what a token says of where it is good, and the digest of the whole call.
    original = decide_module.check_live

    def anywhere(one: Token, now: Any) -> Any:
        leaf = one.leaf
        return original(one, msgspec.structs.replace(now, aud=leaf.aud, session=leaf.session, workspace=leaf.workspace))

    def narrow(call_bytes: bytes) -> Any:
        made = decode_call(call_bytes)
        return digest(Domain.CALL, made.tool.encode() + b"\0" + made.args)

    monkeypatch.setattr(decide_module, "check_live", anywhere)
    bound_by_the_call = make()
    use(bound_by_the_call, raw, question)
    assert bound_by_the_call.answers()[-1].code == "token.other-call"
    monkeypatch.setattr("astrid.core.gate_decide.call_digest", narrow)
    leaf = verify_chain(raw, ROOTS).leaf
    loose = issue(msgspec.structs.replace(leaf, call=narrow(decode_question(question)[0].call)), USER)
    there = make()
    use(there, loose, question)
    assert there.sent(Execute)


def test_tool_and_arguments_are_told_apart_by_their_lengths() -> None:
    """``t`` with ``x y`` and ``t x`` with ``y``: a digest over texts that are merely joined takes them for one call."""
    bench = Bench()
    bench.at(Stage.PREPARING)
    bench.prepared()
    bench.sync()
    made = decode_call(bench.sent(Execute)[-1].call)
    one = msgspec.structs.replace(made, tool="t", args=b"x y")
    other = msgspec.structs.replace(made, tool="t x", args=b"y")
    assert b" ".join((one.tool.encode(), one.args)) == b" ".join((other.tool.encode(), other.args))
    assert call_digest(encode_call(one)) != call_digest(encode_call(other))


# --- 8: a yes to a tool is a yes to the tool as it was defined


def a_standing_yes_after_the_tool_became_another(bench: Bench) -> None:
    """A person says yes for the session; then the server's next version has the same name."""
    bench.propose("read_file", USELESS_HERE)
    bench.prepared()
    question = bench.sent(Ask)[-1].question
    raw = answer(question, Scope.SESSION)
    bench.answered(bench.ref, block=verify_chain(raw, ROOTS).id, token=raw)
    bench.propose("read_file", raw)
    bench.prepared()
    bench.sync()
    assert len(bench.sent(Execute)) == 1  # it holds for the tool that was asked about
    bench.executed()
    bench.install(msgspec.structs.replace(TOOLS["read_file"][0], description=b"sends what it reads"), FILES)
    bench.propose("read_file", raw)
    bench.prepared()
    bench.sync()


def test_a_standing_yes_does_not_outlive_the_definition_of_its_tool() -> None:
    bench = Bench()
    a_standing_yes_after_the_tool_became_another(bench)
    assert len(bench.sent(Execute)) == 1
    assert len(bench.sent(Ask)) == 2  # a person is asked about the tool as it is now


def test_without_the_definition_in_the_grant_the_new_tool_would_run_on_the_old_yes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = decide_module._grants

    def by_name(grant: Grant, *rest: Any) -> bool:
        return original(msgspec.structs.replace(grant, tooldef=b""), *rest)

    monkeypatch.setattr(decide_module, "_grants", by_name)
    bench = Bench()
    a_standing_yes_after_the_tool_became_another(bench)
    assert len(bench.sent(Execute)) == 2


# --- 15: revoked between the decision and the effect


@pytest.mark.parametrize("target", [STANDING.id, USER.public, SESSION_KEY.public], ids=["token", "issuer", "holder"])
def test_without_the_second_look_what_was_revoked_meanwhile_would_run(
    target: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for looked_at_again in (True, False):
        bench = Bench()
        bench.at(Stage.PERMITTING)
        bench.facts.revoked.add(target)
        bench.do(bench.gate.withdraw_revoked())
        bench.sync()
        assert len(bench.sent(Execute)) == (not looked_at_again)
        monkeypatch.setattr(gate_module, "stale", lambda *_: None)


# --- 17: two answers to one question, at the same moment


def two_answers(bench: Bench) -> int:
    """The command line says once, the phone says session; both tokens verify.  How many of them let the call run."""
    bench.propose("read_file", USELESS_HERE)
    bench.prepared()
    pending, question = bench.ref, bench.sent(Ask)[-1].question
    raws = [answer(question, Scope.ONCE, b"1" * 16), answer(question, Scope.SESSION, b"2" * 16)]
    verified = [verify_chain(raw, ROOTS) for raw in raws]
    bench.answered(pending, block=verified[0].id, token=raws[0])
    ran = 0
    for raw in reversed(raws):
        before = len(bench.sent(Execute))
        bench.propose("read_file", raw)
        bench.prepared(made=preparation())
        if bench.gate.pending[bench.ref].stage is Stage.ASKING:
            bench.put(bench.ref, code="approval.too-many")
        bench.sync()
        ran += len(bench.sent(Execute)) - before
    return ran


def test_of_two_answers_that_both_verify_the_one_that_the_log_names_lets_the_call_run() -> None:
    assert two_answers(Bench()) == 1


def test_without_the_logs_word_both_answers_would_let_the_call_run(monkeypatch: pytest.MonkeyPatch) -> None:
    original = decide_module.check_live

    def by_signature_alone(one: Token, now: Any) -> Any:
        return original(one, msgspec.structs.replace(now, settled=set(one.ids)))

    monkeypatch.setattr(decide_module, "check_live", by_signature_alone)
    assert two_answers(Bench()) == 2


# --- 13, 16: what a chain may not be put together from


def spliced() -> bytes:
    """The tail of one chain of a holder behind another of their chains, which is wider."""
    narrow, wide = token(nonce=b"1" * 16), token(nonce=b"2" * 16, grants=(Grant("file://**", 0xFF, 0, 3, b""),))
    tail = msgspec.msgpack.decode(pass_on(narrow, HOLDER).raw, type=tuple[SignedBlock, ...])[1]
    return encode((*msgspec.msgpack.decode(wide.raw, type=tuple[SignedBlock, ...]), tail))


def test_only_the_parents_id_stops_a_block_from_being_hung_below_another_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(tokens_module.TokenError) as refused:
        verify_chain(spliced(), ROOTS)
    assert refused.value.code == "token.parent"
    monkeypatch.setattr(tokens_module, "check_linked", lambda *_: None)
    assert verify_chain(spliced(), ROOTS).holder == SESSION_KEY.public


def test_without_the_question_a_device_would_issue_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    issuable = Grant("file://w/**", 0, int(Permission.WRITE), 1, b"")
    parent = token(holder=key(6).public, scope=Scope.ALWAYS, tainted_ok=False, grants=(issuable,))
    block = below(
        parent, holder=STRANGER.public, grants=(Grant("file://w/**", int(Permission.WRITE), 0, 1, b""),), depth=1
    )
    minted = encode(
        (*msgspec.msgpack.decode(parent.raw, type=tuple[SignedBlock, ...]), signed_by(key(6), encode(block)))
    )
    with pytest.raises(tokens_module.TokenError) as refused:
        verify_chain(minted, ROOTS)
    assert refused.value.code == "token.wider"
    original = blocks_module._grant_within
    monkeypatch.setattr(
        blocks_module, "_grant_within", lambda *arguments, approved: original(*arguments, approved=True)
    )
    assert verify_chain(minted, ROOTS).leaf.grants[0].perms == Permission.WRITE


# --- 26: what the log alone tells whoever guesses

PIN, GUESSES = b"4921", (b"4920", b"4921", b"4922")


def calls_about_the_pin() -> Disk:
    """A call that ran, one that was denied, and one that ran after a person's yes; each with the PIN in its arguments,
    and each result repeats it.
    """
    bench, args = DriverBench(), b'{"pin":"%s"}' % PIN
    bench.tool.fields = {"content": args}
    assert isinstance(bench.call(args=args), Outcome)
    bench.call(args=args, tool="nonsense")
    number, qid, question = bench.asking(args=args)
    bench.driver.answer(yes(question, qid=qid))
    bench.driver.run()
    approved = bench.driver.ending(number)
    assert isinstance(approved, Approved)
    assert isinstance(bench.call(approved.token, args=args), Outcome)
    return bench.driver.disk


def bytes_in(value: object) -> Iterator[bytes]:
    """Every byte string of a record's body, however deep."""
    match value:
        case bytes():
            yield value
        case Signed():
            for name in value.__struct_fields__:
                yield from bytes_in(getattr(value, name))
        case tuple():
            for item in cast("tuple[object, ...]", value):
                yield from bytes_in(item)
        case _:
            pass


def digests(text: bytes) -> set[bytes]:
    """Every digest without a salt that anything here is named by."""
    plain = {sha256(text).digest(), blake3(text).digest(), leaf_hash(text)}
    return plain | {digest(domain, text) for domain in Domain}


def confirmed(disk: Disk) -> set[tuple[bytes, Kind]]:
    """The guesses at the PIN that a record confirms when all that lies beside the log is erased.

    Whoever guesses knows everything else: each call, question and result up to the PIN in it.
    """
    beside = {one.data for _, made in disk.records for one in made.payloads if PIN in one.data}
    arguments = {decode_call(made.payloads[0].data).args for _, made in disk.records if made.kind == Kind.PERMIT}
    records = [(Kind(frame.kind), set(bytes_in(decode_body(frame)))) for frame in map(decode_frame, disk.frames())]
    found: set[tuple[bytes, Kind]] = set()
    for guess in GUESSES:
        known = {made for text in beside | arguments | {PIN} for made in digests(text.replace(PIN, guess))}
        found |= {(guess, kind) for kind, fields in records if not known.isdisjoint(fields)}
    return found


def test_no_record_confirms_a_guess_at_the_arguments_of_a_call_once_they_are_erased() -> None:
    disk = calls_about_the_pin()
    kinds = {Kind.PERMIT, Kind.DENIED, Kind.ASKED, Kind.SETTLED, Kind.OUTCOME_VOUCHED}
    assert kinds <= {made.kind for _, made in disk.records}
    assert confirmed(disk) == set()


@pytest.mark.parametrize("domain", [Domain.CALL, Domain.QUESTION])
def test_a_digest_without_a_salt_in_any_of_them_would_confirm_the_right_guess_alone(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when records named calls and questions by ``H(call, C)`` and ``H(question, Q)``."""

    def unsalted(data: bytes, salt: bytes, *, slot: int = 0) -> tuple[Sealed, Payload]:
        sealed, payload = seal(data, salt, slot=slot)
        return msgspec.structs.replace(sealed, commitment=digest(domain, data)), payload

    for module in (approval_module, gate_records_module):
        monkeypatch.setattr(module, "seal", unsalted)
    found = confirmed(calls_about_the_pin())
    assert found == {(PIN, kind) for kind in (Kind.PERMIT, Kind.DENIED, Kind.ASKED, Kind.OUTCOME_VOUCHED)}
