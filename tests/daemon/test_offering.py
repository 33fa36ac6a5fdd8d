"""``listModels``: what the daemon says of each model is what a session would meet, and no key is in it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import trio

from astrid.adapters.llm.catalogue import PRICES
from astrid.adapters.workspace.shell import OpenShell
from astrid.core.money import Price
from astrid.daemon import offering
from astrid.daemon.offering import list_models
from astrid.errors import AstridError
from astrid.frontends.client import connect
from astrid.hosts.model import ModelServer
from astrid.runtime.catalogue import Catalogue
from astrid.runtime.config import load_config
from astrid.runtime.vendor_keys import VendorKeys
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.typed import encode
from tests.fakes.clock import FakeEntropy
from tests.fakes.daemon_home import make_client_home
from tests.fakes.daemons import LIMIT_SECONDS, daemon_of
from tests.fakes.home import make_home

KEY = "sk-SECRET-0123456789"
OPUS = "anthropic/claude-opus-5"
CONFIG = f"""
[model]
model = "openai/gpt-big"

[models."openai/gpt-big"]
input_usd_per_million = "1.5"
output_usd_per_million = "6"
context_window = 4000

[models."ollama/small"]
free = true
images = "yes"

[aliases]
best = "{OPUS}"
lost = "no such model"
dear = "zai/unpriced"
"""


def catalogue(root: Path, config: str, **keys: str) -> tuple[Catalogue, r.Models]:
    """A catalogue of that configuration, and what is said of it."""
    home, _ = make_home(root / "home")
    home.config.write_text(config)
    loaded = load_config(home.config, home.root / "none").config
    made = Catalogue(
        loaded,
        home,
        hides=lambda _: False,
        entropy=FakeEntropy(),
        consult=no_log,
        vendor_keys=VendorKeys(keys),
        shell=OpenShell(),
    )
    return made, list_models(made, loaded)


async def no_log(_: object) -> bytes:
    raise AssertionError("no model is asked what a tool said")


def by_name(listed: r.Models) -> dict[str, r.ModelInfo]:
    return {info.model: info for info in listed.models}


def code_of(info: r.ModelInfo) -> str:
    return "" if info.trouble is None else info.trouble.code


def test_a_model_is_told_with_its_names_price_window_and_key(tmp_path: Path) -> None:
    known = by_name(catalogue(tmp_path, CONFIG, anthropic=KEY)[1])
    assert next(iter(known)) == "openai/gpt-big"  # the default one
    assert {f"anthropic/{name}" for name in PRICES} < set(known)
    price: Price = PRICES["claude-opus-5"]
    assert known[OPUS] == r.ModelInfo(
        model=OPUS,
        short_names=("claude-opus-5", "best"),
        provider="anthropic",
        input_micros=str(price.input_micros_per_million),
        output_micros=str(price.output_micros_per_million),
        context_tokens=200_000,
        images=True,
        key="there",
        trouble=None,
    )
    small = known["ollama/small"]
    assert (small.input_micros, small.output_micros, small.key, small.trouble) == ("0", "0", "not-needed", None)
    big = known["openai/gpt-big"]
    assert (big.input_micros, big.output_micros, big.context_tokens, big.key) == ("1500000", "6000000", 4000, "missing")


def test_a_model_is_told_to_take_images_exactly_if_it_is_shown_them(tmp_path: Path) -> None:
    made, listed = catalogue(tmp_path, CONFIG, anthropic=KEY, openai=KEY)
    known = by_name(listed)
    assert [known[name].images for name in (OPUS, "ollama/small", "openai/gpt-big")] == [True, True, False]
    for info in listed.models:
        if info.trouble is None:
            server = made.brain(info.model).server
            assert isinstance(server, ModelServer)
            assert server.sees is info.images


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("openai/gpt-big", "model.key-missing", "set OPENAI_API_KEY"),
        ("zai/unpriced", "model.price-unknown", "input_usd_per_million"),
        ("no such model", "model.unknown", "name one of Anthropic's"),
    ],
)
def test_what_cannot_be_used_is_told_with_what_to_do(tmp_path: Path, name: str, code: str, says: str) -> None:
    info = by_name(catalogue(tmp_path, CONFIG)[1])[name]
    assert code_of(info) == code
    assert info.trouble is not None
    assert says in info.trouble.advice


@pytest.mark.parametrize("fallback", ["", "zai/unpriced", "scripted:none"])
@pytest.mark.parametrize("key", ["", KEY, "two words"])
def test_what_is_told_of_a_model_is_what_a_session_meets(tmp_path: Path, key: str, fallback: str) -> None:
    config = CONFIG.replace("[model]\n", f'[model]\nfallback = ["{fallback}"]\n' if fallback else "[model]\n")
    made, listed = catalogue(tmp_path, config, anthropic=key, openai=KEY)
    met: dict[str, str] = {}
    for info in listed.models:
        try:
            made.brain(info.model)
            met[info.model] = ""
        except AstridError as error:
            met[info.model] = error.code
    assert {info.model: code_of(info) for info in listed.models} == met


def test_a_short_name_of_a_short_name_is_nobodys(tmp_path: Path) -> None:
    made, listed = catalogue(tmp_path, f'[aliases]\none = "two"\ntwo = "{OPUS}"\n', anthropic=KEY)
    known = by_name(listed)
    assert (known["two"].short_names, code_of(known["two"])) == (("one",), "model.unknown")
    with pytest.raises(AstridError, match=r"\[model\.unknown\]"):
        made.brain("one")


def test_a_script_that_is_configured_costs_what_it_says(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text('{"text": "hi"}\n')
    there = catalogue(tmp_path, f'[model]\nmodel = "scripted:{script}"\n')[1].models[0]
    assert (there.provider, there.input_micros, there.key, there.trouble) == ("scripted", None, "not-needed", None)


def test_a_script_that_is_not_there_is_told(tmp_path: Path) -> None:
    gone = catalogue(tmp_path, '[model]\nmodel = "scripted:/nowhere"\n')[1].models[0]
    assert (gone.model, code_of(gone)) == ("scripted:/nowhere", "model.script-unreadable")


def test_a_short_name_of_nothing_is_no_model(tmp_path: Path) -> None:
    listed = catalogue(tmp_path, '[aliases]\nnothing = ""\n')[1]
    assert len(listed.models) == len(PRICES)


@pytest.mark.parametrize("key", [KEY, f"{KEY} with a space"])
def test_no_part_of_a_key_is_told(tmp_path: Path, key: str) -> None:
    told = encode(catalogue(tmp_path, CONFIG, anthropic=key, openai=key)[1]).decode()
    assert not [part for part in (key[i : i + 6] for i in range(len(KEY) - 5)) if part in told]


def test_what_does_not_fit_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = catalogue(tmp_path / "a", CONFIG)[1]
    monkeypatch.setattr(offering, "MAX_LIST_BYTES", len(encode(whole)) // 2)
    part = catalogue(tmp_path / "b", CONFIG)[1]
    assert part.models == whole.models[: len(part.models)]
    assert 0 < len(part.models) < len(whole.models) == len(part.models) + part.left_out


async def test_the_daemon_tells_which_keys_it_has_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    home, _ = make_client_home(tmp_path / "home")
    home.config.write_text(CONFIG)
    home.config.chmod(0o600)
    with trio.fail_after(LIMIT_SECONDS):
        async with daemon_of(home), connect(home) as client:
            monkeypatch.setenv("OPENAI_API_KEY", KEY)  # too late: a daemon reads its keys when it starts
            listed = cast("r.Models", await client.call("listModels", p.ProvenNothing()))
    known = by_name(listed)
    assert (known[OPUS].key, known[OPUS].trouble) == ("there", None)
    assert (known["openai/gpt-big"].key, code_of(known["openai/gpt-big"])) == ("missing", "model.key-missing")
    assert KEY not in encode(listed).decode()
