"""What the gateway has changed about the gate: who is a session, who sleeps, what the user signed, what clients saw.

Each change is one function of ``core.gate_admin``; here the message is turned into its arguments.

Never: waits, watches anybody or answers; that is the interceptor's.

Source: architecture 5; protocol N2 c, N7, N11; threats 15, 48, 50.
"""

from __future__ import annotations

from astrid.core import gate_admin, gate_undo
from astrid.core.facts import Principal
from astrid.core.gate import Gate
from astrid.core.records import Entry
from astrid.core.records_undo import FilesRewound
from astrid.errors import InternalError
from astrid.messages.gate import Attach, Cosign, Erase, Register, Release, Revoke, Rewind, TakeIn

Change = Register | Release | TakeIn | Attach | Erase | Rewind | Cosign | Revoke


def change(gate: Gate, message: Change, *, there: bool, owed: int, now_s: int, salt: bytes) -> list[Entry]:
    """Make a change; the records that make it durable, if it has to be, the one that says it first.

    ``there``: whether the actor that it is about, if any, is known; ``owed``: how many answers that one waits for.

    Raises:
        AstridError: it is refused, and nothing changed.
    """
    facts = gate.facts
    match message:
        case Revoke():
            return [gate_admin.revoke(facts, message.statement, salt=salt)]
        case TakeIn():
            _, made = gate_admin.take_in(facts, message.token, message.source, now_s=now_s, salt=salt)
            return [made]
        case Cosign(key=key, note=note, chain=chain):
            return [gate_admin.cosign(facts, key, note, chain, trouble=gate.suspended, salt=salt)]
        case Attach(session=session, image=image):
            return [gate_admin.attach(facts, session, image, salt=salt)]
        case Erase(erasure=erasure, rows=rows):
            return gate_admin.erase(facts, erasure, rows, len(erasure.texts))
        case Rewind(session=session, rewound=FilesRewound() as rewound):
            return [gate_undo.end_rewinding(session, rewound)]
        case Rewind(session=session):
            running = [one.permitted.call.session for one in gate.pending.values() if one.permitted is not None]
            return [gate_undo.begin_rewinding(session, message.turn, message.undos, running=running, salt=salt)]
        case Release(ref=ref):
            owing = owed > 0 or any(pending.sender == ref for pending in gate.pending.values())
            gate_admin.release(facts, ref, owing=owing)
            return []
        case Register():
            return _register(gate, message, there=there, salt=salt)


def _register(gate: Gate, message: Register, *, there: bool, salt: bytes) -> list[Entry]:
    if not there:
        raise InternalError("gate.no-such-actor", "nobody said that there is an actor to be registered")
    principal = Principal(
        key=message.key,
        session=message.session,
        workspace=message.workspace,
        toolboxes=message.toolboxes,
        limits=message.limits,
        asks=message.asks,
        child=message.child,
        parent=message.parent,
    )
    if message.wakes:
        gate_admin.readmit(gate.facts, message.ref, principal)
        return []
    rows = gate_admin.inherited(principal.own, message.inherits, salt=salt)
    opening = gate_admin.Opening(message.mode, message.model, message.scripted)
    made = gate_admin.register(gate.facts, message.ref, principal, opening)
    gate_admin.inherit(gate.facts, rows)
    return [made, *rows]
