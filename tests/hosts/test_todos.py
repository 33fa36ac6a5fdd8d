"""The tool by which a model writes down what is to be done: what it takes, and what it refuses."""

from __future__ import annotations

import pytest

from astrid.core.call import Need
from astrid.core.resources import file_resource
from astrid.core.risk import EffectClass
from astrid.core.tokens import Permission
from astrid.core.tools import OutputTrust
from astrid.errors import AstridError
from astrid.hosts.todos import TodoServer
from astrid.ports import ToolServer

LIST = b'{"todos":[{"content":"look","status":"pending"}]}'


async def test_it_takes_no_more_than_the_right_to_read_in_the_workspace() -> None:
    server: ToolServer = TodoServer("/w")
    prepared = await server.prepare("todo_write", LIST)
    assert prepared == server.glance("todo_write", LIST)
    assert prepared.needs == (Need(file_resource("/w").text, int(Permission.READ)),)
    assert (prepared.max_micros, prepared.pre, prepared.controls) == (0, (), ())


def test_its_definition_says_that_it_reads_and_decides_over_nothing() -> None:
    [spec] = TodoServer("/w").specs()
    assert (spec.name, spec.effect_class, spec.control, spec.fresh) == ("todo_write", EffectClass.READ, (), False)
    assert spec.output_trust == OutputTrust.FIRST_PARTY


@pytest.mark.parametrize(("args", "code"), [(b"{}", "tool.arguments"), (b"[", "canon.json-syntax")])
def test_what_is_no_list_is_refused_before_it_is_decided(args: bytes, code: str) -> None:
    with pytest.raises(AstridError) as refused:
        TodoServer("/w").glance("todo_write", args)
    assert refused.value.code == code
