"""A canary: the value of a secret, printed by a tool in every form that is looked for, is in nothing that a run leaves
behind or tells, but in the secret's own file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.core.answers import Verdict
from astrid.core.call import Call
from astrid.core.conversation import ToolResult
from astrid.core.grants import Mode
from astrid.core.redact import Redactor
from astrid.errors import EdgeError
from astrid.home import Home, Secrets
from astrid.ports import ToolOutcome
from tests.fakes.clock import StillClock
from tests.fakes.home import make_home
from tests.fakes.runtime import Runtime, call, running, turn
from tests.fakes.sleepers import actor, opened, talk

NAME, VALUE = "canary", b"canary-4f1d9c27e0b8"
FORMS = (VALUE, VALUE[::-1], VALUE.hex().encode(), *(base64.b64encode(b"ab"[:n] + VALUE)[4:-4] for n in range(3)))
TEXT = b"key: " + VALUE + b"\n" + base64.b64encode(VALUE) + b"\n" + VALUE.hex().encode() + b"\n" + VALUE[::-1] + b"\n"


def shown(runtime: Runtime, session: bytes) -> list[ToolResult]:
    entries = actor(runtime, session)._turn.conversation
    return [part for entry in entries for part in entry.message.parts if isinstance(part, ToolResult)]


def holders(home: Home, *told: bytes) -> set[str]:
    """Which files of the home, and which of the other texts, hold any form of the value."""
    texts = {str(path.relative_to(home.root)): path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    texts |= {f"told {number}": text for number, text in enumerate(told)}
    return {name for name, text in texts.items() if any(form in text for form in FORMS)}


async def lived(folder: Path) -> tuple[Home, list[bytes]]:
    """A session whose tool prints the secret, whose next tool fails over it, and whose model then says it."""
    async with running(folder) as runtime:
        Secrets(runtime.world.home).set(NAME, VALUE)
        (runtime.workspace / "a.txt").write_bytes(TEXT)
        session = await opened(runtime)
        runtime.model.says = [
            ("c1", "read_file", '{"file_path": "a.txt"}'),
            ("c2", "read_file", '{"file_path": "broken"}'),
            f"it is {VALUE.decode()}",
        ]
        events = await talk(runtime, "what is the key?")
        results = [part.content for part in shown(runtime, session)]
        asked = [msgspec.json.encode(request) for request in runtime.model.asked]
        home = runtime.world.home
    # What was shown must show that the tools ran: with the secret's name, or else with its value.
    assert len(results) == 2
    assert all(f"[secret {NAME}]" in one or VALUE.decode() in one for one in results)
    return home, [json.dumps(events).encode(), *(one.encode() for one in results), *asked]


@pytest.fixture(autouse=True)
def fails_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """``read_file`` of ``broken`` fails with the secret in its words."""
    original = WorkspaceTools.execute

    async def execute(self: WorkspaceTools, made: Call, report: Any) -> ToolOutcome:
        if b'"broken"' in made.args:
            raise EdgeError("workspace.io", f"refused for {VALUE.decode()}", effect="none", where=VALUE.decode())
        return await original(self, made, report)

    monkeypatch.setattr(WorkspaceTools, "execute", execute)


async def test_a_secret_that_tools_and_models_say_is_nowhere_but_in_its_own_file(tmp_path: Path) -> None:
    home, told = await lived(tmp_path)
    assert holders(home, *told) == {f"secrets/{NAME}"}


async def test_without_the_redactor_the_canary_is_in_the_log_and_before_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Secrets, "redactor", lambda self: Redactor({}))
    home, told = await lived(tmp_path)
    assert {name.partition(".")[0] for name in holders(home, *told)} > {"log/audit", "told 0", "told 1", "told 2"}


async def test_no_tool_runs_while_nobody_can_tell_what_is_secret(tmp_path: Path) -> None:
    async with running(tmp_path) as runtime:
        secrets = Secrets(runtime.world.home)
        session = await opened(runtime)
        (runtime.workspace / "a.txt").write_bytes(TEXT)
        runtime.model.says = [("c1", "read_file", '{"file_path": "a.txt"}')]
        secrets.set(NAME, VALUE)
        await talk(runtime, "before")
        assert len(shown(runtime, session)) == 1
        (runtime.world.home.secrets / NAME).chmod(0o644)
        secrets.set("another", VALUE)  # the folder has changed, so all of them are read anew
        runtime.model.says = [("c2", "read_file", '{"file_path": "a.txt"}')]
        asked = len(runtime.model.asked)
        await talk(runtime, "after")
        assert len(runtime.model.asked) == asked  # a model's words could hold it as well


LOOKS = "printenv > seen; cat a.txt"


async def with_child(folder: Path) -> tuple[Home, bytes, list[bytes]]:
    """A session whose model runs a command that prints what it finds: the home, what the command saw around it, and
    what everybody was told.
    """
    home, _ = make_home(folder / "home", now_s=StillClock().now_ns() // 10**9)
    Secrets(home).set(NAME, VALUE)
    home.config.write_text(f'[providers.anthropic]\nkey_secret = "{NAME}"\n')
    (folder / "workspace").mkdir()
    (folder / "workspace" / "a.txt").write_bytes(TEXT)
    async with running(folder) as runtime:
        assert runtime.world.catalogue._vendor_keys.of("anthropic") == VALUE.decode()
        await runtime.grant(Mode.GUIDED)
        await runtime.open([turn(call("bash", command=LOOKS)), turn(text="done")])
        await runtime.attend()
        await runtime.say("look around")
        events = await runtime.until("approval_needed")
        await runtime.respond(events[-1], Verdict.ONCE)
        events += await runtime.until("turn_complete")
    seen = (folder / "workspace" / "seen").read_bytes()
    return home, seen, [json.dumps(events).encode()]


async def test_a_secret_that_the_daemon_uses_and_a_command_prints_is_nowhere_but_in_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", VALUE.decode())
    home, environment, told = await with_child(tmp_path)
    assert b"PATH=" in environment
    assert f"[secret {NAME}]".encode() in told[0], "the command printed it, or this shows nothing"
    assert holders(home, environment, *told) == {f"secrets/{NAME}"}
