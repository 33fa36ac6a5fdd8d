"""A signer without a process: a home of its own, a clock that stands still, and a person who types lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import msgspec

from astrid.core.canon import Signed, decode, encode
from astrid.core.checkpoint import Checkpoint, sign_checkpoint
from astrid.core.install import roots_of
from astrid.core.keys import SigningKey
from astrid.core.merkle import CompactRange, leaf_hash
from astrid.core.tokens import Roots, SignedBlock, Token, verify_chain
from astrid.errors import InputError
from astrid.frontends.signer.identity import Identity, load_identity
from astrid.frontends.signer.losing import Standing
from astrid.frontends.signer.passphrases import Handed
from astrid.frontends.signer.protocol import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Create,
    Failure,
    KeyState,
    LossAccepted,
    Reply,
    SignedReply,
    pack,
)
from astrid.frontends.signer.service import Service, Surroundings
from astrid.home import Home, open_home
from astrid.runtime.trial import try_start
from tests.fakes.authority import NOW

PASSPHRASE = b"correct horse"


class Person:
    """A person at a terminal: types the next line at each prompt, and breaks off when there is none."""

    def __init__(self, *lines: str) -> None:
        self.lines = [line.encode() for line in lines]
        self.prompts: list[str] = []
        self.seen = ""
        self.closed = 0

    @property
    def text(self) -> str:
        """What was seen, with long lines in one."""
        return self.seen.replace("|\n|", "")

    def say(self, text: str, *, strong: bool = False) -> None:
        self.seen += f"{text}\n"

    def show(self, text: str, *, until_s: float | None = None) -> None:
        self.seen += text

    def ask(self, prompt: str, *, secret: bool = False, until_s: float | None = None) -> bytes:
        self.prompts.append(prompt)
        if not self.lines:
            raise InputError("signer.aborted", "the person broke off; nothing was signed")
        return self.lines.pop(0)

    def close(self) -> None:
        self.closed += 1


class Entropy:
    """Bytes that differ each time and are the same on every run."""

    def __init__(self) -> None:
        self._count = count()

    def __call__(self, size: int) -> bytes:
        return hashlib.shake_128(str(next(self._count)).encode()).digest(size)


class Bench:
    """The signer of the home at ``root``."""

    def __init__(self, root: Path) -> None:
        self.home: Home = open_home(root, make=True)
        self.now = NOW
        self.entropy = Entropy()

    def service(self, person: Person | None, *, yes: bool = False, handed: Handed | None = None) -> Service:
        around = Surroundings(
            clock=lambda: self.now,
            entropy=self.entropy,
            open_terminal=lambda: person,
            assume_yes=yes,
            passphrases=handed,
            try_log=lambda home: msgspec.json.decode(try_start(home.root).to_json(), type=Standing),
        )
        return Service(self.home, around)

    def made(self, *, sealed: bool = False) -> Bench:
        """With its keys and statements made."""
        person = Person(*(PASSPHRASE.decode(),) * 2) if sealed else Person()
        told = ask(self.service(person), Create(plain=not sealed))
        assert not isinstance(told, Failure), told
        return self

    @property
    def identity(self) -> Identity:
        return load_identity(self.home)

    @property
    def aud(self) -> bytes:
        return self.identity.aud

    @property
    def roots(self) -> Roots:
        return roots_of(self.identity.install, epoch=1)

    def key(self, path: Path) -> SigningKey:
        return SigningKey.from_seed(path.read_bytes())

    def token(self, reply: SignedReply) -> Token:
        """What was signed, verified as the gate verifies it."""
        return verify_chain(encode((SignedBlock(reply.payload, reply.token_signature),)), self.roots)

    def checkpoint(self, size: int = 1, *, boot: int = 1, leaves: Iterable[bytes] = ()) -> bytes:
        """A checkpoint of this home's log, as its runtime signs it."""
        tree = CompactRange()
        for leaf in (*leaves, *(b"record" for _ in range(size)))[:size]:
            tree.append(leaf_hash(leaf))
        made = Checkpoint(log_id=self.identity.install.log_id, size=size, root=tree.root(), tip=b"t" * 32, boot=boot)
        return sign_checkpoint(made, self.key(self.home.runtime_key))


def ask(service: Service, asked: Signed) -> Signed:
    """What the signer says to ``asked``."""
    reply = decode(service.serve(pack(asked)[HEADER_BYTES:]), Reply, max_bytes=MAX_FRAME_BYTES, what="a reply")
    if not reply.done:
        return decode(reply.body, Failure, max_bytes=MAX_FRAME_BYTES, what="a failure")
    states = dict.fromkeys(("Show", "Unlock", "Create", "Reseal", "Unseal"), KeyState)
    shape = {**states, "AcceptLoss": LossAccepted}.get(type(asked).__name__, SignedReply)
    return decode(reply.body, shape, max_bytes=MAX_FRAME_BYTES, what="a reply")


def code(told: Signed) -> str:
    """The code of a failure; empty for anything else."""
    return told.code if isinstance(told, Failure) else ""
