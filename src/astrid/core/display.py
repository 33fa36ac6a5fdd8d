"""The canonical text of a question: what whoever signs must have had before their eyes.  Pure.

Every field of the question is shown, all of it; nothing is folded, elided or can scroll away by itself.  Strings are
quoted (``quoting``).  A line longer than a narrow terminal goes on in further rows, and a row that is gone on from
ends, and one that goes on begins, with ``|``: else padding could push a forged line to the start of a row.

Invariant: two questions with one text are one question.

Source: protocol N8; threats 6, 37.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from astrid.core.blocks import UNLIMITED_MICROS, Permission, Scope
from astrid.core.call import Call, Pre
from astrid.core.canon import MAX_U64, Digest, Domain, digest
from astrid.core.ids import show_id
from astrid.core.money import Micros, format_usd
from astrid.core.question import Choice, Control, Question, decode_question
from astrid.core.quoting import mixed_scripts, quote
from astrid.core.risk import Risk

__all__ = ["display_digest", "mixed_scripts", "pages", "quote", "render_question", "rows", "too_long_for_standing"]

PAGE_BYTES = 4 * 1024
COLUMNS = 78  # of a row; characters beyond ASCII count as two, which no terminal exceeds
_GOES_ON = "|"


def render_question(raw: bytes) -> str:
    """The text that is shown for question ``raw``.

    Raises:
        TokenError, CanonError: the question does not hold together; nothing is shown and nothing signed.
    """
    question, call = decode_question(raw)
    lines = [f"{name}: {value}" for name, value in (*_what(question, call), *_where(question, call))]
    lines.append(f"arguments ({len(call.args)} bytes): {quote(call.args)}")
    if mixed_scripts("\n".join(lines)):
        lines.append("careful: a word here mixes letters of several alphabets")
    lines.append("a yes would cover:")
    lines.extend(f"  {Scope(choice.scope).name.lower()}: {_choice(choice)}" for choice in question.choices)
    return "".join(f"{row}\n" for line in lines for row in rows(line))


def _what(question: Question, call: Call) -> Iterator[tuple[str, str]]:
    yield "asks for", _text(call.tool)
    yield "of", f"{_text(call.host_kind)} {_text(call.host_id)}"
    yield "because", quote(question.why)
    yield "risk", f"{_risk(question.risk)}, by itself {_risk(call.risk)}"
    yield "needs a sealed key or a device", _yes(question.strong)
    yield "can only be answered once", _yes(question.once_only)
    yield "untrusted text in view", _yes(call.tainted)
    yield "may cost at most", format_usd(Micros(call.max_micros))
    for need in call.needs:
        yield "touches", f"{_permissions(need.permission)} {_text(need.resource)}"
    yield "in folder", _text(call.cwd_rel)
    for pre in call.pre:
        yield "found", f"{_text(pre.path)} {_found(pre)}"
    for control in question.controls:
        yield "value of", f"{_text(control.argument)}: {_control(control)}"


def _where(question: Question, call: Call) -> Iterator[tuple[str, str]]:
    yield "session", show_id("session", call.session)
    yield "workspace", show_id("workspace", call.workspace)
    yield "install", show_id("install", question.aud)
    yield "principal", call.principal_key.hex()
    yield "on behalf of", call.caller_key.hex() or "nobody else"
    yield "tool definition", call.tooldef.hex()
    yield "sandbox profile", call.profile.hex()
    yield "question", show_id("question", question.qid)
    yield "asked", _time(question.asked)
    yield "answer before", _time(question.expires)


def rows(line: str) -> Iterator[str]:
    """``line``, quoted already, in rows of at most ``COLUMNS``, marked where it goes on."""
    room, row = COLUMNS - len(_GOES_ON), ""
    width = 0
    for char in line:
        wide = 1 if char.isascii() else 2
        if width + wide > room:
            yield row + _GOES_ON
            row, width = _GOES_ON, len(_GOES_ON)
        row += char
        width += wide
    yield row


def display_digest(shown: str) -> Digest:
    """H(display, shown bytes)."""
    return digest(Domain.DISPLAY, shown.encode())


def pages(shown: str, *, lines: int) -> list[str]:
    """``shown`` in screens of at most ``lines`` rows; joined they are ``shown`` again."""
    every = shown.splitlines(keepends=True)
    return ["".join(every[start : start + lines]) for start in range(0, len(every), lines)]


def too_long_for_standing(shown: str) -> bool:
    """Whether the text is so long that only ``once`` may be answered, and only after its last page."""
    return len(shown.encode()) > PAGE_BYTES


def _text(text: str) -> str:
    return quote(text.encode())


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _risk(level: int) -> str:
    return Risk(level).name.lower()


def _permissions(bits: int) -> str:
    return "+".join(permission.name.lower() for permission in Permission if permission & bits and permission.name)


def _found(pre: Pre) -> str:
    if not pre.dev and not pre.ino:
        return "absent"
    return f"device {pre.dev} inode {pre.ino}" + (f" sha256 {pre.content.hex()}" if pre.content else "")


def _control(control: Control) -> str:
    origin = f", record {control.origin}" if control.origin else ""
    return f"{quote(control.value)} from {_text(control.provenance)}{origin}"


def _choice(choice: Choice) -> str:
    covered = ", ".join(f"{_permissions(grant.perms)} {_text(grant.pattern)}" for grant in choice.grants)
    until = "until revoked" if choice.expires == MAX_U64 else f"until {_time(choice.expires)}"
    times = "one call" if choice.uses == 1 else "any number of calls"
    money = "within the budgets" if choice.purse == UNLIMITED_MICROS else f"at most {format_usd(Micros(choice.purse))}"
    return f"{times}, {until}, {money}: {covered}"


def _time(seconds: int) -> str:
    # Without a clock: arithmetic on the number that is signed.  Beyond year 9999 the number itself is shown.
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return f"second {seconds}"
