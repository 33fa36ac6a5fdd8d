"""Giving up a log that was lost: what that means, drawn from the home itself, and the change to a new log.

The install statement is the change.  Whatever was signed under the old one (tokens, answers, prompts, proofs) is for
another audience from then on, and so is dead; and a log under the new one has to name where the old one ended.  Nothing
is deleted or overwritten: the old log, its statement and the checkpoints move to a folder of their own.

Never: gives up a log on which a daemon would start.

Invariant: whenever it is killed, no daemon starts in this home, or all is done.  What broke off before the new
statement was in force leaves the old state; what broke off later is gone on with (``is_unfinished``).

Source: protocol N7, N11; threats 11, 12, 33.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from astrid.core.checkpoint import Checkpoint, origin, verify_checkpoint
from astrid.core.install import NO_LOSS, Install, Lost, install_id
from astrid.core.keys import load_public_key
from astrid.core.quoting import quote
from astrid.errors import ChainError, ConfigError, InputError, LaunchError
from astrid.frontends.launch import verify_home
from astrid.frontends.signer.describe import time_text
from astrid.frontends.signer.identity import Identity
from astrid.home import Home, read_guarded, write_guarded
from astrid.home.files import sync_folder

QUESTION = "give this log up, for good?"
PROMPT = 'Type "accept the loss" and Enter:'
AGREED = (b"accept the loss",)
_MARK = "unfinished"
_NS = 10**9


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon would say of the log when it starts: ``sound``, ``tampered`` or ``unknown``."""

    result: str
    says: str
    code: str
    where: str
    advice: str
    records: int
    last_ns: int

    @property
    def in_use(self) -> bool:
        """Whether there is a log, and a daemon would start on it."""
        return self.result == "sound" and self.records > 0


class Witness(msgspec.Struct, frozen=True):
    """A checkpoint that was kept outside the log's folder, or why it cannot be believed."""

    keeper: str
    kept_s: int
    checkpoint: Checkpoint | None
    trouble: str


def try_log(home: Home) -> Standing:
    """What a daemon would say of the log of ``home``; found out by a process of its own, as the log may be hostile.

    Raises:
        LaunchError: that process fails.
    """
    _, said = verify_home(home.root, "--start", "--json")
    try:
        return msgspec.json.decode(said, type=Standing)
    except msgspec.DecodeError as error:
        raise LaunchError(
            "loss.no-verifier",
            "the log could not be looked at",
            effect="none",
            where=str(home.log),
            advice="see what `astrid audit verify` says",
        ) from error


def check_lost(found: Standing) -> None:
    """Nothing, if a daemon refuses this log for what it is.

    Raises:
        InputError: there is nothing to accept.
    """
    if found.result == "sound":
        raise InputError("loss.none", f"nothing was lost: {found.says}", advice="see `astrid audit verify`")
    if found.result != "tampered":
        raise InputError(
            "loss.unclear",
            f"this is no loss of the log: {found.says}",
            where=found.where,
            advice=found.advice or "mend that first",
        )


def witnesses(home: Home, install: Install) -> tuple[Witness, ...]:
    """The checkpoints that this home has outside the log's folder."""
    kept: list[Witness] = []
    for path, keeper in ((home.witness, "the command line"), (home.anchor, "the daemon")):
        if not os.path.lexists(path):
            continue
        checkpoint, trouble = None, ""
        try:
            checkpoint = _read(path, install)
        except (ConfigError, ChainError) as error:
            trouble = error.message
        kept.append(Witness(keeper, int(os.lstat(path).st_mtime), checkpoint, trouble))
    return tuple(kept)


def _read(path: Path, install: Install) -> Checkpoint:
    note = read_guarded(path, what="the checkpoint")
    return verify_checkpoint(note, load_public_key(install.runtime_key), install.log_id)


def _is_of(path: Path, install: Install) -> bool:
    try:
        _read(path, install)
    except (ConfigError, ChainError):
        return False
    return True


def successor(old: Install, kept: tuple[Witness, ...], *, log_id: bytes, now_s: int) -> Install:
    """The statement that opens another log with the same keys; it names where, by the longest checkpoint that was kept
    elsewhere, the old one ended.
    """
    found = [witness.checkpoint for witness in kept if witness.checkpoint is not None]
    lost = Lost(old.log_id, 0, NO_LOSS.tip)
    if found:
        longest = max(found, key=lambda checkpoint: checkpoint.size)  # of two as long, the command line's
        lost = Lost(old.log_id, longest.size, longest.tip)
    return Install(1, log_id, old.runtime_key, old.roots, now_s, lost)


def describe(home: Home, found: Standing, kept: tuple[Witness, ...], new: Install) -> Iterator[str]:
    """What the person accepts."""
    yield f"log: {origin(new.lost.log_id)}"
    yield f"what is wrong: {quote(found.says.encode())}{f', at {quote(found.where.encode())}' if found.where else ''}"
    there = f"{found.records} that follow one another, the last of {time_text(found.last_ns // _NS)}"
    yield f"records that are there: {there if found.records else 'none that can be believed'}"
    for witness in kept:
        seen = f"{witness.checkpoint.size} records" if witness.checkpoint else quote(witness.trouble.encode())
        yield f"{witness.keeper} had seen, on {time_text(witness.kept_s)}: {seen}"
    if not kept:
        yield "no checkpoint was kept outside the log"
    yield "every grant and every answer that you signed so far ends, and each open question is gone"
    yield "what was spent and used is forgotten: budgets begin anew, with what you grant anew"
    yield f"nothing is deleted: the old log will be kept in {quote(os.fsencode(kept_folder(home, new)))}"
    tip = new.lost.tip.hex() if new.lost.size else "no checkpoint to go by"
    yield f"a new log begins, and its first record names where this one ended: {tip}"


def kept_folder(home: Home, new: Install) -> Path:
    """Where the log is kept that ``new`` takes the place of."""
    when = time_text(new.created_s).replace(" ", "_").replace(":", ".")
    return home.lost / f"{when}_{new.lost.log_id.hex()[:16]}"


def is_unfinished(home: Home, identity: Identity) -> bool:
    """Whether this home's install statement took the place of another one, and the rest was not done yet."""
    mark = kept_folder(home, identity.install) / _MARK
    return os.path.lexists(mark) and read_guarded(mark, what="the mark", max_bytes=64) == _name(identity.install)


def change(home: Home, new: Install, statement: bytes) -> None:
    """Put ``statement``, which says ``new``, in force.  What comes after it is ``finish``.

    Raises:
        ConfigError: the old log cannot be kept; nothing was changed.
    """
    folder = kept_folder(home, new)
    home.lost.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.path.lexists(folder / "log"):
        raise ConfigError(
            "loss.kept", "this log was given up a moment ago already", where=str(folder), advice="try again"
        )
    if not os.path.lexists(folder / "install"):
        os.link(home.install, folder / "install")
    write_guarded(folder / _MARK, _name(new), what="the mark", replace=True)
    sync_folder(folder)
    sync_folder(home.lost)
    sync_folder(home.root)
    # SAFETY: before anything is moved.  Without the log and the checkpoints, a daemon would take the old statement for
    # that of a home that never ran, and everything that was signed for it would be live again.
    write_guarded(home.install, statement, what="the install statement", replace=True)


def finish(home: Home, new: Install, renew_client: Callable[[], None]) -> None:
    """Everything that is still to be done once ``new`` is in force; ``renew_client`` makes the client's token."""
    folder = kept_folder(home, new)
    renew_client()
    if not os.path.lexists(folder / "log"):
        home.log.parent.rename(folder / "log")
        sync_folder(folder)
    home.log.parent.mkdir(mode=0o700, exist_ok=True)
    sync_folder(home.root)
    # SAFETY: after the log.  As long as they are there, no daemon starts, so that what is moved is never a new log.
    (folder / "witnesses").mkdir(mode=0o700, exist_ok=True)
    for path in (home.witness, home.anchor):
        target = folder / "witnesses" / path.name
        if os.path.lexists(path) and not _is_of(path, new) and not os.path.lexists(target):
            path.rename(target)
    sync_folder(folder / "witnesses")
    sync_folder(home.anchor.parent)
    settle(home, new)


def settle(home: Home, new: Install) -> None:
    """Nothing is unfinished any more."""
    folder = kept_folder(home, new)
    (folder / _MARK).unlink()
    sync_folder(folder)


def _name(new: Install) -> bytes:
    return install_id(new).hex().encode()
