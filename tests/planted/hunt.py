"""One bug at a time in a copy of the checkout, and whatever has to find it run there.

Never: changes the checkout itself; leaves a copy, a process or a planted line behind, however it ends.

Invariants:
  A bug counts as found by a finder only if a test in it failed of what the bug does: of an assertion, or of an
  exception that the bug's file names.  What cannot be imported, nothing at all, and a run without end are no finding.
  Whenever a copy is at rest it holds no bug.

Source: the catalogue beside this; pytest documentation (exit codes).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.planted.catalogue import Bug
from tests.planted.witness import REPORT, SHOWS

LIMIT_SECONDS = 180.0  # of one finder; the longest takes a fifth of it
BASE_SECONDS = 900.0  # of all finders together, on the copy without a bug
PROOFS = ("AssertionError", "Failed")  # the second is what `pytest.fail` and `pytest.raises` raise
SIMULATION = "simulation "
_SKIPPED = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "__pycache__", ".hypothesis", ".*_cache", ".fuzz", ".simulation", ".coverage*"
)
_PASSED, _FAILED = 0, 1  # exit codes
_BROKEN = re.compile(r"seed \d+ breaks ")  # how a simulation tells of a broken promise
_ENDED = (_FAILED, 2)  # the second: the plugin ended the run, or a file could not be collected


class NotCleanError(Exception):
    """The finders do not pass on the copy without a bug, so that nothing they say of a bug counts."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one finder said of one bug: the first test that failed, and of what; or why that is no finding."""

    finder: str
    found: bool
    test: str
    said: str


def copied(root: Path, to: Path) -> Path:
    """A copy of the checkout ``root`` inside the folder ``to``."""
    return Path(shutil.copytree(root, to, ignore=_SKIPPED, symlinks=True))


def state_of(root: Path) -> str:
    """A digest of every file that findings depend on, but for the catalogue."""
    found = hashlib.sha256()
    for folder in ("src", "tests", "fuzz", "actors"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".toml":
                found.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def key_of(state: str, bug: Bug) -> str:
    """Under what a finding of ``bug`` is kept: the same source, the same bug."""
    return hashlib.sha256(f"{state}\0{bug!r}".encode()).hexdigest()


class Ground:
    """A copy of the checkout in which one finder runs at a time."""

    def __init__(self, copy: Path) -> None:
        self._copy = copy
        self._touched = int(copy.stat().st_mtime)
        self._running: subprocess.Popen[bytes] | None = None
        self._over = False
        self._lock = threading.Lock()

    def stop(self) -> None:
        """End what runs here; nothing begins any more."""
        with self._lock:
            self._over = True
            if self._running is not None:
                _end(self._running)

    def check_clean(self, finders: Iterable[str]) -> None:
        """Return if every finder passes here.

        Raises:
            NotCleanError: says which does not, and of what.
        """
        wanted = sorted(set(finders))
        tests = [part for finder in wanted if not finder.startswith(SIMULATION) for part in shlex.split(finder)]
        runs = [finder for finder in wanted if finder.startswith(SIMULATION)]
        for finder in [*([shlex.join(tests)] if tests else []), *runs]:
            finding, code = self._run(finder, (), BASE_SECONDS)
            if code != _PASSED:
                raise NotCleanError(f"without any bug, {finding.test or finder} does not pass: {finding.said}")

    def hunt(self, bug: Bug) -> list[Finding]:
        """What each finder of ``bug`` says."""
        place = self._copy / bug.file
        clean = place.read_text("utf-8")
        self._write(place, bug.plant(clean))
        try:
            return [self._run(finder, (*PROOFS, *bug.raises), LIMIT_SECONDS)[0] for finder in bug.finders]
        finally:
            self._write(place, clean)

    def _write(self, place: Path, text: str) -> None:
        place.write_text(text, "utf-8")
        # Compiled code is taken for current by the second and the length; no two of these texts share a second.
        self._touched += 1
        os.utime(place, (self._touched, self._touched))

    def _run(self, finder: str, shows: Sequence[str], seconds: float) -> tuple[Finding, int]:
        report, said = (self._copy.with_name(f"{self._copy.name}.{end}") for end in ("report", "output"))
        report.unlink(missing_ok=True)
        environment = {
            **os.environ,
            REPORT: str(report),
            SHOWS: " ".join(shows),
            "PYTHONPATH": f"{self._copy / 'src'}{os.pathsep}{self._copy}",
        }
        with said.open("wb") as output:
            process = self._start(_command(finder), environment, output)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Finding(finder, False, "", f"no end within {seconds:.0f} s"), -1
        finally:
            _end(process)
            self._running = None
        if self._over:
            raise KeyboardInterrupt
        text = said.read_text("utf-8", "replace")
        return judged(finder, process.returncode, report, text), process.returncode

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._over:
                raise KeyboardInterrupt
            self._running = subprocess.Popen(
                command,
                cwd=self._copy,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            return self._running


def judged(finder: str, code: int, report: Path, output: str) -> Finding:
    """What a run of ``finder`` says that ended with ``code`` and ``output``."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    if code == _PASSED:
        return Finding(finder, False, "", "everything passes")
    if finder.startswith(SIMULATION):  # it ends with 1 for a broken promise, and so does Python for a broken import
        broken = next((line for line in output.splitlines() if _BROKEN.match(line)), "")
        return Finding(finder, code == _FAILED and bool(broken), broken.partition(":")[0], broken or last)
    if code not in _ENDED or not report.exists():
        return Finding(finder, False, "", f"it could not run (exit {code}): {last}")
    first = json.loads(report.read_text("utf-8"))
    said = f"{first['raised'][0] if first['raised'] else 'error'}: {first['message']}"
    return Finding(finder, first["shows"], first["test"], said if first["shows"] else f"not of the bug: {said}")


def _command(finder: str) -> Sequence[str]:
    if finder.startswith(SIMULATION):
        return [sys.executable, "-m", "tests.simulation", *shlex.split(finder)[1:]]
    options = ["-q", "--tb=line", "-p", "no:cacheprovider", "-p", "tests.planted.witness"]
    return [sys.executable, "-m", "pytest", *options, *shlex.split(finder)]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a run, its children too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
