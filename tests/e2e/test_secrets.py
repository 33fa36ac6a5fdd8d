"""``astrid secrets`` as a person uses it, and a session of the product beside a secret."""

from __future__ import annotations

import json
import stat

import pytest

from tests.fakes.processes import READ, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]

VALUE = "canary-77c0e1b94d52"


def keep(place: Place, name: str = "token", value: str = VALUE) -> dict[str, object]:
    done = place.astrid("secrets", "set", name, "--json", input=f"{value}\n")
    assert done.returncode == 0, done.stderr
    assert value not in done.stdout + done.stderr
    return json.loads(done.stdout)


def names(place: Place) -> list[str]:
    return json.loads(place.astrid("secrets", "list", "--json").stdout)["secrets"]


def test_a_value_is_kept_replaced_and_removed_and_never_shown(place: Place) -> None:
    assert keep(place) == {"name": "token", "replaced": False}
    assert keep(place, value=VALUE[::-1]) == {"name": "token", "replaced": True}
    keep(place, "another")
    kept = place.home.root / "secrets"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept / "token")] == [0o700, 0o600]
    assert (kept / "token").read_text() == VALUE[::-1]
    listed = place.astrid("secrets", "list")
    assert (listed.stdout, listed.stderr) == ("another\ntoken\n", "")
    assert place.astrid("secrets", "remove", "token").returncode == 0
    assert names(place) == ["another"]
    again = place.astrid("secrets", "remove", "token")
    assert (again.returncode, "[secrets.unknown]" in again.stderr) == (1, True)


def test_a_value_in_the_command_line_is_refused(place: Place) -> None:
    done = place.astrid("secrets", "set", "token", VALUE)
    assert done.returncode == 2
    assert names(place) == []


def test_a_session_that_reads_the_value_tells_its_name_alone(place: Place) -> None:
    keep(place)
    (place.workspace / "a.txt").write_text(f"the key is {VALUE}\n")
    with place.daemon("--verbose"):
        done = place.exec(
            "read it", "--json", "--model", place.script({"tool_calls": [READ]}, {"text": f"it is {VALUE}"})
        )
        assert done.returncode == 0, done.stderr
        log = place.astrid("audit", "list", "--json").stdout
    assert "[secret token]" in done.stdout
    files = {path.relative_to(place.home.root) for path in place.home.root.rglob("*") if path.is_file()}
    holding = {str(name) for name in files if VALUE.encode() in (place.home.root / name).read_bytes()}
    assert holding == {"secrets/token"}
    assert VALUE not in done.stdout + done.stderr + log + place.said
