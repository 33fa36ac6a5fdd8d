"""Anthropic's models, through the vendor's own library.

The library carries the request and the key; what it reads of the world besides is taken away from it: its environment
variables (an address, a key, headers, tracing, logging of whole requests), proxies, ``.netrc`` and redirects.  It never
retries; whether a call is made again is decided, paid for and recorded elsewhere.

One connection for one call: it is closed when the answer ends, fails or is left.  Every wait has a limit.

Source: the vendor's SDK; the first Astrid (no timeout, retry-after ignored).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import trio

from astrid.adapters.llm.anthropic_answer import AnswerReader, vendor_fault
from astrid.adapters.llm.anthropic_request import request_body
from astrid.adapters.llm.sse import EventDecoder
from astrid.core.conversation import AnyStreamEvent, ModelRequest
from astrid.core.money import Price
from astrid.errors import ConfigError, Effect, ModelError

if TYPE_CHECKING:
    import anthropic

PROVIDER = "anthropic"
BASE_URL = "https://api.anthropic.com"
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0  # the longest wait for the next bytes
CALL_SECONDS = 1_800.0  # the longest call
MAX_EVENT_BYTES = 8 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_RETRY_AFTER = 86_400.0

_Opening = AbstractAsyncContextManager["anthropic.AsyncAPIResponse[Any]"]
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_HERE = frozenset(("localhost", "127.0.0.1", "::1"))


class AnthropicModel:
    """The ``Model`` port over the vendor's Messages API."""

    def __init__(self, model: str, *, price: Price, api_key: str, base_url: str | None = None) -> None:
        """``model`` is the vendor's name of it; ``base_url`` another address than the vendor's own.

        Raises:
            ConfigError: the library is not installed, or the key or the address cannot be used.
        """
        if not _KEY.fullmatch(api_key):
            raise ConfigError(
                "model.key-malformed",
                "the key for anthropic is empty, or holds a character that no key has",
                advice="give it as the vendor's console shows it, in one line",
            )
        self._model = model
        self._price = price
        self._client = _client(api_key, _checked_url(base_url or BASE_URL))
        # SAFETY: what a vendor complains of is recorded; one that repeats the key it was sent must not bring it there.
        # A closure, so that nothing that prints this object prints the key.
        self._redact: Callable[[str], str] = lambda text: text.replace(api_key, "(the key)")

    @property
    def name(self) -> str:
        """``anthropic/<model>``."""
        return f"{PROVIDER}/{self._model}"

    @property
    def price(self) -> Price:
        """What tokens cost."""
        return self._price

    @property
    def scripted(self) -> bool:
        """Never."""
        return False

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[AnyStreamEvent]]:
        """Send ``request``; its answer as it comes.

        Raises:
            ModelError: ``model.rate-limited`` and ``model.overloaded`` (with the field ``retry_after``, in seconds or
                ``None``), ``model.auth``, ``model.bad-request``, ``model.unavailable``, ``model.timeout``,
                ``model.stream-broken``, ``model.bad-answer`` or ``model.wrong-model``.
        """
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        if request.model != self.name:
            raise ModelError(
                "model.wrong-model", f"`{request.model}` was asked for, and this is `{self.name}`", effect="none"
            )
        body, names = request_body(request)
        reader = AnswerReader(self.name, names, self._redact)
        with trio.move_on_after(CALL_SECONDS) as scope:
            async with AsyncExitStack() as stack:
                response = await self._send(stack, body)
                yield await stack.enter_async_context(aclosing(_events(response, reader)))
        if scope.cancelled_caught:
            raise _timeout("the answer did not end in time", reader.effect)

    async def _send(self, stack: AsyncExitStack, body: dict[str, Any]) -> anthropic.AsyncAPIResponse[Any]:
        """The response, once its head is there.  Whatever is wrong up to then is told by the library's exceptions."""
        import anthropic
        import httpx2

        messages = cast("Any", self._client.messages)
        call: _Opening = messages.with_streaming_response.create(**body)
        try:
            return await stack.enter_async_context(call)
        except anthropic.APIStatusError as error:
            raise _refusal(error, self._redact(error.message)) from error
        except anthropic.APIConnectionError as error:
            raise _unreached(error) from error
        except UnicodeEncodeError as error:
            raise ModelError("model.bad-request", "a message holds a lone surrogate", effect="none") from error
        except (httpx2.HTTPError, anthropic.AnthropicError) as error:  # while the text of a refusal was read
            raise _broken("the connection broke", "maybe") from error


async def _events(
    response: anthropic.AsyncAPIResponse[Any], reader: AnswerReader
) -> AsyncGenerator[AnyStreamEvent, None]:
    import httpx2

    decoder = EventDecoder()
    received = 0
    pieces = response.iter_bytes()
    try:
        async for piece in pieces:
            received += len(piece)
            for data in decoder.feed(piece):
                for event in reader.read(data):
                    yield event
                if reader.done:
                    return
            if decoder.held_bytes > MAX_EVENT_BYTES or received > MAX_ANSWER_BYTES:
                raise _broken("the answer is longer than any answer can be", reader.effect)
    except httpx2.TimeoutException as error:
        raise _timeout("the vendor fell silent", reader.effect) from error
    except httpx2.HTTPError as error:
        raise _broken("the connection broke", reader.effect) from error
    finally:
        await _let_go(pieces)
    raise _broken("the answer stopped before its end", reader.effect)


async def _let_go(pieces: AsyncIterator[bytes]) -> None:
    """End the library's generators where they stand.

    They are nested, and closing the outermost would leave the others to the garbage collector.  Asked for more in a
    cancelled scope, the innermost is cancelled where it waits for the network, and all of them unwind.
    """
    import httpx2

    with trio.CancelScope() as scope, suppress(httpx2.HTTPError):  # what the rest of the answer holds matters no more
        scope.cancel()
        async for _ in pieces:
            pass


def _client(api_key: str, base_url: str) -> anthropic.AsyncAnthropic:
    with _hidden_environment():
        try:
            import anthropic
            import httpx2
        except ImportError as error:
            raise ConfigError(
                "model.extra-missing",
                "the library for Anthropic's models is not installed",
                advice="install it with `pip install 'astrid[anthropic]'`",
            ) from error
        # SAFETY: redirects would carry the conversation to another host; proxies and .netrc come from the environment.
        http_client = httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_keepalive_connections=0),  # so that nothing is left open, ever
        )
        return anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            timeout=http_client.timeout,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},  # what is compressed has no bound
            open_telemetry=False,
            http_client=http_client,
        )


@contextmanager
def _hidden_environment() -> Generator[None, None, None]:
    """Within, no variable of the vendor's library exists.

    SAFETY: the library lets variables override the key's headers, the address and the logging of whole requests, and
    has no switch against some of them.  They are read when it is imported and when a client is made; both happen here.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("ANTHROPIC_")}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _checked_url(text: str) -> str:
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


def _safe(scheme: str, host: str) -> bool:
    return scheme == "https" or (scheme == "http" and host in _HERE)


def _refusal(error: anthropic.APIStatusError, said: str) -> ModelError:
    """What an answer with an error status means.  Below 500 the vendor says that it did nothing, and bills nothing."""
    status = error.status_code
    wait = _retry_after(error.response.headers.get("retry-after"))
    if status == 429:
        return vendor_fault("rate_limit_error", said, "none", retry_after=wait)
    if status == 529:
        return vendor_fault("overloaded_error", said, "none", retry_after=wait)
    if status in (401, 402, 403):
        return vendor_fault("authentication_error", said, "none")
    if status == 408:
        return vendor_fault("timeout_error", said, "maybe")
    if status < 400:
        return ModelError(
            "model.unavailable", f"the address redirects, with status {status}", effect="none", advice="use its target"
        )
    if status < 500:
        return vendor_fault("invalid_request_error", said, "none")
    return vendor_fault("api_error", said, "maybe", retry_after=wait)


def _retry_after(value: str | None) -> float | None:
    """The header in seconds, if it is a sensible number."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else None


def _unreached(error: anthropic.APIConnectionError) -> ModelError:
    """What it means that no answer came.  Only a connection that was never made says for sure that nothing happened."""
    import anthropic
    import httpx2

    before = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.LocalProtocolError)
    effect: Effect = "none" if isinstance(error.__cause__, before) else "maybe"
    if isinstance(error, anthropic.APITimeoutError):
        return _timeout("the vendor did not answer in time", effect)
    return ModelError(
        "model.unavailable",
        "the vendor could not be reached",
        effect=effect,
        advice="check the network and the address",
        cause=type(error.__cause__).__name__,
    )


def _timeout(message: str, effect: Effect) -> ModelError:
    return ModelError("model.timeout", message, effect=effect, advice="try again")


def _broken(message: str, effect: Effect) -> ModelError:
    return ModelError("model.stream-broken", message, effect=effect, advice="try again")
