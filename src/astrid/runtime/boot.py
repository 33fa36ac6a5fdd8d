"""Everything a running daemon stands on, loaded once and checked: keys, install statement, configuration, and the
log's past.

Never: opens ``user.key``.

Source: architecture 4; protocol, "Keys and who holds them", N7, N11.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from astrid import __version__
from astrid.adapters.egress.network import Network, SystemNetwork
from astrid.adapters.sandbox.shell import NoShell
from astrid.adapters.store.journal import SqliteStore
from astrid.box_ports import Shell
from astrid.core.approval import Approvals
from astrid.core.canon import Domain, digest
from astrid.core.chain import ChainState
from astrid.core.facts import Facts
from astrid.core.gate import Gate
from astrid.core.gate_admin import begin
from astrid.core.install import Install, install_id, roots_of, verify_install
from astrid.core.keys import KEY_BYTES, SigningKey, load_public_key
from astrid.core.past import Past, recall_questions
from astrid.core.policy_rules import Layers
from astrid.core.protected import SECRET_READS
from astrid.core.records import Boot, Entry
from astrid.core.subagents import HOST_ID
from astrid.core.tokens import Roots
from astrid.core.verify import LogKeys
from astrid.errors import InternalError, KeyFormatError, TokenError
from astrid.home import Home, Secrets, read_guarded, write_guarded
from astrid.hosts.subagent import SubagentServer
from astrid.ports import Clock, Entropy, Journal, LogReader, LogStore
from astrid.runtime.boxes import let_out
from astrid.runtime.catalogue import Catalogue, actors_folder
from astrid.runtime.chronicle import Chronicle
from astrid.runtime.config import Config, Loaded, load_config
from astrid.runtime.definitions import load_subagents
from astrid.runtime.desk import Desk
from astrid.runtime.dormant import Dormitory
from astrid.runtime.gateway import Answer
from astrid.runtime.hub import Hub
from astrid.runtime.log import read_past
from astrid.runtime.parts import Extra
from astrid.runtime.recall import recall_tokens
from astrid.runtime.shelf import Shelf
from astrid.runtime.vendor_keys import key_files, take_keys
from astrid.runtime.wallet import HolderWallet

EPOCH = 1
_T = TypeVar("_T")


def account_secrets() -> tuple[str, ...]:
    """The secrets in the home folder that the system knows of this user.

    ``HOME`` is a variable, which a folder that is entered may set: it says where more secrets lie, never where none do.
    """
    try:
        home = os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # a user without an account has no other home
        return ()
    return tuple(os.path.join(home, name) for name in SECRET_READS)


def secrets_of(home: Home, config: Config) -> tuple[str, ...]:
    """What no tool reads, whatever the variables say: the home itself, and the secrets of the user and of vendors."""
    return (os.path.realpath(home.root), *account_secrets(), *key_files(config))


def policy_layers(home: Home, loaded: Loaded) -> Layers:
    """What the policy of a daemon of ``home`` is made from."""
    # Resolved, for paths are judged as they really are: a rule on the name of a link would match nothing.
    return Layers(loaded.policies, os.path.realpath(Path.home()), secrets_of(home, loaded.config))


class Identity(msgspec.Struct, frozen=True):
    """Who this install is: the user-signed statement, and the daemon's two keys."""

    install: Install
    keys: LogKeys
    roots: Roots
    runtime_key: SigningKey
    holder_key: SigningKey


def load_identity(home: Home) -> Identity:
    """Read and cross-check keys and install statement.

    Raises:
        ConfigError, KeyFormatError, TokenError: says which file is wrong and what to do.
    """
    install = load_install(home)
    runtime_key = load_key(home.runtime_key, what="the runtime key")
    if runtime_key.public != install.runtime_key:
        raise TokenError(
            "install.runtime-key",
            "the runtime key is not the one that the install statement names",
            where=str(home.runtime_key),
            advice="restore the key file that belongs to this home",
        )
    roots = roots_of(install, epoch=EPOCH)
    holder_key = load_key(home.holder_key, what="the holder key")
    if holder_key.public in roots.keys or holder_key.public == runtime_key.public:
        raise TokenError(
            "install.keys",
            "the holder key has another role already",
            where=str(home.holder_key),
            advice="run `astrid init` anew",
        )
    return Identity(install, log_keys(install), roots, runtime_key, holder_key)


def load_install(home: Home) -> Install:
    """The install statement, its signature verified."""
    return verify_install(read_guarded(home.install, what="the install statement"))


def log_keys(install: Install) -> LogKeys:
    """What signs the log of ``install``."""
    runtime_key = load_public_key(install.runtime_key)
    return LogKeys(install_id(install), install.log_id, runtime_key, install.lost.tip)


def load_key(path: Path, *, what: str) -> SigningKey:
    """A plain private key file: 32 bytes, for nobody else to read."""
    seed = read_guarded(path, what=what, secret=True)
    if len(seed) != KEY_BYTES:
        raise KeyFormatError(
            "key.length",
            f"{what} is {len(seed)} bytes, not {KEY_BYTES}",
            where=str(path),
            advice="restore it from a backup",
        )
    return SigningKey.from_seed(seed)


class World:
    """One daemon's world.  ``open_log``, ``open_questions`` and ``open_gate`` are called at each start of their
    actor, in this order: the first reads the log anew, and the others go on from that.

    ``spoilt`` says, for people, what lies beside the log and cannot be used.
    """

    def __init__(
        self,
        home: Home,
        *,
        clock: Clock,
        entropy: Entropy,
        store: LogStore | None = None,
        extras: tuple[Extra, ...] = (),
        loaded: Loaded | None = None,
        shell: Shell | None = None,
        network: Network | None = None,
    ) -> None:
        """``loaded`` is the configuration, where it was read already; without a ``shell`` no command is run.  Commands
        reach hosts through ``network``, or else the machine's.
        """
        self.home = home
        self.clock = clock
        self.entropy = entropy
        self.store: LogStore = store or SqliteStore(home.log)
        self.identity = load_identity(home)
        self.loaded: Loaded = loaded or load_config(home.config)
        self.config = self.loaded.config
        self.policy = policy_layers(home, self.loaded).policy()
        self.keys = self.identity.keys
        self.runtime_key = self.identity.runtime_key
        self.holder: bytes = self.identity.holder_key.public
        self.wallet = HolderWallet(self.identity.holder_key, self.identity.roots, entropy)
        self.secrets = Secrets(home)
        self.dormitory = Dormitory()
        self.hub = Hub(self.dormitory.events)
        self.desk: Desk[Answer] = Desk()
        self.chronicle = Chronicle(self.keys)
        self.facts = self._new_facts()
        self.shelf = Shelf(self.facts)
        self.subagents = load_subagents(actors_folder() / "subagents")
        tasks = Extra(HOST_ID, HOST_ID, SubagentServer(self.subagents))
        self.catalogue = Catalogue(
            self.config,
            home,
            hides=self.policy.hides,
            entropy=entropy,
            consult=self.consult,
            vendor_keys=take_keys(self.config, os.environ, self.secrets),
            shell=shell or NoShell("this runtime has no launcher"),
            let_out=partial(let_out, network or SystemNetwork()),
            extras=(*extras, tasks),
        )
        self.spoilt: list[str] = []
        self._past: Past | None = None
        self._journal: Journal | None = None

    def close(self) -> None:
        """Let go of what is held open beside the log, when no actor is there any more."""
        self.catalogue.close()

    @property
    def anchor_trouble(self) -> str:
        """Why the last checkpoint could not be kept outside the log's folder; empty if it was."""
        return "" if self._journal is None else self._journal.anchor_trouble

    def _new_facts(self) -> Facts:
        return Facts(aud=self.keys.install, roots=self.identity.roots, policy=self.policy)

    def open_log(self) -> tuple[ChainState, Journal]:
        """Verify the log against every witness within reach, replay it, and open it for writing."""
        facts = self._new_facts()
        past = self._read_past(facts)
        shelf = Shelf(facts)
        spoilt = self._recall(lambda reader: recall_tokens(reader.payload, past, shelf)) if past.tokens else []
        journal = self._journal = self.store.writer(self._keep)
        self.facts, self.shelf, self.spoilt, self._past = facts, shelf, spoilt, past
        return ChainState(past.tip, past.tree), journal

    def _read_past(self, facts: Facts) -> Past:
        return read_past(self.home, self.keys, facts, self.store)

    def _keep(self, note: bytes) -> None:
        write_guarded(self.home.anchor, note, what="the anchor", replace=True)

    def open_questions(self) -> Approvals:
        """Questions as the log left them: those that are open, and what people said no to."""
        machine = Approvals(roots=self.identity.roots, keeper=self.holder)
        past = self._opened()
        now_s = self.facts.time_s(self.clock.now_ns())
        if past.tip.size:
            self.spoilt += self._recall(lambda reader: recall_questions(reader.payload, past, machine, now_s=now_s))
        return machine

    def open_gate(self) -> tuple[Gate, list[Entry]]:
        """The gate as the log left it, and what has to be recorded before anything else."""
        config = digest(Domain.TOOLDEF, msgspec.json.encode(self.config, order="deterministic"))
        boot = Boot(__version__, self.policy.digest, self.catalogue.digest(), config)
        size, salt = self._opened().tip.size, self.entropy.random_bytes(32)
        first = begin(self.facts, self.keys, boot, size=size, salt=salt)
        gate = Gate(
            self.facts,
            secret=self.entropy.random_bytes(32),
            first_ref=self.facts.last_ref + 1,
            known=self.wallet.known,
        )
        return gate, first

    def _opened(self) -> Past:
        if self._past is None:
            raise InternalError("boot.order", "the log has not been read yet")
        return self._past

    async def consult(self, look: Callable[[LogReader], _T]) -> _T:
        """What ``look`` sees in the log, in a thread, since the disk may be slow.

        Raises:
            JournalError: the log cannot be read.
        """
        return await trio.to_thread.run_sync(self._recall, look)

    def _recall(self, take: Callable[[LogReader], _T]) -> _T:
        reader = self.store.reader()
        try:
            return take(reader)
        finally:
            reader.close()
