"""The administrator's hard limits: what neither user, workspace nor agent can override.  Pure.

Judged on what really happens: resolved paths, parsed commands, hosts by label and port; never on text.

Layers are not merged but stacked: what one forbids, none can lift.  So a prohibition of any layer is one of all, and
only the lists of what is allowed are kept apart, since a call has to be on each of them.

Never: grants anything.  ``Fresh`` means that only a person's yes to this very call will do, whatever token covers it.

Invariant: adding a rule never turns a refusal into less than a refusal.

Source: the first Astrid (fields, defaults, and the intent where its code and comments differed); threats 19, 20, 37.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from astrid.core.call import Call, Need
from astrid.core.canon import Digest, Domain, digest, encode
from astrid.core.command import blocked_by, parse_command
from astrid.core.hosts import parse_authority, parse_port
from astrid.core.json_scan import scan_json
from astrid.core.memo import MEMO_TEXT_BYTES, Memo
from astrid.core.patterns import segment_matches
from astrid.core.protected import SECRET_READS
from astrid.core.resources import (
    Pattern,
    PatternSet,
    Resource,
    covers,
    file_pattern_tree,
    file_resource,
    matches,
    net_pattern,
    parse_pattern,
    parse_resource,
)
from astrid.core.risk import NEVER_STANDING
from astrid.core.segments import escape
from astrid.core.tokens import Permission
from astrid.core.tools import ControlKind, ToolSpec
from astrid.errors import CanonError, CommandError, ConfigError, PatternError

DEFAULT_BLOCKED_TOOLS = ("rm -rf /", "rm -rf /*", "sudo", "su", "mkfs", "dd", "chmod 777", "shutdown", "reboot", "init")
DEFAULT_DENIED_PATHS = ("/etc/**", "/boot/**", "/sys/**", "/proc/**", "/dev/**")
MAX_ARGUMENT_BYTES = 1024 * 1024
_LOOKS = int(Permission.READ | Permission.LIST)  # plain numbers: flags cost more than the rest of the question
_DELETE = int(Permission.DELETE)
_COMMAND = ControlKind.COMMAND.value
_TREE = "/**"


class PolicyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``[security.policy]`` table.

    A path is absolute or starts with ``~/``, stands for itself and everything below it (``/dir`` and ``/dir/**`` are
    one), and may hold ``*`` for a name or a part of one.  A host is ``example.com``, ``*.example.com`` (its subdomains)
    or ``*``, each with or without ``:port``.  A tool is its name, its server, ``server:tool`` or ``kind:tool``; in
    ``blocked_tools`` also a command, as ``command_policy`` reads it.

    An empty ``allowed_...`` list is none; an empty ``denied_...`` list denies nothing; 0 is no limit.
    """

    blocked_tools: tuple[str, ...] = DEFAULT_BLOCKED_TOOLS
    approval_required_tools: tuple[str, ...] = ()
    allowed_paths: tuple[str, ...] = ()
    denied_paths: tuple[str, ...] = DEFAULT_DENIED_PATHS
    allowed_hosts: tuple[str, ...] = ()
    denied_hosts: tuple[str, ...] = ()
    max_argument_size: int = MAX_ARGUMENT_BYTES
    require_approval_for_delete: bool = True
    require_approval_for_network: bool = True
    blocked_plugins: tuple[str, ...] = ()


class Blocked(msgspec.Struct, frozen=True):
    """Policy forbids the call.  ``reason`` is for people and the log, never for the model."""

    code: str
    reason: str
    advice: str


class Fresh(msgspec.Struct, frozen=True):
    """Policy wants a person's approval of this very call."""

    reason: str


class Allowed(msgspec.Struct, frozen=True):
    """Policy has nothing against it; a token must still cover it."""


Judgement = Blocked | Fresh | Allowed
_ALLOWED: Final = Allowed()
_FRESH_TOOL: Final = Fresh("policy wants a person to approve each call of this tool")
_FRESH_DELETE: Final = Fresh("policy wants a person to approve each deletion")
_FRESH_NETWORK: Final = Fresh("policy wants a person to approve each network request")
_FRESH_KIND: Final = Fresh("this kind of action can never be approved in advance")
FRESH_REASONS = frozenset(one.reason for one in (_FRESH_TOOL, _FRESH_DELETE, _FRESH_NETWORK, _FRESH_KIND))
"""What a question says that was put because of policy."""


class Policy:
    """Every layer of policy at once (the machine's, the user's).  Immutable, but for what it remembers of needs that it
    has judged, which dies with it.
    """

    __slots__ = (
        "_allowed_hosts",
        "_allowed_paths",
        "_approval_required",
        "_blocked",
        "_blocked_plugins",
        "_denied_hosts",
        "_denied_paths",
        "_fresh_delete",
        "_fresh_network",
        "_judged",
        "_max_argument_bytes",
        "_qualified",
        "digest",
    )

    def __init__(self, *configs: PolicyConfig, home: str, never_read: tuple[str, ...] = ()) -> None:
        """``home`` is the user's home folder; ``never_read`` are further absolute paths no tool may touch (keys,
        sockets, the log).  Without a layer, the defaults hold.

        Raises:
            ConfigError: an entry has no meaning; a policy that cannot be understood is no policy.
        """
        layers = configs or (PolicyConfig(),)
        home = home.rstrip("/")  # of a home that is the root folder, nothing is left
        secrets = [_folder(f"{home}/{name}") for name in SECRET_READS] + [_folder(path) for path in never_read]
        denied = [_path_pattern(entry, home) for layer in layers for entry in layer.denied_paths]
        allowed_paths = [tuple(_path_pattern(entry, home) for entry in layer.allowed_paths) for layer in layers]
        allowed_hosts = [tuple(map(_host_pattern, layer.allowed_hosts)) for layer in layers]
        limits = [layer.max_argument_size for layer in layers]
        if min(limits) < 0:
            raise ConfigError(
                "config.policy", "`max_argument_size` is negative", advice="give a number of bytes, or 0 for no limit"
            )
        self._max_argument_bytes = min((limit for limit in limits if limit), default=0)
        self._denied_paths = PatternSet((*secrets, *denied))
        self._allowed_paths = tuple(group for group in allowed_paths if group)
        self._denied_hosts = tuple(_host_pattern(entry) for layer in layers for entry in layer.denied_hosts)
        self._allowed_hosts = tuple(group for group in allowed_hosts if group)
        self._blocked = _names(entry for layer in layers for entry in layer.blocked_tools)
        self._blocked_plugins = _names(entry for layer in layers for entry in layer.blocked_plugins)
        self._approval_required = _names(entry for layer in layers for entry in layer.approval_required_tools)
        self._qualified = any(":" in name for name in self._blocked | self._approval_required)
        self._fresh_delete = any(layer.require_approval_for_delete for layer in layers)
        self._fresh_network = any(layer.require_approval_for_network for layer in layers)
        self._judged: Memo[Need, Judgement] = Memo()
        # The domains are a closed list without one for policy; no tool definition is an array of three.
        stated = (tuple(map(msgspec.json.encode, layers)), _bytes(home), tuple(map(_bytes, never_read)))
        self.digest: Digest = digest(Domain.TOOLDEF, encode(stated))

    def hides(self, resource: str) -> bool:
        """Whether a file must not even be listed or searched.

        Raises:
            PatternError: not a resource.
        """
        found = parse_resource(resource)
        # SAFETY: a suspicious name matches no pattern, so no deny rule either; it is hidden for being what it is.
        return found.suspicious or self._denied_paths.first_match(found) >= 0

    def judge(self, call: Call, spec: ToolSpec) -> Judgement:
        """What policy says of ``call``, the strictest of it.

        Raises:
            PatternError: a need is malformed (the caller denies).
        """
        names = self._names_of(call, spec)
        blocked = self._judge_size(call) or self._judge_name(call, spec, names) or self._judge_commands(call, spec)
        if blocked is not None:
            return blocked
        fresh = _ALLOWED if self._approval_required.isdisjoint(names) else _FRESH_TOOL
        for need in call.needs:
            found = self._judged.get(need) or self._judge_need(need)
            if isinstance(found, Blocked):
                return found
            fresh = found if fresh is _ALLOWED else fresh
        return _FRESH_KIND if fresh is _ALLOWED and spec.effect_class in NEVER_STANDING else fresh

    def _names_of(self, call: Call, spec: ToolSpec) -> tuple[str, ...]:
        """Everything an administrator may call this tool, of which there is an entry."""
        name, kind, host = spec.name, call.host_kind, call.host_id
        if not self._qualified:  # what is left out here holds a colon
            return name, host
        return name, host, f"{host}:{name}", f"{kind}:{name}", f"builtin:{name}"

    def _judge_size(self, call: Call) -> Blocked | None:
        limit = self._max_argument_bytes
        # A model's arguments are the conversation so far: what bounds them is its window and the budget.
        if not limit or len(call.args) <= limit or call.host_kind == "model":
            return None
        reason = f"the arguments are {len(call.args)} bytes, more than {limit}"
        return Blocked("policy.argument-size", reason, "send less at once")

    def _judge_name(self, call: Call, spec: ToolSpec, names: tuple[str, ...]) -> Blocked | None:
        plugin = call.host_kind == "plugin" and call.host_id in self._blocked_plugins
        if not plugin and self._blocked.isdisjoint(names):
            return None
        reason = f"the tool `{spec.name}` of `{call.host_id}` is blocked by policy"
        return Blocked("policy.tool", reason, "ask the administrator if it is needed")

    def _judge_commands(self, call: Call, spec: ToolSpec) -> Blocked | None:
        for argument, kind in spec.control:
            if kind != _COMMAND:
                continue
            try:
                reason = blocked_by(parse_command(_text_argument(call.args, argument)), self._blocked)
            except (CommandError, CanonError) as error:
                return Blocked(error.code, error.message, error.advice or "write the command more simply")
            if reason is not None:
                return Blocked("policy.command", f"policy blocks the command: {reason}", "find a way without it")
        return None

    def _judge_need(self, need: Need) -> Judgement:
        """What policy says of any call with this need.  It follows from the need alone, so it is remembered."""
        found = self._look_at(need) or self._freshness_of(need)
        return self._judged.keep(need, found) if len(need.resource) <= MEMO_TEXT_BYTES else found

    def _look_at(self, need: Need) -> Blocked | None:
        scheme = need.resource.partition("://")[0]
        if scheme == "file" and not need.resource.endswith(_TREE):
            return self._judge_path(need, parse_resource(need.resource))
        wanted = parse_pattern(need.resource)  # of every scheme: a need that names nothing is refused here
        if scheme == "file":
            return self._judge_tree(need, wanted)
        return self._judge_host(need, wanted) if scheme == "net" else None

    def _judge_path(self, need: Need, resource: Resource) -> Blocked | None:
        if resource.suspicious or self._denied_paths.search(resource) >= 0:
            return _forbidden(need)
        listed = all(any(matches(rule, resource) for rule in group) for group in self._allowed_paths)
        return None if listed else _unlisted(need)

    def _judge_host(self, need: Need, host: Pattern) -> Blocked | None:
        denied = any(covers(rule, host) for rule in self._denied_hosts)
        if not denied and _on_each(self._allowed_hosts, host):
            return None
        reason = f"policy forbids `{need.resource}`"
        return Blocked("policy.host", reason, "ask the administrator to allow the host")

    def _judge_tree(self, need: Need, tree: Pattern) -> Blocked | None:
        # What is denied *inside* a tree, the host leaves out of what it reads and lists (``hides``).  There is no
        # leaving out where something is changed: a folder is deleted or moved with all that is in it.
        concerned = covers if not need.permission & ~_LOOKS else _meets
        if any(concerned(rule, tree) for rule in self._denied_paths.patterns):
            return _forbidden(need)
        return None if _on_each(self._allowed_paths, tree) else _unlisted(need)

    def _freshness_of(self, need: Need) -> Fresh | Allowed:
        if self._fresh_delete and need.permission & _DELETE:
            return _FRESH_DELETE
        return _FRESH_NETWORK if self._fresh_network and need.resource.startswith("net://") else _ALLOWED


def _on_each(lists: tuple[tuple[Pattern, ...], ...], wanted: Pattern) -> bool:
    return all(any(covers(rule, wanted) for rule in rules) for rules in lists)


def _meets(rule: Pattern, tree: Pattern) -> bool:
    """Whether anything is below both.  Both have an open end, and ``tree`` holds no star before it."""
    shared = zip(rule.segments, tree.segments, strict=False)  # the longer one goes on below the shorter
    return all(segment_matches(pieces, literal) for pieces, (literal, *_) in shared)


def _forbidden(need: Need) -> Blocked:
    return Blocked("policy.path", f"policy forbids `{need.resource}`", "work on files inside the workspace")


def _unlisted(need: Need) -> Blocked:
    return Blocked("policy.path", f"policy does not list `{need.resource}`", "work on the paths that policy allows")


def _text_argument(args: bytes, name: str) -> str:
    scan_json(args, max_bytes=max(len(args), 1), max_depth=32, floats=True)
    try:
        fields = msgspec.json.decode(args, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise CanonError("policy.arguments", f"the arguments are not a JSON object: {error}") from error
    value = fields.get(name)
    if not isinstance(value, str):
        raise CanonError("policy.arguments", f"the argument `{name}` is missing or not a text")
    return value


# --- entries of the configuration


def _names(entries: Iterable[str]) -> frozenset[str]:
    names = frozenset(entries)
    for name in names:
        if not name or name != " ".join(name.split()):
            # SAFETY: a name with a space too many would match nothing, and be a prohibition that prohibits nothing.
            raise ConfigError(
                "config.policy", f"`{name}` is not the name of a tool, plugin or command", advice="remove the spaces"
            )
    return names


def _folder(path: str) -> Pattern:
    """``path``, with whatever characters it holds, and everything below it."""
    try:
        return file_pattern_tree(path)
    except PatternError as error:
        raise ConfigError(
            "config.policy", f"`{path}` is not a path: {error.message}", advice="give absolute, resolved paths"
        ) from error


def _path_pattern(entry: str, home: str) -> Pattern:
    below_home = entry == "~" or entry.startswith("~/")
    path = entry.removesuffix(_TREE).removesuffix("/")
    try:
        if not below_home and not entry.startswith("/"):
            raise PatternError("pattern.relative", "the path is not absolute")
        if any(char in path for char in "?[{"):
            raise PatternError("pattern.wildcard", "`*` is the only wildcard there is")
        start = file_resource(home).text if below_home and home else "file:/"
        return parse_pattern("/".join((start, *map(_spell, path.split("/")[1:]), "**")))
    except PatternError as error:
        raise ConfigError(
            "config.policy",
            f"`{entry}` is not a path policy understands: {error.message}",
            advice="write /dir, /dir/** or ~/dir, with * for any part of a name",
        ) from error


def _spell(name: str) -> str:
    """A component of a path in the language of patterns; its stars stay stars."""
    return "*".join(escape(_bytes(part)) if part else "" for part in name.split("*"))


def _host_pattern(entry: str) -> Pattern:
    try:
        if entry == "*" or entry.startswith("*:"):
            return net_pattern("*", parse_port(entry[2:]) if entry != "*" else None)
        authority = parse_authority(entry.removeprefix("*."))
        return net_pattern(f"*.{authority.host}" if entry.startswith("*.") else authority.host, authority.port)
    except PatternError as error:
        raise ConfigError(
            "config.policy",
            f"`{entry}` is not a host policy understands: {error.message}",
            advice="write example.com, *.example.com or example.com:443",
        ) from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
