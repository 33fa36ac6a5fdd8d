"""A tool's definition has one digest, which changes with all that it says, and says nothing that means nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from astrid.core.canon import Domain, digest, encode
from astrid.core.conversation import ToolDefinition
from astrid.core.risk import EffectClass
from astrid.core.tools import ControlKind, OutputTrust, ToolSpec, is_steered
from astrid.errors import AstridError, InputError

SPEC = ToolSpec(
    name="send_mail",
    host_kind="mcp",
    host_id="mail",
    description="Sends a mäil".encode(),
    schema=b'{"type":"object"}',
    effect="egress",
    control=(("to", "principal"), ("account", "account")),
    verbs=("send",),
    nouns=("mail",),
    output_trust=OutputTrust.THIRD_PARTY,
    endorsed_fields=("id",),
    creates_id="id",
    code=b"c" * 32,
    profile=b"p" * 32,
    fresh=False,
)

# One other value for each field (threat 8: what changed is not what was granted).
OTHERS: dict[str, Any] = {
    "name": "send_mails",
    "host_kind": "plugin",
    "host_id": "mail2",
    "description": b"Sends a mail.",
    "schema": b'{"type":"object" }',
    "effect": "read",
    "control": (("to", "principal"),),
    "verbs": (),
    "nouns": ("mails",),
    "output_trust": OutputTrust.FIRST_PARTY,
    "endorsed_fields": (),
    "creates_id": "",
    "code": b"d" * 32,
    "profile": b"q" * 32,
    "fresh": True,
}


def other(**changes: Any) -> ToolSpec:
    return msgspec.structs.replace(SPEC, **changes)


def code_of(spec: ToolSpec) -> str:
    with pytest.raises(AstridError) as refused:
        spec.tooldef()
    return refused.value.code


def test_the_digest_is_that_of_the_whole_definition() -> None:
    assert SPEC.tooldef() == digest(Domain.TOOLDEF, encode(SPEC))


def test_a_definition_that_differs_in_any_field_has_another_digest() -> None:
    assert set(OTHERS) == set(ToolSpec.__struct_fields__)
    digests = {other(**{name: value}).tooldef() for name, value in OTHERS.items()}
    assert len(digests | {SPEC.tooldef()}) == len(OTHERS) + 1


def test_a_model_sees_name_description_and_schema() -> None:
    assert SPEC.definition() == ToolDefinition(name="send_mail", description="Sends a mäil", schema='{"type":"object"}')


@pytest.mark.parametrize("effect", EffectClass)
def test_each_class_of_effect_is_understood(effect: EffectClass) -> None:
    assert other(effect=effect.value).effect_class is effect


@pytest.mark.parametrize("effect", ["", "Egress", "harmless"])
def test_an_effect_that_means_nothing_is_refused_and_not_guessed(effect: str) -> None:
    with pytest.raises(InputError) as refused:
        _ = other(effect=effect).effect_class
    assert refused.value.code == code_of(other(effect=effect)) == "tool.effect"


@pytest.mark.parametrize("kind", ControlKind)
def test_each_kind_of_control_argument_is_understood(kind: ControlKind) -> None:
    assert other(control=(("x", kind.value),)).tooldef() != SPEC.tooldef()


def test_a_kind_of_control_that_means_nothing_is_refused() -> None:
    assert code_of(other(control=(("to", "principal"), ("line", "comand")))) == "tool.control"


@pytest.mark.parametrize("field", ["description", "schema"])
def test_a_text_that_is_not_utf8_is_refused(field: str) -> None:
    assert code_of(other(**{field: b"\xff"})) == "tool.text"


@pytest.mark.parametrize("changes", [{"name": "sеnd"}, {"host_id": "a\n"}, {"output_trust": 2}, {"code": b""}], ids=str)
def test_a_definition_without_a_canonical_form_is_refused(changes: dict[str, Any]) -> None:
    assert code_of(other(**changes)) == "canon.no-encoding"


@pytest.mark.parametrize(
    ("effect", "control", "steered"),
    [
        ("read", (), False),
        ("staging", (("path", "object"),), False),
        ("model", (("agent", "principal"),), True),
        ("staging", (("path", "object"), ("command", "command")), True),
        ("exec", (), True),
        ("egress", (("path", "object"),), True),
    ],
)
def test_what_decides_over_more_than_an_object_is_steered(
    effect: str, control: tuple[tuple[str, str], ...], steered: bool
) -> None:
    assert is_steered(msgspec.structs.replace(SPEC, effect=effect, control=control)) is steered
