"""Which models take images, and what one costs in tokens at most.  Pure.

Never: guesses low.  Where a vendor's models differ, it is the dearest of them; what a vendor makes smaller first is
counted as it is.

Source: documentation of Anthropic ("Vision": width x height / 750, 28 x 28 pixels a patch) and of OpenAI ("Images and
vision": tiles of 512 x 512 pixels after scaling; GPT-4o mini, the dearest, 2,833 tokens and 5,667 a tile).
"""

from __future__ import annotations

from typing import Literal

from astrid.adapters.llm.anthropic import PROVIDER
from astrid.core.images import PIXELS_PER_TOKEN

PATCH_SIDE = 28
MOST_TILES = 8  # of 512 x 512 pixels in 768 x 2048, and nothing is larger once it is scaled
IMAGE_TOKENS = 2_833
TILE_TOKENS = 5_667


def takes_images(name: str, said: Literal["auto", "yes", "no"]) -> bool:
    """Whether the model takes images: as the user ``said`` or, on their own, all of Anthropic's and no other."""
    return name.startswith(f"{PROVIDER}/") if said == "auto" else said == "yes"


def image_tokens(name: str, width: int, height: int) -> int:
    """What an image of so many pixels takes in of the model called ``name``, at most."""
    patches = -(-width // PATCH_SIDE) * -(-height // PATCH_SIDE)
    most = max(patches, -(-width * height // PIXELS_PER_TOKEN))
    if name.startswith(f"{PROVIDER}/"):
        return most
    # A small image may be made larger first: its shorter side then has 768 pixels.
    return max(most, IMAGE_TOKENS + MOST_TILES * TILE_TOKENS)
