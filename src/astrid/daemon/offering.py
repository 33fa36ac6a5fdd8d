"""Models as a client lists them: what each costs, and whether a session of this daemon could use it now.

Never: shows a key or any part of one, only whether there is one.

Invariants:
  A model has no trouble exactly if the catalogue that sessions get theirs from hands it out.

Source: threats 26, 42, 46.
"""

from __future__ import annotations

from astrid.adapters.llm.catalogue import PRICES, SCRIPTED
from astrid.errors import AstridError, ConfigError
from astrid.runtime.catalogue import Catalogue
from astrid.runtime.config import Config
from astrid.wire import results as r
from astrid.wire.errors import ErrorData, error_data
from astrid.wire.typed import encode

MAX_LIST_BYTES = 512 * 1024
MAX_SHOWN = 4096  # characters of a name


def list_models(catalogue: Catalogue, config: Config) -> r.Models:
    """Those that are configured, the default one first, and those with a built-in price."""
    aliases = config.aliases
    chosen = [aliases.get(name, name) for name in (config.model.model, *config.model.fallback)]
    said = (*chosen, *aliases.values(), *config.models, *PRICES)
    names = dict.fromkeys(_full(catalogue, name) for name in said if name)
    short: dict[str, list[str]] = {name: [] for name in names}
    for alias, name in aliases.items():
        if name:
            short[_full(catalogue, name)].append(alias)
    listed: list[r.ModelInfo] = []
    room = MAX_LIST_BYTES
    for name in names:
        info = _model(catalogue, name, short[name])
        room -= len(encode(info))
        if room < 0:
            break
        listed.append(info)
    return r.Models(models=tuple(listed), left_out=len(names) - len(listed))


def _full(catalogue: Catalogue, name: str) -> str:
    """One name of a model that has several; a name that nobody knows stays as it is."""
    try:
        return catalogue.identify(name).name
    except ConfigError:
        return name  # `_model` says what is wrong with it


def _model(catalogue: Catalogue, name: str, aliases: list[str]) -> r.ModelInfo:
    try:
        known = catalogue.identify(name)
    except ConfigError as error:
        scripted = name.startswith(SCRIPTED)
        return r.ModelInfo(
            model=name[:MAX_SHOWN],
            short_names=tuple(aliases),
            provider="scripted" if scripted else "",
            input_micros=None,
            output_micros=None,
            context_tokens=None,
            images=False,
            key="not-needed" if scripted else "unknown",
            trouble=_trouble(catalogue, name) if scripted else error_data(error),
        )
    price = known.price
    key = "there" if catalogue.has_key(known.provider) else "missing" if known.key_variable else "not-needed"
    return r.ModelInfo(
        model=known.name,
        short_names=(*([known.model] if known.server is None else []), *aliases),
        provider=known.provider,
        input_micros=None if price is None else str(price.input_micros_per_million),
        output_micros=None if price is None else str(price.output_micros_per_million),
        context_tokens=catalogue.window(known.name),
        images=catalogue.shows_images(known.name),
        key=key,
        trouble=_trouble(catalogue, known.name),
    )


def _trouble(catalogue: Catalogue, name: str) -> ErrorData | None:
    try:
        catalogue.brain(name)
    except AstridError as error:
        return error_data(error)
    return None
