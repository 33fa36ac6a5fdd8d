"""Names made from concrete things: literals stay literals, and what was named comes back as it went in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astrid.core.resources import (
    Pattern,
    Resource,
    command_of,
    covers,
    endpoint_of,
    exact_pattern,
    exec_pattern_exact,
    exec_resource,
    file_pattern_exact,
    file_pattern_tree,
    file_resource,
    matches,
    mcp_resource,
    model_resource,
    net_pattern,
    net_resource,
    parse_pattern,
    parse_resource,
    path_of,
    plugin_resource,
    rpc_resource,
    tool_resource,
)
from astrid.core.segments import MAX_SEGMENTS
from astrid.errors import PatternError

MODEST = settings(max_examples=150)
CORPUS = json.loads((Path(__file__).parent.parent / "vectors" / "corpora" / "path_traversal.json").read_text("utf-8"))
HOSTILE_PATHS = [path for paths in CORPUS["items"].values() for path in paths]

components = st.binary(min_size=1, max_size=8).filter(lambda c: c not in (b".", b"..") and not set(b"/\0") & set(c))
paths = st.lists(components, max_size=5).map(lambda parts: b"/" + b"/".join(parts))
wild_names = st.text(alphabet="*?[]%{}a/.", min_size=1, max_size=6)


@MODEST
@given(paths)
def test_a_path_comes_back_byte_for_byte(path: bytes) -> None:
    resource = file_resource(path)
    assert path_of(resource) == path
    assert parse_resource(resource.text) == resource


@MODEST
@given(paths, paths)
def test_two_paths_are_two_resources(one: bytes, other: bytes) -> None:
    assert (file_resource(one) == file_resource(other)) is (one == other)


@MODEST
@given(paths)
def test_a_path_as_text_is_the_path_as_bytes(path: bytes) -> None:
    assert file_resource(path.decode("utf-8", "surrogateescape")) == file_resource(path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "file://"),
        ("/home/u/proj/src/a.py", "file://home/u/proj/src/a.py"),
        ("/a b/c", "file://a b/c"),
        ("/100%/*", "file://100%25/%2A"),
        ("/é", "file://%C3%A9"),
        (b"/\xff", "file://%FF"),
        ("/%2e%2e/x", "file://%252e%252e/x"),  # a literal name; nothing decodes it a second time
    ],
)
def test_paths_by_example(path: bytes | str, text: str) -> None:
    assert file_resource(path).text == text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "pattern.relative"),
        ("a", "pattern.relative"),
        ("~/a", "pattern.relative"),
        ("/a/../b", "pattern.dots"),
        ("/..", "pattern.dots"),
        ("/a/./b", "pattern.dots"),
        ("/a//b", "pattern.dots"),
        ("//a", "pattern.dots"),
        ("/a/", "pattern.dots"),
        ("/a\0b", "pattern.nul"),
        ("/\ud800", "pattern.surrogate"),
        ("/a" * (MAX_SEGMENTS + 1), "pattern.too-many-segments"),
    ],
)
def test_a_path_that_is_not_resolved_is_no_resource(path: str, code: str) -> None:
    with pytest.raises(PatternError) as caught:
        file_resource(path)
    assert caught.value.code == code


# ---- hole C5: a concrete name never becomes a wildcard -------------------------------------------------------------


@MODEST
@given(wild_names, st.text(alphabet="*a?.", min_size=1, max_size=6))
def test_a_grant_on_a_concrete_path_matches_that_path_only(name: str, other: str) -> None:
    try:
        resource, neighbour = file_resource(f"/d/{name}"), file_resource(f"/d/{other}")
    except PatternError:
        assume(False)
        raise
    pattern = file_pattern_exact(f"/d/{name}")
    assert matches(pattern, resource)
    assert matches(pattern, neighbour) is (name == other)
    assert all(len(pieces) == 1 for pieces in pattern.segments)


@MODEST
@given(wild_names, wild_names)
def test_a_grant_on_a_concrete_command_matches_that_command_only(one: str, other: str) -> None:
    pattern = exec_pattern_exact("/bin/rm", ["-r", one])
    assert matches(pattern, exec_resource("/bin/rm", ["-r", one]))
    assert matches(pattern, exec_resource("/bin/rm", ["-r", other])) is (one == other)
    assert not pattern.tail


@MODEST
@given(wild_names)
def test_a_tree_is_open_at_its_end_and_nowhere_else(name: str) -> None:
    try:
        pattern = file_pattern_tree(f"/d/{name}")
    except PatternError:
        assume(False)
        raise
    assert pattern.tail
    assert all(len(pieces) == 1 for pieces in pattern.segments)
    assert matches(pattern, file_resource(f"/d/{name}"))
    assert matches(pattern, file_resource(f"/d/{name}/x/y"))
    assert not matches(pattern, file_resource(f"/d/{name}x"))


def test_the_tree_of_the_root_folder_is_every_file() -> None:
    assert file_pattern_tree("/") == parse_pattern("file://**")
    assert file_pattern_exact("/") == parse_pattern("file://")


MAKERS: list[Callable[[str], Resource]] = [
    lambda name: mcp_resource(name, name),
    lambda name: tool_resource(name, name),
    lambda name: plugin_resource(name, name),
    lambda name: model_resource(name, name),
    rpc_resource,
]


@pytest.mark.parametrize("name", ["*", "**", "a*", "%2A", "%%"])
@pytest.mark.parametrize("make", MAKERS)
def test_a_name_with_stars_is_that_name(make: Callable[[str], Resource], name: str) -> None:
    resource = make(name)
    assert set(resource.segments) == {name.encode()}
    assert matches(exact_pattern(resource), resource)
    assert not matches(exact_pattern(resource), make("b"))


@pytest.mark.parametrize(
    ("name", "code"),
    [("", "pattern.empty-segment"), ("..", "pattern.dots"), ("a\0", "pattern.nul"), ("\udc80", "pattern.surrogate")],
)
@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_name_is_refused(make: Callable[[str], Resource], name: str, code: str) -> None:
    with pytest.raises(PatternError) as caught:
        make(name)
    assert caught.value.code == code


def test_names_by_example() -> None:
    assert mcp_resource("github", "create_issue").text == "mcp://github/create_issue"
    assert tool_resource("workspace", "write_file").text == "tool://workspace/write_file"
    assert plugin_resource("hello-js", "greet").text == "plugin://hello-js/greet"
    assert model_resource("router", "vendor/model").text == "model://router/vendor%2Fmodel"
    assert rpc_resource("session.create").text == "rpc://session.create"


# ---- commands --------------------------------------------------------------------------------------------------------


@MODEST
@given(
    paths.filter(lambda path: path != b"/"),
    st.lists(st.binary(max_size=6).filter(lambda arg: b"\0" not in arg), max_size=5),
)
def test_a_command_comes_back_argument_by_argument(program: bytes, argv: list[bytes]) -> None:
    resource = exec_resource(program, argv)
    assert command_of(resource) == (program, tuple(argv))
    assert parse_resource(resource.text) == resource


def test_a_command_by_example() -> None:
    resource = exec_resource("/usr/bin/git", ["commit", "-m", "a/b *", "", "."])
    assert resource.text == "exec://%2Fusr%2Fbin%2Fgit/commit/-m/a%2Fb %2A/%%/."


def test_an_empty_argument_is_not_a_missing_one() -> None:
    assert exec_resource("/bin/ls", [""]) != exec_resource("/bin/ls", [])
    assert not matches(exec_pattern_exact("/bin/ls", []), exec_resource("/bin/ls", [""]))


@pytest.mark.parametrize(
    ("program", "argv", "code"),
    [
        ("git", [], "pattern.relative"),
        ("", [], "pattern.empty-segment"),
        ("./git", [], "pattern.relative"),
        ("/w/../bin/git", [], "pattern.dots"),
        ("/bin/ls", ["a\0b"], "pattern.nul"),
        ("/bin/ls", ["a"] * MAX_SEGMENTS, "pattern.too-many-segments"),
    ],
)
def test_a_command_without_one_resolved_program_is_refused(program: str, argv: list[str], code: str) -> None:
    with pytest.raises(PatternError) as caught:
        exec_resource(program, argv)
    assert caught.value.code == code


# ---- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("www.example.com", 443, "net://443/com/example/www"),
        ("WWW.Example.COM.", 443, "net://443/com/example/www"),
        ("localhost", 8080, "net://8080/localhost"),
        ("10.0.0.1", 80, "net://80/10.0.0.1"),
        ("[2001:db8::1]", 65535, "net://65535/[2001:db8::1]"),
    ],
)
def test_an_endpoint_is_its_port_and_its_labels_reversed(host: str, port: int, text: str) -> None:
    resource = net_resource(host, port)
    assert resource.text == text
    assert endpoint_of(resource) == (host.lower().removesuffix("."), port)


@pytest.mark.parametrize(
    ("host", "port"),
    [("example.com", 0), ("example.com", 65536), ("example.com", -1), ("example.com:80", 80), ("", 80)],
)
def test_an_endpoint_that_is_none_is_refused(host: str, port: int) -> None:
    with pytest.raises(PatternError):
        net_resource(host, port)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("example.com", 443, "net://443/com/example"),
        ("example.com", None, "net://*/com/example"),
        ("*.example.com", 443, "net://443/com/example/*/**"),
        ("*", None, "net://*/**"),
        ("*", 443, "net://443/**"),
        ("127.0.0.1", 80, "net://80/127.0.0.1"),
        ("[::1]", None, "net://*/[::1]"),
    ],
)
def test_a_host_pattern_by_example(host: str, port: int | None, text: str) -> None:
    assert net_pattern(host, port).text == text


@pytest.mark.parametrize(
    "host", ["*.10.0.0.1", "*.[::1]", "example.com:80", "*.*.com", "a.*.com", "*com", "**", "*.", ""]
)
def test_a_host_pattern_has_a_star_for_whole_leading_labels_only(host: str) -> None:
    with pytest.raises(PatternError):
        net_pattern(host, 443)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("example.com", False),
        ("a.example.com", True),
        ("b.a.example.com", True),
        ("example.com.evil.org", False),
        ("evilexample.com", False),
        ("com", False),
    ],
)
def test_a_leading_star_is_every_subdomain_and_not_the_domain(host: str, expected: bool) -> None:
    assert matches(net_pattern("*.example.com", 443), net_resource(host, 443)) is expected
    assert not matches(net_pattern("*.example.com", 443), net_resource(host, 80))


# ---- back again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("back", "text"),
    [
        (path_of, "exec://%2Fbin%2Fls"),
        (command_of, "file://a"),
        (command_of, "exec://"),
        (endpoint_of, "file://a/b"),
        (endpoint_of, "net://"),
        (endpoint_of, "net://443"),
    ],
)
def test_a_resource_of_another_kind_names_no_such_thing(back: Callable[[Resource], object], text: str) -> None:
    with pytest.raises(PatternError) as caught:
        back(parse_resource(text))
    assert caught.value.code == "pattern.scheme"


@MODEST
@given(paths)
def test_an_exact_pattern_exists_for_every_resource_that_is_not_suspicious(path: bytes) -> None:
    resource = file_resource(path)
    if resource.suspicious:
        with pytest.raises(PatternError, match="matches nothing"):
            exact_pattern(resource)
    else:
        pattern: Pattern = exact_pattern(resource)
        assert matches(pattern, resource)
        assert covers(file_pattern_tree("/"), pattern)


# ---- paths that others use to break out ------------------------------------------------------------------------------


def test_the_corpus_is_there_with_its_source_and_licence() -> None:
    assert len(HOSTILE_PATHS) == CORPUS["count"] > 1500
    assert CORPUS["source"].startswith("github:")
    assert CORPUS["licence"] == "MIT"


READINGS: list[Callable[[str], Resource]] = [
    file_resource,
    lambda path: file_resource(f"/{path}"),
    lambda path: file_resource(f"/ws/{path}".replace("\\", "/")),
    lambda path: parse_resource(f"file://{path}"),
    lambda path: parse_resource(f"file://ws/{path}"),
    lambda path: parse_resource(f"file://{path}".upper().replace("FILE://", "file://")),
]


@pytest.mark.parametrize("read", READINGS)
def test_a_hostile_path_is_refused_or_names_exactly_itself(read: Callable[[str], Resource]) -> None:
    refused = 0
    for path in HOSTILE_PATHS:
        try:
            resource = read(path)
        except PatternError as error:
            refused += 1
            assert error.code.startswith("pattern.")
            continue
        inside = path_of(resource)
        assert not {b"", b".", b".."} & set(inside.split(b"/")[1:])
        assert b"\0" not in inside
        assert file_resource(inside) == resource
        assert parse_resource(resource.text) == resource
    assert refused > 400  # the corpus reaches the checks, whichever way it is read


def test_a_hostile_path_below_the_workspace_stays_below_it() -> None:
    tree = file_pattern_tree("/ws")
    named = 0
    for path in HOSTILE_PATHS:
        try:
            resource = parse_resource(f"file://ws/{path}")
        except PatternError:
            continue
        named += 1
        assert path_of(resource).startswith(b"/ws/")
        assert matches(tree, resource) is not resource.suspicious
    assert named
