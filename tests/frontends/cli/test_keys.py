from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from astrid.errors import AstridError
from astrid.frontends.cli import keys
from tests.fakes.signing import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("ASTRID_HOME", str(tmp_path / "home"))
    return Bench(tmp_path / "home").made()


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    keys.add_arguments(parser)
    return keys.run(parser.parse_args(words))


def test_show_lists_every_key_with_its_fingerprint_and_how_it_is_kept(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    listed = {key["role"]: key for key in shown["keys"]}
    paths = {"user": bench.home.user_key, "runtime": bench.home.runtime_key}
    paths |= {"holder": bench.home.holder_key, "client": bench.home.client_key}
    assert {role: key["public_key"] for role, key in listed.items()} == {
        role: bench.key(path).public.hex() for role, path in paths.items()
    }
    assert listed["user"]["kept"] == "plain"
    assert {key["mode"] for key in listed.values()} == {"0600"}
    assert len({key["fingerprint"] for key in listed.values()}) == 4


def test_show_tells_of_a_file_that_others_can_read_and_of_one_that_is_missing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.home.user_key.chmod(0o644)
    bench.home.client_key.unlink()
    assert run("show") == 0
    out = capsys.readouterr().out
    assert "0644, open to others: chmod 0600" in out
    assert 'client.key" missing' in out


def test_show_opens_no_private_key(bench: Bench) -> None:
    for path in (bench.home.user_key, bench.home.runtime_key, bench.home.holder_key, bench.home.client_key):
        path.write_bytes(b"not a key at all")
        path.chmod(0)
    assert run("show") == 0


def test_show_believes_no_client_token_of_another_user(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other")
    other.entropy(1)
    other.made()
    bench.home.client_token.write_bytes(other.home.client_token.read_bytes())
    with pytest.raises(AstridError):
        run("show")


def test_generate_never_touches_a_key_that_is_there(bench: Bench) -> None:
    before = bench.home.user_key.read_bytes()
    for words in (["generate"], ["generate", "--plain"]):
        with pytest.raises(AstridError) as refused:
            run(*words)
        assert refused.value.code == "file.exists"
    assert bench.home.user_key.read_bytes() == before


def test_trust_keeps_a_statement_under_the_name_of_its_install(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time it is known already
        assert run("trust", str(bench.home.install), "--yes", "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = bench.home.root / "anchor" / f"install-{bench.aud.hex()}"
    assert told["kept"] == str(kept)
    assert kept.read_bytes() == bench.home.install.read_bytes()
    assert told["fingerprint"] == keys.fingerprint(bench.aud)


def test_trust_needs_somebody_who_compared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    with pytest.raises(AstridError) as refused:
        run("trust", str(bench.home.install))
    assert refused.value.code == "keys.unconfirmed"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("no\n", 3), ("", 3)])
def test_trust_asks_at_a_terminal(bench: Bench, monkeypatch: pytest.MonkeyPatch, typed: str, code: int) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert run("trust", str(bench.home.install)) == code
    assert len(list((bench.home.root / "anchor").iterdir())) == (code == 0)


def test_trust_keeps_nothing_that_its_own_user_did_not_sign(bench: Bench, tmp_path: Path) -> None:
    forged = bytearray(bench.home.install.read_bytes())
    forged[-1] ^= 1
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(AstridError) as refused:
        run("trust", str(tmp_path / "forged"), "--yes")
    assert refused.value.code == "install.signature"
    assert list((bench.home.root / "anchor").iterdir()) == []


def test_trust_of_a_file_that_is_not_there_is_a_clear_error(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(AstridError) as refused:
        run("trust", str(tmp_path / "nothing"), "--yes")
    assert refused.value.code == "keys.unreadable"
