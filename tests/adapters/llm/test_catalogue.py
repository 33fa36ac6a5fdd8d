"""Models by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.adapters.llm import catalogue
from astrid.adapters.llm.catalogue import PRICES, resolve_model
from astrid.adapters.llm.connection import checked_url, is_here
from astrid.core.money import Price
from astrid.errors import ConfigError

PRICE = Price(input_micros_per_million=1, output_micros_per_million=2)


def held(provider: str) -> str:
    """Anthropic's key alone."""
    return "sk-x" if provider == "anthropic" else ""


def refusal(name: str, **options: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        resolve_model(name, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    "name",
    ["", "gpt", "nobody/gpt", "openai/", "openai/../x", "claude-", "anthropic/", "claude-../x", "claude-A", "script:x"],
)
def test_an_unknown_name_is_refused_with_the_names_there_are(name: str) -> None:
    error = refusal(name, key_of=held)
    assert error.code == "model.unknown"
    assert "claude-opus-5" in error.advice
    assert "scripted:" in error.advice


def test_a_model_without_a_price_is_refused_with_advice_how_to_give_one() -> None:
    error = refusal("claude-unheard-of", key_of=held)
    assert error.code == "model.price-unknown"
    assert '[models."anthropic/claude-unheard-of"]' in error.advice


@pytest.mark.parametrize("key", [None, ""])
def test_a_model_without_a_key_is_refused(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-from-the-environment")
    assert refusal("claude-opus-5", **({} if key is None else {"key_of": lambda _: key})).code == "model.key-missing"


@pytest.mark.parametrize("name", ["claude-opus-5", "anthropic/claude-opus-5"])
def test_a_known_model_has_its_name_and_price(name: str) -> None:
    pytest.importorskip("anthropic", reason="the extra is not installed")
    model = resolve_model(name, key_of=held)
    assert model.name == "anthropic/claude-opus-5"
    assert model.price == PRICES["claude-opus-5"]
    assert not model.scripted


@pytest.mark.parametrize("given", ["claude-opus-5", "anthropic/claude-opus-5"])
def test_a_price_of_the_users_goes_first(given: str) -> None:
    pytest.importorskip("anthropic", reason="the extra is not installed")
    price = Price(
        input_micros_per_million=4,
        output_micros_per_million=9,
        cache_write_micros_per_million=7,
        cache_read_micros_per_million=1,
    )
    assert resolve_model("claude-opus-5", key_of=held, prices={given: price}).price == price


def test_what_goes_into_the_cache_costs_more_even_if_the_user_gave_no_price_for_it() -> None:
    pytest.importorskip("anthropic", reason="the extra is not installed")
    price = Price(input_micros_per_million=1_000_001, output_micros_per_million=2)
    assert resolve_model("claude-opus-5", key_of=held, prices={"claude-opus-5": price}).price == Price(
        input_micros_per_million=1_000_001, output_micros_per_million=2, cache_write_micros_per_million=1_250_002
    )
    assert PRICES["claude-opus-5"].input_rates == (5_000_000, 6_250_000, 500_000)


def test_an_answer_costs_more_than_a_question_in_every_built_in_price() -> None:
    for price in PRICES.values():
        assert 0 < price.input_micros_per_million < price.output_micros_per_million


def test_a_script_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "a:b.jsonl").write_text('{"model": {"name": "m"}}\n{"text": "é"}\n')
    model = resolve_model(f"scripted:{tmp_path}/a:b.jsonl")
    assert model.name == "scripted/m"
    assert model.scripted


def test_an_error_in_a_script_names_the_file_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n{')
    assert refusal(f"scripted:{path}").where == f"{path}:2"


def test_a_file_that_is_no_script_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_SCRIPT_BYTES", 100)
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "long").write_bytes(b"#" * 101)
    os.mkfifo(tmp_path / "pipe")
    unreadable = ("none", "binary", "pipe", "", "nul\0")
    assert {refusal(f"scripted:{tmp_path}/{name}").code for name in unreadable} == {"model.script-unreadable"}
    assert refusal(f"scripted:{tmp_path}/long").code == "model.script-too-long"


# ---- other providers --------------------------------------------------------------------------------


def test_a_model_of_a_server_on_this_machine_needs_a_price_and_no_key() -> None:
    pytest.importorskip("httpx2", reason="the extra is not installed")
    model = resolve_model("ollama/qwen3:8b", prices={"ollama/qwen3:8b": PRICE})
    assert (model.name, model.price, model.scripted) == ("ollama/qwen3:8b", PRICE, False)


def test_what_a_model_of_another_provider_costs_has_to_be_said() -> None:
    error = refusal("ollama/qwen3:8b", prices={"ollama/other": PRICE})
    assert error.code == "model.price-unknown"
    assert '[models."ollama/qwen3:8b"]' in error.advice
    assert "free = true" in error.advice


@pytest.mark.parametrize(("name", "variable"), [("openai/gpt-x", "OPENAI_API_KEY"), ("zai/glm-x", "ZAI_API_KEY")])
def test_a_vendors_key_is_looked_for_under_its_own_variable(name: str, variable: str) -> None:
    pytest.importorskip("httpx2", reason="the extra is not installed")
    error = refusal(name, prices={name: PRICE}, key_of=held)
    assert (error.code, variable in error.advice) == ("model.key-missing", True)
    assert resolve_model(name, prices={name: PRICE}, key_of={name.partition("/")[0]: "k"}.__getitem__).name == name


def test_a_provider_of_the_configuration_goes_before_the_built_in_ones() -> None:
    pytest.importorskip("httpx2", reason="the extra is not installed")
    mine = {"ollama": catalogue.Provider(base_url="http://example.com/v1"), "mine": catalogue.PROVIDERS["vllm"]}
    assert refusal("ollama/m", prices={"ollama/m": PRICE}, providers=mine).code == "model.base-url"
    assert resolve_model("mine/a/b", prices={"mine/a/b": PRICE}, providers=mine).name == "mine/a/b"


def test_every_built_in_provider_is_reached_by_https_or_on_this_machine() -> None:
    for provider in catalogue.PROVIDERS.values():
        assert is_here(checked_url(provider.base_url)) is not bool(provider.key_variable)
