"""Keys of vendors: where they come from, and where they are not afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.errors import ConfigError
from astrid.runtime import vendor_keys as module
from astrid.runtime.config import Config, ProviderTable
from astrid.runtime.vendor_keys import configured_providers, key_files, take_keys

KEY = "sk-never-to-be-seen"


class Kept:
    """The ``SecretValues`` port."""

    def value(self, name: str) -> bytes:
        if name != "vendor":
            raise ConfigError("file.missing", f"the secret `{name}` is missing", advice="set it")
        return KEY.encode()


def config(**tables: ProviderTable) -> Config:
    return Config(providers=tables)


def refused(table: ProviderTable) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        take_keys(config(mine=table), {}, Kept())
    assert KEY not in str(caught.value)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


def test_a_key_in_a_variable_is_read_and_is_in_no_variable_any_more() -> None:
    environment = {"ANTHROPIC_API_KEY": KEY, "MINE": "other", "PATH": "/bin"}
    keys = take_keys(config(mine=ProviderTable(base_url="https://m/v1", key_variable="MINE")), environment, Kept())
    assert (keys.of("anthropic"), keys.of("mine"), keys.of("openai"), keys.of("?")) == (KEY, "other", "", "")
    assert environment == {"PATH": "/bin"}


def test_a_key_that_is_not_used_is_taken_out_of_the_environment_too(file: Path) -> None:
    environment = {"OPENAI_API_KEY": "old", "NEW": "new"}
    table = ProviderTable(key_variable="NEW", key_file=str(file))
    assert take_keys(config(openai=table), environment, Kept()).of("openai") == KEY
    assert environment == {}


def test_two_providers_may_share_a_variable() -> None:
    table = ProviderTable(base_url="https://m/v1", key_variable="OPENAI_API_KEY")
    keys = take_keys(config(mine=table), {"OPENAI_API_KEY": KEY}, Kept())
    assert (keys.of("mine"), keys.of("openai")) == (KEY, KEY)


@pytest.mark.parametrize("name", ["anthropic", "openai", "zai", "ollama"])
def test_a_known_vendor_needs_no_address_to_have_its_key_in_a_file(file: Path, name: str) -> None:
    made = config(**{name: ProviderTable(key_file=str(file))})
    assert take_keys(made, {}, Kept()).of(name) == KEY
    known, plain = configured_providers(made), configured_providers(Config())
    assert name not in plain or known[name] == plain[name]


def test_a_file_is_found_from_the_users_home_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    table = ProviderTable(key_file="~/key")
    assert take_keys(config(openai=table), {}, Kept()).of("openai") == KEY
    assert key_files(config(openai=table, zai=ProviderTable())) == (os.path.realpath(file),)


def test_a_key_may_be_a_secret_and_is_asked_for_by_its_name() -> None:
    environment = {"OPENAI_API_KEY": "old"}
    keys = take_keys(config(openai=ProviderTable(key_secret="vendor")), environment, Kept())
    assert (keys.of("openai"), environment) == (KEY, {})
    assert refused(ProviderTable(base_url="https://m", key_secret="other")).code == "file.missing"


def test_a_file_that_others_can_read_is_no_key_file(file: Path) -> None:
    file.chmod(0o640)
    assert refused(ProviderTable(base_url="https://m", key_file=str(file))).code == "file.open-to-others"


def test_a_file_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    assert refused(ProviderTable(base_url="https://m", key_file=str(tmp_path / "none"))).code == "file.missing"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_key_starts_nothing(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert refused(ProviderTable(base_url="https://m", key_file=str(file))).code == "model.key-unreadable"


def test_a_key_comes_out_of_a_descriptor_once(file: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, KEY[:4].encode())
    os.write(writer, f"{KEY[4:]}\n".encode())
    os.close(writer)
    table = ProviderTable(base_url="https://m", key_fd=reader)
    assert take_keys(config(mine=table), {}, Kept()).of("mine") == KEY
    assert refused(table).code == "model.key-unreadable", "it is closed"


def test_a_descriptor_that_nobody_writes_to_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FD_SECONDS", 0.0)
    reader, writer = os.pipe()
    try:
        error = refused(ProviderTable(base_url="https://m", key_fd=reader))
        assert "does not come" in error.message
    finally:
        os.close(reader)
        os.close(writer)


def test_a_key_is_looked_for_in_one_place_and_not_in_whatever_folder_this_is(file: Path) -> None:
    both = ProviderTable(base_url="https://m", key_file=str(file), key_fd=3)
    kept = ProviderTable(base_url="https://m", key_file=str(file), key_secret="vendor")
    relative = ProviderTable(base_url="https://m", key_file="key")
    assert [refused(table).code for table in (both, kept, relative)] == ["model.key-unreadable"] * 3


def test_a_provider_that_nobody_knows_has_an_address() -> None:
    assert refused(ProviderTable(key_variable="MINE")).code == "config.invalid"


def test_another_address_is_spoken_to_as_any_server() -> None:
    made = configured_providers(config(zai=ProviderTable(base_url="https://m/v1")))
    assert made["zai"].dialect != configured_providers(Config())["zai"].dialect


def test_nothing_that_prints_the_keys_prints_one() -> None:
    keys = take_keys(Config(), {"ANTHROPIC_API_KEY": KEY}, Kept())
    assert KEY not in f"{keys!r} {keys.of!r} {vars(keys)}"
