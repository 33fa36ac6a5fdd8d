"""``astrid replay``: a session out of a verified log, lived through again.  Without a daemon, for its home.

The log is read and verified from its first record to its last, as it is at one moment; on the way each decision about
the session is decided again with what the gate knew at that record.  Then its journal is driven through a fresh turn
machine, and what that proposes is compared with what was decided about.

Never: believes what lies on the disk (a row counts if its record commits to it), asks a model, runs a tool, opens a
key, or writes anything.

Source: protocol N9 to N11; threats 11, 25, 29, 42.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import msgspec

from astrid.adapters.demo.pay import DemoPayments
from astrid.adapters.sandbox.shell import HOLDING, NoShell, about, profile_of
from astrid.adapters.store.journal import SqliteReader
from astrid.adapters.workspace.arguments import ALL, Bash, bash_spec, tool_spec
from astrid.adapters.workspace.shell import OWN_RIGHTS, OpenShell
from astrid.box_ports import Tier
from astrid.core.answers import MAX_ANSWER_BYTES, SignedAnswer
from astrid.core.canon import Signed, decode
from astrid.core.chain import Frame, decode_body
from astrid.core.facts import Facts
from astrid.core.install import roots_of
from astrid.core.past import Kept, recalled
from astrid.core.policy_rules import Layers
from astrid.core.records import (
    AskedRecord,
    Boot,
    DeniedRecord,
    GrantedRecord,
    JournalRecord,
    OutcomeRecord,
    PermitRecord,
    SessionStarted,
    SettledRecord,
    SubagentStarted,
)
from astrid.core.redecide import Again, Judge, Untold
from astrid.core.replay import Difference, Proposed, replay
from astrid.core.replay_log import Decision, Said, Unproposed, decision_of, first_unproposed, heard_in, said
from astrid.core.tokens import Roots, Token, verify_chain
from astrid.core.tools import ToolSpec
from astrid.core.turn_messages import AnyRow, decode_row
from astrid.core.verdicts import MODEL
from astrid.core.verify import LogKeys, verify_log
from astrid.errors import AstridError, InputError, TokenError
from astrid.home import Home, actors_folder
from astrid.hosts.model import model_spec
from astrid.hosts.results import SPEC as RESULT_SPEC
from astrid.hosts.skills import SkillServer
from astrid.hosts.subagent import SubagentServer
from astrid.hosts.todos import TodoServer
from astrid.ports import LogReader
from astrid.runtime.archive import rows_of
from astrid.runtime.boot import EPOCH, load_install, log_keys, policy_layers
from astrid.runtime.config import load_config
from astrid.runtime.definitions import load_subagents
from astrid.runtime.log import read_frames, read_witness

_OTHER_POLICY = "the policy was another one then; name a file that holds it with --policy"


class Replayed(msgspec.Struct, frozen=True):
    """What came of it: ``difference`` is the first row, or else the first decision, that is another one now.

    ``by`` is the file with the policy by which was decided again, if that was not the home's own.
    """

    session: bytes
    rows: int
    proposals: int
    decisions: tuple[Again, ...]
    difference: Difference | Unproposed | None
    by: str = ""

    @property
    def differing(self) -> list[Again]:
        """The decisions that come out otherwise."""
        return [one for one in self.decisions if one.differs]

    @property
    def same(self) -> bool:
        """Whether nothing comes out otherwise."""
        return self.difference is None and not self.differing


def replay_home(home: Home, session: bytes, policy: Path | None) -> Replayed:
    """Replay ``session`` by the policy of ``home``, or by that in the file ``policy``.

    Raises:
        ChainError, CanonError: the log, or what lies beside it, is not what was recorded.
        ConfigError, TokenError: the home, or the file, is not what it should be.
        InputError: there is no such session or file, or it was erased.
        JournalError: the log cannot be read.
    """
    install = load_install(home)
    keys, roots = log_keys(install), roots_of(install, epoch=EPOCH)
    layers = policy_layers(home, load_config(home.config))
    if policy is not None:
        other = load_config(policy)
        if policy not in other.files:  # to a daemon, a file that is missing says nothing
            raise InputError("replay.no-policy", f"there is no file {policy}", advice="name a configuration file")
        layers = msgspec.structs.replace(layers, configs=other.policies)
    found = (
        read_witness(home.anchor, keys, what="the anchor"),
        read_witness(home.witness, keys, what="the last checkpoint that the command line saw"),
    )
    witnesses = [witness for witness in found if witness is not None]
    reader = SqliteReader(home.log)
    try:
        reader.hold()  # a daemon may be writing meanwhile: records, rows and checkpoints have to be of one moment
        told = Told(reader, keys, roots, session, layers, own_specs(), by="" if policy is None else str(policy))
        verify_log(keys, read_frames(reader), reader.checkpoints(), witnesses, told.take)
        return told.replayed()
    finally:
        reader.close()


def own_specs() -> tuple[ToolSpec, ...]:
    """The definitions of all tools that there are, but for models; of commands, one for each box that there can be."""
    agents = load_subagents(actors_folder() / "subagents")
    servers = (SkillServer("/", dict), TodoServer("/"), SubagentServer(agents), DemoPayments(Path("/")))
    files = [tool_spec(shape, OWN_RIGHTS) for shape in ALL if shape is not Bash]
    boxes = [(profile_of(tier), about(tier), tier in HOLDING) for tier in get_args(Tier)]
    none = [(shell.profile, shell.about, shell.contains) for shell in (OpenShell, NoShell)]
    commands = [bash_spec(profile, about, contains=contains) for profile, about, contains in (*none, *boxes)]
    return (*files, *commands, RESULT_SPEC, *[spec for server in servers for spec in server.specs()])


class Told:
    """What the log tells of ``session``, record by record (``take``), each of which follows the one before it; and what
    comes of it when all of them were taken.  ``specs`` are the definitions of tools that there are now.
    """

    def __init__(
        self,
        reader: LogReader,
        keys: LogKeys,
        roots: Roots,
        session: bytes,
        layers: Layers,
        specs: Iterable[ToolSpec],
        *,
        by: str = "",
    ) -> None:
        self._reader = reader
        self._aud = keys.install
        self._roots = roots
        self._session = session
        self._by = by
        self._specs = {bytes(spec.tooldef()): spec for spec in specs}
        self._tokens: dict[bytes, Token] = {}
        self._judge = Judge(layers, self._specs, self._tokens)
        self._facts = Facts(aud=keys.install, roots=roots, policy=layers.policy())
        self._policy = b""  # by which the daemon of that time decided
        self._above: dict[bytes, bytes] = {}  # of each session of a sub-agent, the one that started it
        self._key = b""  # the session's principal
        self._top = session  # in whose name it acts
        self._rows: list[tuple[int, AnyRow]] = []
        self._records: list[tuple[int, Signed]] = []  # about its own calls
        self._permits: set[int] = set()
        self._decisions: list[Decision] = []
        self._again: list[Again] = []

    def take(self, frame: Frame) -> None:
        """The next record.

        Raises:
            ChainError, CanonError: what lies beside it is not what it commits to.
            InputError: that was erased.
        """
        try:
            self._take(frame)
        except AstridError as error:
            error.where = error.where or f"record {frame.seq}"
            raise

    def _take(self, frame: Frame) -> None:
        body = decode_body(frame)
        match body:
            case Boot():
                self._policy = body.policy
            case SessionStarted():
                self._begins(frame.session, body)
            case GrantedRecord():
                self._learn(Kept(frame.seq, body.token))
            case SettledRecord() if any(body.block):
                self._learn(Kept(frame.seq, body.answer, in_answer=True))
            case JournalRecord() if frame.session == self._session:
                rows = rows_of(self._reader, frame.session, frame.seq, body, after=len(self._rows))
                self._rows += [(frame.seq, decode_row(row)) for row in rows]
            case _ if self._key and frame.session == self._top:
                self._of_a_call(frame.seq, body)
            case _:
                pass
        self._facts.replay(frame, body)

    def _begins(self, session: bytes, body: SessionStarted) -> None:
        if isinstance(body, SubagentStarted):
            self._above[session] = body.parent
        if session == self._session:
            self._key = body.principal
            while self._top in self._above:
                self._top = self._above[self._top]

    def _learn(self, kept: Kept) -> None:
        """A token that the log has; one that was erased is not there, nor is one of keys that there were once."""
        raw = recalled(self._reader.payload, kept)
        if raw is None:
            return
        if kept.in_answer:
            raw = decode(raw, SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer").token
        try:
            token = verify_chain(raw, self._roots)
        except TokenError:
            return
        self._tokens[token.id] = token

    def _of_a_call(self, seq: int, body: Signed) -> None:
        """A record of those in whose name the session acts; perhaps about a call of its own."""
        if isinstance(body, OutcomeRecord):
            if body.permit_seq in self._permits:
                self._records.append((seq, body))
            return
        if isinstance(body, PermitRecord | DeniedRecord) and body.principal != self._key:
            return
        decided = decision_of(self._aud, self._top, seq, body, self._reader.payload)
        if decided is None or (isinstance(body, AskedRecord) and _key_of(decided) != self._key):
            return
        if isinstance(body, PermitRecord):
            self._permits.add(seq)
        if decided.call is not None and decided.call.host_kind == MODEL:
            spec = model_spec(decided.call.host_id, decided.call.tool)
            self._specs[bytes(spec.tooldef())] = spec
        self._records.append((seq, body))
        self._decisions.append(decided)
        self._again.append(self._decided_again(decided))

    def _decided_again(self, decided: Decision) -> Again:
        again = self._judge.again(decided, self._facts)
        if self._by or self._policy == self._judge.policy:
            return again
        return msgspec.structs.replace(again, now=Untold(_OTHER_POLICY))

    def replayed(self) -> Replayed:
        """What comes of it.

        Raises:
            InputError: there was no such session, or its journal does not say how it began.
        """
        if not self._key:
            raise InputError(
                "replay.no-session", "the log tells of no such session", advice="see `astrid sessions list --all`"
            )
        rows = [row for _, row in self._rows]
        proposals: list[Said] = []
        difference: Difference | Unproposed | None = None
        for one in replay(rows, heard_in(self._rows, self._records, self._reader.payload)):
            if isinstance(one, Proposed):
                proposals.append(said(one, self._rows[one.row - 1][0]))
            else:
                difference = one
        if difference is None:
            difference = first_unproposed(proposals, self._decisions)
        return Replayed(self._session, len(rows), len(proposals), tuple(self._again), difference, self._by)


def _key_of(decided: Decision) -> bytes:
    return b"" if decided.call is None else decided.call.principal_key
