"""A skill: a text that says how something is done, under a name and with a description.  Pure.

A ``SKILL.md`` begins with a few ``key: value`` lines between two lines of three dashes.  Of these, name and description
count; others may be there for other programs, and may go on in lines that are indented or begin with a dash.

Never: guesses.  What is not plainly so is refused, and the skill is left out.

Source: the common form of such files; the first Astrid (names that begin with a dot read hidden files).
"""

from __future__ import annotations

import re

import msgspec

from astrid.errors import InputError

MAX_SKILL_BYTES = 32 * 1024  # as much as a result may take, so that it is read at once
MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 1024
_FENCE = "---"
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9_-]*):(?: +(.*))?")
_FOLDED = frozenset({"", ">", ">-", "|", "|-"})  # the value stands in the lines below


class Skill(msgspec.Struct, frozen=True):
    """What the front matter says, and the text below it."""

    name: str
    description: str
    body: str


def parse_skill(data: bytes) -> Skill:
    """The skill that a ``SKILL.md`` spells.

    Raises:
        InputError: it is too long, no UTF-8, or its front matter is not plain; the message says which, for people.
    """
    if len(data) > MAX_SKILL_BYTES:
        raise _refused(f"it is longer than {MAX_SKILL_BYTES} bytes")
    try:
        lines = data.decode().replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise _refused("it is no UTF-8 text") from error
    if lines[0].rstrip() != _FENCE:
        raise _refused("it does not begin with a line of three dashes")
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise _refused("its front matter does not end")
    fields = _fields(lines[1:end])
    name, description = fields.get("name", ""), fields.get("description", "")
    if not is_skill_name(name):
        raise _refused("its name is not made of small letters, digits and single dashes")
    if not 0 < len(description) <= MAX_DESCRIPTION_CHARS:
        raise _refused(f"its description has not 1 to {MAX_DESCRIPTION_CHARS} characters")
    return Skill(name, description, "\n".join(lines[end + 1 :]).strip("\n"))


def is_skill_name(text: str) -> bool:
    """Whether a skill may be called so: such a name is one plain component of a path, too."""
    return len(text) <= MAX_NAME_CHARS and _NAME.fullmatch(text) is not None


def _fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] in " \t-":
            if not key:
                raise _refused("its front matter goes on with what did not begin")
            fields[key] = f"{fields[key]} {line.strip()}".strip()
            continue
        found = _KEY.fullmatch(line.rstrip())
        if found is None:
            raise _refused("a line of its front matter is not `key: value`")
        key, value = found[1], (found[2] or "").strip()
        if key in fields:
            raise _refused(f"its front matter says `{key}` twice")
        fields[key] = "" if value in _FOLDED else _unquoted(value)
    return fields


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _refused(why: str) -> InputError:
    return InputError("skill.malformed", why, advice="see docs/instructions.md for what a skill looks like")
