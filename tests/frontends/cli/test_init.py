from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.errors import ConfigError
from astrid.frontends.cli import init
from astrid.frontends.cli.template import TEMPLATE
from astrid.home import open_home
from astrid.runtime.config import Config, PriceTable, ProviderTable, load_config

NOWHERE = Path("/nonexistent/config.toml")
SWITCHED_ON = re.sub(r"^# (?=[a-z_]+ = |\[)", "", TEMPLATE, flags=re.MULTILINE)


def keys_of(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def defined(shape: type[msgspec.Struct] = Config, prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(shape):
        if field.name == "aliases":
            yield "aliases.fast"
        elif field.name in ("models", "providers"):
            table, name = {"models": (PriceTable, "provider/name"), "providers": (ProviderTable, "name")}[field.name]
            yield from defined(table, f"{field.name}.{name}.")
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from defined(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return load_config(file, NOWHERE).config


def test_the_written_configuration_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, TEMPLATE) == Config()


def test_every_key_of_the_template_is_one_and_shows_its_default(tmp_path: Path) -> None:
    config = load(tmp_path, SWITCHED_ON)
    assert msgspec.structs.replace(config, models={}, providers={}, aliases={}) == Config()
    assert set(config.models) == {"provider/name"}


def test_no_key_of_the_configuration_is_missing_from_the_template() -> None:
    tables = tomllib.loads(SWITCHED_ON)
    assert sorted(keys_of(tables)) == sorted(defined())


def test_a_key_that_is_missing_from_the_template_would_be_seen() -> None:
    short = re.sub(r"^max_turns.*$", "", SWITCHED_ON, flags=re.MULTILINE)
    assert set(keys_of(tomllib.loads(SWITCHED_ON))) - set(keys_of(tomllib.loads(short))) == {"runtime.max_turns"}


def test_a_configuration_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", make=True)
    init.write_template(home)
    home.config.write_text("# mine\n")
    init.write_template(home)
    assert home.config.read_text() == "# mine\n"


def test_a_home_in_which_nothing_can_be_written_is_a_clear_error(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home", make=True)
    for path in home.root.iterdir():
        path.rmdir()
    home.root.rmdir()
    with pytest.raises(ConfigError) as refused:
        init.write_template(home)
    assert refused.value.code == "file.unwritable"


@pytest.mark.parametrize("words", [["--plain", "--passphrase-fd", "3"], ["--passphrase-fd", "x"], ["extra"]])
def test_words_that_contradict_each_other_are_wrong_usage(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == 2
