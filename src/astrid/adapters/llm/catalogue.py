"""Which models there are, by name, and what they cost.

    anthropic/claude-...   or claude-...   a model of Anthropic's
    openai/...  zai/...                    a model of these vendors
    ollama/...  lmstudio/...  vllm/...  llamacpp/...   a model that a server on this machine has, where it listens by
                                           default
    NAME/...                               a model of an OpenAI-compatible server that the configuration names
    scripted:FILE                          answers read from a script

Never: guesses a price.  A model without one could not be held to a budget, so it is refused until the user gives one.

Source: architecture 6 (step 3, the hard cap on model calls); threat 42 (a workspace chooses neither of them).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from astrid.adapters.llm.anthropic import PROVIDER, AnthropicModel
from astrid.adapters.llm.openai import PLAIN, OpenAIModel
from astrid.adapters.llm.openai_request import Dialect
from astrid.adapters.llm.script import MAX_SCRIPT_BYTES, Script, load_script
from astrid.adapters.llm.scripted import ScriptedModel
from astrid.core.money import Price, parse_usd
from astrid.errors import ConfigError
from astrid.ports import Model

SCRIPTED = "scripted:"
ANTHROPIC_KEY = "ANTHROPIC_API_KEY"


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenAI-compatible server: where it is, which variable holds its key, if it wants one, how it speaks."""

    base_url: str
    key_variable: str = ""
    dialect: Dialect = PLAIN


# Addresses as the vendors' pages have them in November 2026; those of local servers are their defaults.
PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider(
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        dialect=Dialect(max_tokens="max_completion_tokens"),
    ),
    "zai": Provider(
        base_url="https://api.z.ai/api/paas/v4",
        key_variable="ZAI_API_KEY",
        dialect=Dialect(always={"thinking": {"type": "enabled", "clear_thinking": False}}, wants_reasoning=True),
    ),
    "ollama": Provider(base_url="http://127.0.0.1:11434/v1"),
    "lmstudio": Provider(base_url="http://127.0.0.1:1234/v1"),
    "vllm": Provider(base_url="http://127.0.0.1:8000/v1"),
    "llamacpp": Provider(base_url="http://127.0.0.1:8080/v1"),
}

_SERVED = re.compile(r"([a-z][a-z0-9-]{0,31})/([A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127})")
_NAME_TEXT = "name a script that is a file of UTF-8 text, one JSON object a line"
_CLAUDE = re.compile(r"(?:anthropic/)?(claude-[a-z0-9.-]{1,64})")


def _price(input_usd: str, output_usd: str) -> Price:
    plain = parse_usd(input_usd)
    price = Price(
        input_micros_per_million=plain,
        output_micros_per_million=parse_usd(output_usd),
        cache_read_micros_per_million=-(-plain // 10),
    )
    return _with_cache(price)


def _with_cache(price: Price) -> Price:
    """What goes into the vendor's cache for five minutes costs a quarter more than what is only read."""
    if price.cache_write_micros_per_million is not None:
        return price
    return msgspec.structs.replace(price, cache_write_micros_per_million=-(-price.input_micros_per_million * 5 // 4))


# Dollars per million tokens, in and out, as the vendor's public pages on models and pricing had them in October 2026;
# of a model whose price depends on the length of the prompt, the dearest.  What is taken from the cache costs a tenth.
PRICES: Mapping[str, Price] = {
    "claude-fable-5-2": _price("8", "40"),
    "claude-fable-5-1": _price("10", "50"),
    "claude-opus-5-5": _price("4", "20"),
    "claude-opus-5": _price("5", "25"),
    "claude-opus-4-8": _price("5", "25"),
    "claude-opus-4-7": _price("5", "25"),
    "claude-opus-4-6": _price("5", "25"),
    "claude-sonnet-5-5": _price("2", "10"),
    "claude-sonnet-5": _price("2", "10"),
    "claude-sonnet-4-6": _price("3", "15"),
    "claude-haiku-5-5": _price("0.50", "2.50"),
    "claude-haiku-4-5": _price("1", "5"),
}
_NEWEST = [next(f"{PROVIDER}/{name}" for name in PRICES if kind in name) for kind in ("opus", "sonnet", "haiku")]


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a vendor's model stands for, whether or not it can be called."""

    provider: str
    model: str  # as the vendor calls it
    price: Price | None
    server: Provider | None  # None: Anthropic's, who have a protocol of their own

    @property
    def name(self) -> str:
        """``provider/model``."""
        return f"{self.provider}/{self.model}"

    @property
    def key_variable(self) -> str:
        """Which variable holds the key; empty where none is wanted."""
        return ANTHROPIC_KEY if self.server is None else self.server.key_variable


def identify_model(
    name: str, *, prices: Mapping[str, Price] | None = None, providers: Mapping[str, Provider] | None = None
) -> KnownModel:
    """The vendor's model called ``name``; ``prices`` and ``providers`` as ``resolve_model`` takes them.

    Raises:
        ConfigError: an unknown name.
    """
    given = prices or {}
    match = _CLAUDE.fullmatch(name)
    if match is not None:
        model = match[1]
        price = given.get(f"{PROVIDER}/{model}") or given.get(model) or PRICES.get(model)
        return KnownModel(provider=PROVIDER, model=model, price=price and _with_cache(price), server=None)
    served = _SERVED.fullmatch(name)
    provider = {**PROVIDERS, **(providers or {})}.get(served[1]) if served is not None else None
    if served is None or provider is None:
        raise ConfigError(
            "model.unknown",
            f"there is no model `{name[:100]}`",
            advice=f"name one of Anthropic's, such as {', '.join(_NEWEST)}, one of another provider "
            f"({', '.join(PROVIDERS)}), or {SCRIPTED}FILE",
        )
    return KnownModel(provider=served[1], model=served[2], price=given.get(name), server=provider)


def resolve_model(
    name: str,
    *,
    key_of: Callable[[str], str] = lambda _: "",
    base_url: str | None = None,
    prices: Mapping[str, Price] | None = None,
    providers: Mapping[str, Provider] | None = None,
) -> Model:
    """The model called ``name``, ready to be called.  Reads the file of a script.

    ``key_of`` gives the key of a provider, if there is one; ``base_url`` is where Anthropic's models are.  ``prices``
    (by name, with or without the provider) go before the built-in ones, ``providers`` before the built-in ones too.

    Raises:
        ConfigError: an unknown name, a model without a price or a key, or a script that cannot be read.
    """
    if name.startswith(SCRIPTED):
        return ScriptedModel(_read_script(Path(name.removeprefix(SCRIPTED))))
    known = identify_model(name, prices=prices, providers=providers)
    if known.price is None:
        raise _price_unknown(known.name)
    key = key_of(known.provider)
    if known.key_variable and not key:
        raise _key_missing(known.name, known.key_variable)
    if known.server is None:
        return AnthropicModel(known.model, price=known.price, api_key=key, base_url=base_url)
    return OpenAIModel(
        known.provider,
        known.model,
        price=known.price,
        base_url=known.server.base_url,
        api_key=key,
        dialect=known.server.dialect,
    )


def _price_unknown(name: str) -> ConfigError:
    return ConfigError(
        "model.price-unknown",
        f"what `{name}` costs is not known, so no budget could hold it",
        advice=f'give input_usd_per_million and output_usd_per_million in [models."{name}"], or say free = true there',
    )


def _key_missing(name: str, variable: str) -> ConfigError:
    return ConfigError(
        "model.key-missing",
        f"there is no key for `{name}`",
        advice=f"set {variable}, or name a key_file in [providers.{name.partition('/')[0]}], and stop the daemon "
        "(`astrid daemon stop`): the next one reads it",
    )


def _read_script(path: Path) -> Script:
    where = str(path)
    try:
        # Without waiting, since the other end of a pipe may never come.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(
                    "model.script-unreadable", "the script is not a regular file", where=where, advice=_NAME_TEXT
                )
            data = file.read(MAX_SCRIPT_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name holds a NUL"
        raise ConfigError(
            "model.script-unreadable", f"the script cannot be read: {why}", where=where, advice="name a file of yours"
        ) from error
    if len(data) > MAX_SCRIPT_BYTES:
        raise ConfigError(
            "model.script-too-long",
            f"a model script has at most {MAX_SCRIPT_BYTES} bytes",
            where=where,
            advice="shorten the script, or name another one",
        )
    try:
        return load_script(data.decode(), where)
    except UnicodeDecodeError as error:
        raise ConfigError(
            "model.script-unreadable", "the script is not UTF-8", where=where, advice=_NAME_TEXT
        ) from error
