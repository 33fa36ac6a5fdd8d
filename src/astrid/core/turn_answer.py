"""What a model said, and what the runtime says back to it.  Pure.

Here the free text of a model becomes parts with unique ids, or is refused; and here are all texts that the runtime
itself writes into a conversation: constants, with fields that come from closed sets or are numbers.

Never: echoes the model's own words, a path or a name in a text of the runtime.

Source: threats 28 and 40; the first Astrid (arguments that do not parse); architecture 5 (unknown, not failed).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import assert_never

from astrid.core.conversation import (
    AnyStreamEvent,
    Reasoning,
    ReasoningReady,
    Text,
    TextDelta,
    ToolCallReady,
    ToolUse,
)
from astrid.core.json_scan import scan_json
from astrid.core.turn_messages import AnswerPart
from astrid.errors import CanonError

MAX_ARGUMENT_DEPTH = 64
_LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

BAD_ARGUMENTS = "This call was not run: its arguments are not one JSON object that has a single meaning."
TOO_MANY_CALLS = "This call was not run: there were too many calls in one answer."
CUT_OFF = "This call was not run: the answer was cut off, so the call may not be whole. Make it again in fewer words."
STOPPED_BEFORE = "This call was not run: the turn was stopped before it began."
STOPPED_DURING = "The turn was stopped while this call was under way. It may have taken effect."
OUTCOME_UNKNOWN = (
    "The outcome of this call is unknown: the runtime stopped before it was recorded. It may have taken effect."
)
DENIED = "This call was denied and did not run.\nlayer: {layer}\ncode: {code}\n{text}"
DEFERRED = (
    "This call was not run: a person has to approve it and nobody is there. The question is kept as {question}.\n"
    "Do not repeat the call. Go on with what does not depend on it, or stop."
)
READ_RESULT = "read_result"  # the tool by which a model reads what was left out
CUT = "\n[cut by the runtime: bytes {first} to {last} of {total} are left out here]\n"
CUT_KEPT = (
    "\n[cut by the runtime: bytes {first} to {last} of {total} are left out here; read_result with handle {handle} "
    "gives them]\n"
)


def answer_parts(events: Iterable[AnyStreamEvent]) -> tuple[AnswerPart, ...]:
    """The parts of the answer that was streamed as ``events``, in their order: texts, calls, and of the reasoning what
    the vendor wants back.
    """
    parts: list[AnswerPart] = []
    pieces: list[str] = []
    for event in events:
        if isinstance(event, TextDelta):
            pieces.append(event.text)
        elif isinstance(event, ToolCallReady | ReasoningReady):
            if pieces:
                parts.append(Text(text="".join(pieces)))
                pieces = []
            parts.append(_part(event))
    if pieces:
        parts.append(Text(text="".join(pieces)))
    return tuple(parts)


def sound_parts(
    parts: tuple[AnswerPart, ...], taken_ids: AbstractSet[str], max_bytes: int
) -> tuple[AnswerPart, ...] | None:
    """``parts`` as they may enter a conversation, or ``None`` if they are too long or no Unicode text.

    Blank texts are left out: vendors refuse them.  A call whose id is unusable, or was used before, gets a fresh one.
    Reasoning stays as it came, and goes if nothing came of it.
    """
    strings = [text for part in parts for text in _strings(part)]
    if not all(map(is_unicode, strings)) or sum(len(text.encode()) for text in strings) > max_bytes:
        return None
    seen = set(taken_ids)
    kept: list[AnswerPart] = []
    for part in parts:
        if not isinstance(part, ToolUse):
            if isinstance(part, Reasoning) or part.text.strip():
                kept.append(part)
            continue
        unique = part.id if _LEGAL_ID.fullmatch(part.id) and part.id not in seen else _fresh_id(seen)
        seen.add(unique)
        kept.append(ToolUse(id=unique, name=part.name, arguments=part.arguments))
    while kept and isinstance(kept[-1], Reasoning):
        kept.pop()
    return tuple(kept)


def is_json_object(text: str, max_bytes: int) -> bool:
    """Whether ``text`` is one JSON object with exactly one meaning."""
    # SAFETY: what does not parse is never replaced by an empty object; the tool would run with its defaults.
    data = text.encode()
    try:
        scan_json(data, max_bytes=max_bytes, max_depth=MAX_ARGUMENT_DEPTH, floats=True)
    except CanonError:
        return False
    return data.lstrip(b" \t\r\n").startswith(b"{")


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def result_text(content: bytes, max_bytes: int, handle: int = 0) -> str:
    """``content`` for the model: never longer than ``max_bytes`` and a note, whatever bytes it holds.

    What is too long keeps its beginning and, of an eighth of the room, its end, where programs say how they fared.
    With ``handle`` the note says how the rest can be read.
    """
    if len(content) <= max_bytes:
        return content.decode(errors="replace")
    first, after = max_bytes - max_bytes // 8, len(content) - max_bytes // 8
    note = (CUT_KEPT if handle else CUT).format(first=first, last=after - 1, total=len(content), handle=handle)
    # A character cut in half is dropped; a broken one beside it is shown as broken.
    head = content[:first].decode(errors="replace").rstrip("\N{REPLACEMENT CHARACTER}")
    tail = content[after:].decode(errors="replace").lstrip("\N{REPLACEMENT CHARACTER}")
    return head + note + tail


def _part(event: ToolCallReady | ReasoningReady) -> AnswerPart:
    if isinstance(event, ToolCallReady):
        return ToolUse(id=event.id, name=event.name, arguments=event.arguments)
    return Reasoning(model=event.model, text=event.text, proof=event.proof, withheld=event.withheld)


def _strings(part: AnswerPart) -> tuple[str, ...]:
    match part:
        case Text():
            return (part.text,)
        case ToolUse():
            return (part.id, part.name, part.arguments)
        case Reasoning():
            return (part.model, part.text, part.proof)
        case _:
            assert_never(part)


def _fresh_id(seen: AbstractSet[str]) -> str:
    number = len(seen) + 1
    while f"call-{number}" in seen:
        number += 1
    return f"call-{number}"
