"""What a session does, as it is printed: for a person, or one JSON object a line.

The model's words go to the standard output, everything about them to the standard error output, so that a pipe gets
the answer alone.  With ``--json`` the standard output has every event as the daemon sent it, and a last line with the
result.

Never: prints anything from a session unescaped; a control character of a model's or a tool's steers no terminal here.

Source: the first Astrid (events); threats 37.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import Protocol, TextIO

import msgspec

from astrid.core.money import Micros, format_usd
from astrid.frontends.cli import counted, plain
from astrid.frontends.cli.going_on import fork_fields, fork_line
from astrid.wire import past as w
from astrid.wire.events import (
    AnyEvent,
    ApprovalNeeded,
    ApprovalSettled,
    BudgetWarning,
    ContextCompacted,
    ConversationRewound,
    Deferred,
    Denied,
    ErrorRaised,
    FinalMessage,
    Retrying,
    SessionEnded,
    TaskProgress,
    TextDelta,
    ToolCallResult,
    ToolCallStart,
    TurnComplete,
    Usage,
    encode_event,
)

MAX_COLUMNS = 160


class Tally(msgspec.Struct):
    """What happened so far."""

    calls: int = 0
    denied: int = 0
    deferred: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    stop_reason: str = ""
    code: str = ""
    spent_micros: int = 0

    def count(self, event: AnyEvent) -> None:
        """Take in one event."""
        match event:
            case ToolCallStart():
                self.calls += 1
            case Denied():
                self.denied += 1
            case Deferred():
                self.deferred += 1
            case Usage():
                self.input_tokens += event.input_tokens + event.cache_write_tokens + event.cache_read_tokens
                self.output_tokens += event.output_tokens
            case TurnComplete():
                self.stop_reason, self.code = event.stop_reason, event.code or ""
            case SessionEnded():
                self.stop_reason, self.code = self.stop_reason or "ended", self.code or f"session.{event.reason}"
            case _:
                return


class Show(Protocol):
    """How events are printed."""

    def event(self, event: AnyEvent) -> None:
        """One event."""
        ...

    def note(self, text: str) -> None:
        """Something about the session that is no event."""
        ...

    def forked(self, forked: w.Forked) -> None:
        """The session is a new one, which goes on from another."""
        ...

    def result(self, session_id: str, tally: Tally, exit_code: int) -> None:
        """How it ended."""
        ...


class ForPeople:
    """Text as it streams in, and one line for everything else.  A pipe gets whole messages alone: what streamed in may
    turn out to be void, and nobody takes it back from there.
    """

    def __init__(self, out: TextIO | None = None, about: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._about = about or sys.stderr
        self._streamed = ""
        self._mid_line = False  # where the answer stands
        self._one_screen = self._out.isatty() and self._about.isatty()
        self._columns = min(shutil.get_terminal_size().columns, MAX_COLUMNS)

    def event(self, event: AnyEvent) -> None:
        """One event."""
        match event:
            case TextDelta():
                if self._out.isatty():
                    self._streamed += event.text
                    self._say(event.text)
            case FinalMessage():
                self._finish(event.text)
            case ToolCallStart():
                self._line(f"> {event.name} {event.args}")
            case ToolCallResult():
                lines = event.result.splitlines() or [""]
                more = f" (+{counted(len(lines) - 1, 'line')})" if len(lines) > 1 else ""
                self._line(f"< {'error: ' if event.is_error else ''}{lines[0].strip()}", more)
            case Denied():
                self._whole(f"! {event.tool} denied by {event.layer}: {event.reason} [{event.code}]", event.advice)
            case Deferred():
                self._whole(f"! nobody is there to answer {event.question_id}; the session goes on without")
            case ApprovalNeeded():
                self._whole(f"? {event.question_id} waits for an answer")
            case ApprovalSettled():
                self._whole(f"? {event.question_id}: {event.outcome}")
            case ContextCompacted():
                what = "put back" if event.restored else "summed up to make room"
                room = f"about {event.tokens_before} tokens, now {event.tokens_after}"
                self._whole(f"~ {counted(event.messages, 'message')} {what} ({room})")
            case ConversationRewound():
                self._whole(f"~ rewound to turn {event.turn}, without {counted(event.messages, 'message')} since")
            case BudgetWarning():
                self._whole(budget_warning(event))
            case TaskProgress():
                self._whole(f"- {event.agent} {event.state}{f', {event.child_id}' if event.child_id else ''}")
            case Retrying():
                void = "; what was shown of the answer is void" if self._streamed else ""
                self._void()
                again = f"{event.model} is asked again in {_seconds(event.wait_ms)}"
                then = again if event.attempt > 1 else f"for the rest of the turn {event.model} is asked in its place"
                self._whole(f"! the model failed, and {then} [{event.code}]{void}")
            case ErrorRaised():
                self._whole(f"! {event.message} [{event.code}]", event.advice)
            case _:
                return

    def note(self, text: str) -> None:
        """Something about the session that is no event."""
        self._whole(text)

    def forked(self, forked: w.Forked) -> None:
        """The session is a new one, which goes on from another."""
        self._whole(fork_line(forked))

    def result(self, session_id: str, tally: Tally, exit_code: int) -> None:
        """How it ended."""
        parts = [f"{tally.stop_reason or 'unfinished'}{f' [{tally.code}]' if tally.code else ''}"]
        parts.append(f"{counted(tally.calls, 'tool call')}, {tally.denied} denied, {tally.deferred} deferred")
        parts.append(f"{tally.input_tokens} tokens in, {tally.output_tokens} out")
        parts.append(f"{format_usd(Micros(tally.spent_micros))} spent")
        self._whole(f"= {'; '.join(parts)}; {session_id}")

    def _finish(self, whole: str) -> None:
        """The whole message: what of it did not stream in, and the end of its line."""
        streamed, self._streamed = self._streamed, ""
        if streamed != whole:
            self._say(whole.removeprefix(streamed) if whole.startswith(streamed) else f"\n{whole}")
        self._end_line()

    def _void(self) -> None:
        """What streamed in belongs to no message."""
        self._streamed = ""
        self._end_line()

    def _say(self, text: str) -> None:
        self._out.write("".join(char if char in "\n\t" else plain(char) for char in text))
        self._out.flush()
        self._mid_line = not text.endswith("\n") if text else self._mid_line

    def _end_line(self) -> None:
        if self._mid_line:
            self._say("\n")

    def _tell(self, line: str) -> None:
        """A line about the session.  On a screen it begins one; in a pipe the answer stays as it is."""
        if self._one_screen:
            self._end_line()
        self._about.write(f"{line}\n")
        self._about.flush()

    def _line(self, text: str, end: str = "") -> None:
        """One line, cut to the width of the terminal: the whole of it is in the log."""
        room = self._columns - len(end)
        text = plain(text.expandtabs(1).strip())
        self._tell(f"{text if len(text) <= room else f'{text[: room - 3]}...'}{end}")

    def _whole(self, text: str, advice: str = "") -> None:
        self._tell(f"{plain(text)}{f'; {plain(advice)}' if advice else ''}")


def budget_warning(event: BudgetWarning) -> str:
    """How full a purse is."""
    spent, cap = int(event.spent_micros), int(event.cap_micros)
    whose = f"budget of {event.token_id}" if event.token_id else f"{event.purse} budget"
    share = f"{spent * 100 // cap}% of the" if cap else "the"
    return f"! {share} {whose} is spent: {format_usd(Micros(spent))} of {format_usd(Micros(cap))}"


def _seconds(wait_ms: int) -> str:
    return f"{-(-wait_ms // 1000)} s"


class ForPrograms:
    """One JSON object a line."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def event(self, event: AnyEvent) -> None:
        """One event, as the daemon sent it, in ASCII: some readers take more than a line feed for the end of a line."""
        self._write(json.dumps(json.loads(encode_event(event))))

    def note(self, text: str) -> None:
        """For people only."""
        sys.stderr.write(f"{plain(text)}\n")

    def forked(self, forked: w.Forked) -> None:
        """The session is a new one, which goes on from another."""
        self._write(json.dumps({"event": "session_forked", **fork_fields(forked)}))

    def result(self, session_id: str, tally: Tally, exit_code: int) -> None:
        """The last line."""
        fields = {name: getattr(tally, name) for name in tally.__struct_fields__}
        self._write(json.dumps({"event": "result", "session_id": session_id, "exit": exit_code, **fields}))

    def _write(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()
