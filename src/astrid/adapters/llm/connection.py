"""One connection to a vendor for one call: how it is made, what is read from it, how it is let go.

What an HTTP client reads of the world besides is taken away from it: proxies, ``.netrc``, redirects.  Every wait has a
limit, and so has everything that is kept of an answer.

Source: measured with the vendors' libraries and their HTTP client on Trio; the first Astrid (no timeout).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from astrid.adapters.llm.faults import broken, timed_out, too_long
from astrid.adapters.llm.sse import EventDecoder
from astrid.adapters.llm.vendor import Reader
from astrid.core.conversation import AnyStreamEvent
from astrid.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0  # the longest wait for the next bytes
CALL_SECONDS = 1_800.0  # the longest call
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_HERE = frozenset(("localhost", "127.0.0.1", "::1"))


@asynccontextmanager
async def one_call(reader: Reader) -> AsyncGenerator[AsyncExitStack, None]:
    """What is to be closed when the call ends, which it does in time.

    Raises:
        ModelError: it did not.
    """
    with trio.move_on_after(CALL_SECONDS) as scope:
        async with AsyncExitStack() as stack:
            yield stack
    if scope.cancelled_caught:
        raise timed_out("the answer did not end in time", reader.effect)


async def answer_events(pieces: AsyncIterator[bytes], reader: Reader) -> AsyncGenerator[AnyStreamEvent, None]:
    """The events of an answer that comes as server-sent events in ``pieces``, until ``reader`` has its end.

    Raises:
        ModelError: it breaks off, falls silent, is too long, or is none.
    """
    import httpx2

    decoder = EventDecoder()
    received = 0
    try:
        async for piece in pieces:
            received += len(piece)
            for data in decoder.feed(piece):
                for event in reader.read(data):
                    yield event
                if reader.done:
                    return
            if decoder.held_bytes > MAX_EVENT_BYTES or received > MAX_ANSWER_BYTES:
                raise too_long(reader.effect)
    except httpx2.TimeoutException as error:
        raise timed_out("the vendor fell silent", reader.effect) from error
    except httpx2.HTTPError as error:
        raise broken("the connection broke", reader.effect) from error
    finally:
        await let_go(pieces)
    for event in reader.end():
        yield event


async def let_go(pieces: AsyncIterator[bytes]) -> None:
    """End a library's generators where they stand.

    They are nested, and closing the outermost would leave the others to the garbage collector.  Asked for more in a
    cancelled scope, the innermost is cancelled where it waits for the network, and all of them unwind.
    """
    import httpx2

    with trio.CancelScope() as scope, suppress(httpx2.HTTPError):  # what the rest of the answer holds matters no more
        scope.cancel()
        async for _ in pieces:
            pass


def http_client() -> httpx2.AsyncClient:
    """A client for one vendor."""
    import httpx2

    # SAFETY: redirects would carry the conversation to another host; proxies and .netrc come from the environment.
    return httpx2.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_keepalive_connections=0),  # so that nothing is left open, ever
    )


def never_sent(error: BaseException | None) -> bool:
    """Whether ``error`` says for sure that nothing happened: the connection was never made."""
    import httpx2

    before = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.LocalProtocolError)
    return isinstance(error, before)


def checked_url(text: str) -> str:
    """``text``, if it is an address that a key and a conversation may be sent to.

    Raises:
        ConfigError: it is none.
    """
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        url, host = None, None
    if url is None or not host or url.username is not None or url.query or url.fragment or not _safe(url.scheme, host):
        raise ConfigError(
            "model.base-url",
            f"`{text[:200]}` is no address that a key may be sent to",
            advice="write https://host[:port][/path]; http is only for this very machine (127.0.0.1, ::1, localhost)",
        )
    return text


def is_here(url: str) -> bool:
    """Whether a checked address is on this very machine."""
    return urlsplit(url).hostname in _HERE


def _safe(scheme: str, host: str) -> bool:
    return scheme == "https" or (scheme == "http" and host in _HERE)
