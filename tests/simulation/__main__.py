"""Live many simulated lives, each drawn from one number, and stop at nothing but a broken promise.

    python -m tests.simulation                          10,000 sessions, on two processes
    python -m tests.simulation --time 10m               for so long
    python -m tests.simulation --seed 5 --sessions 1 --trace    one life, told step by step
    python -m tests.simulation --sessions 300 --seed 1 --jobs 1     a short look, as is done for each planted bug

Without ``--seed`` it goes on where it stopped, by the file ``.simulation`` (``--resume``): Ctrl-C loses nothing.  The
last line on stdout are the figures; progress goes to stderr.  A broken promise is told with the one command that shows
it again, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from tests.simulation.campaign import Campaign, Tally, load_tally
from tests.simulation.life import live
from tests.simulation.plan import plan_of

SESSIONS = 10_000
_UNITS = {"s": 1, "m": 60, "h": 3600}


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    if options.trace:
        return _trace(options.seed or 0)
    state = Path(options.resume) if options.seed is None else None
    tally = Tally(next_seed=options.seed or 0) if state is None else load_tally(state)
    sessions = options.sessions or (0 if options.time else SESSIONS)
    campaign = Campaign(tally, state, jobs=options.jobs, sessions=sessions, seconds=options.time or 0)
    failures = campaign.run()
    for failure in failures:
        again = f"python -m tests.simulation --seed {failure.seed} --trace"
        sys.stderr.write(f"seed {failure.seed} breaks {failure.invariant}: {failure.what}\n  {again}\n")
    line = msgspec.json.encode(campaign.figures()).decode() if options.json else campaign.line()
    sys.stdout.write(line + "\n")
    return 1 if failures else 0


def _trace(seed: int) -> int:
    """One life, told."""
    plan = plan_of(seed)
    result = live(plan, trace=True)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(plan)).decode() + "\n")
    sys.stdout.writelines(f"{line}\n" for line in result.trace)
    for violation in result.violations:
        sys.stdout.write(f"BROKEN {violation.invariant}: {violation.what}\n")
    sys.stdout.write(
        f"seed {seed}: {result.sessions} sessions, {result.steps} steps, {result.crashes} crashes, {result.records} "
        f"records, {result.effects} effects, log {result.hash}\n"
    )
    return 1 if result.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="The runtime, simulated.")
    parser.add_argument("--sessions", type=int, default=0, help=f"how many sessions to live (default {SESSIONS})")
    parser.add_argument("--time", type=_seconds, default=None, help="how long, such as 90s, 10m or 1h")
    parser.add_argument("--seed", type=int, default=None, help="begin here, and keep no state")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--resume", default=".simulation", help="the file that remembers where it stopped")
    parser.add_argument("--trace", action="store_true", help="live the one life of --seed, and tell it")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    return parser


def _seconds(text: str) -> float:
    unit = _UNITS.get(text[-1:], 0)
    number = text[:-1] if unit else text
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is no time: write 90s, 10m or 1h")
    return float(int(number) * (unit or 1))


if __name__ == "__main__":
    sys.exit(main())
