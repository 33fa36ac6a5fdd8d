"""The command and the rules for macOS, as texts: whatever a path holds, the rules are the same."""

from __future__ import annotations

import re

import msgspec
import pytest

from astrid.adapters.sandbox.cage.requests import RequestError
from astrid.adapters.sandbox.profile import LIMITS
from astrid.adapters.sandbox.seatbelt import PROGRAM, Wrapped, wrap
from astrid.box_ports import Box
from astrid.core.protected import OCCUPIED

BOX = Box(
    tier="l0",
    workspace="/Users/ann/work",
    folder=-1,
    run=("/usr", "/bin"),
    read=("/private/etc/hosts",),
    lent=("/Users/ann/tools",),
    write=("/private/tmp/out",),
    limits={**LIMITS, "nproc": 512, "data": 1 << 30},
)
HOSTILE = (
    '/Users/ann/a"b',
    '/w") (allow default) ("',
    "/w\n(allow default)",
    "/w)(allow network*)",
    "/w;x",
    "/w#|x|#",
    "/w\\",
    '/w/(param "NEVER_0")',
    "/w=x=y",
    "/-D",
    "/w\x7f\x1b[2J",
    "/wö\udcff",
)


def wrapped(
    box: Box = BOX, *, protect: tuple[str, ...] = (".git/hooks", ".env"), scratch: str = "/private/tmp/s"
) -> Wrapped:
    return wrap(["/bin/echo", "hi"], box, scratch=scratch, protect=protect, never=["/Users/ann/.ssh"])


GOLDEN = """\
(version 1)
(deny default)
(import "system.sb")
(deny network*)
(deny system-socket)
(deny signal)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow process-fork)
(allow sysctl-read)
(allow file-read* file-write-data (literal "/dev/null") (literal "/dev/zero"))
(allow file-read* (literal "/") (literal "/dev/random") (literal "/dev/urandom"))
(allow file-read* (literal "/private/var/select/sh") (literal "/private/var/db/xcode_select_link"))
(allow file-read* process-exec*
  (subpath "/System") (subpath "/Library/Apple") (subpath "/Library/Developer") (subpath "/opt/homebrew")
  (subpath "/private/var/db/dyld"))
(allow file-read* process-exec*
  (subpath (param "RUN_0")) (subpath (param "RUN_1")) (subpath (param "RUN_2")))
(allow file-read* (subpath (param "READ_0")))
(allow file-read* file-write* process-exec*
  (subpath (param "WRITE_0")) (subpath (param "WRITE_1")) (subpath (param "WRITE_2")))
(allow file-read-metadata
  (path-ancestors (param "WRITE_0")) (path-ancestors (param "WRITE_1")) (path-ancestors (param "WRITE_2")))
(deny file-write-setugid)
(deny file-write* (subpath (param "PROTECT_0")) (subpath (param "PROTECT_1")))
"""


def test_the_rules_are_these() -> None:
    rules = " ".join(wrapped().rules.split())
    golden = " ".join(GOLDEN.split())
    assert rules.startswith(golden)
    rest = rules.removeprefix(golden)
    pinned = '(deny file-write-create file-write-unlink (literal (param "PINNED_0")) (literal (param "PINNED_1")))'
    assert pinned in rest
    assert rest.endswith('(deny file-read* file-write* process-exec* (subpath (param "NEVER_0")))')
    assert "(allow" not in rest  # the last that matches decides


def test_the_paths_stand_beside_the_rules() -> None:
    assert wrapped().paths == {
        "RUN_0": "/usr",
        "RUN_1": "/bin",
        "RUN_2": "/Users/ann/tools",
        "READ_0": "/private/etc/hosts",
        "WRITE_0": "/Users/ann/work",
        "WRITE_1": "/private/tmp/s",
        "WRITE_2": "/private/tmp/out",
        "PROTECT_0": "/Users/ann/work/.git/hooks",
        "PROTECT_1": "/Users/ann/work/.env",
        "PINNED_0": "/Users/ann/work",
        "PINNED_1": "/Users/ann/work/.git",
        "NEVER_0": "/Users/ann/.ssh",
    }


def test_the_command_gives_each_path_as_one_argument_and_ends_with_the_program() -> None:
    argv = wrapped().argv
    given = [f"{name}={path}" for name, path in wrapped().paths.items()]
    assert argv[:3] == (PROGRAM, "-p", wrapped().rules)
    assert argv[3 : 3 + 2 * len(given)] == tuple(part for one in given for part in ("-D", one))
    rest = argv[3 + 2 * len(given) :]
    assert (rest[:3], rest[-5:]) == (("--", "/bin/sh", "-c"), ("3600", "1024", str(2 << 20), "/bin/echo", "hi"))


def test_each_parameter_that_is_named_is_given_and_no_other() -> None:
    assert set(re.findall(r'\(param "([A-Z_0-9]+)"\)', wrapped().rules)) == set(wrapped().paths)


@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_reaches_the_rules(path: str) -> None:
    box = msgspec.structs.replace(BOX, workspace=path, read=(path,), lent=(path,), write=(path,))
    name = path.replace("/", "")
    odd = wrapped(box, protect=(f".git/{name}", ".env"), scratch=path)
    assert odd.rules == wrapped().rules
    assert not any(name in one for one in (odd.rules, *odd.paths))
    assert all(f"{name}={value}" in odd.argv for name, value in odd.paths.items())


def expressions(what: str) -> list[str]:
    """Those of the rule that denies ``what`` by expressions, as they are once the workspace is put in."""
    start = '(regex (string-append "^" (regex-quote (param "WRITE_0")) #"'
    (line,) = [line for line in wrapped().rules.splitlines() if line.startswith(f"(deny {what} {start}")]
    parts = line.removeprefix(f"(deny {what} ").split(start)[1:]
    return ["^" + re.escape(BOX.workspace) + part.rstrip(" )").removesuffix('"') for part in parts]


@pytest.mark.parametrize("name", OCCUPIED)
def test_a_name_is_protected_in_any_case_there_or_not(name: str) -> None:
    rules = expressions("file-write*")
    assert len(rules) == len(OCCUPIED)
    for spelling in (name, name.upper(), name.title()):
        assert any(re.search(rule, f"{BOX.workspace}/{spelling}") for rule in rules)
        assert any(re.search(rule, f"{BOX.workspace}/{spelling}/x") for rule in rules)
    for free in (f"x{name[1:]}", f"{name}x", f"deeper/{name}"):
        assert not any(re.search(rule, f"{BOX.workspace}/{free}") for rule in rules)


def test_what_leads_to_a_protected_name_can_be_moved_neither_away_nor_there() -> None:
    rules = expressions("file-write-create file-write-unlink")
    for spelling in (".git", ".GIT", ".Github"):
        assert any(re.search(rule, f"{BOX.workspace}/{spelling}") for rule in rules)
    assert not any(re.search(rule, f"{BOX.workspace}/.git/index.lock") for rule in rules)


@pytest.mark.parametrize(
    "changed",
    [
        {"workspace": "/"},
        {"workspace": "/Users/ann"},
        {"workspace": "/Users/ann/.ssh"},
        {"workspace": "/users/ANN/.SSH/x"},
        {"write": ("/Users/Ann",)},
        {"read": ("/USERS/ann/.ssh/id",)},
        {"lent": ("/",)},
    ],
)
def test_what_is_never_exposed_is_refused_in_any_spelling(changed: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        wrapped(msgspec.structs.replace(BOX, **changed))
