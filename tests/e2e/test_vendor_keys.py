"""A vendor's key through a whole run: it reaches the vendor, and nothing else that was written, said or started."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import trio

from tests.e2e.test_exec_anthropic import MODEL, reply
from tests.fakes.anthropic_server import AnthropicServer, fault
from tests.fakes.processes import READ, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
    pytest.mark.skipif(importlib.util.find_spec("anthropic") is None, reason="the extra `anthropic` is not installed"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

KEY = "sk-7b1f-only-the-vendor-may-see-this"


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("place_of_key", ["variable", "file"])
async def test_a_key_reaches_the_vendor_and_nothing_else(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, place_of_key: str
) -> None:
    place = Place(tmp_path)
    server = AnthropicServer()
    await nursery.start(server.run)
    config = f'[model]\napi_url = "{server.url}"\n'
    if place_of_key == "file":
        kept = tmp_path / "key"
        kept.write_text(f"{KEY}\n")
        kept.chmod(0o600)
        config += f'[providers.anthropic]\nkey_file = "{kept}"\n'
    else:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    place.home.config.write_text(config)
    server.replies += [
        fault(401, "authentication_error", f"no such key: {KEY}"),
        reply({"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": READ["arguments"]}, "tool_use"),
        reply({"type": "text", "text": "It says hello."}, "end_turn"),
    ]
    said: list[str] = []

    def run() -> None:
        with place.daemon("--verbose") as daemon:
            started = children(daemon.pid)
            assert started, "the daemon has children, or this shows nothing"
            said.extend(Path(f"/proc/{child}/environ").read_bytes().decode() for child in started)
            for code in (1, 0):
                done = place.exec("what does a.txt say?", "--json", "--model", f"anthropic/{MODEL}")
                assert done.returncode == code, done.stderr
                said.extend((done.stdout, done.stderr))
            said.append(place.astrid("audit", "list", "--json").stdout)

    try:
        await trio.to_thread.run_sync(run)
    finally:
        nursery.cancel_scope.cancel()
    assert all(KEY in str(one.headers) for one in server.seen)  # whichever field the library chooses
    assert len(server.seen) == 3
    assert any("(the key)" in path.read_bytes().decode("latin-1") for path in place.home.root.rglob("*.db*"))
    told = "".join(said) + place.said
    written = b"".join(path.read_bytes() for path in place.home.root.rglob("*") if path.is_file())
    asked = "".join(str(one.body) for one in server.seen)
    assert not [where for where in (told.encode(), written, asked.encode()) if KEY.encode() in where]
    assert "ANTHROPIC_API_KEY" not in "".join(said[: len(said) - 5])


def test_whoever_has_no_use_for_a_key_is_handed_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from astrid.frontends import launch

    monkeypatch.setenv("MY_OWN_VARIABLE", KEY)
    monkeypatch.setenv("LC_ALL", "C")
    assert KEY in launch._environment().values(), "the daemon looks for it there"
    handed = launch._bare_environment()
    assert KEY not in handed.values()
    assert handed["LC_ALL"] == "C"
    assert handed["PATH"] == os.environ["PATH"]
