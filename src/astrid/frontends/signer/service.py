"""Request -> reply: the one place where the person, the key and what is to be signed meet.

Each request is refused, shown, agreed to and signed in this order.  A failure is answered and signs nothing; the next
request starts from the same state.

Source: protocol, "Keys and who holds them", N6, N11; threats 5, 6, 9, 11.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from astrid.core.blocks import check_block
from astrid.core.canon import Domain, Signed, encode
from astrid.core.install import install_id, sign_statement
from astrid.core.keys import PublicKey, SigningKey
from astrid.core.prompt import PromptStatement, sign_prompt
from astrid.core.quoting import quote
from astrid.core.tokens import Assurance, Block
from astrid.errors import AstridError, EdgeError, InputError, InternalError, TokenError
from astrid.frontends.signer import losing
from astrid.frontends.signer.answering import Display, choose, examine, sign_answer, sign_block
from astrid.frontends.signer.creation import create, only_one, renew_client
from astrid.frontends.signer.describe import as_rows, describe_block
from astrid.frontends.signer.granting import Signing, patterns_block, revocation, workspace_block
from astrid.frontends.signer.identity import Identity, check_log, load_identity, load_keeper
from astrid.frontends.signer.passphrases import Handed, Nobody, Passphrases, Typed, no_terminal
from astrid.frontends.signer.protocol import (
    AcceptLoss,
    AnswerQuestion,
    Create,
    Failure,
    GrantPatterns,
    GrantWorkspace,
    KeyState,
    LossAccepted,
    Reply,
    Reseal,
    Revoke,
    Show,
    SignedReply,
    SignPrompt,
    Unlock,
    Unseal,
    unpack,
)
from astrid.frontends.signer.vault import Vault
from astrid.home import Home, HomeLock, identify_workspace, workspace_id
from astrid.wire.errors import error_data

Clock = Callable[[], int]
Entropy = Callable[[int], bytes]
_AGREE = (b"y", b"yes")
_PROMPT = "Type yes or no, and Enter:"


class Terminal(Display, Protocol):
    """A person's terminal, for as long as one request takes."""

    def close(self) -> None:
        """Let go of it."""
        ...


class Surroundings(msgspec.Struct, frozen=True):
    """What the service takes from the world.  ``assume_yes``: the person's own command line agreed to what it asks."""

    clock: Clock
    entropy: Entropy
    open_terminal: Callable[[], Terminal | None]
    assume_yes: bool = False
    passphrases: Handed | None = None
    try_log: Callable[[Home], losing.Standing] = losing.try_log


class Service:
    """One signer's work, for one home."""

    def __init__(self, home: Home, around: Surroundings) -> None:
        self._home = home
        self._around = around
        self._terminal: Terminal | None = None
        self._vault = Vault(home, self._passphrases, around.entropy)

    def serve(self, data: bytes) -> bytes:
        """The bytes of the reply to the bytes of a request.

        Raises:
            CanonError, LocalProtocolError: this is no request; whoever sends it is not one of our frontends.
        """
        asked = unpack(data)
        try:
            reply = self._answer(asked)
        except AstridError as error:
            return _failed(error)
        except OSError as error:
            return _failed(_system(error))
        finally:
            if self._terminal is not None:
                self._terminal.close()
                self._terminal = None
        return encode(Reply(done=True, body=encode(reply)))

    def _answer(self, asked: Signed) -> Signed:
        match asked:
            case Show():
                return self._state(load_identity(self._home))
            case Unlock():
                return self._unlock()
            case Create():
                return self._create(asked)
            case Reseal():
                return self._reseal()
            case Unseal():
                return self._unseal()
            case AnswerQuestion():
                return self._question(asked)
            case GrantWorkspace():
                return self._grant_workspace(asked)
            case GrantPatterns():
                return self._grant(asked)
            case Revoke():
                return self._revoke(asked)
            case AcceptLoss():
                return self._accept_loss()
            case SignPrompt():
                return self._prompt(asked)
            case _:
                raise InternalError("signer.unserved", "a request of the signer's own protocol is not served")

    # --- the key

    def _state(self, identity: Identity, key: SigningKey | None = None) -> KeyState:
        public = key.public if key is not None else identity.install.roots[0].key
        assurance = identity.assurance_of(key) if key is not None else identity.install.roots[0].assurance
        return KeyState(public, assurance, self._vault.unlocked)

    def _unlock(self) -> KeyState:
        identity = load_identity(self._home)
        return self._state(identity, self._vault.open(identity))

    def _create(self, asked: Create) -> KeyState:
        around = self._around
        identity = create(self._home, self._vault, plain=asked.plain, entropy=around.entropy, now_s=around.clock())
        return self._state(identity)

    def _reseal(self) -> KeyState:
        identity = load_identity(self._home)
        with only_one(self._home):
            return self._state(identity, self._vault.reseal(identity))

    def _unseal(self) -> KeyState:
        identity = load_identity(self._home)
        with only_one(self._home):
            return self._state(identity, self._vault.unseal(identity))

    def _passphrases(self) -> Passphrases:
        if self._around.passphrases is not None:
            return self._around.passphrases
        terminal = self._screen()
        return Nobody() if terminal is None else Typed(terminal)

    # --- what is signed

    def _question(self, asked: AnswerQuestion) -> SignedReply:
        around = self._around
        identity = load_identity(self._home)
        keeper = load_keeper(self._home, identity.install)
        question = examine(asked.question, identity, keeper, around.clock())
        check_log(self._home, identity.install, asked.checkpoint, asked.proof)
        terminal = self._screen()
        if terminal is None:
            raise no_terminal()
        verdict = choose(question, terminal, quote(os.fsencode(self._home.root)))
        return sign_answer(
            question,
            verdict,
            identity=identity,
            keeper=keeper,
            open_key=lambda: self._vault.open(identity),
            now_s=around.clock,
            nonce=around.entropy(16),
        )

    def _grant_workspace(self, asked: GrantWorkspace) -> SignedReply:
        identity = load_identity(self._home)
        root, workspace = self._workspace(asked.folder)
        signing = self._signing(identity)
        block = workspace_block(asked, signing, root=root, workspace=workspace)
        above = [f"folder: {quote(os.fsencode(root))}", f"mode: {asked.mode}"]
        return self._sign_grant(identity, block, above)

    def _grant(self, asked: GrantPatterns) -> SignedReply:
        identity = load_identity(self._home)
        above: list[str] = []
        workspace = b""
        if asked.folder:
            root, workspace = self._workspace(asked.folder)
            above.append(f"folder: {quote(os.fsencode(root))}")
        return self._sign_grant(identity, patterns_block(asked, self._signing(identity), workspace=workspace), above)

    def _revoke(self, asked: Revoke) -> SignedReply:
        identity = load_identity(self._home)
        what = "token" if asked.kind == "token" else "key"
        self._agree(
            "revoke this, and everything that was passed on from it?",
            as_rows((f"{what}: {asked.target.hex()}", "it ends at once and cannot be taken back")),
        )
        key = self._vault.open(identity)
        identity.assurance_of(key)
        statement = revocation(asked, aud=identity.aud, signer=key.public, now_s=self._around.clock())
        return SignedReply(sign_statement(Domain.REVOKE, statement, key), b"", b"", b"")

    def _prompt(self, asked: SignPrompt) -> SignedReply:
        identity = load_identity(self._home)
        if asked.aud != identity.aud:
            raise TokenError(
                "signer.other-install",
                "the prompt is for another install",
                advice="nothing was signed; check that ASTRID_HOME is the home of the daemon that asks",
            )
        statement = PromptStatement(asked.aud, asked.session, asked.turn, asked.text)
        key = self._vault.open(identity, ask=False)
        return SignedReply(encode(statement), sign_prompt(statement, key), key.public, b"")

    def _accept_loss(self) -> LossAccepted:
        home = self._home
        with contextlib.closing(HomeLock(home)), only_one(home):
            identity = load_identity(home)
            found = self._around.try_log(home)
            resumed = losing.is_unfinished(home, identity)
            if resumed and found.in_use:
                losing.settle(home, identity.install)
                resumed = False
            if not resumed:
                identity = self._give_up(identity, found)
            losing.finish(home, identity.install, lambda: self._renew_client(identity))
        new = identity.install
        kept = os.fsencode(losing.kept_folder(home, new))
        return LossAccepted(
            identity.aud, new.log_id, new.lost.log_id, new.lost.size, new.lost.tip, kept, resumed=resumed
        )

    def _give_up(self, identity: Identity, found: losing.Standing) -> Identity:
        losing.check_lost(found)
        around, home = self._around, self._home
        kept = losing.witnesses(home, identity.install)
        new = losing.successor(identity.install, kept, log_id=around.entropy(32), now_s=around.clock())
        self._agree(losing.QUESTION, as_rows(losing.describe(home, found, kept, new)), losing.PROMPT, losing.AGREED)
        key = self._vault.open(identity)
        losing.change(home, new, sign_statement(Domain.INSTALL, new, key))
        return Identity(new, install_id(new))

    def _renew_client(self, identity: Identity) -> None:
        around = self._around
        now_s = around.clock()
        renew_client(self._home, identity, lambda: self._vault.open(identity), entropy=around.entropy, now_s=now_s)

    def _sign_grant(self, identity: Identity, block: Block, above: list[str]) -> SignedReply:
        check_block(block)
        self._agree("sign this grant?", as_rows(above) + describe_block(block))
        key = self._vault.open(identity)
        # The key turned out to be another one of this install: then another text should have been shown.
        if key.public != block.issuer or identity.assurance_of(key) != block.assurance:
            raise TokenError(
                "signer.other-key",
                "the key file holds another key than the first that the install statement names",
                advice="restore the key that belongs to this home",
            )
        signed = sign_block(block, key)
        return SignedReply(b"", b"", signed.payload, signed.signature)

    def _signing(self, identity: Identity) -> Signing:
        first = identity.install.roots[0]
        return Signing(
            issuer=PublicKey(first.key),
            assurance=Assurance(first.assurance),
            holder=load_keeper(self._home, identity.install),
            aud=identity.aud,
            now_s=self._around.clock(),
            nonce=self._around.entropy(16),
        )

    def _workspace(self, folder: bytes) -> tuple[str, bytes]:
        identity = identify_workspace(Path(os.fsdecode(folder)), self._home)
        return identity.path, workspace_id(identity, self._home, fresh=self._around.entropy(32))

    # --- the person

    def _screen(self) -> Terminal | None:
        if self._terminal is None:
            self._terminal = self._around.open_terminal()
        return self._terminal

    def _agree(self, question: str, text: str, prompt: str = _PROMPT, agreed: tuple[bytes, ...] = _AGREE) -> None:
        """Nothing, if the person wants this: they said so at the terminal, or on their own command line.

        Raises:
            InputError: they do not.
            EdgeError: nobody could be asked.
        """
        terminal = self._screen()
        if terminal is None:
            if not self._around.assume_yes:
                raise no_terminal()
            return
        terminal.say(f"Astrid signer: {question}", strong=True)
        terminal.say(f"home: {quote(os.fsencode(self._home.root))}")
        terminal.show(text)
        if not self._around.assume_yes and terminal.ask(prompt).strip().lower() not in agreed:
            raise InputError(
                "signer.refused",
                "the person said no; nothing was signed",
                advice="run the command again to give another answer",
            )


def _failed(error: AstridError) -> bytes:
    told = error_data(error)
    return encode(Reply(done=False, body=encode(Failure(told.code, told.message, told.where, told.advice))))


def _system(error: OSError) -> EdgeError:
    return EdgeError(
        "signer.system",
        f"the system refused: {error.strerror}",
        effect="maybe",
        advice="check space and permissions of the home, and try again",
    )
