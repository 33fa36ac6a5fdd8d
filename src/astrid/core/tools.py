"""What a tool is, as far as a decision needs to know: its text, its effect, its control arguments.  Pure data, signed
by whoever installs it.

Undeclared means egress, every argument control, output untrusted; a name or an annotation may only raise the class.

Source: architecture 6 ("Tool definitions"); protocol N4 (tooldef).
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from astrid.core.canon import Ascii, Bytes32, Digest, Domain, Signed, digest, encode
from astrid.core.conversation import ToolDefinition
from astrid.core.risk import EffectClass, is_sink
from astrid.errors import InputError


class ControlKind(enum.Enum):
    """What a control argument decides."""

    PRINCIPAL = "principal"
    ACCOUNT = "account"
    URL = "url"
    CHANNEL = "channel"
    OBJECT = "object"
    SECRET = "secret"
    COMMAND = "command"
    AMOUNT = "amount"


class OutputTrust(enum.IntEnum):
    """Whether a tool's output can be written by a third party."""

    THIRD_PARTY = 0
    FIRST_PARTY = 1


class ToolSpec(Signed, frozen=True, array_like=True):
    """One tool of one host.  Free text is bytes (UTF-8); ``schema`` is canonical JSON text of a JSON Schema object.

    ``control`` pairs an argument name with a ``ControlKind`` value; ``code`` is a digest over what runs (command,
    binary, version, names of environment variables), zeros for code that is part of Astrid; ``profile`` is the digest
    of the sandbox profile.  ``fresh`` tools need a person's approval of the very call each time, whatever token covers
    them.
    """

    name: Ascii
    host_kind: Ascii
    host_id: Ascii
    description: bytes
    schema: bytes
    effect: str
    control: tuple[tuple[str, str], ...]
    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    output_trust: Annotated[int, msgspec.Meta(ge=0, le=1)]
    endorsed_fields: tuple[str, ...]
    creates_id: str
    code: Bytes32
    profile: Bytes32
    fresh: bool

    @property
    def effect_class(self) -> EffectClass:
        """The declared effect.

        Raises:
            InputError: there is no such class; guessing one could guess too low.
        """
        found = _EFFECTS.get(self.effect)
        if found is None:
            raise InputError("tool.effect", f"`{self.effect[:40]}` is no class of effect", where=self.name)
        return found

    def tooldef(self) -> Digest:
        """The digest by which a grant or a call names exactly this definition.

        Raises:
            InputError: the definition declares what means nothing; it would be ignored, and less would be asked.
            CanonError: a field has no canonical form.
        """
        _ = self.effect_class, self.definition()
        for argument, kind in self.control:
            if kind not in _KINDS:
                raise InputError("tool.control", f"`{kind[:40]}` of `{argument[:40]}` is no kind", where=self.name)
        return digest(Domain.TOOLDEF, encode(self))

    def definition(self) -> ToolDefinition:
        """The part of it that a model sees.

        Raises:
            InputError: a text is not UTF-8.
        """
        try:
            description, schema = self.description.decode(), self.schema.decode()
        except UnicodeDecodeError as error:
            raise InputError("tool.text", "a text of the tool is not UTF-8", where=self.name) from error
        return ToolDefinition(name=self.name, description=description, schema=schema)


def is_steered(spec: ToolSpec) -> bool:
    """Whether arguments of a tool decide who, where, how much or what is run, so that none of them may be chosen by
    somebody who is not believed, however few there were to choose from.

    A sink counts whatever it declares: what was left undeclared is an argument that decides.
    """
    return is_sink(spec.effect_class) or any(kind != ControlKind.OBJECT.value for _, kind in spec.control)


_EFFECTS = {effect.value: effect for effect in EffectClass}
_KINDS = frozenset(kind.value for kind in ControlKind)
