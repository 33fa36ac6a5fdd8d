"""Who is taken for whom at the door of the guard."""

from __future__ import annotations

import pytest

from astrid.guard.door import is_host, is_ours, is_sound
from astrid.kernel import OUTSIDE, Sender
from tests.fakes.gate_bench import STANDING


def at(path: str) -> Sender:
    """Whoever the kernel says sits at ``path``."""
    return Sender(id=1, path=path, incarnation=1, rank=0)


@pytest.mark.parametrize("path", ["root/tools/workspace-1/front", "root/tools/model-x/front"])
def test_the_front_of_a_tool_host_is_one(path: str) -> None:
    assert is_host(at(path))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/front",
        "front",
        "root/front",
        "root/sessions/1/front",
        "root/sessions/root/tools/x/front",
        "root/tools/workspace-1",
        "root/tools/workspace-1/run-1",
        "root/tools/workspace-1/look-1",
        "root/tools/workspace-1/front/run-1",
        "root/tools/workspace-1/affront",
        "root/toolsx/front",
        "Root/tools/x/front",
        "root/tools/x/Front",
    ],
)
def test_nobody_else_is(path: str) -> None:
    assert not is_host(at(path))


@pytest.mark.parametrize("path", ["root/audit", "root/approvals", "root/interceptor", "root/gateway"])
def test_the_guard_and_the_gateway_are_ours(path: str) -> None:
    assert is_ours("anything", at(path))


@pytest.mark.parametrize(
    "path", ["", "root", "root/audit/x", "root/gateway2", "root/sessions/gateway", "root/tools/x/front", "gateway"]
)
def test_nobody_else_is_ours(path: str) -> None:
    assert not is_ours("anything", at(path))
    assert not is_ours("anything", OUTSIDE)


@pytest.mark.parametrize("message", ["text", b"bytes", 1, None, STANDING, object()], ids=lambda one: type(one).__name__)
def test_what_is_no_message_for_the_gate_is_not_sound(message: object) -> None:
    assert not is_sound(message)
