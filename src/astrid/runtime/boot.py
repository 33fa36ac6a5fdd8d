"""Everything a running daemon stands on, loaded once and checked: keys, install statement, configuration, and the
log's past.

Never: opens ``user.key``.

Source: architecture 4; protocol, "Keys and who holds them", N7, N11.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from astrid import __version__
from astrid.adapters.store.journal import SqliteJournal, SqliteReader
from astrid.core.approval import MAX_ANSWER_BYTES, Approvals, SignedAnswer
from astrid.core.canon import decode
from astrid.core.chain import ChainState, decode_body, decode_frame
from astrid.core.facts import Facts
from astrid.core.gate import Gate
from astrid.core.gate_admin import unknown_outcomes
from astrid.core.install import Install, install_id, roots_of, verify_install
from astrid.core.keys import KEY_BYTES, SigningKey, load_public_key
from astrid.core.policy import Policy
from astrid.core.records import Boot, Entry, Genesis, SettledRecord, entry
from astrid.core.tokens import Roots
from astrid.core.verify import LogKeys
from astrid.errors import KeyFormatError, TokenError
from astrid.home import Home, read_guarded, write_guarded
from astrid.ports import Clock, Entropy, Journal
from astrid.runtime.catalogue import Catalogue
from astrid.runtime.config import Loaded, load_config
from astrid.runtime.desk import Desk
from astrid.runtime.gateway import Answer
from astrid.runtime.hub import Hub
from astrid.runtime.log import Past, read_past
from astrid.runtime.parts import Extra
from astrid.runtime.shelf import Shelf
from astrid.runtime.wallet import HolderWallet

EPOCH = 1
NO_TIP = b"\0" * 32


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
    return LogKeys(install_id(install), install.log_id, load_public_key(install.runtime_key))


def load_key(path: Path, *, what: str) -> SigningKey:
    """A plain private key file: 32 bytes, for nobody else to read."""
    seed = read_guarded(path, what=what)
    if len(seed) != KEY_BYTES:
        raise KeyFormatError(
            "key.length",
            f"{what} is {len(seed)} bytes, not {KEY_BYTES}",
            where=str(path),
            advice="restore it from a backup",
        )
    return SigningKey.from_seed(seed)


class World:
    """One daemon's world.  ``open_log``, ``open_gate`` and ``open_questions`` are called at each start of their
    actor and read the log anew.
    """

    def __init__(self, home: Home, *, clock: Clock, entropy: Entropy, extras: tuple[Extra, ...] = ()) -> None:
        self.home = home
        self.clock = clock
        self.entropy = entropy
        self.identity = load_identity(home)
        self.loaded: Loaded = load_config(home.config)
        self.config = self.loaded.config
        self.policy = Policy(*self.loaded.policies, home=str(Path("~").expanduser()), never_read=(str(home.root),))
        self.keys = self.identity.keys
        self.runtime_key = self.identity.runtime_key
        self.holder: bytes = self.identity.holder_key.public
        self.wallet = HolderWallet(self.identity.holder_key, self.identity.roots, entropy)
        self.hub = Hub()
        self.desk: Desk[Answer] = Desk()
        self.facts = self._new_facts()
        self.shelf = Shelf(self.facts)
        self.catalogue = Catalogue(self.config, home, hides=self.policy.hides, entropy=entropy, extras=extras)
        self._past: Past | None = None

    def _new_facts(self) -> Facts:
        return Facts(aud=self.keys.install, roots=self.identity.roots, policy=self.policy)

    def open_log(self) -> tuple[ChainState, Journal]:
        """Verify the log against every witness within reach, replay it, and open it for writing."""
        self.facts = self._new_facts()
        past = read_past(self.home, self.keys, self.facts)
        self._past = past
        self._load_shelf(past)
        journal = SqliteJournal(self.home.log, self._keep)
        return ChainState(past.tip, past.tree), journal

    def _keep(self, note: bytes) -> None:
        write_guarded(self.home.anchor, note, what="the anchor", replace=True)

    def _load_shelf(self, past: Past) -> None:
        self.shelf = Shelf(self.facts)
        if not past.tokens:
            return
        reader = SqliteReader(self.home.log)
        try:
            for seq in past.tokens:
                sealed = reader.payload(seq, 0)
                if sealed is None:
                    continue  # erased: a token that cannot be read cannot be used
                body = decode_body(decode_frame(reader.frames(seq, 1)[0]))
                raw = (
                    decode(sealed[1], SignedAnswer, max_bytes=MAX_ANSWER_BYTES, what="an answer").token
                    if isinstance(body, SettledRecord)
                    else sealed[1]
                )
                self.shelf.put(raw, seq)
        finally:
            reader.close()

    def open_gate(self) -> tuple[Gate, list[Entry]]:
        """The gate as the log left it, and what has to be recorded before anything else."""
        salt = self.entropy.random_bytes(32)
        first: list[Entry] = []
        if self.facts.durable_ns == 0:
            first.append(entry(Genesis(1, self.keys.install, NO_TIP)))
        first.append(entry(Boot(__version__, self.policy.digest, NO_TIP, NO_TIP)))
        first += unknown_outcomes(self.facts, salt=salt)
        gate = Gate(self.facts, secret=self.entropy.random_bytes(32), first_ref=self.facts.last_ref + 1)
        self.facts.settle_unknown()
        return gate, first

    def open_questions(self) -> Approvals:
        """The open questions of the log."""
        machine = Approvals(roots=self.identity.roots, keeper=self.holder)
        past = self._past
        if past is None or not past.questions:
            return machine
        now_s = self.facts.time_s(self.clock.now_ns())
        reader = SqliteReader(self.home.log)
        try:
            for seq in past.questions:
                sealed = reader.payload(seq, 0)
                if sealed is not None:
                    machine.restore(sealed[1], now_s=now_s)
        finally:
            reader.close()
        return machine
