"""A person's own program in the box, with the hosts that they name: the real box, a network of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from astrid.daemon import boxing
from astrid.daemon.boxing import run_boxed
from astrid.errors import LaunchError, PatternError
from astrid.home import Home
from tests.adapters.sandbox.conftest import tiers
from tests.fakes.egress import PUBLIC, Answering

pytestmark = pytest.mark.e2e

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n"
INSIDE = "10.0.0.7"
CURL = ("curl", "-s", "-w", "%{http_code}")


class Run:
    """Programs of a person, and what was printed."""

    def __init__(self, at: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.network = Answering({"a.example": [PUBLIC], "b.a.example": [PUBLIC], "in.example": [INSIDE]}, ANSWER)
        self.workspace = at / "workspace"
        self.workspace.mkdir()
        self._home = Home(at / "home")
        self._capfd = capfd

    def __call__(self, argv: Sequence[str], *hosts: str, aloud: bool = False) -> tuple[str, str]:
        run_boxed(self._home, self.workspace, argv, hosts, aloud=aloud, network=self.network)
        said = self._capfd.readouterr()
        return said.out, said.err


@pytest.fixture
def boxed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    if why := tiers()["l1"]:
        pytest.skip(f"no tier l1 here: {why}")
    return Run(tmp_path, capfd)


def test_a_host_that_is_named_is_reached_at_its_port(boxed: Run) -> None:
    assert boxed((*CURL, "http://a.example/"), "a.example:80") == ("hello\n200", "")
    assert boxed.network.dialled == [(PUBLIC, 80)]


def test_without_a_port_it_is_the_one_of_https(boxed: Run) -> None:
    out, _ = boxed((*CURL, "http://a.example/"), "a.example")
    assert out.endswith("403")
    boxed((*CURL, "https://a.example/"), "a.example")
    assert boxed.network.dialled == [(PUBLIC, 443)]


def test_a_star_stands_for_what_is_below_and_no_more(boxed: Run) -> None:
    assert boxed((*CURL, "http://b.a.example/"), "*.a.example:80")[0] == "hello\n200"
    assert boxed((*CURL, "http://a.example/"), "*.a.example:80")[0].endswith("403")


def test_a_name_that_leads_inside_is_not_reached(boxed: Run) -> None:
    assert boxed((*CURL, "http://in.example/"), "in.example:80")[0].endswith("403")
    assert boxed.network.dialled == []


def test_each_connection_is_told_to_whoever_wants_to_know(boxed: Run) -> None:
    hosts = ("a.example:80",)
    _, told = boxed((*CURL, "http://a.example/"), *hosts, aloud=True)
    assert told.startswith("connection to a.example:80: ")
    assert told.endswith(f"bytes out, {len(ANSWER)} in, {PUBLIC}\n")
    _, refused = boxed((*CURL, "http://c.example/"), *hosts, aloud=True)
    assert refused == "connection to c.example:80: 0 bytes out, 0 in, nowhere, egress.not-listed\n"


def test_without_a_host_there_is_no_network(boxed: Run) -> None:
    out, err = boxed(("bash", "-c", "env | grep -ci proxy; : </dev/tcp/127.0.0.1/3128 || echo refused"))
    assert out == "0\nrefused\n"
    assert "Operation not permitted" in err


def test_where_only_the_lesser_tier_works_it_is_refused(boxed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxing, "best_tier", lambda *_: "l0")
    with pytest.raises(LaunchError) as caught:
        boxed(("touch", "made"), "a.example")
    assert caught.value.code == "sandbox.no-way-out"
    assert not (boxed.workspace / "made").exists()


@pytest.mark.parametrize("host", ["", "http://a.example", "a.example:0", "a_b.example", "*", "*.127.0.0.1", "127.1"])
def test_what_is_no_host_is_said_before_anything_runs(boxed: Run, host: str) -> None:
    with pytest.raises(PatternError):
        boxed(("touch", "made"), host)
    assert not (boxed.workspace / "made").exists()
