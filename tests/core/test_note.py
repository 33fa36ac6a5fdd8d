"""Signed notes, against notes that other people's programs have signed."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astrid.core.canon import Domain
from astrid.core.keys import SigningKey, load_public_key, verify, verify_raw
from astrid.core.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    MAX_TIMESTAMP_S,
    NoteSignature,
    UnverifiedNote,
    cosign_text,
    encode_note,
    key_id,
    parse_note,
    sign_text,
    verify_cosigned,
    verify_note,
)
from astrid.errors import ChainError

MODEST = settings(max_examples=150, deadline=None)

# The example of golang.org/x/mod/sumdb/note (BSD-3-Clause, The Go Authors): a published key, and what it signs.
GO_NAME = "PeterNeumann"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_KEY = load_public_key(base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:])
GO_TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = b"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = GO_TEXT + "\n— PeterNeumann ".encode() + GO_SIGNATURE + b"\n"

# A checkpoint that a public certificate log issued, with the log's signatures and those of public witnesses.
LOG_NAME = "arche2025h1.staging.ct.transparency.dev"
LOG_KEY = load_public_key(base64.b64decode("AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f")[1:])
WITNESS_NAME = "remora.n621.de"
WITNESS_KEY = load_public_key(base64.b64decode("BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2")[1:])
WITNESSED = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
""".encode()  # noqa: E501

KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
TEXT = b"some\ntext\n"
LINE = sign_text(TEXT, KEY, "me")


def test_we_sign_a_note_byte_for_byte_as_the_go_program_does() -> None:
    key = SigningKey.from_seed(GO_SEED)
    assert encode_note(UnverifiedNote(GO_TEXT, (sign_text(GO_TEXT, key, GO_NAME),))) == GO_NOTE


def test_a_note_of_the_go_program_verifies() -> None:
    assert verify_note(parse_note(GO_NOTE), GO_KEY, GO_NAME) == GO_TEXT


def test_a_real_log_and_a_real_witness_verify_on_the_same_note() -> None:
    note = parse_note(WITNESSED)
    assert verify_note(note, LOG_KEY, LOG_NAME).startswith(LOG_NAME.encode() + b"\n1432088532\n")
    assert verify_cosigned(note, WITNESS_KEY, WITNESS_NAME) == 0x6A122120


@pytest.mark.parametrize(
    ("name", "kind", "key", "expected"),
    [
        (GO_NAME, ED25519, GO_KEY, "c74f20a3"),
        (LOG_NAME, ED25519, LOG_KEY, "ba2f06c0"),
        (WITNESS_NAME, COSIGNATURE_V1, WITNESS_KEY, "da77ade7"),
    ],
)
def test_key_ids_are_those_in_published_verifier_keys(name: str, kind: int, key: bytes, expected: str) -> None:
    assert key_id(name, kind, load_public_key(key)).hex() == expected


def test_a_real_witness_does_not_verify_on_another_text_or_at_another_time() -> None:
    for old, new in ((b"1432088532", b"1432088533"), (b"AAAABqEiEgPlf", b"AAAABqEiEhPlf")):
        assert WITNESSED.count(old) == 1
        assert code_of_cosigned(parse_note(WITNESSED.replace(old, new))) == "checkpoint.bad-signature"


def code_of_cosigned(note: UnverifiedNote) -> str:
    with pytest.raises(ChainError) as caught:
        verify_cosigned(note, WITNESS_KEY, WITNESS_NAME)
    return caught.value.code


NAMES = st.from_regex(r"[!-*,-~]{1,40}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n"), max_size=200).map(
    lambda text: (text + "\n").encode()
)
LINES = st.builds(NoteSignature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@MODEST
@given(text=TEXTS, lines=st.lists(LINES, min_size=1, max_size=5, unique_by=lambda line: (line.name, line.key_id)))
@example(text=b"a\n\nb\n\n", lines=[LINE])
@example(text=b"\xe2\x80\x94 looks like AAAAAAAA\n", lines=[LINE])
def test_every_note_is_read_back_as_it_was_written(text: bytes, lines: list[NoteSignature]) -> None:
    note = UnverifiedNote(text, tuple(lines))
    assert parse_note(encode_note(note)) == note


@MODEST
@given(st.data())
def test_no_two_byte_strings_are_the_same_note(data: st.DataObject) -> None:
    whole = bytearray(WITNESSED)
    place = data.draw(st.integers(0, len(whole)))
    end = min(len(whole), place + data.draw(st.integers(0, 2)))
    whole[place:end] = data.draw(
        st.sampled_from([b"", b"\n", b"\r", b" ", b"=", b"A", b"B", b"\xe2\x80\x94 ", b"\x00"])
    )
    try:
        note = parse_note(bytes(whole))
    except ChainError:
        return
    assert encode_note(note) == whole


ENCODED = encode_note(UnverifiedNote(TEXT, (LINE,)))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "checkpoint.malformed", id="nothing"),
        pytest.param(TEXT, "checkpoint.malformed", id="no signatures at all"),
        pytest.param(TEXT + b"\n", "checkpoint.signature-count", id="a blank line and nothing after it"),
        pytest.param(ENCODED[:-1], "checkpoint.malformed", id="no newline at the end"),
        pytest.param(ENCODED + b"\n", "checkpoint.signature-count", id="a blank line after the signatures"),
        pytest.param(ENCODED + b"text\n", "checkpoint.malformed", id="text after the signatures"),
        pytest.param(ENCODED.replace(b"\n", b"\r\n"), "checkpoint.malformed", id="carriage returns"),
        pytest.param(ENCODED.replace(b"some\n", b"some\r\n"), "checkpoint.malformed", id="one carriage return"),
        pytest.param(ENCODED.replace(b"some", b"so\x00me"), "checkpoint.malformed", id="a control character"),
        pytest.param(ENCODED.replace(b"some", b"so\xffme"), "checkpoint.malformed", id="not UTF-8"),
        pytest.param(ENCODED.replace(b" me ", b" \xff "), "checkpoint.malformed", id="a name that is not UTF-8"),
        pytest.param(ENCODED.replace(b" me ", b" m+e "), "checkpoint.malformed", id="plus in a name"),
        pytest.param(ENCODED.replace(b" me ", " m\u00a0e ".encode()), "checkpoint.malformed", id="a space in a name"),
        pytest.param(ENCODED.replace(b" me ", b"  "), "checkpoint.malformed", id="no name"),
        pytest.param(ENCODED.replace(b" me ", b" me  "), "checkpoint.malformed", id="two spaces"),
        pytest.param(ENCODED.replace("—".encode(), b"--"), "checkpoint.malformed", id="hyphens for the dash"),
        pytest.param(ENCODED.replace(b"=\n", b"\n"), "checkpoint.malformed", id="padding left out"),
        pytest.param(TEXT + "\n— me QUJD\n".encode(), "checkpoint.malformed", id="three bytes"),
        pytest.param(TEXT + "\n— me QUJDRA==\n".encode(), "checkpoint.malformed", id="a key id and no signature"),
        pytest.param(TEXT + "\n— me QUJDRERER==\n".encode(), "checkpoint.malformed", id="impossible base64"),
        pytest.param(TEXT + "\n— me QUJDREX=\n".encode(), "checkpoint.second-spelling", id="spare bits set"),
        pytest.param(b"x" * MAX_NOTE_BYTES + b"\n", "checkpoint.too-long", id="too long"),
    ],
)
def test_another_spelling_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(ChainError) as caught:
        parse_note(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("note", "code"),
    [
        pytest.param(UnverifiedNote(b"", (LINE,)), "checkpoint.malformed", id="no text"),
        pytest.param(UnverifiedNote(b"no newline", (LINE,)), "checkpoint.malformed", id="no newline"),
        pytest.param(UnverifiedNote(TEXT, ()), "checkpoint.signature-count", id="unsigned"),
        pytest.param(UnverifiedNote(TEXT, (LINE, LINE)), "checkpoint.duplicate-signature", id="twice"),
        pytest.param(
            UnverifiedNote(TEXT, (LINE, NoteSignature(LINE.name, LINE.key_id, b"other"))),
            "checkpoint.duplicate-signature",
            id="two signatures of one key",
        ),
        pytest.param(UnverifiedNote(b"x" * MAX_NOTE_BYTES + b"\n", (LINE,)), "checkpoint.too-long", id="too long"),
        pytest.param(
            UnverifiedNote(TEXT, tuple(NoteSignature(f"w{at}", b"1234", b"s") for at in range(MAX_SIGNATURES + 1))),
            "checkpoint.signature-count",
            id="too many",
        ),
        pytest.param(
            UnverifiedNote(TEXT, (NoteSignature("a\n", b"1234", b"s"),)), "checkpoint.malformed", id="newline in a name"
        ),
        pytest.param(
            UnverifiedNote(TEXT, (NoteSignature("a", b"12345", b"s"),)), "checkpoint.malformed", id="long key id"
        ),
    ],
)
def test_what_has_no_spelling_is_not_written(note: UnverifiedNote, code: str) -> None:
    with pytest.raises(ChainError) as caught:
        encode_note(note)
    assert caught.value.code == code


def test_thirty_two_signatures_fit() -> None:
    lines = tuple(NoteSignature(f"w{at}", b"1234", b"s" * 64) for at in range(MAX_SIGNATURES))
    assert len(parse_note(encode_note(UnverifiedNote(TEXT, lines))).signatures) == MAX_SIGNATURES


def test_a_key_that_only_shares_the_key_id_is_not_enough() -> None:
    posed = NoteSignature("me", key_id("me", ED25519, OTHER.public), LINE.signature)
    with pytest.raises(ChainError) as caught:
        verify_note(UnverifiedNote(TEXT, (posed,)), OTHER.public, "me")
    assert caught.value.code == "checkpoint.bad-signature"


@pytest.mark.parametrize(("key", "name"), [(OTHER, "me"), (KEY, "you")])
def test_a_signature_of_another_key_or_name_is_ignored(key: SigningKey, name: str) -> None:
    stranger = UnverifiedNote(TEXT, (sign_text(TEXT, key, name),))
    with pytest.raises(ChainError) as caught:
        verify_note(stranger, KEY.public, "me")
    assert caught.value.code == "checkpoint.unsigned"
    both = UnverifiedNote(TEXT, (*stranger.signatures, LINE))
    assert verify_note(both, KEY.public, "me") == TEXT


def test_a_signature_and_a_cosignature_do_not_stand_for_each_other() -> None:
    plain = UnverifiedNote(TEXT, (LINE,))
    timed = UnverifiedNote(TEXT, (cosign_text(TEXT, KEY, "me", 7),))
    for act in (lambda: verify_cosigned(plain, KEY.public, "me"), lambda: verify_note(timed, KEY.public, "me")):
        with pytest.raises(ChainError) as caught:
            act()
        assert caught.value.code == "checkpoint.unsigned"


@pytest.mark.parametrize("timestamp_s", [0, 1, 1_700_000_000, MAX_TIMESTAMP_S])
def test_a_cosignature_tells_its_time(timestamp_s: int) -> None:
    note = UnverifiedNote(TEXT, (cosign_text(TEXT, KEY, "me", timestamp_s),))
    assert verify_cosigned(parse_note(encode_note(note)), KEY.public, "me") == timestamp_s


@pytest.mark.parametrize("timestamp_s", [-1, 2**63])
def test_a_time_that_is_none_is_not_cosigned(timestamp_s: int) -> None:
    with pytest.raises(ChainError) as caught:
        cosign_text(TEXT, KEY, "me", timestamp_s)
    assert caught.value.code == "checkpoint.timestamp"


def test_a_cosignature_with_a_time_beyond_the_limit_is_refused_though_it_is_signed() -> None:
    late = MAX_TIMESTAMP_S + 1
    signed = late.to_bytes(8) + KEY.sign_raw(b"cosignature/v1\ntime %d\n" % late + TEXT)
    note = UnverifiedNote(TEXT, (NoteSignature("me", key_id("me", COSIGNATURE_V1, KEY.public), signed),))
    with pytest.raises(ChainError) as caught:
        verify_cosigned(note, KEY.public, "me")
    assert caught.value.code == "checkpoint.bad-signature"


@pytest.mark.parametrize("change", [b"", b"x"])
def test_a_cosignature_of_another_length_is_refused(change: bytes) -> None:
    line = cosign_text(TEXT, KEY, "me", 7)
    cut = line.signature + change if change else line.signature[:-1]
    note = UnverifiedNote(TEXT, (NoteSignature("me", line.key_id, cut),))
    with pytest.raises(ChainError) as caught:
        verify_cosigned(note, KEY.public, "me")
    assert caught.value.code == "checkpoint.bad-signature"


@pytest.mark.parametrize("domain", list(Domain))
def test_no_text_gets_a_signature_that_is_good_in_a_domain(domain: Domain) -> None:
    statement = b"astrid/" + domain.value.encode() + b"/v1\x00" + TEXT
    assert verify_raw(KEY.public, statement, KEY.sign(domain, TEXT))
    for act in (
        lambda: sign_text(statement, KEY, "me"),
        lambda: cosign_text(statement, KEY, "me", 7),
        lambda: encode_note(UnverifiedNote(statement, (LINE,))),
    ):
        with pytest.raises(ChainError) as caught:
            act()
        assert caught.value.code == "checkpoint.malformed"


@pytest.mark.parametrize("domain", list(Domain))
def test_signatures_on_notes_and_in_domains_do_not_stand_for_each_other(domain: Domain) -> None:
    text = b"log.astrid/" + TEXT
    plain, timed = sign_text(text, KEY, "me"), cosign_text(text, KEY, "me", 7)
    assert not verify(KEY.public, domain, text, plain.signature)
    assert not verify(KEY.public, domain, text, timed.signature[8:])
    posed = msgspec.structs.replace(plain, signature=KEY.sign(domain, text))
    with pytest.raises(ChainError) as caught:
        verify_note(UnverifiedNote(text, (posed,)), KEY.public, "me")
    assert caught.value.code == "checkpoint.bad-signature"
