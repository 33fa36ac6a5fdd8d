"""The hostile child of the demo, as a test: everything it may do works, everything else is refused."""

from __future__ import annotations

import pytest

from astrid.daemon.attack import Attempt, run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def attempts() -> list[Attempt]:
    return run()


def test_the_child_can_do_what_its_token_covers(attempts: list[Attempt]) -> None:
    assert [attempt.name for attempt in attempts if attempt.expected == "allowed" and attempt.refused] == []
    assert sum(attempt.expected == "allowed" for attempt in attempts) == 2


def test_every_attack_of_the_child_is_refused(attempts: list[Attempt]) -> None:
    assert [attempt.name for attempt in attempts if attempt.expected == "refused" and not attempt.refused] == []
    assert len(attempts) > 12


def test_a_used_once_token_is_refused_in_every_spelling(attempts: list[Attempt]) -> None:
    codes = [attempt.code for attempt in attempts if "used once token" in attempt.name]
    assert len(codes) == 6
    assert codes[0] == "token.used"
    assert all(code.startswith("token.") for code in codes)
