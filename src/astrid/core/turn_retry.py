"""Whether a model call that failed is made again, when, and of which model.  Pure.

Only what passes by itself is tried again, a few times, each time after a longer wait that nobody can foretell to the
millisecond: those who failed together must not come back together.  A vendor that says how long to wait is waited for
that long, or not asked again at all.

Never: repeats a call.  Each attempt is a proposal of its own, permitted, counted and paid like the first.

Source: documentation of the vendors (errors, retry-after); architecture 6 (budget: a permit per retry).
"""

from __future__ import annotations

import re

import msgspec

from astrid.core.turn_messages import ModelFailed
from astrid.core.turn_state import Turn

MAX_ATTEMPTS = 5
FIRST_WAIT_MS = 3_000
LONGEST_WAIT_MS = 60_000  # of our own accord
LONGEST_WAITS_MS = 300_000  # together, for one answer, also where a vendor would have us wait for longer
GROWTH = 3
DIE_BYTES = 2  # what the random number has that spreads the waits

# Of the faults of a model, those that may be gone a moment later.
PASSING = frozenset(
    ("model.rate-limited", "model.overloaded", "model.unavailable", "model.timeout", "model.stream-broken")
)

# Those after which another model is asked at once, if there is one.
AT_ONCE = frozenset(("model.overloaded", "model.auth", "model.bad-request", "model.bad-answer"))

_FAILURE = re.compile(rb"([a-z][a-z0-9-]{0,31}(?:\.[a-z0-9-]{1,63}){1,3})(?: \(not before (\d{1,8}) ms\))?:")
_MAX_TOLD_MS = 99_999_999  # a day and a bit


def wait_ms(code: str, *, attempts: int, waited_ms: int, retry_after_ms: int, die: int) -> int | None:
    """How long to wait before a model is asked again that failed with ``code``, or ``None`` if it is not.

    ``attempts`` were made for this answer, between which there were waits of ``waited_ms`` together;
    ``retry_after_ms`` is what the vendor asks for, 0 if nothing, ``die`` a number of ``DIE_BYTES`` that nobody knew.
    """
    if code not in PASSING or attempts >= MAX_ATTEMPTS:
        return None
    longest = min(FIRST_WAIT_MS * GROWTH ** (attempts - 1), LONGEST_WAIT_MS)
    spread = longest // 4
    wait = max(longest - spread, retry_after_ms) + (spread * die >> 8 * DIE_BYTES)
    return wait if waited_ms + wait <= LONGEST_WAITS_MS else None


class NextAttempt(msgspec.Struct, frozen=True):
    """How long to wait, and whether another model is asked then."""

    wait_ms: int
    switches: bool


def next_attempt(turn: Turn, failed: ModelFailed) -> NextAttempt | None:
    """What ``turn`` does about a failure; ``None`` if it does not ask again, or may not.

    Where a model stands in, it is asked at once when the one before it has too much to do or does not take the request,
    else when the attempts are used up.
    """
    limits = turn.setting.limits
    if turn.asked >= limits.asks_per_input or turn.asked_in_session >= limits.asks_per_session:
        return None
    has_next = turn.place < len(turn.setting.fallbacks)
    if has_next and failed.code in AT_ONCE:
        return NextAttempt(0, switches=True)
    wait = wait_ms(
        failed.code,
        attempts=turn.attempts,
        waited_ms=turn.waited_ms,
        retry_after_ms=failed.retry_after_ms,
        die=failed.die,
    )
    if wait is not None:
        return NextAttempt(wait, switches=False)
    return NextAttempt(0, switches=True) if has_next and failed.code in PASSING else None


def model_tool(place: int) -> str:
    """What the tool is called that asks the model at ``place``."""
    return "model" if place == 0 else f"model-{place + 1}"


def failure_text(code: str, message: str, retry_after_s: float | None) -> bytes:
    """How a call failed, in a line of text: what a model or a person reads, and ``read_failure`` too."""
    again = "" if retry_after_s is None else f" (not before {min(int(retry_after_s * 1000), _MAX_TOLD_MS)} ms)"
    return f"{code}{again}: {message}".encode("utf-8", "replace")


def read_failure(content: bytes) -> tuple[str, int]:
    """The code of a failed model call and for how many milliseconds the vendor wants to be left alone."""
    # SAFETY: what stands behind the first colon is the vendor's, and is not looked at.
    found = _FAILURE.match(content)
    return ("model.unknown", 0) if found is None else (found[1].decode(), int(found[2] or 0))
