"""The kernel's own errors, drawn once.  Imports nothing, so that the kernel can be lifted into any program.

    KernelError             code, message, fields
    ├─ ActorGone            nobody is there, or nobody will answer any more
    │   └─ Failed           the actor ended while it was handling this very ask
    ├─ MailboxFull          an ask was refused: the recipient has too much to do
    ├─ AskTooLate           the deadline of an ask passed
    ├─ AgainstRank          a wait that does not go downward
    ├─ TooManyRestarts      a supervisor gave up; the cause is what broke its child
    ├─ Stuck                an actor was cancelled and does not end: nothing can take its place, so the system ends
    └─ Misuse               a bug in the caller; nothing was sent or started

``began`` says whether the recipient had taken the message up: False proves that it did not act on it and never will.
"""

from __future__ import annotations


def is_fatal(error: BaseException | None) -> bool:
    """Whether nobody may restart anything after this: it ends the whole system, in order, and is raised there."""
    return error is not None and (isinstance(error, Stuck) or not isinstance(error, Exception))


class KernelError(Exception):
    """A broken promise of the kernel.  ``code`` is stable and safe to match on; ``fields`` carry the facts."""

    def __init__(self, code: str, message: str, **fields: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class ActorGone(KernelError):  # noqa: N818
    """The recipient is gone for good, or its incarnation ended before it answered."""

    def __init__(self, code: str, message: str, *, began: bool = False, **fields: object) -> None:
        super().__init__(code, message, **fields)
        self.began = began


class Failed(ActorGone):
    """The recipient ended in the middle of handling this ask, so it may have acted on it."""


class MailboxFull(KernelError):  # noqa: N818
    """An ask was refused at once, for want of room.  Nothing was queued."""


class AskTooLate(KernelError):  # noqa: N818
    """No answer came in time.  An ask that had not begun is withdrawn and never will."""

    def __init__(self, code: str, message: str, *, began: bool, **fields: object) -> None:
        super().__init__(code, message, **fields)
        self.began = began


class AgainstRank(KernelError):  # noqa: N818
    """Whatever may wait goes to a lower rank only, so that a cycle of waits cannot be written."""


class TooManyRestarts(KernelError):  # noqa: N818
    """A supervisor restarted its children more often than its spec allows, and gave up."""


class Stuck(KernelError):  # noqa: N818
    """An actor was cancelled and does not end, so it can have no successor.  Ends the whole system."""


class Misuse(KernelError):  # noqa: N818
    """The caller broke the kernel's rules: a taken id, an unknown path, a message that cannot travel."""
