"""The types that fields of calls, answers and events are made of.  A value that decodes is in range.

JSON ends at 2^53 for whoever reads numbers as doubles, so what may be larger (money, nanoseconds, token times) travels
as decimal text.  Bytes travel as base64 (padded, standard alphabet; msgspec's own).  Identifiers travel as they are
printed (``core.ids``).

Source: protocol N0, N1; the first Astrid.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_SAFE_INT = 2**53


def _decimal_up_to(limit: str) -> str:
    """A pattern for exactly the decimal spellings of 0 .. ``limit``, without leading zeros."""
    shorter = rf"0|[1-9][0-9]{{0,{len(limit) - 2}}}"
    smaller = (
        rf"{limit[:i]}[{1 if i == 0 else 0}-{int(digit) - 1}][0-9]{{{len(limit) - i - 1}}}"
        for i, digit in enumerate(limit)
        if int(digit) > (1 if i == 0 else 0)
    )
    return rf"^(?:{shorter}|{'|'.join(smaller)}|{limit})\Z"


Safe = Annotated[int, Meta(ge=0, le=MAX_SAFE_INT)]
U64Text = Annotated[str, Meta(pattern=_decimal_up_to(str(2**64 - 1)))]

Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
ChainBytes = Annotated[bytes, Meta(min_length=1, max_length=16 * 1024)]
NoteBytes = Annotated[bytes, Meta(min_length=1, max_length=1024)]  # a checkpoint with two signatures has 600
StatementBytes = Annotated[bytes, Meta(min_length=1, max_length=8 * 1024)]  # an answer holds a whole block

SessionText = Annotated[str, Meta(pattern=r"^session:[0-9a-f]{32}\Z")]
QuestionText = Annotated[str, Meta(pattern=r"^question:[0-9a-f]{32}\Z")]
TokenText = Annotated[str, Meta(pattern=r"^token:[0-9a-f]{64}\Z")]
AnyIdText = Annotated[str, Meta(pattern=r"^[a-z]{1,16}:[0-9a-f]{16,64}\Z")]

Name = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]
Line = Annotated[str, Meta(max_length=4096)]
ModelText = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,4096}\Z")]  # may be a script's path
PathText = Annotated[str, Meta(pattern=r"^/[^\x00]{0,4095}\Z")]
ResourceText = Annotated[str, Meta(pattern=r"^[!-~]{1,4096}\Z")]
CODE_PATTERN = r"^[a-z][a-z0-9-]{0,31}(?:\.[a-z0-9-]{1,63}){1,3}\Z"
CodeText = Annotated[str, Meta(pattern=CODE_PATTERN)]

Mode = Literal["safe", "guided", "autonomous"]
DecisionText = Literal["permit", "ask", "deny"]


class Wire(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that travels: immutable, by name, nothing unknown."""
