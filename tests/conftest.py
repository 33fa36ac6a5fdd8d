"""What every test shares: one Hypothesis profile, and a home that is not the developer's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The same inputs on every run and machine, and no wall clock in the verdict; looking for new inputs is what fuzz/ does.
settings.register_profile(
    "astrid",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("astrid")


@pytest.fixture(scope="session", autouse=True)
def _a_home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the product nor a program it starts finds the developer's keys, settings or daemon."""
    kept = dict(os.environ)
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(("ASTRID_", "XDG_", "ANTHROPIC_", "OPENAI_"))]:
        del os.environ[name]
    os.environ["HOME"] = str(home)
    os.environ["ASTRID_HOME"] = str(home / ".astrid")
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope="session", autouse=True)
def _signals_that_work() -> None:
    """A shell starts what runs in the background with Ctrl-C ignored, and that is inherited by all we start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
