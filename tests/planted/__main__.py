"""``python -m tests.planted [NUMBER ...]``: plants each bug of the catalogue and sees that it is found.

Progress goes to standard error, the last line of figures to standard output.  What was found is kept in ``build/``, so
that a run that was broken off goes on where it was; a change of the source, the tests or the bug makes it new.

Ends with 0 if every bug was found, with 1 if one was not, with 2 if the finders do not pass without any bug.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from tests.planted.catalogue import PAGE, ROOT, Bug, CatalogueError, catalogue, page
from tests.planted.hunt import Finding, Ground, NotCleanError, copied, key_of, state_of

KEPT = ROOT / "build" / "planted.json"


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description="See that planted bugs are found.")
    parser.add_argument("numbers", nargs="*", type=int, metavar="NUMBER", help="of a bug; without any, all of them")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("--fresh", action="store_true", help="believe nothing that an earlier run found")
    parser.add_argument("--json", action="store_true", help="what was found as JSON, in place of the last line")
    parser.add_argument("--write-table", action="store_true", help="write docs/planted-bugs.md, and run nothing")
    options = parser.parse_args(arguments)
    if options.write_table:
        PAGE.write_text(page(), "utf-8")
        return 0
    wanted = [bug for bug in catalogue() if bug.number in options.numbers or not options.numbers]
    if unknown := set(options.numbers) - {bug.number for bug in wanted}:
        parser.error(f"there is no bug {min(unknown)}")
    began = time.monotonic()
    hunt = Hunt(wanted, fresh=options.fresh)
    try:
        hunt.run(max(1, options.jobs))
    except (NotCleanError, CatalogueError) as error:
        _say(str(error))
        return 2
    return hunt.report(time.monotonic() - began, as_json=options.json)


class Hunt:
    """One run of the command."""

    def __init__(self, wanted: list[Bug], *, fresh: bool) -> None:
        self._wanted = wanted
        state = state_of(ROOT)
        self._keys = {bug.name: key_of(state, bug) for bug in catalogue()}
        self._found: dict[str, list[Finding]] = {} if fresh else _kept(self._keys)

    def run(self, jobs: int) -> None:
        """Hunt every bug that is not known from an earlier run.

        Raises:
            NotCleanError: the finders do not pass without any bug.
        """
        todo = [bug for bug in self._wanted if bug.name not in self._found]
        if known := len(self._wanted) - len(todo):
            _say(f"{known} known from an earlier run")
        if not todo:
            return
        with tempfile.TemporaryDirectory(prefix="astrid-planted-") as folder:
            grounds = [Ground(copied(ROOT, Path(folder, f"copy-{number}"))) for number in range(jobs)]
            with ThreadPoolExecutor(jobs) as pool:
                try:
                    self._check_clean(pool, grounds, todo)
                    self._hunt(pool, grounds, todo)
                finally:  # also at Ctrl-C: what runs is ended first, or the pool would wait for it
                    for ground in grounds:
                        ground.stop()
                    pool.shutdown(cancel_futures=True)

    def _check_clean(self, pool: ThreadPoolExecutor, grounds: list[Ground], todo: list[Bug]) -> None:
        finders = sorted({finder for bug in todo for finder in bug.finders})
        _say(f"{len(finders)} finders without any bug: all have to pass")
        shares = [finders[number :: len(grounds)] for number in range(len(grounds))]
        for done in [pool.submit(ground.check_clean, share) for ground, share in zip(grounds, shares, strict=True)]:
            done.result()

    def _hunt(self, pool: ThreadPoolExecutor, grounds: list[Ground], todo: list[Bug]) -> None:
        free: queue.SimpleQueue[Ground] = queue.SimpleQueue()
        for ground in grounds:
            free.put(ground)

        def hunt(bug: Bug) -> list[Finding]:
            ground = free.get()
            try:
                return ground.hunt(bug)
            finally:
                free.put(ground)

        under_way: dict[Future[list[Finding]], Bug] = {pool.submit(hunt, bug): bug for bug in todo}
        for count, done in enumerate(as_completed(under_way), 1):
            bug, findings = under_way[done], done.result()
            self._found[bug.name] = findings
            _keep({self._keys[name]: found for name, found in self._found.items()})
            _say(f"{count:>3}/{len(todo)}  {bug.number:>2} {bug.title}")
            for one in findings:
                _say(
                    f"         {'found by' if one.found else 'NOT FOUND by'} {one.finder}: {one.test} {one.said[:120]}"
                )

    def report(self, seconds: float, *, as_json: bool) -> int:
        """Say what came of it; the exit code."""
        missed = [bug for bug in self._wanted if not all(one.found for one in self._found[bug.name])]
        for bug in missed:
            _say(f"not found: {bug.number} {bug.title}; again: python -m tests.planted {bug.number}")
        told = {bug.number: [asdict(one) for one in self._found[bug.name]] for bug in self._wanted}
        found = len(self._wanted) - len(missed)
        line = f"{found} of {len(self._wanted)} planted bugs found in {seconds:.0f} s"
        if as_json:
            line = json.dumps({"found": found, "of": len(self._wanted), "seconds": round(seconds, 1), "bugs": told})
        sys.stdout.write(line + "\n")
        return 1 if missed else 0


def _kept(keys: dict[str, str]) -> dict[str, list[Finding]]:
    """What an earlier run found in just this source; what it did not find is looked for again."""
    try:
        kept = json.loads(KEPT.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    found = {name: [Finding(**one) for one in kept[key]] for name, key in keys.items() if key in kept}
    return {name: findings for name, findings in found.items() if all(one.found for one in findings)}


def _keep(found: dict[str, list[Finding]]) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    fresh = KEPT.with_suffix(".new")
    fresh.write_text(json.dumps({key: [asdict(one) for one in findings] for key, findings in found.items()}), "utf-8")
    fresh.replace(KEPT)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        _say("broken off; what was found is kept, and the same command goes on from there")
        sys.exit(130)
