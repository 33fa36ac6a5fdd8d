"""The daemon says what failed and where, and never what it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from astrid.daemon import report as r
from astrid.daemon.report import Report, code_of, places, say_code_only
from astrid.errors import ConfigError, JournalError

CANARY = "sk-canary-2f81"


def raised(error: BaseException) -> BaseException:
    secret = CANARY  # a local, as a traceback with locals would show it
    try:
        try:
            raise ValueError(secret)
        except ValueError as cause:
            raise error from cause
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize(
    "error",
    [RuntimeError(CANARY), JournalError("journal.full", CANARY, effect="none", where=CANARY, key=CANARY)],
    ids=["foreign", "ours"],
)
def test_a_failure_is_told_by_code_and_place_without_a_word_of_its_text(
    log: Path, error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    report = Report(log)
    name = report.failed("actor-failed", raised(error), where="root/audit")
    report.close()
    (line,) = lines(log)
    assert (line["event"], line["id"], line["where"]) == ("actor-failed", name, "root/audit")
    assert line["error"] in ("RuntimeError", "journal.full")
    assert "because of ValueError" in str(line["at"])
    assert "test_report.py" in str(line["at"])
    assert CANARY not in log.read_text()
    assert CANARY not in capfd.readouterr().err


def test_what_is_no_failure_is_told_only_where_that_is_wanted(log: Path) -> None:
    for verbose in (False, True):
        report = Report(log, verbose=verbose)
        report.note("ready", count=3)
        report.close()
    assert [line["event"] for line in lines(log)] == ["ready"]


def test_the_log_is_for_nobody_else_and_is_never_reached_through_a_link(log: Path, tmp_path: Path) -> None:
    Report(log).close()
    assert log.stat().st_mode & 0o777 == 0o600
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        Report(link)


def test_whoever_can_make_the_daemon_report_cannot_fill_the_disk(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r, "MAX_LINES", 5)
    report = Report(log)
    for _ in range(100):
        report.failed("no-room-to-accept", OSError(24, "x"))
    report.close()
    told = lines(log)
    assert (len(told), told[-1]["event"]) == (5, "report-full")


def test_a_line_is_written_once_when_both_ways_lead_to_one_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        "import sys; from pathlib import Path; from astrid.daemon.report import Report; "
        "Report(Path(sys.argv[1]), verbose=True).note('ready')"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    with open(log, "ab") as out:
        subprocess.run(
            [sys.executable, "-c", script, str(log)], stderr=out, env={**os.environ, "PYTHONPATH": source}, check=True
        )
    assert len(lines(log)) == 1


def test_a_bug_ends_the_process_with_a_code_and_an_id(capfd: pytest.CaptureFixture[str]) -> None:
    error = raised(RuntimeError(CANARY))
    say_code_only(type(error), error, error.__traceback__)
    told = capfd.readouterr().err
    assert told.startswith("astridd: a bug in astrid (RuntimeError, id ")
    assert (told.count("\n"), CANARY in told) == (1, False)


def test_a_person_is_told_what_to_do_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    r.complain(ConfigError("home.missing", "there is no home yet \udcff", where="/h", advice="run `astrid init`"))
    assert capfd.readouterr().err == "astridd: there is no home yet \\u{dcff} (/h) [home.missing]; run `astrid init`\n"


def test_ours_go_by_their_code_and_others_by_their_type() -> None:
    assert code_of(ConfigError("a.b", "")) == "a.b"
    assert code_of(KeyError("x")) == "KeyError"
    assert list(places(KeyError("x"))) == []
