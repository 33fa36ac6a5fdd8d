"""A proof fits one request, at one place in the order, on one connection, by one holder."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core import canon
from astrid.core.canon import Domain
from astrid.core.keys import SigningKey
from astrid.errors import CanonError
from astrid.wire.params import OfSession, Pop, ProvenNothing, params_bytes
from astrid.wire.pop import PopSigner, PopStatement, PopVerifier, pop_payload
from astrid.wire.proof import PopAccepted, PopFault, PopRefused, PopVerdict

SESSION = "session:" + "0" * 32
KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(bytes(32))
AUD, NONCE, LAST = b"a" * 32, b"n" * 32, b"l" * 32


def signer(key: SigningKey = KEY, /, **changed: bytes) -> PopSigner:
    return PopSigner(key, **{"aud": AUD, "nonce": NONCE, "id_last": LAST, **changed})


def verifier() -> PopVerifier:
    return PopVerifier(KEY.public, aud=AUD, nonce=NONCE, id_last=LAST)


def sealed(by: PopSigner, method: str = "endSession", session: str = SESSION) -> OfSession:
    return by.seal(method, OfSession(session_id=session))


def test_the_holder_is_accepted_request_after_request() -> None:
    client, server = signer(), verifier()
    verdicts = [server.check("endSession", sealed(client)) for _ in range(3)]
    assert verdicts == [PopAccepted(1), PopAccepted(2), PopAccepted(3)]


def test_a_request_without_a_proof_is_refused() -> None:
    assert verifier().check("endSession", OfSession(session_id=SESSION)) == PopRefused(PopFault.MISSING)


@pytest.mark.parametrize("changed", [{"aud": bytes(32)}, {"nonce": bytes(32)}, {"id_last": bytes(32)}])
def test_a_proof_made_for_another_install_connection_or_token_is_refused(changed: dict[str, bytes]) -> None:
    verdict = verifier().check("endSession", sealed(signer(**changed)))
    assert verdict == PopRefused(PopFault.SIGNATURE)


def test_a_proof_by_another_key_is_refused() -> None:
    assert verifier().check("endSession", sealed(signer(OTHER))) == PopRefused(PopFault.SIGNATURE)


def test_a_proof_does_not_fit_another_method_with_the_same_parameters() -> None:
    assert verifier().check("cancelTurn", sealed(signer(), "endSession")) == PopRefused(PopFault.SIGNATURE)


def test_a_proof_does_not_fit_other_parameters() -> None:
    request = msgspec.structs.replace(sealed(signer()), session_id="session:" + "1" * 32)
    assert verifier().check("endSession", request) == PopRefused(PopFault.SIGNATURE)


def test_a_proof_does_not_fit_another_place_in_the_order() -> None:
    request = sealed(signer())
    assert request.pop is not None
    moved = msgspec.structs.replace(request, pop=Pop(counter=2, signature=request.pop.signature))
    assert verifier().check("endSession", moved) == PopRefused(PopFault.SIGNATURE)


def test_a_captured_request_is_refused_the_second_time() -> None:
    server, request = verifier(), sealed(signer())
    assert server.check("endSession", request) == PopAccepted(1)
    assert server.check("endSession", request) == PopRefused(PopFault.COUNTER)


def test_a_captured_request_is_refused_on_a_second_connection() -> None:
    second = PopVerifier(KEY.public, aud=AUD, nonce=b"m" * 32, id_last=LAST)
    assert second.check("endSession", sealed(signer())) == PopRefused(PopFault.SIGNATURE)


def test_a_request_that_was_held_back_is_refused_once_a_later_one_was_accepted() -> None:
    client, server = signer(), verifier()
    early, late = sealed(client), sealed(client)
    assert server.check("endSession", late) == PopAccepted(2)
    assert server.check("endSession", early) == PopRefused(PopFault.COUNTER)


def test_a_forged_request_with_a_high_counter_does_not_lock_the_holder_out() -> None:
    client, server = signer(), verifier()
    forged = OfSession(session_id=SESSION, pop=Pop(counter=2**53, signature=bytes(64)))
    assert server.check("endSession", forged) == PopRefused(PopFault.SIGNATURE)
    assert server.check("endSession", sealed(client)) == PopAccepted(1)


@pytest.mark.parametrize("domain", [domain for domain in Domain if domain is not Domain.POP])
def test_a_signature_of_another_kind_over_the_same_bytes_is_refused(domain: Domain) -> None:
    bare = ProvenNothing()
    payload = pop_payload(aud=AUD, nonce=NONCE, counter=1, method="shutdown", params=params_bytes(bare), id_last=LAST)
    request = ProvenNothing(pop=Pop(counter=1, signature=KEY.sign(domain, payload)))
    assert verifier().check("shutdown", request) == PopRefused(PopFault.SIGNATURE)


def test_the_payload_is_the_canonical_array_of_the_protocol() -> None:
    payload = pop_payload(aud=AUD, nonce=NONCE, counter=7, method="status", params=b"{}", id_last=LAST)
    statement = canon.decode(payload, PopStatement, max_bytes=1024, what="the statement")
    assert statement == PopStatement(AUD, NONCE, 7, "status", canon.digest(Domain.POP, b"{}"), LAST)
    assert payload == canon.encode((AUD, NONCE, 7, "status", canon.digest(Domain.POP, b"{}"), LAST))


@pytest.mark.parametrize("name", ["aud", "nonce", "id_last"])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_part_of_the_wrong_length_is_refused_before_it_is_signed(name: str, size: int) -> None:
    with pytest.raises(CanonError) as caught:
        sealed(signer(**{name: bytes(size)}))
    assert caught.value.code == "canon.pop-length"


@pytest.mark.parametrize("counter", [0, -1, 2**53 + 1])
def test_a_counter_out_of_range_is_refused_before_it_is_signed(counter: int) -> None:
    with pytest.raises(CanonError) as caught:
        pop_payload(aud=AUD, nonce=NONCE, counter=counter, method="m", params=b"{}", id_last=LAST)
    assert caught.value.code == "canon.pop-counter"


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=20))
def test_the_counters_accepted_on_a_connection_only_rise(steps: list[tuple[int, bool]]) -> None:
    client, server = signer(), verifier()
    requests = [sealed(client) for _ in range(10)]
    accepted: list[int] = []
    for number, honest in steps:
        request = requests[number]
        if not honest:
            request = msgspec.structs.replace(request, session_id="session:" + "1" * 32)
        verdict: PopVerdict = server.check("endSession", request)
        expected: Any = number + 1 > max(accepted, default=0)
        if isinstance(verdict, PopAccepted):
            accepted.append(verdict.counter)
        assert isinstance(verdict, PopAccepted) == (honest and expected)
    assert accepted == sorted(set(accepted))
