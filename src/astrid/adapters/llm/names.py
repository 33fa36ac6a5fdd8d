"""Names that every vendor takes, and arguments that every vendor reads.  Pure.

A tool may be called what vendors do not allow (``server:tool``): ``legal_name`` spells any name in the alphabet that
they share, and the names in an answer are looked up among those that were offered.

Source: documentation of the vendors (Messages, chat completions); the first Astrid (names with a colon).
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from astrid.core.conversation import ModelRequest
from astrid.errors import ModelError

MAX_NAME_CHARS = 64
NO_OUTPUT = "(no output)"  # vendors refuse a result without text
UNPARSED = "unparsed_arguments"

_ILLEGAL = re.compile(rb"[^A-Za-z0-9_-]|_(?=x[0-9A-F]{2})")


def legal_name(name: str) -> str:
    """``name`` in the alphabet of the vendors, at most 64 characters.

    No two names become alike, unless one is so long that it is cut; what was cut is told apart by a digest.
    """
    spelled = _ILLEGAL.sub(lambda match: b"_x%02X_" % match[0][0], name.encode()).decode()
    if len(spelled) <= MAX_NAME_CHARS:
        return spelled or "_"
    return f"{spelled[: MAX_NAME_CHARS - 17]}_{hashlib.blake2s(name.encode(), digest_size=8).hexdigest()}"


def offered_names(request: ModelRequest) -> dict[str, str]:
    """Each offered tool's own name by its legal one.

    Raises:
        ModelError: two of them are called the same.
    """
    names = {legal_name(tool.name): tool.name for tool in request.tools}
    if len(names) < len(request.tools):
        raise unsayable("two tools have the same name")
    return names


def written_arguments(text: str) -> dict[str, object]:
    """What a model wrote, as the object that vendors want to see again; anything else is quoted inside one."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return {UNPARSED: text}


def schema_object(text: str) -> dict[str, object]:
    """The schema of a tool.

    Raises:
        ModelError: it is not a JSON object.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise unsayable("the schema of a tool is not a JSON object") from error


def unsayable(message: str) -> ModelError:
    """A request cannot be said in a vendor's terms; nothing was sent."""
    return ModelError("model.bad-request", message, effect="none")
