"""The configuration: two files, neither of which may be misread."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.core.policy import PolicyConfig
from astrid.errors import ConfigError
from astrid.runtime.config import Config, Loaded, PriceTable, ProviderTable, Usd, load_config, usd
from tests.architecture.source import ROOT

PAGE = ROOT / "docs" / "configuration.md"
ROW = re.compile(r"\| `(?P<key>[a-z_.*]+)` \| (?:`(?P<default>.*)`|required) \| .+ \|")
PRICED = '[models."p/m"]\ninput_usd_per_million = "1"\noutput_usd_per_million = "2"\n'


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "user.toml", tmp_path / "system.toml"


def load(files: tuple[Path, Path], user: str | None = None, system: str | None = None) -> Loaded:
    for path, text in zip(files, (user, system), strict=True):
        if text is not None:
            path.write_text(text)
            path.chmod(0o644)
    return load_config(*files)


def refused(files: tuple[Path, Path], user: str | None = None, system: str | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(files, user, system)
    assert caught.value.advice
    assert caught.value.where in map(str, files)
    return caught.value


# ---- the page


def documented() -> dict[str, str | None]:
    return {row["key"]: row["default"] for row in ROW.finditer(PAGE.read_text("utf-8"))}


def defined(shape: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(shape):
        key = f"{prefix}{field.name}"
        if field.name == "aliases":
            yield "aliases.*", msgspec.NODEFAULT
        elif field.name in ("models", "providers"):
            yield from defined({"models": PriceTable, "providers": ProviderTable}[field.name], f"{key}.*.")
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from defined(field.type, f"{key}.")
        else:
            yield key, field.default


def test_the_page_lists_every_key_and_no_other() -> None:
    assert sorted(documented()) == sorted(key for key, _ in defined())


def test_the_page_gives_every_default() -> None:
    for key, default in defined():
        written = documented()[key]
        if default is msgspec.NODEFAULT:
            assert written is None, key
        else:
            assert written == json.dumps(default), key


# ---- what is read


def test_without_files_everything_is_as_the_page_says(files: tuple[Path, Path]) -> None:
    loaded = load(files)
    assert (loaded.config, loaded.policies, loaded.files) == (Config(), (PolicyConfig(),), ())


def test_the_users_word_counts_where_both_have_one(files: tuple[Path, Path]) -> None:
    loaded = load(
        files,
        '[model]\nmodel = "p/mine"\n[workspace]\nmode = "guided"\n',
        '[model]\nmodel = "p/theirs"\nmax_tokens = 7\n',
    )
    assert (loaded.config.model.model, loaded.config.model.max_tokens) == ("p/mine", 7)
    assert loaded.config.workspace.mode == "guided"
    assert loaded.files == (files[1], files[0])


@pytest.mark.parametrize(
    ("user", "system", "holds"),
    [
        ('session_max_usd = "5"', 'session_max_usd = "50"', "5"),
        ('session_max_usd = "500"', 'session_max_usd = "50"', "50"),
        ('session_max_usd = "9"', 'session_max_usd = "10"', "9"),
        ("session_max_usd = 500", "session_max_usd = 50", 50),
        ("session_max_usd = 500.5", 'session_max_usd = "50"', "50"),
        ('session_max_usd = "500"', "", "500"),
        ("", 'session_max_usd = "500"', "500"),
    ],
)
def test_of_two_limits_the_lower_one_holds(files: tuple[Path, Path], user: str, system: str, holds: Usd) -> None:
    loaded = load(files, f"[budget]\n{user}", f"[budget]\n{system}")
    assert loaded.config.budget.session_max_usd == holds


def test_a_cap_of_the_administrator_cannot_be_taken_away(files: tuple[Path, Path]) -> None:
    loaded = load(
        files,
        '[budget]\nworkspace_max_usd = ""\n[runtime]\nmax_turns = 99\n',
        '[budget]\nworkspace_max_usd = "7"\n[runtime]\nmax_turns = 3\n',
    )
    assert (loaded.config.budget.workspace_max_usd, loaded.config.runtime.max_turns) == ("7", 3)


@pytest.mark.parametrize(
    ("user", "system", "holds"), [("none", "l0", "l0"), ("l1", "l0", "l1"), ("none", "", "none"), ("", "l1", "l1")]
)
def test_of_two_least_boxes_the_stronger_one_holds(
    files: tuple[Path, Path], user: str, system: str, holds: str
) -> None:
    texts = [f'[sandbox]\nleast = "{least}"\n' if least else "" for least in (user, system)]
    assert load(files, *texts).config.sandbox.least == holds


def test_policies_are_stacked_and_never_merged(files: tuple[Path, Path]) -> None:
    loaded = load(
        files,
        '[security.policy]\ndenied_paths = []\nblocked_tools = ["a"]\n',
        '[security.policy]\ndenied_paths = ["/srv/**"]\nrequire_approval_for_delete = false\n',
    )
    system, user = loaded.policies
    assert (system.denied_paths, system.require_approval_for_delete) == (("/srv/**",), False)
    assert (user.denied_paths, user.blocked_tools, user.require_approval_for_delete) == ((), ("a",), True)


def test_an_empty_file_of_one_still_brings_its_policy(files: tuple[Path, Path]) -> None:
    assert load(files, "", "[security.policy]\ndenied_paths = []").policies[1] == PolicyConfig()


# ---- money


@pytest.mark.parametrize(
    ("written", "micros"),
    [('"2.50"', 2_500_000), ("2.50", 2_500_000), ("2", 2_000_000), ("0", 0), ("0.000001", 1), ('"$3"', 3_000_000)],
)
def test_an_amount_is_exactly_what_stands_there(files: tuple[Path, Path], written: str, micros: int) -> None:
    budget = load(files, f"[budget]\nsession_max_usd = {written}").config.budget
    assert usd(budget.session_max_usd, 0) == micros


@pytest.mark.parametrize(
    "written", ["nan", "inf", "-1", "-0.5", "1e3", "0.0000001", '""', '"free"', "true", '"1,5"', "[1]", "1979-05-27"]
)
@pytest.mark.parametrize("key", ["session_max_usd", "per_action_max_usd"])
def test_what_is_no_amount_is_refused(files: tuple[Path, Path], key: str, written: str) -> None:
    assert refused(files, f"[budget]\n{key} = {written}").code == "config.invalid"


def test_no_cap_over_a_workspace_is_none(files: tuple[Path, Path]) -> None:
    assert usd(load(files).config.budget.workspace_max_usd, 123) == 123


def test_a_price_is_exact(files: tuple[Path, Path]) -> None:
    text = '[models."p/m"]\ninput_usd_per_million = 0.25\noutput_usd_per_million = "15"\ncontext_window = 9'
    price = load(files, text).config.models["p/m"].price()
    assert (price.input_micros_per_million, price.output_micros_per_million) == (250_000, 15_000_000)


# ---- what is refused


@pytest.mark.parametrize(
    "text",
    [
        "nonsense = 1",
        "[modle]\nmodel = 'x'",
        "[model]\nprovider = 'claude'",
        "[model]\nmax_tokens = '4096'",
        "[model]\nmax_tokens = 4096.0",
        "[model]\nmax_tokens = 0",
        "[model]\nmax_tokens = true",
        "[model]\nmodel = 5",
        "[models.x]\ninput_usd_per_million = '1'",
        PRICED + "free = true",
        PRICED.replace('"1"', '"9999999999"'),
        "[security]\napproval_timeout_secs = -1",
        "[security.policy]\ndenied_path = []",
        "[security.policy]\ndenied_paths = '/etc'",
        "[security.policy]\nrequire_approval_for_delete = 'no'",
        "[workspace]\nmode = 'wild'",
        "[runtime]\nmax_turns = 0",
        "[runtime]\nmax_turns = 1000000001",
        "budget = 5",
    ],
)
@pytest.mark.parametrize("layer", [0, 1], ids=["user", "system"])
def test_what_nobody_understands_refuses_to_start(files: tuple[Path, Path], text: str, layer: int) -> None:
    error = refused(files, *((text, None) if layer == 0 else (None, text)))
    assert (error.code, error.where) == ("config.invalid", str(files[layer]))


@pytest.mark.parametrize("text", ["[model", "a = ", "a = 1\na = 2", "\x00", "x = " + "[" * 5000])
def test_what_is_no_toml_is_refused(files: tuple[Path, Path], text: str) -> None:
    assert refused(files, text).code == "config.syntax"


def test_what_is_no_text_is_refused(files: tuple[Path, Path]) -> None:
    files[0].write_bytes(b"\xff\xfe")
    files[0].chmod(0o600)
    assert refused(files).code == "config.syntax"


@pytest.mark.parametrize("layer", [0, 1], ids=["user", "system"])
def test_a_file_that_others_can_write_is_refused(files: tuple[Path, Path], layer: int) -> None:
    files[layer].touch()
    files[layer].chmod(0o666)
    assert refused(files).code == "file.open-to-others"


@pytest.mark.parametrize("layer", [0, 1], ids=["user", "system"])
@pytest.mark.parametrize("target", ["nowhere", "there.toml"])
def test_a_link_is_not_an_empty_file(files: tuple[Path, Path], layer: int, target: str) -> None:
    (files[0].parent / "there.toml").touch()
    files[layer].symlink_to(target)
    assert refused(files).code == "file.unreadable"


def test_a_folder_is_not_an_empty_file(files: tuple[Path, Path]) -> None:
    files[1].mkdir()
    assert refused(files).code == "file.not-plain"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_machines_file_belongs_to_root_and_the_users_to_the_user(files: tuple[Path, Path]) -> None:
    load(files, "", "")
    os.chown(files[1], 65534, 65534)
    assert refused(files).code == "file.owner"


def test_a_model_is_free_only_if_the_user_says_so(files: tuple[Path, Path]) -> None:
    free = load(files, '[models."ollama/m"]\nfree = true\n').config.models["ollama/m"].price()
    assert (free.input_rates, free.output_micros_per_million) == ((0, 0, 0), 0)


@pytest.mark.parametrize(
    "keys",
    [
        "",
        'input_usd_per_million = "1"',
        'output_usd_per_million = "1"',
        'free = true\ninput_usd_per_million = "1"\noutput_usd_per_million = "2"',
        'free = true\noutput_usd_per_million = "2"',
    ],
)
def test_a_model_with_half_a_price_or_with_one_though_it_is_free_starts_nothing(
    files: tuple[Path, Path], keys: str
) -> None:
    assert refused(files, f'[models."p/m"]\n{keys}\n').code == "config.invalid"


def test_a_provider_is_taken_as_it_is_written(files: tuple[Path, Path]) -> None:
    table = load(files, '[providers.mine]\nbase_url = "https://m/v1"\nkey_variable = "MINE"\n').config.providers
    assert (table["mine"].base_url, table["mine"].key_variable) == ("https://m/v1", "MINE")
    assert refused(files, "[providers.mine]\nkey_fd = -1\n").code == "config.invalid"
