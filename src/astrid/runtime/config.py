"""The configuration: ``/etc/astrid/config.toml``, then the user's.  A key that nobody knows, or a value that makes
no sense, refuses to start.

Policy is not merged but stacked: what the machine's administrator forbids, the user's file cannot allow.

Source: the first Astrid (keys, defaults); threats 42, 43.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, cast

import msgspec

from astrid.core.grants import Mode
from astrid.core.money import Micros, Price, parse_usd
from astrid.core.policy import PolicyConfig
from astrid.errors import ConfigError, InputError
from astrid.home import read_guarded

SYSTEM_CONFIG = Path("/etc/astrid/config.toml")
_Positive = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Table = dict[str, object]


class ConfigTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table."""


class ModelTable(ConfigTable, frozen=True):
    """``[model]``: which model, and how long its answers may be."""

    model: str = ""
    max_tokens: _Positive = 4096
    api_url: str = ""


class PriceTable(ConfigTable, frozen=True):
    """``[models."provider/name"]``: what a model costs, in dollars per million tokens, and how much it can take in."""

    input_per_million: str
    output_per_million: str
    context_window: _Positive = 100_000

    def price(self) -> Price:
        """The price in whole micro-dollars."""
        return Price(
            input_micros_per_million=parse_usd(self.input_per_million),
            output_micros_per_million=parse_usd(self.output_per_million),
        )


class SecurityTable(ConfigTable, frozen=True):
    """``[security]``: ``approval_timeout_secs`` is how long a session waits for a person before it goes on without."""

    approval_timeout_secs: _Positive = 300
    policy: PolicyConfig = PolicyConfig()


class BudgetTable(ConfigTable, frozen=True):
    """``[budget]``, in dollars.  ``workspace_max_usd`` empty: no cap over all sessions of a workspace."""

    session_max_usd: str = "100.00"
    per_action_max_usd: str = "10.00"
    workspace_max_usd: str = ""


class WorkspaceTable(ConfigTable, frozen=True):
    """``[workspace]``: the mode of a session that names none."""

    mode: str = "safe"


class RuntimeTable(ConfigTable, frozen=True):
    """``[runtime]``: ``max_turns`` is how many model calls one input may lead to."""

    max_turns: _Positive = 50


class Config(ConfigTable, frozen=True):
    """All of it."""

    model: ModelTable = ModelTable()
    models: dict[str, PriceTable] = {}
    security: SecurityTable = SecurityTable()
    budget: BudgetTable = BudgetTable()
    workspace: WorkspaceTable = WorkspaceTable()
    runtime: RuntimeTable = RuntimeTable()


class Loaded(msgspec.Struct, frozen=True):
    """The merged configuration, each layer's policy, and which files it came from."""

    config: Config
    policies: tuple[PolicyConfig, ...]
    files: tuple[Path, ...]


def load_config(user_file: Path, system_file: Path = SYSTEM_CONFIG) -> Loaded:
    """Read both layers; a missing file is an empty one.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key or a value out of range; names the file and the key.
    """
    tables: list[dict[str, object]] = []
    policies: list[PolicyConfig] = []
    files: list[Path] = []
    for path in (system_file, user_file):
        table = _read(path)
        if table is None:
            continue
        layer = _convert(table, path)
        tables.append(table)
        policies.append(layer.security.policy)
        files.append(path)
    merged: dict[str, object] = {}
    for table in tables:
        merged = _merge(merged, table)
    config = _convert(merged, user_file)
    _check(config, user_file)
    return Loaded(config, tuple(policies) or (PolicyConfig(),), tuple(files))


def _read(path: Path) -> dict[str, object] | None:
    if not path.exists():
        return None
    try:
        text = read_guarded(path, what="the configuration", private=False).decode()
        # Money is never a float: what looks like one stays the text that stands there.
        return tomllib.loads(text, parse_float=str)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "config.syntax", f"not valid TOML: {error}", where=str(path), advice="correct the file; nothing was started"
        ) from error


def _convert(table: dict[str, object], path: Path) -> Config:
    try:
        return msgspec.convert(table, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(
            "config.invalid",
            str(error),
            where=str(path),
            advice="see docs/configuration.md for the keys and their values",
        ) from error


def _merge(below: Table, above: Table) -> Table:
    merged = dict(below)
    for key, value in above.items():
        present = merged.get(key)
        both = isinstance(present, dict) and isinstance(value, dict)
        merged[key] = _merge(cast(Table, present), cast(Table, value)) if both else value
    return merged


def _check(config: Config, path: Path) -> None:
    try:
        session, action = parse_usd(config.budget.session_max_usd), parse_usd(config.budget.per_action_max_usd)
        if config.budget.workspace_max_usd:
            parse_usd(config.budget.workspace_max_usd)
        for table in config.models.values():
            table.price()
        Mode(config.workspace.mode)
    except InputError as error:
        raise ConfigError("config.invalid", error.message, where=str(path), advice=error.advice) from error
    except ValueError as error:
        raise ConfigError(
            "config.invalid",
            f"`{config.workspace.mode}` is not a mode",
            where=str(path),
            advice="write safe, guided or autonomous",
        ) from error
    if action > session:
        raise ConfigError(
            "config.invalid",
            "`per_action_max_usd` is above `session_max_usd`",
            where=str(path),
            advice="lower the first or raise the second",
        )


def usd(text: str, otherwise: int) -> Micros:
    """The amount in a configuration field; ``otherwise`` if it is empty."""
    return parse_usd(text) if text else Micros(otherwise)
