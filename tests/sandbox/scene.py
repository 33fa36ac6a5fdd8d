"""The scene of an attack: a home with secrets, a workspace, a folder outside, a decoy; and what shows that it worked.

Never: believes the attacker alone.  Evidence lies outside of it, wherever there is any: a secret in what it wrote, a
file that changed, a line in the decoy's log.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PRELUDE = """\
import os, sys, socket, time, signal, struct, ctypes, errno, json
T = json.loads(os.environ["T"])
libc = ctypes.CDLL(None, use_errno=True)
def PWN(*why): print("PWNED:" + os.environ["NONCE"], *why, flush=True)
def sysc(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    return result, ctypes.get_errno()
"""
PROTECTED = (".git", ".astrid")


@dataclass(frozen=True)
class Attack:
    """One script."""

    name: str
    language: str
    about: str
    script: str

    def argv(self) -> list[str]:
        if self.language == "py":
            return ["/usr/bin/python3", "-c", PRELUDE + self.script]
        return ["/bin/bash", "-c", self.script]


def attacks() -> dict[str, Attack]:
    """Each attack, by its name."""
    found: dict[str, Attack] = {}
    for part in re.split(r"^@@ ", (HERE / "attacks.txt").read_text(), flags=re.MULTILINE)[1:]:
        head, _, script = part.partition("\n")
        name, language, about = head.split("|", 2)
        found[name] = Attack(name, language, about, script)
    return found


class Scene:
    """See the module.  ``evidence`` says what an attack did; nothing means that it was refused."""

    def __init__(self, at: Path) -> None:
        self.root = at
        self.nonce = secrets.token_hex(8)
        self.canary = f"canary-{secrets.token_hex(12)}"
        self.home, self.workspace, self.outside = at / "home", at / "workspace", at / "outside"
        for folder in (self.home / ".ssh", self.home / ".astrid" / "keys", self.workspace, self.outside):
            folder.mkdir(parents=True)
        self.key = self.home / ".ssh" / "id_ed25519"
        for secret in (self.key, self.home / ".astrid" / "keys" / "ed25519", self.home / ".astrid" / "token"):
            secret.write_text(self.canary)
            secret.chmod(0o600)
        (self.outside / "victim").write_text("precious")
        (self.workspace / ".t").write_text("a file of the workspace")
        self._make_project()
        shutil.copy("/usr/bin/id", at / "suid_id")
        self._decoy = subprocess.Popen(
            [sys.executable, str(HERE / "decoy.py"), str(at), str(self.key)],
            env={"API_KEY": self.canary},
            stdout=subprocess.PIPE,
        )
        assert self._decoy.stdout is not None
        self._names = json.loads(self._decoy.stdout.readline())
        self._before = self._look()

    def _make_project(self) -> None:
        subprocess.run(["/usr/bin/git", "init", "-q", str(self.workspace)], check=True, env={"HOME": str(self.root)})
        (self.workspace / ".astrid").mkdir()
        (self.workspace / ".astrid" / "config.toml").write_text('approval = "ask"\n')

    def close(self) -> None:
        self._decoy.kill()
        self._decoy.communicate()

    def environment(self) -> dict[str, str]:
        """The names that scripts use."""
        places = {"H": self.home, "W": self.workspace, "O": self.outside, "A": self.root, "DPID": self._decoy.pid}
        names = {**places, **self._names, "SHMDEV": os.stat("/dev/shm").st_dev}  # noqa: S108 - a look
        texts = {name: str(value) for name, value in names.items()}
        return {**texts, "NONCE": self.nonce, "T": json.dumps(texts), "PATH": "/usr/local/bin:/usr/bin:/bin"}

    def evidence(self, output: bytes) -> list[str]:
        """What shows that an attack worked."""
        found: list[str] = []
        if self.canary.encode() in output:
            found.append("a secret was read")
        if f"PWNED:{self.nonce}".encode() in output:
            found.append("it says so")
        if re.search(rb"^uid=\d+", output, re.MULTILINE):
            found.append("a program from outside ran")
        now = self._look()
        found += [
            f"changed: {name}" for name in sorted(now.keys() | self._before) if now.get(name) != self._before.get(name)
        ]
        return found

    def _look(self) -> dict[str, str]:
        """Everything that no attack may change, with a mark of what it is."""
        found: dict[str, str] = {}
        for folder, names, files in os.walk(self.root):
            below = Path(folder).relative_to(self.root).parts
            if below[:1] == ("workspace",) and len(below) == 1:
                names[:] = [name for name in names if name in PROTECTED]
                files = []
            for name in (*names, *files):
                path = Path(folder, name)
                status = path.lstat()
                text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                mark = hashlib.sha256(text).hexdigest()[:12]
                found[str(path.relative_to(self.root))] = f"{status.st_mode:o} {mark}"
        return found
