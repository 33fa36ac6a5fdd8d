"""What another process of the same user can see of those that hold keys: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import astrid

NOBODY = 65534
SOURCE = str(Path(astrid.__file__).parents[1])
HARDENS = {
    "the daemon": "from astrid.daemon.process import harden",
    "the signer": "from astrid.frontends.signer.harden import harden",
    "nobody": "harden = lambda: None",
}
# Root may read everything, so both processes become somebody else, in themselves: such a user may not be allowed to
# start this Python.  To become somebody else closes a process, so it is opened again, as one is that began like that.
BECOME = f"""
import ctypes, os, sys
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
# Says so when it is closed, and then waits for the end of its input.
HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
{hardens}
{become}
harden()
print("ready", flush=True)
sys.stdin.read()
"""
# What of another process may be opened: its memory, its variables, where its descriptors lead, its core limit.
LOOKER = f"""{BECOME}
for name in ("environ", "mem", "maps"):
    try:
        with open(f"/proc/{{sys.argv[1]}}/{{name}}", "rb", buffering=0) as file:
            found = name != "environ" or b"CANARY" in file.read(65536)
    except PermissionError:
        found = False
    print(name, found)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows processes below /proc")


@pytest.mark.parametrize("who", HARDENS)
def test_another_process_of_the_user_reads_neither_memory_nor_variables(who: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-I", "-c", HOLDER.format(hardens=HARDENS[who], become=BECOME), SOURCE],
        env={"SECRET": "CANARY"},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        looked = subprocess.run(
            [sys.executable, "-I", "-c", LOOKER, str(holder.pid)],
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        limits = Path(f"/proc/{holder.pid}/limits").read_text()
        holder.stdin.close()  # type: ignore[union-attr]
    seen = dict(line.split() for line in looked.stdout.splitlines())
    assert seen == dict.fromkeys(("environ", "mem", "maps"), str(who == "nobody"))
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    if who != "nobody":
        assert core.split()[4:6] == ["0", "0"]
