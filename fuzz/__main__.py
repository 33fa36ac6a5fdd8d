"""``python -m fuzz``: run the targets for a while, replay what was found, or keep the best of the corpora.

Never: decides anything; it reads the command line and says what happened.  Progress goes to stderr; the last line of
stdout is the figures, or everything as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import trio

from fuzz.engine import vectors
from fuzz.engine.drivers import has_atheris
from fuzz.engine.keeping import keep
from fuzz.engine.sitting import Plan, Sitting
from fuzz.engine.targets import find_targets, load_profile

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_NO_ATHERIS = "no atheris here: inputs come from fresh seeds and mutations, not from coverage (pip install atheris)"


def seconds(text: str) -> float:
    """A time: ``90``, ``90s``, ``10m``, ``1h``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"`{text}` is not a time like 90, 90s, 10m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def jobs(text: str) -> int:
    """How many run beside each other: one or two, so that a machine with two cores stays usable.

    Raises:
        argparse.ArgumentTypeError: neither.
    """
    if text not in ("1", "2"):
        raise argparse.ArgumentTypeError("one or two at once")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    asked = argparse.ArgumentParser(prog="python -m fuzz", description="Attack Astrid with generated inputs.")
    asked.add_argument("--time", type=seconds, default=60.0, metavar="T", help="for how long: 60s, 10m, 1h")
    asked.add_argument("--target", action="append", default=[], metavar="NAME", help="a file, or file.test; repeatable")
    asked.add_argument("--jobs", type=jobs, default=2, metavar="N", help="targets at once, at most 2")
    asked.add_argument("--driver", choices=("atheris", "hypothesis"), help="default: atheris where it is installed")
    asked.add_argument("--seed", type=int, help="repeat the choices of an earlier run (hypothesis driver)")
    asked.add_argument("--json", action="store_true", help="the figures of each target, as JSON on stdout")
    asked.add_argument("--list", action="store_true", help="say what the targets are")
    asked.add_argument("--keep", action="store_true", help="put the smallest inputs that cover most into fuzz/corpus")
    asked.add_argument("--replay", type=Path, metavar="VECTOR", help="run one vector again")
    return asked


def main(arguments: list[str]) -> int:
    """What was asked for; 0 if nothing was found."""
    asked = parser().parse_args(arguments)
    load_profile()
    if asked.replay is not None:
        return _replay(asked.replay)
    targets = find_targets(asked.target)
    if not targets:
        sys.stderr.write(f"no target is called {' or '.join(asked.target)}; `--list` names them\n")
        return 2
    if asked.list:
        sys.stdout.write("".join(f"{target.name}\n" for target in targets))
        return 0
    if asked.keep:
        sys.stdout.write(keep(targets) + "\n")
        return 0
    driver = asked.driver or ("atheris" if has_atheris() else "hypothesis")
    if driver == "atheris" and not has_atheris():
        sys.stderr.write("atheris is not installed here; `--driver hypothesis` needs nothing more\n")
        return 2
    if driver == "hypothesis" and asked.driver is None:
        sys.stderr.write(_NO_ATHERIS + "\n")
    sitting = Sitting(targets, Plan(asked.time, asked.jobs, driver, asked.seed))
    interrupted = False
    try:
        trio.run(sitting.run)
    except* KeyboardInterrupt:
        interrupted = True
    report = sitting.report()
    if asked.json:
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    else:
        sys.stdout.write(sitting.figures() + "\n")
    return 130 if interrupted else int(sitting.crashes > 0)


def _replay(path: Path) -> int:
    vector = vectors.read(path)
    sys.stdout.write(f"{vector.target}, which once failed with: {vector.error}\n{vector.drawn}\n")
    vectors.replay(vector)  # if it still fails, what Python and Hypothesis print is the best report
    sys.stdout.write("it holds now\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
