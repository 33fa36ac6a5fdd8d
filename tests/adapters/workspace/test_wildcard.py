from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace.wildcard import Wildcard, matches_name, tokens_of
from astrid.errors import WorkspaceError


def accepts(pattern: str, path: str) -> bool:
    wildcard = Wildcard(pattern)
    states = wildcard.start()
    *folders, name = path.split("/")
    for folder in folders:
        states = wildcard.advance(states, folder)
    return wildcard.accepts(states, name)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.py", "a.py"),
        ("**/*.py", "a.py"),
        ("**/*.py", "x/y/a.py"),
        ("src/**", "src/a/b"),
        ("**", "a/b/c"),
        ("**/**/**", "a"),
        ("**/b/**/d", "a/b/c/d"),
        ("**/b/**/d", "b/d"),
        ("./src//a", "src/a"),
        ("{a,b}/*.{ts,js}", "b/x.js"),
        ("x{,y}", "x"),
        ("x{,y}", "xy"),
        ("{a", "{a"),
        ("a}", "a}"),
        ("[a-c]x[!0-9]", "bxz"),
        ("[^a]", "b"),
        ("a[]]b", "a]b"),
        ("[!]]", "x"),
        ("[a-]", "-"),
        ("[-a]", "-"),
        ("a[", "a["),
        ("a?c", "aéc"),
        (".*", ".env"),
        (".git/**", ".git/x"),
        ("a*b*c", "a-b-b-c"),
    ],
)
def test_the_pattern_matches(pattern: str, path: str) -> None:
    assert accepts(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.py", "d/a.py"),
        ("src/**", "src"),
        ("src/**", "other/a"),
        ("src/*", "src/a/b"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("*", ".env"),
        ("?env", ".env"),
        ("[.]env", ".env"),
        ("**/x", ".git/x"),
        ("**", ".git"),
        ("[a-c]", "d"),
        ("[!a]", "a"),
        ("[^a]", "a"),
        ("[", "a"),
        ("a?", "a"),
    ],
)
def test_the_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not accepts(pattern, path)


@pytest.mark.parametrize(
    "pattern", ["", "/etc/*", "../*", "a/../b", "a\0b", "x" * 1025, "{a,b}" * 7, "{..,a}/x", "/", "."]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        Wildcard(pattern)
    assert caught.value.message.startswith("Invalid arguments: a pattern ")


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not accepts("*a" * 60 + "b", "a" * 250)
    assert not accepts("/".join(["**"] * 100 + ["b"]), "/".join(["a"] * 100))


def test_folders_that_cannot_lead_to_a_match_are_left_out() -> None:
    wildcard = Wildcard("src/*.py")
    assert not wildcard.advance(wildcard.start(), "node_modules")
    assert wildcard.advance(wildcard.start(), "src")


@settings(max_examples=200, deadline=None)
@given(st.text("ab*?", min_size=1, max_size=8), st.text("ab", max_size=8))
def test_one_component_agrees_with_the_library(pattern: str, name: str) -> None:
    assert matches_name(tokens_of(pattern), name) == fnmatch.fnmatchcase(name, pattern)
