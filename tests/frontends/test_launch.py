"""Starting processes: what lies in the way is said at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from astrid.errors import LaunchError
from astrid.frontends.launch import open_daemon_log
from tests.fakes.home import make_home


def test_a_daemons_log_that_is_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    home, _ = make_home(tmp_path / "home")
    os.mkfifo(home.daemon_log)
    with pytest.raises(LaunchError) as caught:
        open_daemon_log(home)
    assert caught.value.code == "launch.log"
