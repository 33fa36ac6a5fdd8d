"""Models behind an OpenAI-compatible address: the vendor's own, Z.ai's, and servers on this machine.

The protocol is small and each server speaks it a little differently, so it is spoken here without a vendor's library,
over the HTTP client that such a library would use.  It never retries; whether a call is made again is decided, paid for
and recorded elsewhere.

One connection for one call: it is closed when the answer ends, fails or is left.  Every wait has a limit.

Source: the vendor's documentation (chat completions); recorded exchanges (tests/vectors/llm).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec

from astrid.adapters.llm.connection import (
    MAX_ANSWER_BYTES,
    answer_events,
    checked_url,
    http_client,
    is_here,
    let_go,
    never_sent,
    one_call,
)
from astrid.adapters.llm.faults import broken, status_fault, timed_out, too_long, unreached
from astrid.adapters.llm.openai_answer import ChunkReader, complaint_in
from astrid.adapters.llm.openai_request import Dialect, request_body
from astrid.adapters.llm.vendor import VendorModel
from astrid.core.conversation import AnyStreamEvent, ModelRequest
from astrid.core.money import Price
from astrid.errors import ConfigError, Effect, ModelError

if TYPE_CHECKING:
    import httpx2

MAX_COMPLAINT_BYTES = 64 * 1024
PLAIN = Dialect()


class OpenAIModel(VendorModel):
    """The ``Model`` port over a chat completion."""

    def __init__(
        self, provider: str, model: str, *, price: Price, base_url: str, api_key: str = "", dialect: Dialect = PLAIN
    ) -> None:
        """``provider`` is what the server is called here, ``model`` what it calls its model.  A server on this very
        machine needs no ``api_key``.

        Raises:
            ConfigError: the client is not installed, or the key or the address cannot be used.
        """
        if find_spec("httpx2") is None:  # said now, and not in the middle of a session
            raise ConfigError(
                "model.extra-missing",
                "the HTTP client for models is not installed",
                advice="install it with `pip install 'astrid[openai]'`",
            )
        url = checked_url(base_url)
        super().__init__(f"{provider}/{model}", price=price, api_key=api_key, wants_key=not is_here(url))
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._dialect = dialect
        # A closure, so that nothing that prints this object prints the key.
        self._headers: Callable[[], dict[str, str]] = lambda: {
            "Accept-Encoding": "identity",  # what is compressed has no bound
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {api_key}"} if api_key else {}),
        }

    @asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        body, names = request_body(request, self._dialect)
        try:
            data = msgspec.json.encode(body)
        except UnicodeEncodeError as error:
            raise ModelError("model.bad-request", "a message holds a lone surrogate", effect="none") from error
        reader = ChunkReader(self.name, names, self._redact)
        async with one_call(reader) as stack:
            response = await self._send(stack, data)
            events = _whole if "json" in response.headers.get("content-type", "") else answer_events
            yield await stack.enter_async_context(aclosing(events(response.aiter_raw(), reader)))

    async def _send(self, stack: AsyncExitStack, data: bytes) -> httpx2.Response:
        """The response, once its head is there."""
        import httpx2

        try:
            client = await stack.enter_async_context(http_client())
            call = client.stream("POST", self._url, content=data, headers=self._headers())
            response = await stack.enter_async_context(call)
            if response.status_code != 200:
                said = self._redact(complaint_in(await _read(response.aiter_raw(), MAX_COMPLAINT_BYTES)))
                raise status_fault(response.status_code, said, response.headers.get("retry-after"))
        except httpx2.TimeoutException as error:
            effect: Effect = "none" if never_sent(error) else "maybe"
            raise timed_out("the vendor did not answer in time", effect) from error
        except httpx2.HTTPError as error:
            raise unreached("none" if never_sent(error) else "maybe", error) from error
        return response


async def _whole(pieces: AsyncIterator[bytes], reader: ChunkReader) -> AsyncGenerator[AnyStreamEvent, None]:
    """The events of an answer that came in one piece: not every server streams."""
    import httpx2

    try:
        data = await _read(pieces, MAX_ANSWER_BYTES + 1)
    except httpx2.TimeoutException as error:
        raise timed_out("the vendor fell silent", reader.effect) from error
    except httpx2.HTTPError as error:
        raise broken("the connection broke", reader.effect) from error
    if len(data) > MAX_ANSWER_BYTES:
        raise too_long(reader.effect)
    for event in (*reader.read(data), *reader.end()):
        yield event


async def _read(pieces: AsyncIterator[bytes], most: int) -> bytes:
    """At most so many bytes."""
    data = bytearray()
    try:
        async for piece in pieces:
            data += piece
            if len(data) >= most:
                break
    finally:
        await let_go(pieces)
    return bytes(data[:most])
