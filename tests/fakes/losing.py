"""A home with a log that had two lives, its user's key, and ways to lose the log."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from astrid.adapters.store import tamper
from astrid.core.approval import Verdict
from astrid.core.grants import Mode
from astrid.core.keys import seal
from astrid.home import Home, write_guarded
from tests.fakes.daemon_home import make_client_home
from tests.fakes.home import grant_workspace
from tests.fakes.runtime import Json, Runtime, call, running, turn
from tests.fakes.signing import PASSPHRASE

GRANT, YES = "grant", "yes"  # files beside the home: what the user signed in its first life
EARLY = "early"


async def live_twice(folder: Path) -> None:
    """A home below ``folder``; ``early`` beside it is the log and the anchor of its first life.

    A client has seen the end of its second life.  In the first one a workspace was granted, and a question stayed open,
    to which the user's yes never arrived.
    """
    home, aud = make_client_home(folder / "home")
    sealed = seal(b"\x01" * 32, PASSPHRASE, salt=b"s" * 16, nonce=b"n" * 24)
    write_guarded(home.user_key, sealed, what="the user key")
    (folder / "workspace").mkdir()
    async with running(folder) as runtime:
        now_s = runtime.world.clock.now_ns() // 10**9
        token = grant_workspace(home, aud, runtime.workspace, Mode.SAFE, now_s=now_s)
        (folder / GRANT).write_bytes(token)
        await runtime.grant(Mode.SAFE)
        question, event = await ask(runtime)
        (folder / YES).write_bytes(runtime.answer_to(question, event, Verdict.ONCE))
    (home.log.parent / "ballast").unlink()  # much to copy, and nothing to see
    shutil.copytree(home.log.parent, folder / EARLY / "log")
    shutil.copytree(home.anchor.parent, folder / EARLY / "anchor")
    async with running(folder):
        pass
    shutil.copy(home.anchor, home.witness)
    (home.log.parent / "ballast").unlink()


async def ask(runtime: Runtime) -> tuple[bytes, Json]:
    """A question that stays open, and the event that told of it."""
    await runtime.open([turn(call("write_file", file_path="a", content="1")), turn()], mode="safe")
    await runtime.say("write")
    events = await runtime.until("turn_complete")
    told = next(event for event in events if "question_id" in event)
    return await runtime.question(told), told


def roll_back(home: Home) -> None:
    """The log and the daemon's own anchor are those of the first life."""
    early = home.root.parent / EARLY
    shutil.rmtree(home.log.parent)
    shutil.copytree(early / "log", home.log.parent)
    home.log.parent.chmod(0o700)
    shutil.copy(early / "anchor" / "daemon", home.anchor)


def remove(home: Home) -> None:
    shutil.rmtree(home.log.parent)
    home.log.parent.mkdir(mode=0o700)


def flip_unwitnessed(home: Home) -> None:
    home.anchor.unlink()
    home.witness.unlink()
    tamper.flip_bit(home.log, 3)


def scribble(home: Home) -> None:
    for path in home.log.parent.glob("audit.db-*"):
        path.unlink()
    home.log.write_bytes(b"hello" * 2000)


LOSSES: dict[str, Callable[[Home], object]] = {
    "rolled back": roll_back,
    "gone": remove,
    "its end cut off": lambda home: tamper.cut_tail(home.log, 5),
    "a bit changed, and no checkpoint left": flip_unwitnessed,
    "no database any more": scribble,
    "an anchor that is none": lambda home: home.anchor.write_bytes(b"hello"),
}
