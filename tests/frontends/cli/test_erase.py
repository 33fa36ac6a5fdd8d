"""``astrid sessions delete`` and ``cleanup`` take what they should, and ask first."""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from astrid.errors import ConfigError
from astrid.frontends.cli import DENIED, DONE, erase
from astrid.frontends.cli.past import past_sessions
from astrid.wire import past as w
from tests.daemon.test_histories import ended, served, talked
from tests.frontends.cli.test_past import PAST


def past(name: str, last_ns: int, **fields: object) -> w.PastSession:
    return replace(PAST, session_id=f"session:{name * 32}", last_ns=str(last_ns), **fields)


KNOWN = (
    past("a", 10),
    past("b", 20),
    past("c", 30),
    past("d", 5, state="open", ended=""),
    past("e", 5, state="interrupted", ended=""),
    past("f", 5, parent="session:" + "a" * 32),
    past("0", 5, erased=True),
)


@pytest.mark.parametrize(
    ("before_ns", "keep", "names"),
    [(30, 0, "ba"), (31, 0, "cba"), (31, 1, "ba"), (31, 3, ""), (5, 0, "")],
)
def test_what_is_due_has_ended_long_enough_ago_and_is_none_of_the_newest(before_ns: int, keep: int, names: str) -> None:
    assert "".join(one.session_id[-1] for one in erase.due(KNOWN, before_ns=before_ns, keep=keep)) == names


@pytest.mark.parametrize(("text", "seconds"), [("12h", 43_200), ("30d", 2_592_000), ("1w", 604_800), ("0d", 0)])
def test_an_age_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    assert erase.age(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "1y", "9999999d", "1d\n"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        erase.age(text)


class Person(io.StringIO):
    def __init__(self, text: str, *, present: bool = True) -> None:
        super().__init__(text)
        self._present = present

    def isatty(self) -> bool:
        return self._present


@pytest.mark.parametrize(("text", "wants"), [("y\n", True), ("YES\n", True), ("\n", False), ("no\n", False)])
def test_only_a_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, text: str, *, wants: bool) -> None:
    monkeypatch.setattr("sys.stdin", Person(text))
    assert erase.agreed(["this"]) is wants


def test_where_nobody_is_nothing_is_erased_without_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Person("y\n", present=False))
    with pytest.raises(ConfigError) as caught:
        erase.agreed(["this"])
    assert caught.value.code == "session.not-agreed"


async def test_what_is_agreed_to_is_erased_and_then_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path) as (daemon, client):
        session = await talked(daemon, client, "go")
        await ended(client, session)
        asks, told = (
            argparse.Namespace(id=session, yes=False, json=False),
            argparse.Namespace(id=session, yes=True, json=True),
        )
        monkeypatch.setattr("sys.stdin", Person("n\n"))
        assert await erase.delete(daemon.home, asks) == DENIED
        monkeypatch.setattr("sys.stdin", Person("y\n"))
        assert await erase.delete(daemon.home, asks) == DONE
        assert "9 rows and" in capsys.readouterr().out
        assert await erase.delete(daemon.home, told) == DONE
        assert json.loads(capsys.readouterr().out)["sessions"] == 0


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_cleanup_takes_those_that_are_due_and_a_dry_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    async with served(tmp_path) as (daemon, client):
        old, new = [await talked(daemon, client, text) for text in ("old", "new")]
        for session in (old, new):
            await ended(client, session)
        later = time.time_ns() + 40 * 24 * 3600 * 10**9
        monkeypatch.setattr(erase.time, "time_ns", lambda: later)
        monkeypatch.setattr("sys.stdin", Person("n\n"))
        words = {"older_than": erase.age("30d"), "keep": 1, "json": as_json}

        async def erased() -> list[str]:
            return [one.session_id for one in (await past_sessions(client)).sessions if one.erased]

        assert await erase.cleanup(daemon.home, argparse.Namespace(**words, dry_run=True, yes=False)) == DONE
        assert (await erased(), old in capsys.readouterr().out) == ([], True)
        assert await erase.cleanup(daemon.home, argparse.Namespace(**words, dry_run=False, yes=False)) == DENIED
        assert await erased() == []
        assert await erase.cleanup(daemon.home, argparse.Namespace(**words, dry_run=False, yes=True)) == DONE
        assert await erased() == [old]
