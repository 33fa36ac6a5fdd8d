"""Meeting a client: what the daemon states of itself and its log, and what the client says to have seen of it.

Invariant: a client cosigns nothing but the checkpoint that was stated on its own connection.  That one was read from
the log, which is append-only; so it need not be compared with the log again.

Source: protocol N10, N11; threats 11, 50.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import cast

from astrid import __version__
from astrid.core.cosignature import SKEW_SECONDS, cosigned_note, read_cosigned
from astrid.core.note import parse_note
from astrid.core.records import CosignedRecord
from astrid.core.tokens import Token
from astrid.daemon.books import Books
from astrid.errors import ChainError, TokenError
from astrid.messages.gateway import TakeCosignature
from astrid.runtime.boot import World
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.fields import Mode


class Greeting:
    """Of one connection.  ``checkpoint`` gives the newest checkpoint and its size."""

    def __init__(self, world: World, books: Books, checkpoint: Callable[[], Awaitable[tuple[int, bytes]]]) -> None:
        self._world = world
        self._books = books
        self._checkpoint = checkpoint
        self._stated = b""

    async def welcome(self, params: p.Hello, mode: r.DaemonMode) -> r.Welcome:
        """What ``hello`` answers.

        Raises:
            TokenError: the client belongs to another install.
        """
        world = self._world
        if params.aud is not None and params.aud != world.keys.install:
            raise TokenError(
                "client.other-install",
                "this daemon is of another install than the client",
                where=str(world.home.root),
                advice="check ASTRID_HOME on both sides",
            )
        known = world.facts.cosigned.newest()  # first: what is stated then is not older than any of these
        size, note = await self._checkpoint()
        cosigned = await self._prove(known, size)
        consistency = await self._books.consistency(params.checkpoint_size, size)
        self._stated = note
        return r.Welcome(
            protocol=p.PROTOCOL_VERSION,
            version=__version__,
            aud=world.keys.install,
            home=str(world.home.root),
            mode=mode,
            session_mode=cast("Mode", world.config.workspace.mode),
            checkpoint=note,
            consistency=consistency,
            cosigned=cosigned,
        )

    async def _prove(self, known: Iterable[CosignedRecord], size: int) -> tuple[r.Cosigned, ...]:
        """Cosignatures, each with the proof that the log of ``size`` records goes on from what it is about."""
        keys = self._world.keys
        return tuple(
            [
                r.Cosigned(
                    key=one.key,
                    note=cosigned_note(one, runtime_key=keys.runtime_key, log_id=keys.log_id),
                    consistency=await self._books.consistency(one.size, size),
                )
                for one in known
            ]
        )

    def take(self, note: bytes, token: Token) -> Callable[[int], TakeCosignature]:
        """What a client cosigned, admitted by ``token``, ready for a ticket.

        Raises:
            ChainError: it is not the checkpoint that was stated here, or not cosigned by that client now.
        """
        world = self._world
        if token.holder == world.holder:  # the other end of this connection would be this daemon itself
            raise ChainError(
                "cosign.own-key",
                "the holder key is not a client's",
                advice="remove `keys/client.key` and `keys/client.token` of the home and run `astrid init`",
            )
        seen = read_cosigned(note, token.holder, runtime_key=world.keys.runtime_key, log_id=world.keys.log_id)
        if parse_note(note).text != parse_note(self._stated).text:
            raise ChainError(
                "cosign.other-note",
                "what is cosigned is not the checkpoint that was stated at the beginning",
                advice="connect again, and cosign what is stated then",
            )
        skew = abs(seen.time_s - world.clock.now_ns() // 10**9)
        if skew > SKEW_SECONDS:
            raise ChainError(
                "cosign.time", f"the clocks of client and daemon are {skew} s apart", advice="set them right"
            )
        return lambda ticket: TakeCosignature(ticket=ticket, key=token.holder, note=note, chain=token.raw)
