"""Makes ``calls.json``: calls of protocol N4 with their digests, and byte strings that are none.

    python -m tests.vectors.make_calls

Each valid call but the first differs from it in one field, so the digests say that every field counts (threat 7).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.vectors.protocol import Raw, digest, pack, public, write

FIELDS = (
    *("version", "aud", "session", "workspace", "principal_key", "caller_key", "host_kind", "host_id", "tooldef"),
    *("tool", "needs", "risk", "tainted", "cwd_rel", "profile", "pre", "max_micros", "args"),
)
READ, WRITE, CREATE = 1, 2, 64
Call = dict[str, Any]

PLAIN: Call = {
    "version": 1,
    "aud": b"A" * 32,
    "session": b"S" * 16,
    "workspace": b"W" * 32,
    "principal_key": public(4),
    "caller_key": b"",
    "host_kind": "workspace",
    "host_id": "main",
    "tooldef": b"T" * 32,
    "tool": "write_file",
    "needs": [["file://w/a.txt", WRITE | CREATE]],
    "risk": 0,
    "tainted": False,
    "cwd_rel": "",
    "profile": b"P" * 32,
    "pre": [["w/a.txt", 5, 7, b"F" * 32]],
    "max_micros": 0,
    "args": b'{"path":"a.txt"}',
}

# One other value for each field that may have one.
OTHERS: Call = {
    "aud": b"B" * 32,
    "session": b"X" * 16,
    "workspace": b"X" * 32,
    "principal_key": public(5),
    "caller_key": public(6),
    "host_kind": "mcp",
    "host_id": "other",
    "tooldef": b"X" * 32,
    "tool": "write_files",
    "needs": [["file://w/b.txt", WRITE | CREATE]],
    "risk": 1,
    "tainted": True,
    "cwd_rel": "sub",
    "profile": b"X" * 32,
    "pre": [["w/a.txt", 5, 8, b"F" * 32]],
    "max_micros": 1,
    "args": b'{"path":"a.txt" }',
}


def spell(call: Call) -> bytes:
    return pack([call[name] for name in FIELDS])


def other(**changes: Any) -> bytes:
    return spell(PLAIN | changes)


def valid() -> Iterator[tuple[str, bytes]]:
    yield "a plain call", spell(PLAIN)
    for name, value in OTHERS.items():
        yield f"another {name}", other(**{name: value})
    yield "another permission", other(needs=[["file://w/a.txt", WRITE]])
    yield "two needs", other(needs=[["file://w/a.txt", WRITE], ["file://w/b.txt", READ]])
    yield "one resource, two needs", other(needs=[["file://w/a.txt", READ], ["file://w/a.txt", WRITE]])
    yield "a tree", other(needs=[["file://w/**", READ]])
    yield "the tree of everything", other(needs=[["file://**", READ]])
    yield "a command", other(needs=[["exec://%2Fbin%2Fls/-l/%2A", 4]])
    yield "an absent file", other(pre=[["w/a.txt", 0, 0, b""]])
    yield "a file whose content is of no interest", other(pre=[["w/a.txt", 5, 7, b""]])
    yield "no precondition", other(pre=[])
    yield "no arguments", other(args=b"")
    yield "arguments that are no text", other(args=b"\xff\x00")
    yield "text moved from the tool to the arguments", other(tool="write_fil", args=b'e{"path":"a.txt"}')
    yield "64 needs", other(needs=[[f"file://w/{n:02}", READ] for n in range(64)])
    yield "every number at its end", other(risk=3, max_micros=2**64 - 1, pre=[["w/a.txt", 2**64 - 1, 2**64 - 1, b""]])


def hostile() -> Iterator[tuple[str, str, bytes]]:
    whole = spell(PLAIN)
    assert whole[:4] == b"\xdc\x00\x12\x01"
    yield "canon.malformed", "no bytes", b""
    yield "canon.malformed", "nil", b"\xc0"
    yield "canon.malformed", "cut by a field", b"\xdc\x00\x11" + whole[3 : -len(pack(PLAIN["args"]))]
    yield "canon.malformed", "a field more", b"\xdc\x00\x13" + whole[3:] + b"\x00"
    yield "canon.malformed", "a map", b"\xde\x00\x12" + whole[3:]
    yield "canon.malformed", "trailing byte", whole + b"\x00"
    yield "canon.malformed", "last byte missing", whole[:-1]
    yield "canon.second-spelling", "array32", b"\xdd\x00\x00\x00\x12" + whole[3:]
    yield "canon.second-spelling", "version as uint8", other(version=Raw(b"\xcc\x01"))
    yield "canon.second-spelling", "arguments with a long header", other(args=Raw(b"\xc5\x00\x02{}"))
    yield "canon.second-spelling", "tool with a long header", other(tool=Raw(b"\xd9\x01t"))
    yield "canon.second-spelling", "needs array16", other(needs=Raw(b"\xdc\x00\x01" + pack(PLAIN["needs"][0])))
    yield "canon.malformed", "arguments as text", other(args=Raw(b"\xa2{}"))
    yield "canon.malformed", "tool as bytes", other(tool=b"write_file")
    yield "canon.malformed", "tainted is 0", other(tainted=Raw(b"\x00"))
    yield "canon.malformed", "tainted is nil", other(tainted=Raw(b"\xc0"))
    yield "canon.malformed", "money as a float", other(max_micros=Raw(b"\xcb\x3f\xf0" + bytes(6)))
    yield "canon.malformed", "money below nothing", other(max_micros=Raw(b"\xff"))
    yield "canon.malformed", "risk 4", other(risk=4)
    for name in ("aud", "session", "workspace", "principal_key", "tooldef", "profile"):
        yield "canon.malformed", f"{name} is empty", other(**{name: b""})
        yield "canon.malformed", f"{name} is a byte short", other(**{name: PLAIN[name][:-1]})
        yield "canon.malformed", f"{name} is a byte long", other(**{name: PLAIN[name] + b"\0"})
    for name in ("host_kind", "host_id", "tool", "cwd_rel"):
        yield "canon.malformed", f"{name} beyond ASCII", other(**{name: "\u0430"})
        yield "canon.malformed", f"{name} with a line break", other(**{name: "a\n"})
    yield "canon.malformed", "a resource beyond ASCII", other(needs=[["file://w/\u00e9", READ]])
    yield "canon.malformed", "a path beyond ASCII", other(pre=[["w/\u00e9", 5, 7, b""]])
    yield "call.version", "version 0", other(version=0)
    yield "call.version", "version 2", other(version=2)
    yield "call.field-size", "half a caller key", other(caller_key=b"x" * 16)
    yield "call.field-size", "half a content digest", other(pre=[["w/a.txt", 5, 7, b"x" * 16]])
    yield "call.needs", "no need", other(needs=[])
    yield "call.needs", "65 needs", other(needs=[[f"file://w/{n:02}", READ] for n in range(65)])
    yield "call.needs", "1025 preconditions", other(pre=[[f"w/{n:04}", 5, 7, b""] for n in range(1025)])
    yield "call.unsorted", "unsorted needs", other(needs=[["file://w/b", READ], ["file://w/a", READ]])
    yield "call.unsorted", "unsorted permissions", other(needs=[["file://w/a", WRITE], ["file://w/a", READ]])
    yield "call.unsorted", "a need twice", other(needs=[["file://w/a", READ], ["file://w/a", READ]])
    yield "call.unsorted", "unsorted preconditions", other(pre=[["w/b", 5, 7, b""], ["w/a", 5, 7, b""]])
    yield "call.unsorted", "a precondition twice", other(pre=[["w/a", 5, 7, b""], ["w/a", 5, 7, b""]])
    yield "call.permission", "a need without a permission", other(needs=[["file://w/a", 0]])
    yield "call.permission", "a permission that does not exist", other(needs=[["file://w/a", 256]])
    yield "call.pattern", "a star", other(needs=[["file://w/*", READ]])
    yield "call.pattern", "part of a star", other(needs=[["file://w/a*", READ]])
    yield "call.pattern", "a star above a tree", other(needs=[["file://*/w/**", READ]])
    yield "call.pattern", "a tree of commands", other(needs=[["exec://%2Fbin%2Fsh/**", 4]])
    yield "call.pattern", "a tree of hosts", other(needs=[["net://443/com/example/**", READ]])
    yield "call.pattern", "a name and two stars", other(needs=[["file://w/a**", READ]])
    yield "call.pattern", "three stars", other(needs=[["file://w/***", READ]])
    yield "call.absent", "an absent file with content", other(pre=[["w/a.txt", 0, 0, b"F" * 32]])


def build() -> dict[str, Any]:
    """The content of the file."""
    return {
        "note": "protocol N4; digest is H(call, C); code says which rule refuses the bytes",
        "valid": [{"name": name, "raw": raw.hex(), "digest": digest("call", raw).hex()} for name, raw in valid()],
        "hostile": [{"code": code, "name": name, "raw": raw.hex()} for code, name, raw in hostile()],
    }


if __name__ == "__main__":
    write(__file__, build)
