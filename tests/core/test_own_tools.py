"""What tools of Astrid's own have in common: arguments that say what is wrong with them, and a definition."""

from __future__ import annotations

import msgspec
import pytest

from astrid.core.own_tools import own_tool, read_arguments
from astrid.core.risk import EffectClass
from astrid.core.tools import OutputTrust
from astrid.errors import AstridError


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    name: str


def test_arguments_are_read_as_they_were_written() -> None:
    assert read_arguments(b'{"name":"x"}', Asked, "ask").name == "x"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (b"{}", "tool.arguments", "the arguments are not those of `ask`: the key `name` is missing"),
        (b'{"name":1}', "tool.arguments", "the arguments are not those of `ask`: `name`: expected a text, got a whole"),
        (b'{"name":"x","more":1}', "tool.arguments", "the arguments are not those of `ask`: there is no key `more`"),
        (b'{"name":"x","name":"y"}', "canon.json-duplicate-key", "a JSON object names a key twice"),
        (b'{"name":[[[]]]}', "canon.json-depth", "the JSON text nests more than 2 deep"),
        (b'{"name":"' + b"x" * 5000 + b'"}', "canon.json-too-long", "the JSON text is 5011 bytes, more than 4096"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_and_it_is_said_why(args: bytes, code: str, message: str) -> None:
    with pytest.raises(AstridError) as refused:
        read_arguments(args, Asked, "ask")
    assert refused.value.code == code
    assert refused.value.message.startswith(message)


def test_a_definition_names_no_code_but_our_own() -> None:
    made = own_tool(
        "ask", "asking", b"Ask.", b"{}", effect=EffectClass.READ, trust=OutputTrust.FIRST_PARTY, verbs=(), nouns=()
    )
    assert (made.code, made.profile, made.fresh, made.effect_class) == (b"\0" * 32, b"\0" * 32, False, EffectClass.READ)
    assert (
        made.tooldef()
        != own_tool(
            "ask", "asking", b"Ask!", b"{}", effect=EffectClass.READ, trust=OutputTrust.FIRST_PARTY, verbs=(), nouns=()
        ).tooldef()
    )
