"""What the zygote is asked for: one bounded packet, parsed into a checked request, or refused.  Pure.

The daemon is not believed: it may have been taken over, or hold a bug.  What holds whatever it asks is the *floor*,
given once before the first request: the least tier, and the paths that no child ever sees.

Never: opens a path, or takes a field that it does not know.

Invariants:
  Ids rise strictly; so no answer can be taken for that of another request.
  A request names absolute, canonical paths; nothing in it holds a NUL, and no path ``..``.
  No listed path is at, below or above one that is never exposed, as the text says; ``opening`` checks the same on
  what was opened.

Source: threat 45.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

MAX_PACKET_BYTES = 128 * 1024
MAX_DESCRIPTORS = 4  # standard input, output and error; the workspace
MAX_STRINGS = 4096
MAX_PATHS = 256
MAX_NUMBER = 1 << 53
TIERS = ("none", "l0", "l1")  # from the least on
LIMITS = ("core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")


class RequestError(Exception):
    """The packet is no request that may be served.  ``id`` is that of the request, 0 if it has none."""

    def __init__(self, why: str, id_: int = 0) -> None:
        super().__init__(why)
        self.id = id_


# Tuples, since what makes a dataclass would be a tenth of the zygote, which each child is a copy of.
class Floor(NamedTuple):
    """What no request can change: the least ``tier``, and what is ``never`` exposed."""

    least: str
    never: tuple[str, ...]


class Request(NamedTuple):
    """A program to start, in which box.  ``cwd`` is below ``workspace``, and empty for that itself."""

    id: int
    tier: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workspace: str
    cwd: str
    rx: tuple[str, ...] = ()  # read and run
    ro: tuple[str, ...] = ()  # read
    rw: tuple[str, ...] = ()  # anything but devices; as ``lent``
    lent: tuple[str, ...] = ()  # read and run; there under its real name, or the program is not started
    protect: tuple[str, ...] = ()  # read-only below the workspace, there or not
    limits: Mapping[str, int] = MappingProxyType({})
    tmp_bytes: int = 64 << 20
    tty: bool = False
    network: bool = False  # a way out of its network, for the daemon to accept on
    memory_bytes: int = 0  # of all its processes together; 0 for as much as there is
    processes: int = 0  # how many there may be; 0 for any number


_KEYS = {name for name in Request._fields if name != "id"}


def parse_floor(packet: bytes) -> Floor:
    """The floor, from the first packet of all.

    Raises:
        RequestError: it is none.
    """
    message = _object(packet)
    if message.keys() != {"least", "never"}:
        raise RequestError("the floor has unknown or missing fields")
    least = message["least"]
    if least not in TIERS:
        raise RequestError("the least tier is none of the tiers")
    return Floor(cast("str", least), _paths(message["never"], "never"))


def parse_request(packet: bytes, *, above: int, floor: Floor) -> Request:
    """A request with an id above ``above`` that the floor permits.

    Raises:
        RequestError: says why, and to which id that is the answer.
    """
    message = _object(packet)
    id_ = message.pop("id", None)
    if type(id_) is not int or not above < id_ < MAX_NUMBER:
        raise RequestError("the id does not rise")
    try:
        request = _request(id_, message)
        _check_floor(request, floor)
    except RequestError as refused:
        raise RequestError(str(refused), id_) from None
    return request


def _request(id_: int, message: dict[str, Any]) -> Request:
    if not message.keys() <= _KEYS:
        raise RequestError("unknown fields")
    if message.get("tier") not in TIERS[1:]:
        raise RequestError("the tier is none of the tiers")
    argv = _strings(message.get("argv"), "argv", MAX_STRINGS)
    if not argv or not argv[0]:
        raise RequestError("argv names no program")
    return Request(
        id=id_,
        tier=message["tier"],
        argv=argv,
        env=_environment(message.get("env")),
        workspace=_paths([message.get("workspace")], "workspace")[0],
        cwd=_below([message.get("cwd", "")], "cwd", empty=True)[0],
        rx=_paths(message.get("rx", []), "rx"),
        ro=_paths(message.get("ro", []), "ro"),
        rw=_paths(message.get("rw", []), "rw"),
        lent=_paths(message.get("lent", []), "lent"),
        protect=_below(message.get("protect", []), "protect"),
        limits=_limits(message.get("limits", {})),
        tmp_bytes=_number(message.get("tmp_bytes", 64 << 20), "tmp_bytes"),
        tty=_flag(message.get("tty", False), "tty"),
        network=_flag(message.get("network", False), "network"),
        memory_bytes=_number(message.get("memory_bytes", 0), "memory_bytes"),
        processes=_number(message.get("processes", 0), "processes"),
    )


def _check_floor(request: Request, floor: Floor) -> None:
    # SAFETY: where the network is the machine's, whoever may use sockets reaches all of it.
    if request.network and request.tier != "l1":
        raise RequestError("this tier has no network of its own to make a way out of")
    if TIERS.index(request.tier) < TIERS.index(floor.least):
        raise RequestError(f"the tier is below the least, `{floor.least}`")
    for path in (*request.rx, *request.ro, *request.rw, *request.lent):
        if exposes(path, floor):
            raise RequestError("a path is at, below or above one that is never exposed")
    if forbidden_workspace(request.workspace, floor, request.tier):
        raise RequestError(
            "the workspace is at or below a path that is never exposed, or cannot hide one that it holds"
        )


def exposes(path: str, floor: Floor) -> bool:
    """Whether showing ``path`` would show something that is never exposed, or is the root of everything."""
    return path == "/" or any(within(path, never) or within(never, path) for never in floor.never)


def forbidden_workspace(path: str, floor: Floor, tier: str) -> bool:
    """Whether ``path`` cannot be a workspace: what lies in it can be hidden where there are mounts only."""
    if path == "/" or any(within(path, never) for never in floor.never):
        return True
    return tier != "l1" and bool(hidden_in(path, floor))


def hidden_in(workspace: str, floor: Floor) -> tuple[str, ...]:
    """What a workspace holds that is never exposed."""
    return tuple(never for never in floor.never if within(never, workspace))


def within(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` or lies in it; both are canonical."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _object(packet: bytes) -> dict[str, Any]:
    try:
        message = json.loads(packet.decode("utf-8"))
    except (ValueError, RecursionError):
        raise RequestError("the packet is not JSON") from None
    if not isinstance(message, dict):
        raise RequestError("the packet is no object")
    return cast("dict[str, Any]", message)


def _strings(value: object, what: str, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(cast("list[object]", value)) > most:
        raise RequestError(f"{what} is no list, or too long")
    return tuple(_string(one, what) for one in cast("list[object]", value))


def _string(value: object, what: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise RequestError(f"{what} holds what is no string, or a NUL")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RequestError(f"{what} holds what no system call takes") from None
    return value


def _paths(value: object, what: str) -> tuple[str, ...]:
    paths = _strings(value, what, MAX_PATHS)
    for path in paths:
        if path != "/" and not (path.startswith("/") and _plain(path[1:])):
            raise RequestError(f"{what} holds a path that is not absolute and canonical")
    return paths


def _below(value: object, what: str, *, empty: bool = False) -> tuple[str, ...]:
    paths = _strings(value, what, MAX_PATHS)
    for path in paths:
        if not (_plain(path) or (empty and not path)):
            raise RequestError(f"{what} holds a path that is not below the workspace")
    return paths


def _plain(path: str) -> bool:
    return all(part not in ("", ".", "..") for part in path.split("/"))


def _environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(cast("dict[str, object]", value)) > MAX_STRINGS:
        raise RequestError("env is no object, or too long")
    env = {_string(name, "env"): _string(text, "env") for name, text in cast("dict[str, object]", value).items()}
    if any(not name or "=" in name for name in env):
        raise RequestError("env holds what is no name")
    return env


def _limits(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or not cast("dict[str, object]", value).keys() <= set(LIMITS):
        raise RequestError("limits holds an unknown one")
    return {name: _number(number, "limits") for name, number in cast("dict[str, object]", value).items()}


def _number(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value < MAX_NUMBER:
        raise RequestError(f"{what} holds what is no number in range")
    return value


def _flag(value: object, what: str) -> bool:
    if type(value) is not bool:
        raise RequestError(f"{what} is neither true nor false")
    return value
