"""The configuration: ``/etc/astrid/config.toml``, then the user's.  A key that nobody knows, or a value that makes
no sense, refuses to start.

Policy is not merged but stacked, and of two limits the lower one holds: what the machine's administrator forbids, the
user's file cannot allow.

Never: reads the environment, or a float.

Source: the first Astrid (keys, defaults; a workspace could only tighten); threats 42, 43.  docs/configuration.md.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec

from astrid.adapters.sandbox.cage.requests import TIERS
from astrid.core.canon import MAX_U64
from astrid.core.complaint import complaint
from astrid.core.grants import Mode
from astrid.core.money import Micros, Price, parse_usd
from astrid.core.policy import Policy, PolicyConfig
from astrid.core.subagents import MAX_TIMEOUT_SECONDS
from astrid.errors import ConfigError, InputError
from astrid.home import read_guarded

SYSTEM_CONFIG = Path("/etc/astrid/config.toml")
_Positive = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Usd = str | Annotated[int, msgspec.Meta(ge=0)]  # what TOML takes for a float stays the text that stands there
Alias = Annotated[str, msgspec.Meta(pattern="^(?!claude-)[a-z][a-z0-9-]{0,31}$")]  # it hides no name of a model
Table = dict[str, object]


class ConfigTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table."""


class ModelTable(ConfigTable, frozen=True):
    """``[model]``: which model, and how long its answers may be."""

    model: str = ""
    max_tokens: _Positive = 4096
    api_url: str = ""
    fallback: tuple[str, ...] = ()


class PriceTable(ConfigTable, frozen=True):
    """``[models."provider/name"]``: what a model costs, in dollars per million tokens or nothing, and how much it can
    take in.
    """

    input_usd_per_million: Usd = ""
    output_usd_per_million: Usd = ""
    free: bool = False
    cache_write_usd_per_million: Usd = ""
    cache_read_usd_per_million: Usd = ""
    context_window: _Positive = 100_000
    images: Literal["auto", "yes", "no"] = "auto"

    def price(self) -> Price:
        """The price in whole micro-dollars.

        Raises:
            InputError: there is none, or an amount that is none.
        """
        given = (self.input_usd_per_million, self.output_usd_per_million)
        # SAFETY: what nobody gave a price for is not free; a budget would hold anything.
        if self.free == any(one != "" for one in given) or (not self.free and "" in given):
            raise InputError(
                "money.no-price",
                "a model has two prices, for input and for output, or it is free",
                advice="give both in dollars per million tokens, or say free = true and neither",
            )
        if self.free:
            return Price(input_micros_per_million=0, output_micros_per_million=0)
        write, read = self.cache_write_usd_per_million, self.cache_read_usd_per_million
        return Price(
            input_micros_per_million=usd(self.input_usd_per_million, 0),
            output_micros_per_million=usd(self.output_usd_per_million, 0),
            cache_write_micros_per_million=usd(write, 0) if write else None,
            cache_read_micros_per_million=usd(read, 0) if read else None,
        )


class ProviderTable(ConfigTable, frozen=True):
    """``[providers.NAME]``: an OpenAI-compatible server, or where a known one's key is: in a file of the user's own, in
    a descriptor that is open when the daemon starts (0: none), among the secrets, or in a variable.
    """

    base_url: str = ""
    key_variable: str = ""
    key_file: str = ""
    key_fd: Annotated[int, msgspec.Meta(ge=0, le=1023)] = 0
    key_secret: str = ""


class SecurityTable(ConfigTable, frozen=True):
    """``[security]``: ``approval_timeout_secs`` is how long a session waits for a person before it goes on without."""

    approval_timeout_secs: _Positive = 300
    policy: PolicyConfig = PolicyConfig()


class BudgetTable(ConfigTable, frozen=True):
    """``[budget]``, in dollars.  ``workspace_max_usd`` empty: no cap over all sessions of a workspace.  When so much of
    a purse is spent, ``warn_at_percent``, its session says so.
    """

    session_max_usd: Usd = "100.00"
    per_action_max_usd: Usd = "10.00"
    workspace_max_usd: Usd = ""
    warn_at_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 80


class WorkspaceTable(ConfigTable, frozen=True):
    """``[workspace]``: the mode of a session that names none, and how much is kept of what tools change."""

    mode: str = "safe"
    keep_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1024


class RuntimeTable(ConfigTable, frozen=True):
    """``[runtime]``: ``max_turns`` is how many model calls one input may lead to, ``idle_secs`` how long a session that
    nobody listens to does nothing before it goes to sleep.
    """

    max_turns: _Positive = 50
    idle_secs: _Positive = 300


class SandboxTable(ConfigTable, frozen=True):
    """``[sandbox]``: the least tier in which a command may run; ``none`` lets it run with the user's own rights where
    no tier works.  And how much a command may use, with all that it starts.
    """

    least: Literal["l1", "l0", "none"] = "l0"
    memory_mb: Annotated[int, msgspec.Meta(ge=64, le=1_000_000)] = 4096
    processes: Annotated[int, msgspec.Meta(ge=8, le=100_000)] = 512
    growth_mb: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2048


class ContextTable(ConfigTable, frozen=True):
    """``[context]``: at which share of a model's window a conversation is summed up, and how many of its last messages
    stay as they are.
    """

    compact_at_percent: Annotated[int, msgspec.Meta(ge=30, le=95)] = 85
    keep_recent: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10


class AgentsTable(ConfigTable, frozen=True):
    """``[agents]``: how many sub-agents work at once, how many tasks may wait for that, and how long one may take that
    does not say.
    """

    concurrent: _Positive = 5
    queue: _Positive = 100
    timeout_secs: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT_SECONDS)] = 300


class Config(ConfigTable, frozen=True):
    """All of it."""

    model: ModelTable = ModelTable()
    models: dict[str, PriceTable] = {}
    providers: dict[str, ProviderTable] = {}
    aliases: dict[Alias, str] = {}
    security: SecurityTable = SecurityTable()
    budget: BudgetTable = BudgetTable()
    workspace: WorkspaceTable = WorkspaceTable()
    runtime: RuntimeTable = RuntimeTable()
    context: ContextTable = ContextTable()
    agents: AgentsTable = AgentsTable()
    sandbox: SandboxTable = SandboxTable()


class Loaded(msgspec.Struct, frozen=True):
    """The merged configuration, each layer's policy, and which files it came from."""

    config: Config
    policies: tuple[PolicyConfig, ...]
    files: tuple[Path, ...]


def load_config(user_file: Path, system_file: Path = SYSTEM_CONFIG) -> Loaded:
    """Read both layers; a missing file is an empty one.

    Raises:
        ConfigError: unreadable, open to others, not TOML, an unknown key or a value out of range; names the file and
            the key.
    """
    merged: Table = {}
    policies: list[PolicyConfig] = []
    files: list[Path] = []
    for path, of_system in ((system_file, True), (user_file, False)):
        table = _read(path, of_system=of_system)
        if table is None:
            continue
        layer = _convert(table, path)
        _check(layer, path)
        policies.append(layer.security.policy)
        files.append(path)
        merged = _tightened(_merge(merged, table), merged, table)
    return Loaded(_convert(merged, user_file), tuple(policies) or (PolicyConfig(),), tuple(files))


def _read(path: Path, *, of_system: bool) -> Table | None:
    try:
        text = read_guarded(path, what="the configuration", private=False, of_system=of_system).decode()
        return tomllib.loads(text, parse_float=str)
    except ConfigError as error:
        # SAFETY: only what is not there at all is an empty layer; a rule that cannot be read is not a rule lifted.
        if error.code == "file.missing":
            return None
        raise
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            "config.syntax", f"not valid TOML: {error}", where=str(path), advice="correct the file; nothing was started"
        ) from error


def _convert(table: Table, path: Path) -> Config:
    try:
        return msgspec.convert(table, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(
            "config.invalid",
            complaint(error),
            where=str(path),
            advice="see docs/configuration.md for the keys and their values",
        ) from error


def _check(config: Config, path: Path) -> None:
    """What a type cannot say: policy's patterns, money, prices, the mode."""
    try:
        Policy(config.security.policy, home="/")
    except ConfigError as error:
        raise ConfigError("config.policy", error.message, where=str(path), advice=error.advice) from error
    try:
        budget = config.budget
        for amount in (budget.session_max_usd, budget.per_action_max_usd):
            parse_usd(str(amount))
        usd(budget.workspace_max_usd, 0)
        for table in config.models.values():
            table.price()
        Mode(config.workspace.mode)
    except InputError as error:
        advice = error.advice or "correct the amount"
        raise ConfigError("config.invalid", error.message, where=str(path), advice=advice) from error
    except ValueError as error:
        raise ConfigError(
            "config.invalid",
            f"`{config.workspace.mode}` is not a mode",
            where=str(path),
            advice="write safe, guided or autonomous",
        ) from error


def _merge(below: Table, above: Table) -> Table:
    merged = dict(below)
    for key, value in above.items():
        present = merged.get(key)
        both = isinstance(present, dict) and isinstance(value, dict)
        merged[key] = _merge(cast(Table, present), cast(Table, value)) if both else value
    return merged


def _tightened(merged: Table, *layers: Table) -> Table:
    """``merged`` with the lower one of each limit that both layers state."""
    tightened = dict(merged)
    for table in ("budget", "runtime", "agents", "sandbox"):
        if table in merged:
            stated = [cast(Table, layer.get(table, {})) for layer in layers]
            tightened[table] = {name: _lowest(name, stated) for name in cast(Table, merged[table])}
    return tightened


def _lowest(name: str, stated: list[Table]) -> object:
    values = [table[name] for table in stated if name in table]
    if name == "least":
        return max(values, key=lambda value: TIERS.index(cast(str, value)))
    if name.endswith("_usd"):
        return min(values, key=lambda value: usd(cast(Usd, value), MAX_U64))
    return min(cast(list[int], values))


def usd(amount: Usd, otherwise: int) -> Micros:
    """The amount in a configuration field; ``otherwise`` if it is empty."""
    return Micros(otherwise) if amount == "" else parse_usd(str(amount))
