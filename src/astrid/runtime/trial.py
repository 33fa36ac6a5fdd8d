"""Would a daemon start on the log of this home?  Asked without starting one, by whoever wants to give the log up.

    sound     0   it would, or there is nothing that could be lost
    tampered  1   it would not: the log does not hold together, or is less than a checkpoint of this home says
    unknown   2   it could not be told, or something else is wrong; that is to be mended, and no reason to give up a log

Never: writes anything, or looks at what a daemon does not look at when it starts (``verify`` does).

Source: protocol N11; threats 11, 12, 33.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from astrid.adapters.store.journal import SqliteReader
from astrid.core.chain import ChainVerifier
from astrid.core.facts import Facts
from astrid.core.install import roots_of
from astrid.core.policy import Policy
from astrid.core.verify import LogKeys
from astrid.errors import AstridError, ChainError, JournalError
from astrid.home import Home
from astrid.runtime.boot import EPOCH, load_install, log_keys
from astrid.runtime.log import DAMAGED, read_frames, read_past
from astrid.runtime.verify import Finding, Result


def try_start(root: Path) -> Finding:
    """What a daemon would say of the log below ``root``; ``records`` are those that follow one another."""
    home = Home(root)
    try:
        install = load_install(home)
        keys = log_keys(install)
    except AstridError as error:
        return _told(home, Result.UNKNOWN, error)
    facts = Facts(aud=keys.install, roots=roots_of(install, epoch=EPOCH), policy=Policy(home="/"))
    try:
        past = read_past(home, keys, facts)
    except AstridError as error:
        size, last_ns = _followed(home, keys)
        return _told(home, _result(error), error, records=size, last_ns=last_ns)
    says = "a daemon starts on this log" if past.tip.size else "there is no log yet, and none is missed"
    return Finding(
        result=Result.SOUND,
        home=str(root),
        says=says,
        records=past.tip.size,
        signed=past.signed,
        last_ns=past.tip.time_ns,
    )


def _result(error: AstridError) -> Result:
    lost = isinstance(error, ChainError) or (isinstance(error, JournalError) and error.code in DAMAGED)
    return Result.TAMPERED if lost else Result.UNKNOWN


def _followed(home: Home, keys: LogKeys) -> tuple[int, int]:
    """How many records follow one another from the first on, and the time of the last of them."""
    chain = ChainVerifier(keys.install)
    with suppress(AstridError):  # what is wrong was told already
        reader = SqliteReader(home.log)
        try:
            for data in read_frames(reader):
                chain.feed(data)
        finally:
            reader.close()
    return chain.size, chain.time_ns


def _told(home: Home, result: Result, error: AstridError, *, records: int = 0, last_ns: int = 0) -> Finding:
    return Finding(
        result=result,
        home=str(home.root),
        says=error.message,
        code=error.code,
        where=error.where,
        advice=error.advice,
        records=records,
        last_ns=last_ns,
    )
