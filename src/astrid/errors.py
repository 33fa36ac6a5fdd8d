"""The domain errors, drawn once.  Imports nothing.

    AstridError                code, message, where, advice, fields
    ├─ InputError              somebody handed us something malformed; nothing happened
    │   ├─ ConfigError         a configuration file or environment variable
    │   ├─ CanonError          bytes that are not the one canonical encoding of a value
    │   ├─ KeyFormatError      key material that is malformed, weak or of the wrong kind
    │   ├─ PatternError        a resource, a pattern or a host name
    │   ├─ CommandError        a shell line that cannot be parsed, or is too complex to judge
    │   ├─ TokenError          a capability token or another signed statement
    │   └─ ChainError          a log, a checkpoint or a proof
    ├─ WireError               the JSON-RPC protocol
    │   ├─ LocalProtocolError  we broke it
    │   └─ RemoteProtocolError they broke it
    ├─ EdgeError               the world failed; ``effect`` says whether anything happened
    │   ├─ ModelError          a model vendor
    │   ├─ JournalError        the log's database
    │   ├─ LaunchError         a process could not be started, or did not come up
    │   └─ WorkspaceError      a file or folder the tools work on
    └─ InternalError           a bug in Astrid: stop, do not continue

A *denial* is a value, never an exception.  The kernel has its own root (``kernel.errors``), so that it stays liftable.
Codes are stable strings of the form ``family.reason``; ``docs/errors.md`` lists every one and a test holds the two
together.
"""

from __future__ import annotations

from typing import Literal

Effect = Literal["none", "maybe", "done"]


class AstridError(Exception):
    """A failure a person can act on.

    ``code`` is stable and safe to match on; ``message`` says what was wrong (lower case, no full stop), ``where``
    the place, ``advice`` what to do about it; ``fields`` carry the facts.
    """

    def __init__(self, code: str, message: str, *, where: str = "", advice: str = "", **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.advice = advice
        self.fields = fields

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.message}{place} [{self.code}]"

    def render(self) -> str:
        """One line for a terminal: what was wrong, where, and what to do.

        SAFETY: a message names files and repeats words, and those may be anybody's; nothing of it steers the terminal.
        """
        advice = f"; {self.advice}" if self.advice else ""
        return plain(f"{self}{advice}")


def plain(text: str) -> str:
    """``text`` on one line, without anything that steers a terminal."""
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in text)


class InputError(AstridError):
    """Something malformed was handed in; nothing happened."""


class ConfigError(InputError):
    """A configuration file, a flag or an environment variable."""


class CanonError(InputError):
    """Bytes that are not the one canonical encoding of a value, or a value that has none."""


class KeyFormatError(InputError):
    """Key material that is malformed, weak or of the wrong kind."""


class PatternError(InputError):
    """A resource, a pattern or a host name that has no meaning."""


class CommandError(InputError):
    """A shell line that cannot be parsed, or is too complex to judge."""


class TokenError(InputError):
    """A capability token, approval, install or enrolment that does not verify."""


class ChainError(InputError):
    """A log, checkpoint or proof that does not verify."""


class WireError(AstridError):
    """The JSON-RPC protocol was broken."""


class LocalProtocolError(WireError):
    """We broke the protocol: a bug on this side."""


class RemoteProtocolError(WireError):
    """The peer broke the protocol."""


class EdgeError(AstridError):
    """The world outside failed.  ``effect`` says whether anything may have happened before it did."""

    def __init__(
        self, code: str, message: str, *, effect: Effect, where: str = "", advice: str = "", **fields: object
    ) -> None:
        super().__init__(code, message, where=where, advice=advice, **fields)
        self.effect: Effect = effect


class ModelError(EdgeError):
    """A model vendor refused, failed or answered nonsense."""


class JournalError(EdgeError):
    """The log's database could not be read or written."""


class LaunchError(EdgeError):
    """A process could not be started, or did not come up."""


class WorkspaceError(EdgeError):
    """A file or folder the tools work on."""


class InternalError(AstridError):
    """A bug in Astrid.  Nothing may continue on top of it."""
