"""The life of a connection, as one table that both ends keep, and a place in it.  Pure.

               nonce             hello answered            authenticate answered
      FRESH ─────────▶ CHALLENGED ────────────▶ GREETED ────────────────────────▶ AUTHENTICATED
        │                  │ hello failed          │ authenticate failed                │
        └────── bye ───────┴──────────┬────────────┴─────────────── bye ────────────────┘
                                      ▼
                                   CLOSING            only what is still owed is said; a second bye may cross the first

      every state above ── breach ──▶ BROKEN ── end ──▶ CLOSED            every state but CLOSED ── end ──▶ CLOSED

The server speaks first (its nonce).  A state changes on one end when it says the sign and on the other when it hears
it, in the order of the byte stream, so that the listener is never ahead of the speaker.

Invariants:
  A pair that is not in ``TRANSITIONS`` is a breach by whoever said it.
  No way leads back: the states are ordered as drawn, and BROKEN and CLOSED can only end.

Source: architecture section 2; h11 (tables instead of conditions); the first Astrid.
"""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """Which end of a connection this is.  Only the client asks; only the server tells events."""

    CLIENT = "client"
    SERVER = "server"


class State(enum.Enum):
    """How far a connection has come, as drawn above."""

    FRESH = "fresh"
    CHALLENGED = "challenged"
    GREETED = "greeted"
    AUTHENTICATED = "authenticated"
    CLOSING = "closing"
    BROKEN = "broken"
    CLOSED = "closed"


class Sign(enum.Enum):
    """What moves a connection from state to state."""

    NONCE = "nonce"
    HELLO_ANSWERED = "hello answered"
    HELLO_FAILED = "hello failed"
    AUTHENTICATE_ANSWERED = "authenticate answered"
    AUTHENTICATE_FAILED = "authenticate failed"
    BYE = "bye"
    BREACH = "breach"
    END = "end"


_ALWAYS = {Sign.BYE: State.CLOSING, Sign.BREACH: State.BROKEN, Sign.END: State.CLOSED}

TRANSITIONS: dict[State, dict[Sign, State]] = {
    State.FRESH: {Sign.NONCE: State.CHALLENGED, **_ALWAYS},
    State.CHALLENGED: {Sign.HELLO_ANSWERED: State.GREETED, Sign.HELLO_FAILED: State.CLOSING, **_ALWAYS},
    State.GREETED: {
        Sign.AUTHENTICATE_ANSWERED: State.AUTHENTICATED,
        Sign.AUTHENTICATE_FAILED: State.CLOSING,
        **_ALWAYS,
    },
    State.AUTHENTICATED: {**_ALWAYS},
    # What was said before the bye was heard may still arrive; it opens nothing any more.
    State.CLOSING: {
        Sign.NONCE: State.CLOSING,
        Sign.HELLO_ANSWERED: State.CLOSING,
        Sign.HELLO_FAILED: State.CLOSING,
        Sign.AUTHENTICATE_ANSWERED: State.CLOSING,
        Sign.AUTHENTICATE_FAILED: State.CLOSING,
        **_ALWAYS,
    },
    State.BROKEN: {Sign.END: State.CLOSED},
    State.CLOSED: {},
}


class Standing:
    """Where one end of a connection is in the table, and where the other end may still believe it to be.

    What they say is judged by ``judged_by``.  It differs from ``state`` only while closing: if we began to close, what
    they said before they heard of it was said in good faith.
    """

    __slots__ = ("_believed", "heard_bye", "said_bye", "state")

    def __init__(self) -> None:
        self.state = State.FRESH
        self.said_bye = False
        self.heard_bye = False
        self._believed = State.FRESH

    @property
    def judged_by(self) -> State:
        """The state that what they say must be legal in."""
        return self._believed if self.state is State.CLOSING else self.state

    def say(self, sign: Sign) -> None:
        """We said it: they go on in good faith until they hear it."""
        self._believed = self.judged_by
        self.said_bye = self.said_bye or sign is Sign.BYE
        self._move(sign)

    def hear(self, sign: Sign) -> None:
        """They said it: it holds for them from here on, also if we were closing already."""
        self._believed = TRANSITIONS[self.judged_by][sign]
        self.heard_bye = self.heard_bye or sign is Sign.BYE
        self._move(sign)

    def breach(self) -> None:
        """Somebody broke the protocol."""
        self._move(Sign.BREACH)

    def end(self) -> None:
        """The connection is gone."""
        self._move(Sign.END)

    def _move(self, sign: Sign) -> None:
        self.state = TRANSITIONS[self.state][sign]
