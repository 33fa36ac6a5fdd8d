"""What sessions are made of: workspaces by what they are, models by name, limits that only shrink."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from astrid.adapters.workspace.shell import OpenShell
from astrid.core.canon import MAX_U64
from astrid.core.grants import Mode
from astrid.core.labels import RUNTIME
from astrid.core.turn_messages import Setting
from astrid.errors import AstridError, ConfigError, InputError, WorkspaceError
from astrid.home import Home
from astrid.runtime import catalogue as module
from astrid.runtime.catalogue import Catalogue, actors_folder, load_agent
from astrid.runtime.config import load_config
from astrid.runtime.parts import Options
from astrid.runtime.vendor_keys import VendorKeys
from tests.fakes.clock import FakeEntropy
from tests.fakes.home import make_home

NOW_NS = 1_769_860_800 * 10**9  # 2026-01-31, noon


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")[0]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.jsonl"
    path.write_text('{"text": "hi"}\n')
    return path


def catalogue(home: Home, config: str = "", **keys: str) -> Catalogue:
    home.config.write_text(config)
    loaded = load_config(home.config, home.root / "none")
    return Catalogue(
        loaded.config,
        home,
        hides=lambda resource: False,
        entropy=FakeEntropy(),
        consult=no_log,
        vendor_keys=VendorKeys(keys),
        shell=OpenShell(),
    )


async def no_log(look: object) -> bytes:
    """There is no log to look at."""
    raise AssertionError(look)


def setting(made: Catalogue, workspace: Path, script: Path, max_asks: int = 0) -> Setting:
    options = Options(str(workspace), "guided", "", "", 0, max_asks, interactive=True)
    return made.setting(made.place(str(workspace)), made.brain(f"scripted:{script}"), options, NOW_NS)


# ---- workspaces


async def test_no_tool_writes_what_astrid_runs_from(
    home: Home, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / ".venv").mkdir()
    made = catalogue(home)
    arguments = json.dumps({"file_path": ".venv/lib/x.pth", "content": "import evil"}).encode()
    assert (await made.place(str(workspace)).server.prepare("write_file", arguments)).pre
    monkeypatch.setattr("sys.prefix", str(workspace / ".venv"))
    with pytest.raises(WorkspaceError) as caught:
        await catalogue(home).place(str(workspace)).server.prepare("write_file", arguments)
    assert caught.value.code == "workspace.own-code"


def test_a_workspace_is_opened_once(home: Home, workspace: Path) -> None:
    made = catalogue(home)
    place = made.place(str(workspace))
    (workspace.parent / "link").symlink_to(workspace)
    assert made.place(str(workspace.parent / "link")) is place
    assert (place.root, place.toolbox) == (str(workspace), f"workspace:{place.identity.hex()}")


def test_another_folder_at_its_place_is_another_workspace(home: Home, workspace: Path) -> None:
    made = catalogue(home)
    before = made.place(str(workspace))
    workspace.rename(workspace.parent / "moved")
    workspace.mkdir()
    assert made.place(str(workspace)).identity != before.identity


@pytest.mark.parametrize("path", ["", ".", "work", "~/work"])
def test_a_workspace_is_named_by_a_whole_path(home: Home, path: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        catalogue(home).place(path)
    assert caught.value.code == "workspace.relative"


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/\0", "/\ud800"])
def test_a_path_that_leads_nowhere_breaks_nothing(home: Home, path: str) -> None:
    with pytest.raises(WorkspaceError):
        catalogue(home).place(path)


# ---- models


def test_no_model_is_a_choice_that_somebody_has_to_make(home: Home) -> None:
    with pytest.raises(ConfigError) as caught:
        catalogue(home).brain("")
    assert caught.value.code == "model.none"


def test_the_configured_model_is_that_of_a_session_that_names_none(home: Home, script: Path) -> None:
    assert catalogue(home, f"[model]\nmodel = 'scripted:{script}'").brain("").scripted


def test_a_script_is_read_anew_for_each_session_and_has_a_host_of_its_own(home: Home, script: Path) -> None:
    made = catalogue(home)
    brains = [made.brain(f"scripted:{script}") for _ in range(2)]
    assert brains[0].toolbox != brains[1].toolbox
    script.write_text("nonsense")
    with pytest.raises(AstridError):
        made.brain(f"scripted:{script}")


def test_a_real_model_is_made_once(home: Home) -> None:
    made = catalogue(home, anthropic="k")
    brain = made.brain("claude-haiku-4-5")
    assert made.brain("claude-haiku-4-5") is brain
    assert not brain.scripted


def test_price_address_and_window_are_as_configured(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def resolve(name: str, **given: Any) -> Any:
        asked.update(given, name=name)
        raise ConfigError("model.unknown", "no")

    monkeypatch.setattr(module, "resolve_model", resolve)
    config = '[model]\napi_url = "https://x"\n[models."p/m"]\ninput_usd_per_million = 1\noutput_usd_per_million = 2\n'
    with pytest.raises(ConfigError):
        catalogue(home, config).brain("p/m")
    assert asked["base_url"] == "https://x"
    assert asked["prices"]["p/m"].output_micros_per_million == 2_000_000
    with pytest.raises(ConfigError):
        catalogue(home).brain("p/m")
    assert asked["base_url"] is None


# ---- modes and limits


def test_a_session_that_names_no_mode_gets_the_configured_one(home: Home) -> None:
    assert catalogue(home).mode("") is Mode.SAFE
    assert catalogue(home, "[workspace]\nmode = 'guided'").mode("") is Mode.GUIDED
    assert catalogue(home, "[workspace]\nmode = 'guided'").mode("autonomous") is Mode.AUTONOMOUS


@pytest.mark.parametrize("name", ["wild", "SAFE", " safe", "\0"])
def test_there_is_no_other_mode(home: Home, name: str) -> None:
    with pytest.raises(InputError) as caught:
        catalogue(home).mode(name)
    assert caught.value.code == "session.mode"


@pytest.mark.parametrize(
    ("asked", "session", "action"),
    [(0, 20, 10), (5, 5, 5), (15, 15, 10), (500, 20, 10)],
)
def test_a_session_may_ask_for_less_money_and_not_for_more(home: Home, asked: int, session: int, action: int) -> None:
    limits = catalogue(home, "[budget]\nsession_max_usd = 20\nper_action_max_usd = 10").limits(asked * 10**6)
    assert (limits.session_micros, limits.per_action_micros) == (session * 10**6, action * 10**6)
    assert limits.workspace_micros == MAX_U64


@pytest.mark.parametrize(("asked", "gets"), [(0, 7), (3, 3), (99, 7)])
def test_a_session_may_ask_for_fewer_model_calls_and_not_for_more(
    home: Home, workspace: Path, script: Path, asked: int, gets: int
) -> None:
    made = catalogue(home, "[runtime]\nmax_turns = 7")
    assert setting(made, workspace, script, asked).limits.asks_per_input == gets


# ---- the setting


def test_a_session_has_the_tools_of_its_workspace_and_says_what_they_do(
    home: Home, workspace: Path, script: Path
) -> None:
    made = setting(catalogue(home), workspace, script)
    names = [tool.name for tool in made.tools]
    of_workspace = [spec.name for spec in catalogue(home).place(str(workspace)).server.specs()]
    assert names == [*of_workspace, "read_skill", "read_result", "todo_write"]
    assert set(made.effects) == set(names)
    assert all(json.loads(tool.schema) for tool in made.tools)


def test_a_session_is_told_who_it_is_and_where_when_and_how_it_begins(
    home: Home, workspace: Path, script: Path
) -> None:
    made = setting(catalogue(home), workspace, script)
    assert made.system.startswith(load_agent("coder")[1].rstrip())
    for fact in (f'Workspace: "{workspace}"', "Date at the start: 2026-01-31", "Mode: guided"):
        assert fact in made.system.split("\n")
    assert made.frame_label == RUNTIME


def test_settings_that_are_alike_are_one(home: Home, workspace: Path, script: Path) -> None:
    made = catalogue(home)
    assert setting(made, workspace, script) is setting(made, workspace, script)


def test_the_built_in_agent_can_be_read() -> None:
    definition, prompt = load_agent("coder")
    assert (definition.kind, definition.name) == ("session", "coder")
    assert not any(line.startswith("|") for line in prompt.splitlines())  # the mark of what files say


BROKEN: dict[str, tuple[str, str]] = {
    "no toml": ("nonsense", "p"),
    "another kind": ('kind="server"\nname="a"\ndescription="d"\nprompt="prompt.md"', "p"),
    "too much": ('kind="session"\nname="a"\ndescription="d"\nprompt="prompt.md"', "p" * 70_000),
    "a prompt that is not there": ('kind="session"\nname="a"\ndescription="d"\nprompt="other.md"', "p"),
    "an unknown key": ('kind="session"\nname="a"\ndescription="d"\nprompt="prompt.md"\nsudo=true', "p"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_definition_that_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = tmp_path / "sessions" / "coder"
    folder.mkdir(parents=True)
    toml, prompt = BROKEN[what]
    (folder / "actor.toml").write_text(toml)
    (folder / "prompt.md").write_text(prompt)
    monkeypatch.setattr(module, "actors_folder", lambda: tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_agent("coder")
    assert caught.value.code == "agent.invalid"


def test_what_agents_are_is_recorded_by_a_digest_that_changes_with_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalogue(home).digest()
    assert catalogue(home).digest() == before
    folder = tmp_path / "sessions" / "coder"
    folder.mkdir(parents=True)
    source = actors_folder() / "sessions" / "coder"
    (folder / "actor.toml").write_text((source / "actor.toml").read_text())
    (folder / "prompt.md").write_text((source / "prompt.md").read_text() + "more")
    shutil.copytree(actors_folder() / "subagents", tmp_path / "subagents")
    monkeypatch.setattr(module, "actors_folder", lambda: tmp_path)
    changed = catalogue(home).digest()
    assert changed != before
    (tmp_path / "subagents" / "explorer" / "prompt.md").write_text("Find.")
    assert catalogue(home).digest() not in (before, changed)


# ---- short names


def test_a_short_name_stands_for_a_model_and_is_not_what_it_is_called(home: Home) -> None:
    config = '[model]\nmodel = "fast"\nfallback = ["good", "fast"]\n[aliases]\n'
    config += 'fast = "claude-haiku-4-5"\ngood = "claude-opus-5"\n'
    brain = catalogue(home, config, anthropic="k").brain("")
    assert brain.name == "anthropic/claude-haiku-4-5"
    assert [other.name for other in brain.fallbacks] == ["anthropic/claude-opus-5"]


def test_a_short_name_of_a_short_name_is_no_model(home: Home) -> None:
    config = '[aliases]\nfast = "good"\ngood = "claude-opus-5"\n'
    with pytest.raises(ConfigError) as caught:
        catalogue(home, config, anthropic="k").brain("fast")
    assert caught.value.code == "model.unknown"


@pytest.mark.parametrize("name", ["anthropic/claude-opus-5", "claude-opus-4-8", "scripted:x", "", "A"])
def test_a_short_name_hides_no_name_of_a_model(home: Home, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalogue(home, f'[aliases]\n"{name}" = "claude-opus-5"\n')
    assert caught.value.code == "config.invalid"


# ---- models that stand in


def test_models_that_stand_in_have_places_and_hosts_of_their_own(home: Home, workspace: Path) -> None:
    config = '[model]\nfallback = ["claude-opus-5", "claude-haiku-4-5", "claude-sonnet-5"]\n'
    config += '[models."anthropic/claude-sonnet-5"]\nfree = true\ncontext_window = 5000\n'
    made = catalogue(home, config, anthropic="k")
    brain = made.brain("anthropic/claude-opus-5")
    names = [other.name for other in brain.fallbacks]
    assert names == ["anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-5"]
    one = made.brain("claude-haiku-4-5")
    assert [other.name for other in one.fallbacks] == ["anthropic/claude-opus-5", "anthropic/claude-sonnet-5"]
    assert [other.toolbox.partition(":")[0] for other in one.fallbacks] == ["model-2", "model-3"]
    assert [spec.name for other in one.fallbacks for spec in other.server.specs()] == ["model-2", "model-3"]
    options = Options(str(workspace), "guided", "", "", 0, 0, interactive=True)
    setting = made.setting(made.place(str(workspace)), one, options, NOW_NS)
    assert setting.fallbacks == ("anthropic/claude-opus-5", "anthropic/claude-sonnet-5")
    assert setting.window_tokens == 5000, "what the smallest takes"


def test_nothing_stands_in_for_a_script_and_no_script_stands_in(home: Home, script: Path) -> None:
    made = catalogue(home, f'[model]\nfallback = ["scripted:{script}"]\n', anthropic="k")
    assert made.brain(f"scripted:{script}").fallbacks == ()
    with pytest.raises(ConfigError) as caught:
        made.brain("claude-opus-5")
    assert caught.value.code == "model.fallback-scripted"


def test_a_model_that_could_not_stand_in_is_found_out_before_it_has_to(home: Home) -> None:
    made = catalogue(home, '[model]\nfallback = ["openai/gpt-x"]\n', anthropic="k")
    with pytest.raises(ConfigError) as caught:
        made.brain("claude-opus-5")
    assert caught.value.code == "model.price-unknown"
