"""Anthropic's models, through the vendor's own library.

The library carries the request and the key; what it reads of the world besides is taken away from it: its environment
variables (an address, a key, headers, tracing, logging of whole requests), proxies, ``.netrc`` and redirects.  It never
retries; whether a call is made again is decided, paid for and recorded elsewhere.

One connection for one call: it is closed when the answer ends, fails or is left.  Every wait has a limit.

Source: the vendor's SDK; the first Astrid (no timeout, retry-after ignored).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

from astrid.adapters.llm.anthropic_answer import AnswerReader
from astrid.adapters.llm.anthropic_request import request_body
from astrid.adapters.llm.connection import answer_events, checked_url, http_client, never_sent, one_call
from astrid.adapters.llm.faults import broken, status_fault, timed_out, unreached
from astrid.adapters.llm.vendor import VendorModel
from astrid.core.conversation import AnyStreamEvent, ModelRequest
from astrid.core.money import Price
from astrid.errors import ConfigError, Effect, ModelError

if TYPE_CHECKING:
    import anthropic

PROVIDER = "anthropic"
BASE_URL = "https://api.anthropic.com"

_Opening = AbstractAsyncContextManager["anthropic.AsyncAPIResponse[Any]"]


class AnthropicModel(VendorModel):
    """The ``Model`` port over the vendor's Messages API."""

    def __init__(self, model: str, *, price: Price, api_key: str, base_url: str | None = None) -> None:
        """``model`` is the vendor's name of it; ``base_url`` another address than the vendor's own.

        Raises:
            ConfigError: the library is not installed, or the key or the address cannot be used.
        """
        super().__init__(f"{PROVIDER}/{model}", price=price, api_key=api_key)
        self._client = _client(api_key, checked_url(base_url or BASE_URL))

    @asynccontextmanager
    async def _stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[AnyStreamEvent], None]:
        body, names = request_body(request)
        reader = AnswerReader(self.name, names, self._redact)
        async with one_call(reader) as stack:
            response = await self._send(stack, body)
            yield await stack.enter_async_context(aclosing(answer_events(response.iter_bytes(), reader)))

    async def _send(self, stack: AsyncExitStack, body: dict[str, Any]) -> anthropic.AsyncAPIResponse[Any]:
        """The response, once its head is there.  Whatever is wrong up to then is told by the library's exceptions."""
        import anthropic
        import httpx2

        messages = cast("Any", self._client.messages)
        call: _Opening = messages.with_streaming_response.create(**body)
        try:
            return await stack.enter_async_context(call)
        except anthropic.APIStatusError as error:
            said, wait = self._redact(error.message), error.response.headers.get("retry-after")
            raise status_fault(error.status_code, said, wait) from error
        except anthropic.APIConnectionError as error:
            raise _unreached(error) from error
        except UnicodeEncodeError as error:
            raise ModelError("model.bad-request", "a message holds a lone surrogate", effect="none") from error
        except (httpx2.HTTPError, anthropic.AnthropicError) as error:  # while the text of a refusal was read
            raise broken("the connection broke", "maybe") from error


def _client(api_key: str, base_url: str) -> anthropic.AsyncAnthropic:
    with _hidden_environment():
        try:
            import anthropic
        except ImportError as error:
            raise ConfigError(
                "model.extra-missing",
                "the library for Anthropic's models is not installed",
                advice="install it with `pip install 'astrid[anthropic]'`",
            ) from error
        client = http_client()
        return anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            timeout=client.timeout,
            max_retries=0,
            default_headers={"Accept-Encoding": "identity"},  # what is compressed has no bound
            open_telemetry=False,
            http_client=client,
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


def _unreached(error: anthropic.APIConnectionError) -> ModelError:
    """What it means that no answer came."""
    import anthropic

    effect: Effect = "none" if never_sent(error.__cause__) else "maybe"
    if isinstance(error, anthropic.APITimeoutError):
        return timed_out("the vendor did not answer in time", effect)
    return unreached(effect, error.__cause__)
