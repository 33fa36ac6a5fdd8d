"""Who takes images, and what one costs at most."""

from __future__ import annotations

from typing import Any

import pytest

from astrid.adapters.llm.sight import image_tokens, takes_images


@pytest.mark.parametrize(
    ("name", "said", "takes"),
    [
        ("anthropic/claude-opus-5", "auto", True),
        ("anthropic/claude-opus-5", "no", False),
        ("openai/m", "auto", False),
        ("openai/m", "yes", True),
    ],
)
def test_only_those_take_images_of_whom_it_is_known_or_said(name: str, said: Any, takes: bool) -> None:
    assert takes_images(name, said) is takes


@pytest.mark.parametrize(
    ("width", "height", "documented"),
    [(200, 200, 54), (1000, 1000, 1334), (1092, 1092, 1590), (1, 8000, 286)],
)
def test_no_image_takes_more_of_anthropics_models_than_is_set_aside(width: int, height: int, documented: int) -> None:
    """The vendor's own table, and a strip of which each patch is counted though little of it is filled."""
    assert documented <= image_tokens("anthropic/m", width, height) <= documented * 1.2 + 15


@pytest.mark.parametrize(
    ("width", "height", "tiles"), [(512, 512, 4), (1024, 1024, 4), (2048, 4096, 6), (1, 1, 4), (8000, 3000, 8)]
)
def test_no_image_takes_more_of_the_dearest_of_openais_models_than_is_set_aside(
    width: int, height: int, tiles: int
) -> None:
    assert image_tokens("openai/m", width, height) >= 2_833 + tiles * 5_667
