"""Makes ``tokens.json``: chains of protocol N1 that verify, and many more that must not.

    python -m tests.vectors.make_tokens

Keys are numbered: 1 and 2 are user keys (sealed, plain), 3 the daemon's holder key, 4 a session, 5 a child, 6 an
enrolled device, 7 an enrolled relay, 8 a stranger.  Every hostile chain is signed by the key that may sign there,
unless its name says otherwise, so that nothing but the named fault can be the reason for refusing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.vectors.protocol import Raw, digest, pack, public, sign, write

FIELDS = (
    *("version", "algorithm", "parent", "nonce", "issuer", "holder", "aud", "session", "workspace", "scope", "grants"),
    *("not_before", "expires", "uses", "purse", "depth", "tainted_ok", "call", "question", "assurance"),
)
ONCE, IN_SESSION, IN_WORKSPACE, ALWAYS = range(4)
PLAIN, SEALED, DEVICE, RELAYED = range(1, 5)
READ, WRITE, DELETE = 1, 2, 8
TOOLDEF, CALL, QUESTION, SESSION = b"T" * 32, b"C" * 32, b"Q" * 32, b"S" * 16
USER, PLAIN_USER, HOLDER, CHILD, GRANDCHILD, PHONE, RELAY, STRANGER = range(1, 9)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

Block = dict[str, Any]
Chain = list[list[bytes]]


def grant(
    pattern: str = "file://w/**", perms: int = READ | WRITE, issuable: int = 0, risk: int = 1, tooldef: bytes = b""
) -> list[Any]:
    return [pattern, perms, issuable, risk, tooldef]


FIRST: Block = {
    "version": 1,
    "algorithm": 1,
    "parent": bytes(32),
    "nonce": b"n" * 16,
    "issuer": public(USER),
    "holder": public(HOLDER),
    "aud": b"A" * 32,
    "session": b"",
    "workspace": b"W" * 32,
    "scope": IN_WORKSPACE,
    "grants": [grant()],
    "not_before": 1_790_000_000,
    "expires": 1_790_086_400,
    "uses": 100,
    "purse": 5_000_000,
    "depth": 5,
    "tainted_ok": True,
    "call": b"",
    "question": b"",
    "assurance": SEALED,
}


def payload(block: Block) -> bytes:
    return pack([block[name] for name in FIELDS])


def signed(data: bytes, signer: int) -> list[bytes]:
    return [data, sign(signer, "block", data)]


def first(signer: int = USER, /, **changes: Any) -> tuple[Chain, Block]:
    block = FIRST | {"issuer": public(signer)} | changes
    return [signed(payload(block), signer)], block


def then(above: tuple[Chain, Block], signer: int, /, **changes: Any) -> tuple[Chain, Block]:
    """One block more, below ``above``, signed by key ``signer``; unchanged but for where it hangs and its depth."""
    chain, parent = above
    block = parent | {"parent": digest("block", chain[-1][0]), "nonce": b"m" * 16, "depth": max(parent["depth"] - 1, 0)}
    block |= {"issuer": public(signer), "holder": public(CHILD)} | changes
    return [*chain, signed(payload(block), signer)], block


def for_device(number: int = PHONE, /, **changes: Any) -> tuple[Chain, Block]:
    """What the user lets a device issue."""
    given: Block = {"holder": public(number), "grants": [grant(perms=0, issuable=READ | WRITE)], "scope": ALWAYS}
    return first(**(given | {"tainted_ok": False} | changes))


def answered(device: int = PHONE, /, **changes: Any) -> tuple[Chain, Block]:
    """The device's yes to one call of key 4."""
    given: Block = {
        "grants": [grant("file://w/a", WRITE)],
        "question": QUESTION,
        "scope": ONCE,
        "call": CALL,
        "uses": 1,
    }
    given |= {"depth": 0, "assurance": DEVICE, "session": SESSION}
    return then(for_device(device), device, **(given | changes))


GRANT = first()
HANDED_ON = then(GRANT, HOLDER, session=SESSION, scope=IN_SESSION)


def long_chain(blocks: int) -> tuple[Chain, Block]:
    made = first(depth=255)
    for number in range(1, blocks):
        made = then(made, HOLDER if number == 1 else 19 + number, holder=public(20 + number))
    return made


LONGEST = long_chain(8)


def valid() -> Iterator[tuple[str, bytes]]:
    yield "a workspace grant", pack(GRANT[0])
    yield "handed on to a session", pack(HANDED_ON[0])
    yield (
        "handed on to a child",
        pack(then(HANDED_ON, CHILD, holder=public(GRANDCHILD), grants=[grant("file://w/a/*", READ)])[0]),
    )
    yield "once", pack(first(scope=ONCE, depth=0, call=CALL, uses=1)[0])
    yield "an answer", pack(first(scope=ONCE, depth=0, call=CALL, uses=1, question=QUESTION, holder=public(CHILD))[0])
    yield (
        "an answer for the session, handed on",
        pack(
            then(
                first(question=QUESTION, scope=IN_SESSION, session=SESSION, holder=public(CHILD)),
                CHILD,
                holder=public(GRANDCHILD),
            )[0]
        ),
    )
    yield "what a device may issue", pack(for_device()[0])
    yield "a device's yes", pack(answered()[0])
    yield "a relayed yes", pack(answered(RELAY, assurance=RELAYED)[0])
    yield (
        "every number at its end",
        pack(
            first(
                scope=ALWAYS,
                tainted_ok=False,
                not_before=0,
                expires=2**64 - 1,
                uses=2**32 - 1,
                purse=2**64 - 1,
                depth=255,
            )[0]
        ),
    )
    yield (
        "every permission, critical, for one tool",
        pack(first(grants=[grant(perms=255, issuable=255, risk=3, tooldef=TOOLDEF)])[0]),
    )
    yield "sixty-four grants", pack(first(grants=[grant(f"file://w/{n:02}") for n in range(64)])[0])
    yield "eight blocks", pack(LONGEST[0])
    yield "by a plain key", pack(first(PLAIN_USER, assurance=PLAIN)[0])
    yield "one use more and less", pack(then(GRANT, HOLDER, uses=99, purse=4_999_999, not_before=1_790_000_001)[0])


def raw_payload(data: bytes, signer: int = USER) -> bytes:
    """A chain of one block whose payload is spelled by hand."""
    return pack([signed(data, signer)])


def spelled(name: str, spelling: bytes) -> bytes:
    """A payload in which one field is spelled in another way."""
    return raw_payload(payload(FIRST | {name: Raw(spelling)}))


def wrong_spellings() -> Iterator[tuple[str, str, bytes]]:
    good, whole = pack(GRANT[0]), payload(FIRST)
    data, signature = GRANT[0][0]
    assert good[0] == 0x91
    yield "token.encoding", "no bytes", b""
    yield "token.encoding", "outer array16", b"\xdc\x00\x01" + good[1:]
    yield "token.encoding", "outer array32", b"\xdd\x00\x00\x00\x01" + good[1:]
    yield "token.encoding", "outer array of two, one given", b"\x92" + good[1:]
    yield "token.encoding", "outer array of none, one given", b"\x90" + good[1:]
    yield "token.encoding", "outer map", b"\x81\x00" + good[1:]
    yield "token.encoding", "trailing byte", good + b"\xc0"
    yield "token.encoding", "last byte missing", good[:-1]
    yield "token.encoding", "an array of 2^32 - 1", b"\xdd\xff\xff\xff\xff"
    yield "token.length", "no block", b"\x90"
    yield "token.length", "nine blocks", pack([*LONGEST[0], GRANT[0][0]])
    yield "token.encoding", "block array16", b"\x91\xdc\x00\x02" + good[2:]
    yield "token.encoding", "block without signature", pack([[data]])
    yield "token.encoding", "block with a third field", pack([[data, signature, b""]])
    yield "token.encoding", "block is nil", b"\x91\xc0"
    yield "token.encoding", "block is the payload alone", pack([data])
    yield (
        "token.encoding",
        "payload with a long header",
        pack([[Raw(b"\xc6" + len(data).to_bytes(4, "big") + data), signature]]),
    )
    yield "token.encoding", "payload as text", pack([[Raw(b"\xda" + len(data).to_bytes(2, "big") + data), signature]])
    yield "token.encoding", "payload not wrapped", pack([[Raw(data), signature]])
    yield "token.encoding", "signature with a long header", pack([[data, Raw(b"\xc5\x00\x40" + signature)]])
    yield "token.encoding", "signature of 63 bytes", pack([[data, signature[:63]]])
    yield "token.encoding", "signature of 65 bytes", pack([[data, signature + b"\0"]])
    yield "token.too-long", "more than 16 KiB", pack([[b"x" * 16384, signature]])
    yield (
        "token.encoding",
        "a payload of more than 4 KiB",
        raw_payload(payload(FIRST | {"grants": [grant("file://" + "w" * 4096)]})),
    )
    yield "token.encoding", "payload array32", raw_payload(b"\xdd\x00\x00\x00\x14" + whole[3:])
    yield "token.encoding", "payload cut by a field", raw_payload(b"\xdc\x00\x13" + whole[3:-1])
    yield "token.encoding", "payload with a field more", raw_payload(b"\xdc\x00\x15" + whole[3:] + b"\x00")
    yield "token.encoding", "payload with trailing bytes", raw_payload(whole + b"\x00")
    yield "token.encoding", "payload is a map", raw_payload(b"\xde\x00\x00")
    for name in ("version", "scope", "uses", "depth", "assurance"):
        value = FIRST[name]
        for label, header, size in (("uint16", 0xCD, 2), ("uint32", 0xCE, 4), ("uint64", 0xCF, 8), ("int64", 0xD3, 8)):
            spelling = bytes([header]) + value.to_bytes(size, "big")
            yield "token.encoding", f"{name} as {label}", spelled(name, spelling)
        yield "token.encoding", f"{name} as a float", spelled(name, b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00")
        yield "token.encoding", f"{name} is nil", spelled(name, b"\xc0")
        yield "token.encoding", f"{name} is true", spelled(name, b"\xc3")
        yield "token.encoding", f"{name} is negative", spelled(name, b"\xff")
    for name in ("parent", "nonce", "issuer", "holder", "aud", "session", "workspace", "call", "question"):
        value = FIRST[name]
        yield (
            "token.encoding",
            f"{name} with a long header",
            spelled(name, b"\xc5" + len(value).to_bytes(2, "big") + value),
        )
        yield "token.encoding", f"{name} as text", spelled(name, b"\xd9" + bytes([len(value)]) + b"a" * len(value))
        yield "token.encoding", f"{name} is nil", spelled(name, b"\xc0")
        if value and name != "workspace":
            yield "token.encoding", f"{name} is empty", spelled(name, b"\xc4\x00")
            yield "token.encoding", f"{name} is a byte short", spelled(name, pack(value[:-1]))
        yield "token.encoding", f"{name} is too long", spelled(name, pack(b"x" * 33))
    yield "token.encoding", "tainted_ok is 1", spelled("tainted_ok", b"\x01")
    yield "token.encoding", "tainted_ok is nil", spelled("tainted_ok", b"\xc0")
    yield "token.encoding", "grants array16", spelled("grants", b"\xdc\x00\x01" + pack(grant()))
    yield "token.encoding", "grants are a map", spelled("grants", b"\x81\xa0\x01")
    yield "token.encoding", "a grant with a field more", spelled("grants", pack([[*grant(), 0]]))
    yield "token.encoding", "a grant cut by a field", spelled("grants", pack([grant()[:4]]))
    yield "token.encoding", "a pattern as bytes", spelled("grants", pack([[b"file://w/**", *grant()[1:]]]))
    yield (
        "token.encoding",
        "a pattern with a long header",
        spelled("grants", pack([[Raw(b"\xd9\x0bfile://w/**"), *grant()[1:]]])),
    )
    yield "token.encoding", "a pattern beyond ASCII", spelled("grants", pack([grant("file://w/\u00e9")]))
    yield "token.encoding", "a pattern that is not UTF-8", spelled("grants", pack([[Raw(b"\xa1\xff"), *grant()[1:]]]))


def wrong_fields() -> Iterator[tuple[str, str, bytes]]:
    def alone(code: str, name: str, signer: int = USER, /, **changes: Any) -> tuple[str, str, bytes]:
        return code, name, pack(first(signer, **changes)[0])

    yield alone("token.version", "version 0", version=0)
    yield alone("token.version", "version 2", version=2)
    yield alone("token.version", "algorithm 0", algorithm=0)
    yield alone("token.version", "algorithm 2", algorithm=2)
    yield alone("token.field-size", "half a session id", session=b"S" * 8)
    for name in ("workspace", "call", "question"):
        yield alone("token.field-size", f"{name} of 31 bytes", **{name: b"x" * 31})
        yield alone("token.field-size", f"{name} of 1 byte", **{name: b"x"})
    yield alone("token.field-range", "scope 4", scope=4)
    yield alone("token.field-range", "assurance 0", assurance=0)
    yield alone("token.field-range", "assurance 5", assurance=5)
    yield alone("token.grants", "no grant", grants=[])
    yield alone("token.grants", "65 grants", grants=[grant(f"file://w/{n:02}", READ) for n in range(65)])
    yield alone("token.grants", "unsorted grants", grants=[grant("file://w/b"), grant("file://w/a")])
    yield alone("token.grants", "a grant twice", grants=[grant("file://w/a"), grant("file://w/a")])
    yield alone("token.permission", "no permission", grants=[grant(perms=0)])
    yield alone("token.permission", "a permission that does not exist", grants=[grant(perms=256)])
    yield alone("token.permission", "an issuable permission that does not exist", grants=[grant(issuable=512)])
    yield alone("token.field-range", "risk 4", grants=[grant(risk=4)])
    yield alone("token.field-range", "half a tool definition", grants=[grant(tooldef=b"T" * 16)])
    for name, pattern in (
        ("no scheme", "w/a"),
        ("an unknown scheme", "ftp://w/a"),
        ("a path that goes up", "file://w/../etc/**"),
        ("an empty segment", "file://w//a"),
        ("a double star inside", "file://w/**/a"),
        ("a second spelling", "file://w/%61"),
        ("a NUL", "file://w/%00"),
        ("any program", "exec://*/**"),
        ("a program with any arguments", "exec://%2Fbin%2Fsh/**"),
        ("a program with one open argument", "exec://%2Fbin%2Fsh/-c/*"),
        ("text that NFKC changes", "file://w/%EF%BC%8F"),
    ):
        yield alone("token.pattern", f"a pattern with {name}", grants=[grant(pattern)])
    yield alone("token.once", "once with depth", scope=ONCE, depth=1, call=CALL, uses=1)
    yield alone("token.once", "once without a call", scope=ONCE, depth=0, uses=1)
    yield alone("token.once", "once with two uses", scope=ONCE, depth=0, call=CALL, uses=2)
    yield alone("token.once", "once without a use", scope=ONCE, depth=0, call=CALL, uses=0)
    yield alone("token.unbound", "a session's scope without a session", scope=IN_SESSION)
    yield alone("token.unbound", "a workspace's scope without a workspace", workspace=b"")
    yield alone("token.tainted-always", "always, under untrusted text", scope=ALWAYS)
    yield alone(
        "token.weak-key",
        "a standing grant of high risk by a plain key",
        PLAIN_USER,
        assurance=PLAIN,
        grants=[grant(risk=2)],
    )
    yield alone("token.relayed", "a standing grant by a relay", assurance=RELAYED)
    yield alone(
        "token.relayed",
        "high risk by a relay",
        assurance=RELAYED,
        scope=ONCE,
        depth=0,
        call=CALL,
        uses=1,
        grants=[grant(risk=2)],
    )
    yield alone("token.assurance", "a plain key that says it is sealed", PLAIN_USER)
    yield alone("token.assurance", "a sealed key that says it is a device", assurance=DEVICE)
    yield alone("token.parent", "a first block with a parent", parent=b"x" * 32)
    yield alone("token.root", "signed by a stranger", STRANGER)
    yield alone("token.root", "signed by the daemon", HOLDER, holder=public(CHILD))
    yield alone("token.root", "signed by a device", PHONE)
    yield alone("token.holder", "held by its own issuer", holder=public(USER))
    yield alone("token.holder", "held by another user key", holder=public(PLAIN_USER))
    for name, key in (
        ("the neutral point", b"\x01" + bytes(31)),
        ("a point of order 2", b"\xec" + b"\xff" * 30 + b"\x7f"),
        ("a point of order 4", bytes(32)),
        ("a point of order 8", bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
        ("a number beyond the field", b"\xee" + b"\xff" * 30 + b"\x7f"),
        ("no point at all", b"\x02" + bytes(31)),
    ):
        yield alone("token.key", f"held by {name}", holder=key)


def wrong_signatures() -> Iterator[tuple[str, str, bytes]]:
    data, signature = GRANT[0][0]
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    raised = signature[:32] + scalar.to_bytes(32, "little")
    yield "token.signature", "signed by a stranger in the user's name", pack([signed(data, STRANGER)])
    yield "token.signature", "signature of zeros", pack([[data, bytes(64)]])
    yield "token.signature", "first bit of R", pack([[data, bytes([signature[0] ^ 1]) + signature[1:]]])
    yield "token.signature", "last bit of S", pack([[data, signature[:63] + bytes([signature[63] ^ 1])]])
    yield "token.signature", "S raised by the group order", pack([[data, raised]])
    yield "token.signature", "one bit of the payload", pack([[data[:-1] + bytes([data[-1] ^ 1]), signature]])
    for domain in ("call", "approval", "prompt", "device", "install", "revoke", "pop"):
        yield "token.signature", f"signed as {domain}", pack([[data, sign(USER, domain, data)]])
    chain = HANDED_ON[0]
    yield (
        "token.signature",
        "the second block signed by the user",
        pack([chain[0], [chain[1][0], sign(USER, "block", chain[1][0])]]),
    )
    yield "token.signature", "signatures exchanged", pack([[chain[0][0], chain[1][1]], [chain[1][0], chain[0][1]]])


def wrong_links() -> Iterator[tuple[str, str, bytes]]:
    chain = HANDED_ON[0]
    other = first(nonce=b"o" * 16)
    below = then(HANDED_ON, CHILD, holder=public(GRANDCHILD))[0]
    yield "token.root", "the second block alone", pack([chain[1]])
    yield "token.root", "blocks reversed", pack(chain[::-1])
    yield "token.issuer", "the middle block left out", pack([below[0], below[2]])
    yield "token.issuer", "the last two exchanged", pack([below[0], below[2], below[1]])
    yield "token.parent", "spliced onto another chain with the same holder", pack([other[0][0], chain[1]])
    yield "token.parent", "the first block replaced by a wider one", pack([first(purse=2**63)[0][0], chain[1]])
    yield "token.parent", "no parent", pack(then(GRANT, HOLDER, parent=bytes(32))[0])
    yield "token.parent", "itself as parent", pack(then(GRANT, HOLDER, parent=digest("block", chain[1][0]))[0])
    yield "token.issuer", "a block twice", pack([chain[0], chain[0]])
    yield "token.issuer", "issued by a stranger", pack(then(GRANT, STRANGER)[0])
    yield "token.issuer", "issued by the user", pack(then(GRANT, USER)[0])
    yield "token.holder", "handed on to itself", pack(then(GRANT, HOLDER, holder=public(HOLDER))[0])
    yield "token.holder", "handed back up", pack(then(HANDED_ON, CHILD, holder=public(HOLDER))[0])
    yield "token.holder", "handed on to the user", pack(then(GRANT, HOLDER, holder=public(USER))[0])
    yield "token.key", "handed on to a point of small order", pack(then(GRANT, HOLDER, holder=b"\x01" + bytes(31))[0])
    yield "token.version", "a second block of version 2", pack(then(GRANT, HOLDER, version=2)[0])


def wider() -> Iterator[tuple[str, str, bytes]]:
    def child(code: str, name: str, above: dict[str, Any] | None = None, **changes: Any) -> tuple[str, str, bytes]:
        return code, name, pack(then(first(**(above or {})), HOLDER, **changes)[0])

    held = {"grants": [grant("file://w/**", READ | WRITE, WRITE, 1, TOOLDEF)]}
    yield child("token.audience", "another install", aud=b"B" * 32)
    yield child("token.rebound", "another workspace", workspace=b"X" * 32)
    yield child("token.rebound", "no workspace any more", workspace=b"", scope=ONCE, depth=0, call=CALL, uses=1)
    yield child("token.rebound", "another session", {"session": SESSION}, session=b"X" * 16)
    yield child("token.rebound", "no session any more", {"session": SESSION}, session=b"")
    yield child("token.rebound", "another call", {"call": CALL}, call=b"X" * 32)
    yield child("token.rebound", "no call any more", {"call": CALL}, call=b"")
    yield child("token.rebound", "another question", {"question": QUESTION}, question=b"X" * 32)
    yield child("token.rebound", "no question any more", {"question": QUESTION}, question=b"")
    yield child("token.wider", "a wider scope", {"scope": IN_SESSION, "session": SESSION}, scope=IN_WORKSPACE)
    yield child("token.wider", "a later end", expires=FIRST["expires"] + 1)
    yield child("token.wider", "an earlier beginning", not_before=FIRST["not_before"] - 1)
    yield child("token.wider", "a use more", uses=FIRST["uses"] + 1)
    yield child("token.wider", "more money", purse=FIRST["purse"] + 1)
    yield child("token.wider", "also under untrusted text", {"tainted_ok": False}, tainted_ok=True)
    yield child("token.depth", "the same depth", depth=FIRST["depth"])
    yield child("token.depth", "more depth", depth=255)
    yield child("token.depth", "below depth 0", {"depth": 0})
    yield child("token.assurance", "a better assurance", assurance=DEVICE)
    yield child("token.assurance", "a worse assurance", assurance=PLAIN)
    yield child("token.wider", "a wider pattern", grants=[grant("file://**")])
    yield child("token.wider", "a pattern beside it", grants=[grant("file://v/**")])
    yield child("token.wider", "another scheme", grants=[grant("tool://w/**")])
    yield child("token.wider", "a permission more", grants=[grant(perms=READ | WRITE | DELETE)])
    yield child("token.wider", "a higher risk", grants=[grant(risk=2)])
    yield child("token.wider", "an issuable permission more", grants=[grant(issuable=READ)])
    yield child(
        "token.wider",
        "issuable turned into a permission",
        {"grants": [grant(perms=READ, issuable=WRITE)]},
        grants=[grant(perms=WRITE)],
    )
    yield child("token.wider", "for any tool", held, grants=[grant()])
    yield child("token.wider", "for another tool", held, grants=[grant(tooldef=b"X" * 32)])
    yield child(
        "token.wider",
        "covered by two grants only together",
        {"grants": [grant(perms=READ), grant(perms=WRITE)]},
        grants=[grant()],
    )
    yield child("token.wider", "one grant more", grants=[grant("file://v/**"), grant()])


def wrong_answers() -> Iterator[tuple[str, str, bytes]]:
    def device(code: str, name: str, number: int = PHONE, **changes: Any) -> tuple[str, str, bytes]:
        return code, name, pack(answered(number, **changes)[0])

    yield device("token.holder", "a device that says yes to itself", holder=public(PHONE))
    yield device("token.wider", "a device that says yes without a question", question=b"", assurance=SEALED)
    yield device("token.wider", "a device that says yes to more than it may issue", grants=[grant("file://v/a", WRITE)])
    yield device("token.wider", "a device that grants what it may not issue", grants=[grant("file://w/a", DELETE)])
    yield device(
        "token.wider", "a device that hands on a right to issue it has not", grants=[grant("file://w/a", WRITE, DELETE)]
    )
    yield device("token.assurance", "a device that says it is sealed", assurance=SEALED)
    yield device("token.assurance", "a relay that says it is a device", RELAY)
    yield device(
        "token.relayed", "a relay's yes to a session", RELAY, assurance=RELAYED, scope=IN_SESSION, depth=3, call=b""
    )
    stranger = then(for_device(STRANGER), STRANGER, question=QUESTION, assurance=DEVICE)
    yield "token.assurance", "a key that is not enrolled answers a question", pack(stranger[0])
    session = answered(scope=IN_SESSION, depth=3, call=b"", grants=[grant("file://w/a", READ, WRITE)])
    again = then(session, CHILD, holder=public(GRANDCHILD), grants=[grant("file://w/a", WRITE)])
    yield "token.wider", "issuable used again below the answer", pack(again[0])


def build() -> dict[str, Any]:
    """The content of the file."""
    hostile = [*wrong_spellings(), *wrong_fields(), *wrong_signatures(), *wrong_links(), *wider(), *wrong_answers()]
    return {
        "note": "protocol N1, N2 a and b; roots and devices are key -> assurance; code says which rule refuses a chain",
        "roots": {public(USER).hex(): SEALED, public(PLAIN_USER).hex(): PLAIN},
        "devices": {public(PHONE).hex(): DEVICE, public(RELAY).hex(): RELAYED},
        "valid": [
            {"name": name, "raw": raw.hex(), "ids": [digest("block", data).hex() for data in payloads(raw)]}
            for name, raw in valid()
        ],
        "hostile": [{"code": code, "name": name, "raw": raw.hex()} for code, name, raw in hostile],
    }


def payloads(raw: bytes) -> Iterator[bytes]:
    """The payloads of a chain's blocks, found by walking the headers."""
    at = 1
    while at < len(raw):
        one = raw[at + 1] == 0xC4
        start = at + 3 if one else at + 4
        size = raw[at + 2] if one else int.from_bytes(raw[at + 2 : at + 4], "big")
        yield raw[start : start + size]
        at = start + size + 66


if __name__ == "__main__":
    write(__file__, build)
