"""``astrid audit``, ``sessions``, ``daemon`` and ``doctor`` as a person uses them, on the log of a task that ran."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrid.core.checkpoint import verify_checkpoint
from astrid.core.install import verify_install
from astrid.core.keys import SigningKey, load_public_key
from astrid.core.merkle import leaf_hash, verify_inclusion
from tests.adapters.sandbox.conftest import tiers
from tests.fakes.home import RUNTIME, USER
from tests.fakes.processes import OUTSIDE, READ, Place
from tests.fakes.terminal import installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A task ran here, with one call that was allowed and one that was denied; the daemon still runs."""
    made = Place(tmp_path_factory.mktemp("place"))
    with made.daemon():
        model = made.script({"text": "look", "tool_calls": [READ, OUTSIDE]}, {"text": "done"})
        assert made.exec("look around", "--model", model).returncode == 3
        yield made


WELL = ("home", "install", "log", "client", "daemon", "checkpoints", "anchor", "cosigned")


def lines(place: Place, *arguments: str) -> list[dict[str, object]]:
    done = place.astrid("audit", "list", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_list_has_every_record_in_order(place: Place) -> None:
    records = lines(place)
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert [record["kind"] for record in records][:2] == ["genesis", "boot"]
    plain = place.astrid("audit", "list").stdout.splitlines()
    assert len(plain) == len(records)


def test_the_list_is_filtered_by_kind_tool_decision_session_and_time(place: Place) -> None:
    denied = lines(place, "--decision", "deny")
    assert [(record["kind"], record["decision"]) for record in denied] == [("denied", "deny")]
    reads = lines(place, "--tool", "read_file")
    assert {record["kind"] for record in reads} == {"permit", "denied"}
    session = str(denied[0]["session_id"])
    assert {record["session_id"] for record in lines(place, "--session", session)} == {session}
    assert lines(place, "--kind", "genesis", "--since", "2999-01-01T00:00:00Z") == []
    assert len(lines(place, "--since", "1h")) == len(lines(place))


def test_pages_join_without_a_gap(place: Place) -> None:
    whole = lines(place)
    assert lines(place, "--limit", "3") + lines(place, "--after", "3") == whole


def test_a_record_is_shown_with_what_lies_beside_it_checked_against_its_commitment(place: Place) -> None:
    denied = lines(place, "--decision", "deny")[0]
    shown = json.loads(place.astrid("audit", "show", str(denied["seq"]), "--json").stdout)
    assert (shown["body"]["tool"], shown["body"]["layer"]) == ("read_file", "policy")
    assert [one["state"] for one in shown["beside"]] == ["as committed"]
    text = place.astrid("audit", "show", str(denied["seq"])).stdout
    assert "layer: policy" in text


def test_a_proof_can_be_checked_by_somebody_who_has_only_the_install_statement(place: Place) -> None:
    proof = json.loads(place.astrid("audit", "prove", "3", "--json").stdout)
    install = verify_install(place.home.install.read_bytes())
    note = proof["checkpoint"].encode()
    checkpoint = verify_checkpoint(note, load_public_key(install.runtime_key), install.log_id)
    leaf = leaf_hash(base64.b64decode(proof["frame"]))
    path = [bytes.fromhex(part) for part in proof["path"]]
    assert verify_inclusion(leaf, 2, checkpoint.size, path, checkpoint.root)
    assert "the proof was checked here" in place.astrid("audit", "prove", "3").stdout


def test_the_newest_record_can_be_proved_because_a_checkpoint_is_made_for_it(place: Place) -> None:
    last = lines(place)[-1]["seq"]
    assert json.loads(place.astrid("audit", "prove", str(last), "--json").stdout)["size"] >= last


def test_the_figures_add_up(place: Place) -> None:
    stats = json.loads(place.astrid("audit", "stats", "--json").stdout)
    assert sum(stats["kinds"].values()) == stats["records"] == len(lines(place))
    assert stats["decisions"]["deny"] == 1
    assert f"{stats['records']} records" in place.astrid("audit", "stats").stdout


def test_a_refusal_is_explained_by_its_record_or_its_session(place: Place) -> None:
    denied = lines(place, "--decision", "deny")[0]
    why = "the layer `policy` refused it with `policy.path`: policy forbids"
    assert why in place.astrid("audit", "explain", str(denied["seq"])).stdout
    told = json.loads(place.astrid("audit", "explain", str(denied["session_id"]), "--json").stdout)
    assert any(why in line for line in told["lines"])


@pytest.mark.parametrize("name", ["session:" + "0" * 32, "call:12", "workspace:" + "0" * 64, "nonsense", "0"])
def test_what_the_log_does_not_know_is_an_error(place: Place, name: str) -> None:
    done = place.astrid("audit", "explain", name)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr


def test_a_record_that_is_not_there_is_an_error(place: Place) -> None:
    for action in ("show", "prove"):
        done = place.astrid("audit", action, "99999")
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_the_log_verifies_while_the_daemon_writes_it(place: Place) -> None:
    found = json.loads(place.astrid("audit", "verify", "--json").stdout)
    assert (found["result"], found["exit"]) == ("sound", 0)
    assert found["runtime_key"] == RUNTIME.public.hex()


def test_to_look_at_the_log_does_not_make_it_grow(place: Place) -> None:
    """A client says what it saw once, not each time."""
    sizes = [len(lines(place)) for _ in range(4)]
    assert len(set(sizes)) == 1, sizes
    cosigned = lines(place, "--kind", "cosigned")
    assert 1 <= len(cosigned) <= 2, cosigned
    found = json.loads(place.astrid("audit", "verify", "--json").stdout)
    assert (found["cosignatures"], found["cosigners"]) == (len(cosigned), 1)


class TestCopies:
    """What can be told of a copy of the home."""

    @pytest.fixture
    def copy(self, place: Place, tmp_path: Path) -> Path:
        target = tmp_path / "copy"
        shutil.copytree(place.home.root, target, ignore=shutil.ignore_patterns("*.sock"))
        return target

    def verify(self, place: Place, copy: Path, *arguments: str) -> tuple[int, dict[str, object]]:
        done = place.astrid("audit", "verify", "--home", str(copy), *arguments, "--json")
        return done.returncode, json.loads(done.stdout)

    def test_by_itself_it_could_have_been_made_by_anybody(self, place: Place, copy: Path) -> None:
        code, found = self.verify(place, copy)
        assert (code, found["result"]) == (2, "unknown")

    @pytest.mark.parametrize("key", [USER.public, RUNTIME.public])
    def test_a_key_known_from_elsewhere_makes_it_sound(self, place: Place, copy: Path, key: bytes) -> None:
        assert self.verify(place, copy, "--key", key.hex())[0] == 0

    def test_so_does_an_install_statement_or_a_checkpoint(self, place: Place, copy: Path) -> None:
        assert self.verify(place, copy, "--install", str(place.home.install))[0] == 0
        assert self.verify(place, copy, "--witness", str(place.home.anchor))[0] == 0

    def test_another_key_shows_that_it_is_not_this_log(self, place: Place, copy: Path) -> None:
        code, found = self.verify(place, copy, "--key", SigningKey.from_seed(b"\x05" * 32).public.hex())
        assert (code, found["code"]) == (1, "verify.other-key")

    @pytest.mark.parametrize("key", ["hello", "05" * 31, "01" + "00" * 31, "ff" * 32])
    def test_a_key_that_is_none_tells_nothing(self, place: Place, copy: Path, key: str) -> None:
        code, found = self.verify(place, copy, "--key", key)
        assert (code, found["code"]) == (2, "verify.key")

    def test_a_copy_without_its_log_is_not_whole(self, place: Place, copy: Path) -> None:
        shutil.rmtree(copy / "log")
        assert self.verify(place, copy)[0] == 1


def test_sessions_are_listed_while_they_live(place: Place) -> None:
    assert json.loads(place.astrid("sessions", "list", "--json").stdout) == {"sessions": [], "left_out": 0}
    done = place.astrid("sessions", "end", "session:" + "0" * 32)
    assert (done.returncode, "[session.unknown]" in done.stderr) == (1, True)


def test_the_doctor_says_what_is_missing_and_what_the_daemon_finds(place: Place) -> None:
    done = place.astrid("doctor", "--json")
    states = {one["name"]: one["state"] for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1  # this home has no user key
    assert states["user-key"] == "fail"
    assert {name: states[name] for name in WELL} == dict.fromkeys(WELL, "ok")
    assert {tier: states[f"tier {tier}"] for tier in tiers()} == {
        tier: "warn" if why else "ok" for tier, why in tiers().items()
    }
    assert states["sandbox"] == states["tier l1"]


def test_the_doctor_finds_nothing_wrong_where_nothing_is(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.home.user_key.write_bytes(os.urandom(32))
    place.home.user_key.chmod(0o600)
    done = place.astrid("doctor")
    assert done.returncode == 0, done.stdout
    assert "! " not in done.stdout


@pytest.mark.parametrize("damage", ["mode", "install", "token"])
def test_the_doctor_finds_what_is_wrong(tmp_path: Path, damage: str) -> None:
    place = Place(tmp_path)
    place.home.user_key.write_bytes(os.urandom(32))
    place.home.user_key.chmod(0o600)
    match damage:
        case "mode":
            place.home.user_key.chmod(0o644)
        case "install":
            place.home.install.write_bytes(b"forged")
        case _:
            place.home.client_key.write_bytes(b"\x09" * 32)
    done = place.astrid("doctor")
    assert (done.returncode, "\n! " in f"\n{done.stdout}") == (1, True)
