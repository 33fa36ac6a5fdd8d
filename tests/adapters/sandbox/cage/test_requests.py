from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrid.adapters.sandbox.cage.requests import (
    MAX_NUMBER,
    MAX_PATHS,
    MAX_STRINGS,
    Floor,
    RequestError,
    exposes,
    forbidden_workspace,
    hidden_in,
    parse_floor,
    parse_request,
)

FLOOR = Floor("l0", ("/home/u/.ssh", "/home/u/.astrid"))
PLAIN: dict[str, Any] = {
    "id": 7,
    "tier": "l1",
    "argv": ["git", "status"],
    "env": {"PATH": "/usr/bin"},
    "workspace": "/home/u/project",
    "cwd": "src",
    "rx": ["/usr"],
    "ro": ["/etc/passwd"],
    "rw": ["/var/cache/build"],
    "protect": [".git/hooks"],
    "limits": {"nproc": 64},
    "tmp_bytes": 1000,
    "tty": False,
}
WITHOUT = object()


def packet(**changes: Any) -> bytes:
    whole = {**PLAIN, **changes}
    return json.dumps({name: value for name, value in whole.items() if value is not WITHOUT}).encode()


def refusal(raw: bytes, *, above: int = 0, floor: Floor = FLOOR) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_request(raw, above=above, floor=floor)
    return caught.value


def test_a_plain_request_is_taken_as_it_is() -> None:
    request = parse_request(packet(), above=6, floor=FLOOR)
    assert (request.id, request.tier, request.argv, request.cwd) == (7, "l1", ("git", "status"), "src")
    assert (request.rx, request.ro, request.rw) == (("/usr",), ("/etc/passwd",), ("/var/cache/build",))
    assert (request.protect, request.limits, request.tmp_bytes) == ((".git/hooks",), {"nproc": 64}, 1000)


def test_a_way_out_is_made_where_it_is_asked_for_and_the_network_is_the_programs_own() -> None:
    asked = {tier: packet(tier=tier, network=True) for tier in ("l1", "l0")}
    assert not parse_request(packet(), above=0, floor=FLOOR).network
    assert parse_request(asked["l1"], above=0, floor=FLOOR).network
    assert "no network of its own" in str(refusal(asked["l0"]))


@pytest.mark.parametrize("id_", [7, 6, 0, -1, MAX_NUMBER, True, "8", 8.0, None, WITHOUT])
def test_an_id_that_does_not_rise_is_refused(id_: object) -> None:
    assert refusal(packet(id=id_), above=7).id == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("argv", value) for value in ([], [""], "ls", None, [1], ["a\0b"], ["\ud800"], ["a"] * (MAX_STRINGS + 1))],
        *[("env", value) for value in ([], {"": "x"}, {"A=B": "x"}, {"A": 1}, {"A": "x\0"}, {"A\0": ""}, None)],
        *[("workspace", value) for value in ("/", "a", "", "/a/../b", "/a/", "/a//b", "/a/.", "/a\0", None, WITHOUT)],
        *[("cwd", value) for value in ("/a", "..", "a/../b", "a//b", "./a", "a/", None)],
        *[("rw", value) for value in (["/"], ["a"], ["/a/.."], "/a", None, ["/a"] * (MAX_PATHS + 1))],
        *[("rx", value) for value in (["/"], ["/a\0"], [None])],
        *[("protect", value) for value in (["/a"], [".."], [""], ["a/../b"], ["a\0"], {})],
        *[("limits", value) for value in ({"as": 1}, {"nproc": -1}, {"nproc": True}, {"cpu": 1.5}, [])],
        *[("tmp_bytes", value) for value in (-1, MAX_NUMBER, "1m", True)],
        *[("tty", value) for value in (1, "yes", None)],
        *[("network", value) for value in (1, "yes", None, [], "10.0.0.1")],
        *[("tier", value) for value in ("none", "l2", "", None, WITHOUT, ["l1"])],
        *[(name, 1) for name in ("preexec", "rwx", "floor", "never", "least", "uid")],
    ],
)
def test_a_field_that_is_wrong_or_unknown_refuses_the_whole_request(field: str, value: object) -> None:
    assert refusal(packet(**{field: value})).id == 7


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"id": 1', b"null"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    assert refusal(raw).id == 0


@pytest.mark.parametrize("path", ["/home/u/.ssh", "/home/u/.ssh/id_rsa", "/home/u", "/home", "/", "/home/u/.astrid"])
@pytest.mark.parametrize("field", ["rx", "ro", "rw"])
def test_no_request_lists_what_is_never_exposed(field: str, path: str) -> None:
    refusal(packet(**{field: [path]}))


@pytest.mark.parametrize("path", ["/home/u/.ssh", "/home/u/.ssh/a", "/home/u/.astrid/x/y"])
def test_no_workspace_is_what_is_never_exposed(path: str) -> None:
    refusal(packet(workspace=path))


def test_a_workspace_may_hold_what_is_never_exposed_only_where_that_can_be_hidden() -> None:
    assert parse_request(packet(workspace="/home/u"), above=0, floor=FLOOR).workspace == "/home/u"
    assert hidden_in("/home/u", FLOOR) == FLOOR.never
    refusal(packet(workspace="/home/u", tier="l0"))


def test_a_name_that_only_begins_alike_is_another() -> None:
    assert not exposes("/home/u/.sshd", FLOOR)
    assert not forbidden_workspace("/home/u/.ssh-keys", FLOOR, "l0")


@pytest.mark.parametrize(("least", "tier"), [("l1", "l0"), ("l1", "none"), ("l0", "none")])
def test_no_request_goes_below_the_least_tier(least: str, tier: str) -> None:
    refusal(packet(tier=tier), floor=Floor(least, ()))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b'{"least": "l0"}',
        b'{"never": []}',
        b'{"least": "l3", "never": []}',
        b'{"least": "l0", "never": ["a"]}',
        b'{"least": "l0", "never": [], "more": 1}',
        b'{"least": ["l0"], "never": []}',
    ],
)
def test_a_floor_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError):
        parse_floor(raw)


def test_a_floor_is_taken_as_it_is() -> None:
    assert parse_floor(b'{"least": "l1", "never": ["/root/.ssh"]}') == Floor("l1", ("/root/.ssh",))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(PLAIN)), inner, max_size=4),
    max_leaves=12,
)


@given(changes=st.dictionaries(st.sampled_from([*PLAIN, "more"]), JUNK, max_size=4), above=st.integers(0, 20))
def test_whatever_comes_is_refused_or_keeps_every_promise(changes: dict[str, Any], above: int) -> None:
    try:
        request = parse_request(packet(**changes), above=above, floor=FLOOR)
    except RequestError:
        return
    assert request.id > above
    assert request.tier in ("l0", "l1")
    assert not any(exposes(path, FLOOR) for path in (*request.rx, *request.ro, *request.rw))
    assert not forbidden_workspace(request.workspace, FLOOR, request.tier)
    texts = (*request.argv, *request.env, *request.env.values(), request.cwd, *request.protect, request.workspace)
    assert not any("\0" in text for text in texts)
    assert ".." not in "/".join((request.cwd, *request.protect, request.workspace)).split("/")


@given(raw=st.binary(max_size=60))
def test_bytes_are_refused_and_raise_nothing_else(raw: bytes) -> None:
    with pytest.raises(RequestError):
        parse_request(raw, above=0, floor=FLOOR)
