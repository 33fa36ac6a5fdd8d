"""A plugin for pytest: writes down which test failed of what, and ends the run there.

Failures that show nothing (of an exception that ``PLANTED_SHOWS`` does not name) are passed over; if there is no other,
the first of them is written down.  Hypothesis does not look for a smaller example: here it only matters that there is
one.

Source: pytest documentation (hooks); the file that it writes is named by ``PLANTED_REPORT``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest

REPORT = "PLANTED_REPORT"
SHOWS = "PLANTED_SHOWS"  # names of exceptions, with spaces between them; none: every one


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    phases = [phase for phase in hypothesis.settings.default.phases if phase.name not in ("shrink", "explain")]  # type: ignore[union-attr]
    hypothesis.settings.register_profile("planted", hypothesis.settings.default, phases=phases)
    hypothesis.settings.load_profile("planted")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = cast("pytest.TestReport", (yield))
    if report.failed and call.excinfo is not None:
        shown = _write(item.nodeid, call.when, call.excinfo.value)
        item.session.shouldstop = "found" if shown else False
    return report  # type: ignore[return-value]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(report.nodeid, "collect", None)


def _write(test: str, when: str, error: BaseException | None) -> bool:
    """Write it down unless there is something already; whether it shows the bug."""
    path, raised = Path(os.environ[REPORT]), _names(error)
    wanted = os.environ.get(SHOWS, "").split()
    shows = when != "collect" and (not wanted or not set(wanted).isdisjoint(raised))
    if shows or not path.exists():
        lines = str(error).strip().splitlines()
        found = {"test": test, "when": when, "raised": raised, "message": lines[0] if lines else "", "shows": shows}
        path.write_text(json.dumps(found), "utf-8")
    return shows


def _names(error: BaseException | None) -> list[str]:
    """The type of the error and its bases; of a group, those of all that it holds."""
    if isinstance(error, BaseExceptionGroup):
        return [name for part in cast("BaseExceptionGroup[Any]", error).exceptions for name in _names(part)]
    return [] if error is None else [base.__name__ for base in type(error).__mro__]
