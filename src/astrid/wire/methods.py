"""The one table of what can be asked: method -> parameters, answer, the states it is legal in, a line for the docs.

All requests go from client to server.  A method needs proof of possession exactly if its parameters are ``Proven``:
everything that changes something, and everything that reads what a session, a question, a token or a record says.
Without proof there are only the handshake and what any process of the user may know: that the daemon runs, its public
keys, and how its log has grown.

Notices (JSON-RPC notifications) have a table of their own, with who may say them.

Source: the first Astrid (names, without the ``astrid_`` prefix); threats 30; protocol N2.d.
"""

from __future__ import annotations

from msgspec import Struct

from astrid.wire import params as p
from astrid.wire import past as w
from astrid.wire import pictures as i
from astrid.wire import results as r
from astrid.wire import undone as u
from astrid.wire.events import ANY_EVENT
from astrid.wire.fields import Wire
from astrid.wire.states import Role, Sign, State


class Method(Struct, frozen=True):
    """One line of the table.  ``signs``, in a handshake, are what a good and a bad answer mean for the connection."""

    name: str
    params: type[p.Params]
    result: type[r.Answer]
    legal: frozenset[State]
    doc: str
    signs: tuple[Sign, Sign] | None = None

    @property
    def needs_proof(self) -> bool:
        """Whether a request must carry ``pop``."""
        return issubclass(self.params, p.Proven)


class Notice(Struct, frozen=True):
    """One line of the notices: who may say it in which states, and what that means for the connection."""

    name: str
    params: type[Wire]
    speakers: frozenset[Role]
    legal: frozenset[State]
    doc: str
    sign: Sign | None = None


GREETED_ON = frozenset({State.GREETED, State.AUTHENTICATED})
_CHALLENGED = frozenset({State.CHALLENGED})
_GREETED = frozenset({State.GREETED})
_AUTHENTICATED = frozenset({State.AUTHENTICATED})
_ALIVE = frozenset(State) - {State.BROKEN, State.CLOSED}
_HELLO = (Sign.HELLO_ANSWERED, Sign.HELLO_FAILED)
_AUTHENTICATE = (Sign.AUTHENTICATE_ANSWERED, Sign.AUTHENTICATE_FAILED)


def _open(name: str, params: type[p.Params], result: type[r.Answer], doc: str) -> Method:
    return Method(name, params, result, GREETED_ON, doc)


def _proven(name: str, params: type[p.Proven], result: type[r.Answer], doc: str) -> Method:
    return Method(name, params, result, _AUTHENTICATED, doc)


_METHODS = (
    Method("hello", p.Hello, r.Welcome, _CHALLENGED, "Meet: who calls, who answers, how its log grew.", _HELLO),
    Method("authenticate", p.Authenticate, r.Done, _GREETED, "Present a token and prove its key.", _AUTHENTICATE),
    _open("status", p.Nothing, r.Status, "Whether the daemon runs, since when, and how busy it is."),
    _open("doctor", p.Nothing, r.Findings, "Check the installation and say what to do about what is wrong."),
    _open("keysShow", p.Nothing, r.Keys, "The public keys of this install."),
    _open("auditCheckpoint", p.Nothing, r.Checkpoint, "The newest signed checkpoint of the log."),
    _open("auditConsistency", p.AuditConsistency, r.Consistency, "Prove that the log begins with an earlier one."),
    _proven("createSession", p.CreateSession, r.SessionInfo, "Start a session in a workspace, in a granted mode."),
    _proven("createFleet", p.CreateFleet, r.TokenAdded, "Set a purse apart that many sessions share."),
    _proven("listSessions", p.ListSessions, r.Sessions, "The live sessions."),
    _proven("sessionCost", p.OfSession, r.SessionCost, "What the log says that a session cost, also an ended one."),
    _proven("listPast", p.ListPast, w.PastSessions, "The sessions that the log tells of, also those that are over."),
    _proven("readJournal", p.JournalOf, w.JournalPart, "What a session said and heard, as its journal holds it."),
    _proven("resumeSession", p.ResumeSession, w.Resumed, "Have a session go on that was cut off with its daemon."),
    _proven("forkSession", p.ForkSession, w.Forked, "Start a session that goes on from another one's turn."),
    _proven("rewindSession", p.RewindSession, r.Done, "Have a conversation be what it was after a turn; events tell."),
    _proven("restoreSession", p.OfSession, r.Done, "Have a conversation be as before it was summed up; events tell."),
    _proven("planRewind", p.PlanRewind, u.FilesRewound, "Which files would get back what they held after a turn."),
    _proven("rewindFiles", p.RewindFiles, u.FilesRewound, "Put files back to what they held after a session's turn."),
    _proven("deleteSession", p.DeleteSession, w.Deleted, "Erase what a session that is not open said and heard."),
    _proven("listModels", p.ProvenNothing, r.Models, "The models: what each costs, and whether it can be used now."),
    _proven("attachImage", i.AttachImage, i.Attached, "Give an image, in pieces, for what is said next."),
    _proven("sendInput", p.SendInput, r.TurnStarted, "Start a turn; its output comes as events."),
    _proven("cancelTurn", p.OfSession, r.Done, "Stop the running turn of a session."),
    _proven("endSession", p.OfSession, r.Done, "Save a session and end it."),
    _proven("subscribeEvents", p.SubscribeEvents, r.Subscribed, "Have the events of a session sent here."),
    _proven("unsubscribeEvents", p.OfSession, r.Done, "Have them sent no more."),
    _proven("listApprovals", p.ListApprovals, r.Approvals, "The open questions, by id."),
    _proven("getApproval", p.GetApproval, r.QuestionBytes, "A question's bytes, for the client to render and hash."),
    _proven("approvalResponse", p.ApprovalResponse, r.Settled, "Answer a question with a signed statement."),
    _proven("tokensList", p.ProvenNothing, r.Tokens, "The tokens this install knows."),
    _proven("tokensShow", p.TokensShow, r.TokenShown, "One token, with its bytes."),
    _proven("tokensAdd", p.TokensAdd, r.TokenAdded, "Hand over a grant that the user signed."),
    _proven("tokensRevoke", p.TokensRevoke, r.TokensRevoked, "Hand over a revocation that the user signed."),
    _proven("auditList", p.AuditList, r.AuditRecords, "Records of the log, filtered and paged."),
    _proven("auditShow", p.AuditRecordOf, r.AuditShown, "One record in full."),
    _proven("auditProve", p.AuditRecordOf, r.AuditProof, "Prove that a record is in the log."),
    _proven("auditStats", p.ProvenNothing, r.AuditStats, "How many records of which kind."),
    _proven("auditCosign", p.AuditCosign, r.Done, "Have a cosignature of the stated checkpoint recorded."),
    _proven("auditExplain", p.AuditExplain, r.Explanation, "Why something was allowed, asked or denied."),
    _proven("shutdown", p.ProvenNothing, r.Done, "Save all sessions and stop the daemon."),
)

_SERVER = frozenset({Role.SERVER})
_FRESH = frozenset({State.FRESH})

_NOTICES = (
    Notice(
        "nonce", p.NonceNotice, _SERVER, _FRESH, "The first word; every proof on this connection covers it.", Sign.NONCE
    ),
    Notice("event", ANY_EVENT, _SERVER, _AUTHENTICATED, "Something happened in a session subscribed to."),
    Notice("bye", p.ByeNotice, frozenset(Role), _ALIVE, "Nothing new; what is owed is still said.", Sign.BYE),
)

METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
NOTICES: dict[str, Notice] = {notice.name: notice for notice in _NOTICES}
