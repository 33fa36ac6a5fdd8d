"""``astrid models``: for people and for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.frontends.cli import models
from astrid.wire import results as r
from astrid.wire.errors import ErrorData
from tests.fakes.home import make_home

USABLE = r.ModelInfo(
    model="anthropic/claude-x",
    short_names=("claude-x", "best"),
    provider="anthropic",
    input_micros="5000000",
    output_micros="25000000",
    context_tokens=200_000,
    images=True,
    key="there",
    trouble=None,
)
FREE = msgspec.structs.replace(
    USABLE,
    model="ollama/m",
    short_names=(),
    provider="ollama",
    input_micros="0",
    output_micros="0",
    images=False,
    key="not-needed",
)
UNPRICED = msgspec.structs.replace(
    FREE,
    model="zai/m",
    provider="zai",
    input_micros=None,
    output_micros=None,
    key="missing",
    trouble=ErrorData(code="model.price-unknown", message="what it costs is not known", advice="give a price"),
)
SCRIPT = msgspec.structs.replace(
    FREE, model="scripted:/s", provider="scripted", input_micros=None, output_micros=None, context_tokens=None
)
LOST = r.ModelInfo(
    model="\x1b[31mno",
    short_names=(),
    provider="",
    input_micros=None,
    output_micros=None,
    context_tokens=None,
    images=False,
    key="unknown",
    trouble=ErrorData(code="model.unknown", message="there is no such model"),
)


def listed(root: Path, answer: r.Models, patch: pytest.MonkeyPatch, *, as_json: bool) -> None:
    class Told:
        async def call(self, method: str, params: object) -> r.Models:
            assert method == "listModels"
            return answer

    @asynccontextmanager
    async def connect(*_: Any, **__: Any) -> AsyncIterator[Told]:
        yield Told()

    home, _ = make_home(root / "home", now_s=1)
    patch.setenv("ASTRID_HOME", str(home.root))
    patch.setattr(models, "connect", connect)
    assert models.run(argparse.Namespace(action="list", json=as_json)) == 0


def test_people_are_told_price_window_key_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = r.Models(
        models=(USABLE, FREE, UNPRICED, SCRIPT, msgspec.structs.replace(UNPRICED, model="zai/n")), left_out=2
    )
    listed(tmp_path, answer, monkeypatch, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "anthropic/claude-x (claude-x, best): usable",
        (
            "  anthropic, $5.00 in and $25.00 out per million tokens, a window of 200000 tokens, takes images, "
            "its key is there"
        ),
        "ollama/m: usable",
        "  ollama, free, a window of 200000 tokens, it needs no key",
        "zai/m: not usable [model.price-unknown]",
        "  zai, without a price, a window of 200000 tokens, its key is missing",
        "scripted:/s: usable",
        "  scripted, what its script costs, it needs no key",
        "zai/n: not usable [model.price-unknown]",
        "  zai, without a price, a window of 200000 tokens, its key is missing",
        "and 2 more",
        "[model.price-unknown] give a price",
    ]


def test_a_name_that_is_nobodys_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(tmp_path, r.Models(models=(LOST,), left_out=0), monkeypatch, as_json=False)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert said.splitlines()[1:] == ["  there is no such model"]


def test_programs_get_numbers_and_the_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(tmp_path, r.Models(models=(USABLE, UNPRICED), left_out=3), monkeypatch, as_json=True)
    said = json.loads(capsys.readouterr().out)
    usable, unpriced = said["models"]
    assert said["left_out"] == 3
    assert (usable["input_micros"], usable["output_micros"], usable["usable"]) == (5_000_000, 25_000_000, True)
    assert (usable["images"], unpriced["images"]) == (True, False)
    assert (unpriced["input_micros"], unpriced["usable"]) == (None, False)
    assert unpriced["trouble"]["code"] == "model.price-unknown"
