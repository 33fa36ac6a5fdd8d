"""What things are called: resources and patterns made from concrete paths, commands, hosts and names.  Pure.

Never: reads a wildcard out of a concrete name.  Literals are escaped on the way in, so that a file called ``*`` is
one file and an approval of it can never become an approval of its neighbours.  The language itself is in ``patterns``
and offered from here too.

Invariant:
  path_of(file_resource(p)) == p, and likewise for commands and endpoints: what is decided on is what is acted on.

Source: architecture 6; a hole of the first Astrid (a path with glob characters became a wildcard grant); threats 7,
8, 19, 32.
"""

from __future__ import annotations

from collections.abc import Sequence

from astrid.core.hosts import parse_authority, parse_port
from astrid.core.pattern_set import PatternSet
from astrid.core.patterns import Pattern, Resource, check_exec_pattern, covers, matches, parse_pattern, parse_resource
from astrid.core.segments import absolute_segments, host_labels, join_text
from astrid.errors import PatternError

__all__ = [
    "Pattern",
    "PatternSet",
    "Resource",
    "check_exec_pattern",
    "command_of",
    "covers",
    "endpoint_of",
    "exact_pattern",
    "exec_pattern_exact",
    "exec_resource",
    "file_pattern_exact",
    "file_pattern_tree",
    "file_resource",
    "matches",
    "mcp_resource",
    "model_resource",
    "net_pattern",
    "net_resource",
    "parse_pattern",
    "parse_resource",
    "path_of",
    "plugin_resource",
    "rpc_resource",
    "tool_resource",
]


def file_resource(path: bytes | str) -> Resource:
    """The file or folder at ``path``: absolute and resolved (a ``str`` as the file system decodes names, with
    surrogate escapes).

    Raises:
        PatternError: relative, not resolved, or with a NUL.
    """
    return _make("file", absolute_segments(_path_bytes(path)))


def path_of(resource: Resource) -> bytes:
    """The absolute path that a ``file`` resource names.

    Raises:
        PatternError: another scheme.
    """
    _expect("file", resource)
    return b"/" + b"/".join(resource.segments)


def file_pattern_exact(path: bytes | str) -> Pattern:
    """Only ``path`` itself, whatever characters it holds."""
    return exact_pattern(file_resource(path))


def file_pattern_tree(path: bytes | str) -> Pattern:
    """``path`` and everything below it."""
    return _open_end(file_resource(path))


def exec_resource(program: bytes | str, argv: Sequence[bytes | str]) -> Resource:
    """The command that runs ``program``, an absolute resolved path, with the arguments ``argv`` (without the
    program's own name).

    Raises:
        PatternError: the program is no resolved path, an argument holds a NUL, or there are too many.
    """
    return _make("exec", (_path_bytes(program), *map(_path_bytes, argv)))


def command_of(resource: Resource) -> tuple[bytes, tuple[bytes, ...]]:
    """The program and the arguments that an ``exec`` resource names.

    Raises:
        PatternError: another scheme, or no program.
    """
    _expect("exec", resource, segments=1)
    program, *argv = resource.segments
    return program, tuple(argv)


def exec_pattern_exact(program: bytes | str, argv: Sequence[bytes | str]) -> Pattern:
    """Only this program with only these arguments."""
    return exact_pattern(exec_resource(program, argv))


def net_resource(host: str, port: int) -> Resource:
    """TCP port ``port`` of ``host``: a name, a dotted quad, or an IPv6 address in brackets.

    Raises:
        PatternError: not a host (``hosts.parse_authority``), or no port.
    """
    return parse_resource("/".join((f"net://{_port_text(port)}", *_labels(host))))


def endpoint_of(resource: Resource) -> tuple[str, int]:
    """The host (IPv6 in brackets) and port that a ``net`` resource names.

    Raises:
        PatternError: another scheme, or no host.
    """
    _expect("net", resource, segments=2)
    port, *labels = (segment.decode("ascii") for segment in resource.segments)
    return ".".join(reversed(labels)), int(port)


def net_pattern(host: str, port: int | None) -> Pattern:
    """``host`` as in ``net_resource``; ``*.example.com`` is every subdomain at any depth, but not ``example.com``;
    ``*`` is any host, IP addresses too.  ``port`` None is any port.

    Raises:
        PatternError: not a host, or no port.
    """
    port_segment = "*" if port is None else _port_text(port)
    if host == "*":
        return parse_pattern(f"net://{port_segment}/**")
    name = host.removeprefix("*.")
    below = () if name == host else ("*", "**")
    return parse_pattern("/".join((f"net://{port_segment}", *_labels(name), *below)))


def mcp_resource(server: str, tool: str) -> Resource:
    """The tool ``tool`` of the MCP server ``server``."""
    return _make("mcp", (_name_bytes(server), _name_bytes(tool)))


def tool_resource(host: str, tool: str) -> Resource:
    """The tool ``tool`` of the built-in host ``host``."""
    return _make("tool", (_name_bytes(host), _name_bytes(tool)))


def plugin_resource(plugin: str, function: str) -> Resource:
    """The function ``function`` of the plugin ``plugin``."""
    return _make("plugin", (_name_bytes(plugin), _name_bytes(function)))


def model_resource(provider: str, model: str) -> Resource:
    """The model ``model`` of the vendor ``provider``."""
    return _make("model", (_name_bytes(provider), _name_bytes(model)))


def rpc_resource(method: str) -> Resource:
    """The method ``method`` of the daemon."""
    return _make("rpc", (_name_bytes(method),))


def exact_pattern(resource: Resource) -> Pattern:
    """The pattern that matches ``resource`` and nothing else: it has the same text.

    Raises:
        PatternError: ``resource`` is suspicious, so no pattern matches it.
    """
    return parse_pattern(resource.text)


def _open_end(resource: Resource) -> Pattern:
    return parse_pattern(resource.text + ("/**" if resource.segments else "**"))


def _make(scheme: str, segments: tuple[bytes, ...]) -> Resource:
    # Through the parser, so that there is one place that says what is a resource, and limits hold here too.
    return parse_resource(join_text(scheme, segments))


def _expect(scheme: str, resource: Resource, *, segments: int = 0) -> None:
    if resource.scheme != scheme or len(resource.segments) < segments:
        raise PatternError(
            "pattern.scheme",
            f"`{resource.text[:80]}` names nothing of the kind `{scheme}`",
            advice="name a file, a command or a host",
        )


def _path_bytes(path: bytes | str) -> bytes:
    return path if isinstance(path, bytes) else _encode(path, "surrogateescape")


def _name_bytes(name: str) -> bytes:
    return _encode(name, "strict")


def _encode(text: str, errors: str) -> bytes:
    try:
        return text.encode("utf-8", errors)
    except UnicodeEncodeError as error:
        raise PatternError(
            "pattern.surrogate", "a name holds a lone surrogate", advice="remove the undecodable character"
        ) from error


def _port_text(port: int) -> str:
    return str(parse_port(str(port)))


def _labels(host: str) -> tuple[str, ...]:
    """The segments of a host.  They need no escape: every character of a host stands for itself."""
    authority = parse_authority(host)
    if authority.port is not None:
        raise PatternError("pattern.host", f"`{host[:80]}` holds a port", advice="give the port apart")
    return host_labels(authority)
