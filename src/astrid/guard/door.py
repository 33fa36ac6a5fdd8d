"""Who may say what to the guard.

The kernel stamps each message with its sender; what is looked at here is that stamp and the type of the message, never
what the message says of itself.  Beside it, what the gate is told in place of those who have no room for its word.

The guard and the gateway are trusted, and a message of theirs that nobody expects is a bug.  Sessions, tool hosts and
whoever else may hold a ref are not.

Source: architecture 5; threats 1, 25.
"""

from __future__ import annotations

from astrid.core.gate_connections import Connect, Disconnected
from astrid.core.gate_messages import (
    Cancel,
    Execute,
    Executed,
    Prepare,
    Prepared,
    Progress,
    Propose,
    Put,
    Unprepared,
)
from astrid.core.shape import is_whole
from astrid.kernel import Down, Sender
from astrid.messages.gate import Offer, Prompted, Save, Strayed

AUDIT, APPROVALS, INTERCEPTOR, GATEWAY = "root/audit", "root/approvals", "root/interceptor", "root/gateway"
ARCHIVE = "root/archive"
TOOLS, FRONT = "root/tools/", "/front"
OF_SESSIONS = (Propose, Cancel, Save, Prompted)
OF_HOSTS = (Offer, Prepared, Unprepared, Executed, Progress, Connect, Disconnected)
_OF_OTHERS = frozenset((*OF_SESSIONS, *OF_HOSTS, Strayed))


def is_ours(message: object, sender: Sender) -> bool:
    """Whether it comes from the kernel, or from those whose unexpected word is a bug of the guard."""
    return type(message) is Down or sender.path in (AUDIT, APPROVALS, INTERCEPTOR, ARCHIVE, GATEWAY)


def is_host(sender: Sender) -> bool:
    """Whether it is the front of a tool host.  The jobs of a host sit beside its front, and are none."""
    return sender.path.startswith(TOOLS) and sender.path.endswith(FRONT)


def is_sound(message: object) -> bool:
    """Whether it is a message for the gate, every field as declared.

    SAFETY: exactly these types; a subclass could give another answer each time that it is asked, and a field that can
    be changed could be changed after it was looked at.
    """
    return type(message) in _OF_OTHERS and is_whole(message)  # type: ignore[arg-type] - all of these are structs


def strayed(message: object, sender: Sender) -> Strayed:
    """What the gate is told of a message that is not taken from its sender."""
    return Strayed(ref=sender.id, what=f"`{type(message).__name__}` is not taken from `{sender.path}`")


def not_put(ref: int) -> Put:
    """In place of approvals."""
    return Put(ref=ref, qid=b"", code="approval.busy", reason="no more questions can be put just now", attended=False)


def not_prepared(message: Prepare) -> Unprepared:
    """In place of a host that was to look at a call."""
    return Unprepared(ref=message.ref, layer="tool", code="tool.busy", reason="the tool is busy", advice="try again")


def not_run(message: Execute) -> Executed:
    """In place of a host that was to run a call."""
    return Executed(
        ref=message.ref,
        permit_seq=message.permit_seq,
        content=b"tool.busy: the tool is busy",
        is_error=True,
        effect="none",
        spent_micros=0,
    )
