"""Which models there are, by name, and what they cost.

    anthropic/claude-...   or claude-...   a model of Anthropic's
    scripted:FILE                          answers read from a script

Never: guesses a price.  A model without one could not be held to a budget, so it is refused until the user gives one.

Source: architecture 6 (step 3, the hard cap on model calls); threat 42 (a workspace chooses neither of them).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from astrid.adapters.llm.anthropic import PROVIDER, AnthropicModel
from astrid.adapters.llm.script import MAX_SCRIPT_BYTES, Script, load_script
from astrid.adapters.llm.scripted import ScriptedModel
from astrid.core.money import Price, parse_usd
from astrid.errors import ConfigError
from astrid.ports import Model

SCRIPTED = "scripted:"

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


def resolve_model(
    name: str, *, api_key: str | None = None, base_url: str | None = None, prices: Mapping[str, Price] | None = None
) -> Model:
    """The model called ``name``, ready to be called.  Reads the file of a script.

    ``prices`` (by the vendor's name of a model, with or without the provider) go before the built-in ones.

    Raises:
        ConfigError: an unknown name, a model without a price or a key, or a script that cannot be read.
    """
    if name.startswith(SCRIPTED):
        return ScriptedModel(_read_script(Path(name.removeprefix(SCRIPTED))))
    match = _CLAUDE.fullmatch(name)
    if match is None:
        raise ConfigError(
            "model.unknown",
            f"there is no model `{name[:100]}`",
            advice=f"name one of Anthropic's, such as {', '.join(_NEWEST)}, or {SCRIPTED}FILE",
        )
    model = match[1]
    given = prices or {}
    price = given.get(f"{PROVIDER}/{model}") or given.get(model) or PRICES.get(model)
    if price is None:
        raise ConfigError(
            "model.price-unknown",
            f"what `{model}` costs is not known, so no budget could hold it",
            advice=f'give input_usd_per_million and output_usd_per_million in [models."{PROVIDER}/{model}"]',
        )
    if not api_key:
        raise ConfigError(
            "model.key-missing",
            f"there is no key for `{PROVIDER}/{model}`",
            advice="set ANTHROPIC_API_KEY, and stop the daemon (`astrid daemon stop`): the next one takes it over",
        )
    return AnthropicModel(model, price=_with_cache(price), api_key=api_key, base_url=base_url)


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
