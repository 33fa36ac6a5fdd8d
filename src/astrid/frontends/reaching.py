"""Finding the daemon of a home at its socket, or starting one.

Never: sends anything to it; whose daemon it is, the connection finds out (``client``).

Source: architecture 4 ("Processes").
"""

from __future__ import annotations

import os

import trio

from astrid.errors import LaunchError
from astrid.frontends import launch
from astrid.home import Home

START_SECONDS = 10.0
LOOK_SECONDS = 0.02


async def reach(home: Home, *, start: bool) -> trio.SocketStream:
    """A connection to the socket of the daemon of ``home``, of which nothing is known yet.

    ``start``: start one that ends by itself, if none runs.

    Raises:
        LaunchError: there is none, or it does not come up; says what it said.
    """
    stream = await _try(home)
    if stream is not None:
        return stream
    if not start:
        raise LaunchError(
            "daemon.none",
            "no daemon runs for this home",
            effect="none",
            where=str(home.root),
            advice="start one with `astrid daemon run`",
        )
    with launch.start_daemon(home) as daemon:
        with trio.move_on_after(START_SECONDS):
            while stream is None:
                # Another one may have been faster: then ours has ended, and that one can be reached soon.
                if daemon.ended() and not daemon.was_late():
                    break
                await trio.sleep(LOOK_SECONDS)
                stream = await _try(home)
        if stream is None and daemon.ended():
            words, where, advice = daemon.last_words(), "", ""
            if not words:  # on a full disk not even its last words found room
                full = os.statvfs(home.root).f_bavail == 0
                words, advice = ("the disk is full", "free some space") if full else ("it said nothing", "see its log")
                where = str(home.daemon_log)
            raise LaunchError(
                "daemon.did-not-start",
                f"the daemon did not start: {words}",
                effect="none",
                where=where,
                advice=advice,
            )
    if stream is None:
        raise LaunchError(
            "daemon.slow-start",
            f"the daemon is not up after {START_SECONDS:.0f} s",
            effect="none",
            where=str(home.daemon_log),
            advice="a long log takes a while to verify: try again soon",
        )
    return stream


def hung_up(home: Home) -> LaunchError:
    """It ended a connection that had not begun.  Why, it had no words for: it turns away whom it has no place for, and
    everybody while it stops.
    """
    return LaunchError(
        "daemon.hung-up",
        "the daemon hung up without a word: it has too many clients, or it is stopping",
        effect="none",
        where=str(home.daemon_log),
        advice="try again; if that does not help, close another client",
    )


def not_taken() -> LaunchError:
    """It leaves a connection waiting at its door."""
    return LaunchError(
        "daemon.full",
        "the daemon does not take another connection",
        effect="none",
        advice="close another client, or look at `astrid daemon status`",
    )


async def _try(home: Home) -> trio.SocketStream | None:
    try:
        return await trio.open_unix_socket(str(home.socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise LaunchError(
            "daemon.unreachable",
            f"the daemon's socket cannot be opened: {error.strerror}",
            effect="none",
            where=str(home.socket),
            advice="check the owner and mode of the home",
        ) from error
