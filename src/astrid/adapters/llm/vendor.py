"""What the models of all vendors have in common, and so have those who read their answers.

Never: knows a protocol.  How a request is sent and what an answer says is the business of each vendor's own modules.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from astrid.core.conversation import AnyStreamEvent, ModelRequest, Usage
from astrid.core.money import Price
from astrid.errors import ConfigError, Effect, ModelError

_KEY = re.compile(r"[\x21-\x7e]{1,512}")


class VendorModel(abc.ABC):
    """The ``Model`` port, but for how a request is sent."""

    def __init__(self, name: str, *, price: Price, api_key: str, wants_key: bool = True) -> None:
        """``name`` is ``provider/model``; ``api_key`` may be empty where none is wanted.

        Raises:
            ConfigError: the key is missing, or cannot be one.
        """
        if wants_key and not api_key:
            raise ConfigError("model.key-missing", f"there is no key for `{name}`", advice="give the vendor's key")
        if api_key and not _KEY.fullmatch(api_key):
            raise ConfigError(
                "model.key-malformed",
                f"the key for `{name}` holds a character that no key has",
                advice="give it as the vendor's console shows it, in one line",
            )
        self._name = name
        self._price = price
        # SAFETY: what a vendor complains of is recorded; one that repeats the key it was sent must not bring it there.
        # A closure, so that nothing that prints this object prints the key.
        self._redact: Callable[[str], str] = lambda text: text.replace(api_key, "(the key)") if api_key else text

    @property
    def name(self) -> str:
        """``provider/model``."""
        return self._name

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
        if request.model != self._name:
            raise ModelError(
                "model.wrong-model", f"`{request.model}` was asked for, and this is `{self._name}`", effect="none"
            )
        return self._stream(request)

    @abc.abstractmethod
    def _stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[AnyStreamEvent]]:
        """The same, of a request for this very model."""


class Reader(abc.ABC):
    """Turns what a vendor sends into our events: the pieces of one answer."""

    def __init__(self, model: str, names: dict[str, str], redact: Callable[[str], str] = str) -> None:
        """``model`` is who answers; ``names`` are our names of the tools by the vendor's; ``redact`` takes out of a
        complaint what must not be kept.
        """
        self._model = model
        self._names = names
        self._redact = redact
        self.usage: Usage | None = None
        self.done = False  # whether the answer is over

    @property
    def effect(self) -> Effect:
        """What a failure at this point means: a bill is certain once the vendor has counted something."""
        return "maybe" if self.usage is None else "done"

    @abc.abstractmethod
    def read(self, data: bytes) -> list[AnyStreamEvent]:
        """The events that one of the vendor's brings.

        Raises:
            ModelError: the vendor reports a fault, or breaks its own protocol.
        """

    @abc.abstractmethod
    def end(self) -> list[AnyStreamEvent]:
        """The events that the end of the stream brings.

        Raises:
            ModelError: it is no end.
        """

    def _broken(self, what: str) -> ModelError:
        return ModelError("model.bad-answer", f"the vendor sent {what}", effect=self.effect)
