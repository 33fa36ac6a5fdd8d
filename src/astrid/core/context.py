"""How much of a model's window a conversation takes, and how it is made to take less.  Pure.

A conversation that grew too long is compacted: the model is asked for a summary of it, which then stands for all but
the latest messages.  What people said is never among what is replaced: each input that the user signed, the first one
and the last one stay as they are, in front of the summary.

Never: trusts a summary more than the least trusted text that it was made of, or separates a call from its result.

Source: architecture 6 (labels); threats 28 (laundering by derived text).
"""

from __future__ import annotations

import msgspec

from astrid.core.conversation import Message, ModelRequest, Picture, Reasoning, Text, ToolResult, ToolUse
from astrid.core.turn_entries import Entry
from astrid.core.turn_messages import Setting
from astrid.core.turn_state import Turn, asked_model, restored

SUMMARISE = (
    "The conversation is about to be cut short to make room. Sum up what was said so far for yourself, so that the "
    "work can go on without it: what was asked for, what is done, what is still to do, which files and commands "
    "matter, what was decided and why, and what failed. Write the summary and nothing else, and call no tool."
)
CUT_RESULT_CHARS = 1_000  # of each result, where all of it together is more than the model takes
TAIL_PERCENT = 25  # of the window, for messages that are kept as they are
ENOUGH_PERCENT = 70  # of where compaction begins: what is left after it takes no more, or it was of no use


def tokens(turn: Turn) -> int:
    """What the next request is estimated to take in, in tokens: its size, at the rate that the vendor last counted."""
    return _at_rate(turn, turn.frame_weight + turn.weight)


def is_full(turn: Turn) -> bool:
    """Whether the conversation is to be compacted before the model is asked again."""
    return turn.setting.window_tokens > 0 and tokens(turn) > _most(turn.setting)


def was_of_use(turn: Turn) -> bool:
    """Whether what a compaction left is so much less that the work can go on."""
    return tokens(turn) * 100 <= _most(turn.setting) * ENOUGH_PERCENT


def can_shrink(turn: Turn) -> bool:
    """Whether there is anything that a summary could stand for."""
    return any(entry.message.role == "assistant" for entry in turn.conversation[: len(turn.conversation) - tail(turn)])


def can_restore(turn: Turn) -> bool:
    """Whether the model would take what the last compaction took away, and could still answer."""
    weight = turn.frame_weight + sum(entry.weight for entry in restored(turn))
    return _at_rate(turn, weight) <= turn.setting.window_tokens - turn.setting.max_tokens


def tail(turn: Turn) -> int:
    """How many of the last messages a compaction keeps: at most ``keep_recent``, and a share of the window; they begin
    with one of the model's, so that each call stays with its result.
    """
    setting = turn.setting
    kept, weight = 0, 0
    for place, entry in enumerate(reversed(turn.conversation), 1):
        weight += entry.weight
        if place > setting.keep_recent or _at_rate(turn, weight) * 100 > setting.window_tokens * TAIL_PERCENT:
            break
        if entry.message.role == "assistant":
            kept = place
    return kept


def summary_request(turn: Turn) -> ModelRequest:
    """The request for a summary: the next one, with a last word of the runtime's.

    It begins like those before it, so that a vendor's cache helps; only where that is more than the model takes, the
    results in it are cut.
    """
    setting = turn.setting
    messages = [entry.message for entry in turn.conversation]
    if tokens(turn) > setting.window_tokens - setting.max_tokens:
        messages = [_with_results_cut(message) for message in messages]
    if messages[-1].role == "user":
        last = messages.pop()
        messages.append(Message(role="user", parts=(*last.parts, Text(text=SUMMARISE))))
    else:
        messages.append(Message(role="user", parts=(Text(text=SUMMARISE),)))
    return ModelRequest(
        model=asked_model(turn),
        system=setting.system,
        messages=tuple(messages),
        tools=setting.tools,
        max_tokens=setting.max_tokens,
    )


def repeated(turn: Turn) -> int:
    """How often the model has made the same calls with the same results in a row, just now."""
    rounds = turn.conversation
    last = _round(rounds[-2:])
    if not last.calls:
        return 0
    count = 1
    for place in range(len(rounds) - 3, 0, -2):
        if _round(rounds[place - 1 : place + 1]) != last:
            break
        count += 1
    return count


class _Round(msgspec.Struct, frozen=True):
    calls: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, bool], ...]


def _round(entries: list[Entry]) -> _Round:
    answer, results = entries[0], entries[-1]
    return _Round(
        tuple((part.name, part.arguments) for part in answer.message.parts if isinstance(part, ToolUse)),
        tuple((part.content, part.is_error) for part in results.message.parts if isinstance(part, ToolResult)),
    )


def _at_rate(turn: Turn, weight: int) -> int:
    return weight * turn.rate.tokens // turn.rate.weight + 1


def _most(setting: Setting) -> int:
    """From how many tokens on a conversation is compacted: a share of the window, but so that an answer fits too."""
    return min(setting.window_tokens * setting.compact_at_percent // 100, setting.window_tokens - setting.max_tokens)


def _with_results_cut(message: Message) -> Message:
    return Message(
        role=message.role,
        parts=tuple(
            msgspec.structs.replace(part, content=part.content[:CUT_RESULT_CHARS], image=None)
            if isinstance(part, ToolResult)
            else part
            for part in message.parts
            if not isinstance(part, Reasoning | Picture)
        ),
    )
