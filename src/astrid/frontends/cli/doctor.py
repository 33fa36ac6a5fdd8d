"""``astrid doctor``: is everything here as it should be, and if not, what to do.

It looks at the home, the keys, the statements, the log and the machine, and asks the daemon if one runs.

Never: starts anything but the verifier and the box, changes anything, or opens the user's key; how that is kept, the
install statement says.

Source: the first Astrid; threats 5, 11, 41, 43.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from astrid.core.checkpoint import parse_note_body
from astrid.core.cosignature import DUE_RECORDS
from astrid.core.install import Install
from astrid.core.note import parse_note
from astrid.core.tokens import Assurance
from astrid.errors import AstridError, LaunchError
from astrid.frontends.cli import DONE, FAILED, counted, lasting, plain
from astrid.frontends.cli.sandbox import held_together, holds, read_report
from astrid.frontends.client import connect, run_client
from astrid.frontends.launch import verify_home
from astrid.frontends.meeting import kept_checkpoint, load_credentials, load_install
from astrid.home import Home, home_folder, open_home
from astrid.wire import params as p
from astrid.wire import results as r
from astrid.wire.results import Finding

LOW_DISK_BYTES = 256 * 1024 * 1024
OLD_ANCHOR_SECONDS = 30 * 24 * 3600
RIPGREP_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")
_SYS_OPENAT2 = 437
_MARKS = {"ok": " ", "warn": "?", "fail": "!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid doctor``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 if anything is wrong."""
    findings = list(_look())
    if args.json:
        print(json.dumps({"findings": [_plain(one) for one in findings]}))
    else:
        for one in findings:
            print(plain(f"{_MARKS[one.state]} {one.name:<12} {one.detail}"))
            if one.state != "ok" and one.advice:
                print(plain(f"  {'':<12} {one.advice}"))
    return FAILED if any(one.state == "fail" for one in findings) else DONE


def _plain(one: Finding) -> dict[str, str]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _look() -> Iterator[Finding]:
    yield _python()
    yield _openat2()
    yield _ripgrep()
    try:
        folder = home_folder(os.environ)
        yield from _sandbox(Home(folder))
        home = open_home(folder)
    except AstridError as error:
        yield _bad("home", error)
        return
    yield Finding(name="home", state="ok", detail=f"{home.root}, for you alone")
    try:
        install = load_install(home)
    except AstridError as error:
        yield _bad("install", error)
        return
    yield Finding(name="install", state="ok", detail="the install statement is signed by a key that it names")
    yield from _keys(home, install)
    yield _client(home)
    yield _log(home)
    yield _witness(home, install)
    yield _disk(home)
    yield from _daemon(home)


def _bad(name: str, error: AstridError) -> Finding:
    where = f" ({error.where})" if error.where else ""
    return Finding(name=name, state="fail", detail=f"{error.message}{where}"[:4000], advice=error.advice)


# --- the machine


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(name="python", state="ok", detail=f"Python {version} on {sys.platform}")


def _openat2() -> Finding:
    advice = "files are opened one component at a time instead, which is slower"
    if sys.platform != "linux":
        return Finding(name="openat2", state="warn", detail="this system has no openat2", advice=advice)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    # Without a path it can only fail; how it fails tells whether the kernel knows it and a filter lets it through.
    call(_SYS_OPENAT2, -1, None, None, ctypes.c_size_t(0))
    if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        return Finding(name="openat2", state="warn", detail="openat2 is not to be had here", advice=advice)
    return Finding(name="openat2", state="ok", detail="paths are resolved by the kernel, beneath the workspace")


def _ripgrep() -> Finding:
    # Where the workspace's tools look for it, so that nothing in a workspace or a PATH takes its place.
    found = shutil.which("rg", path=os.pathsep.join((*RIPGREP_FOLDERS, str(Path(sys.executable).parent))))
    if found is None:
        advice = "install ripgrep to search large workspaces faster"
        return Finding(name="ripgrep", state="warn", detail="rg is not there; Python searches", advice=advice)
    return Finding(name="ripgrep", state="ok", detail=found)


def _sandbox(home: Home) -> Iterator[Finding]:
    """What commands run in, and each tier with why it does not work."""
    try:
        report = read_report(home)
    except AstridError as error:
        yield _bad("sandbox", error)
        return
    advice = "docs/sandbox.md says what each tier needs, and what it cannot hold"
    yield Finding(name="sandbox", state="ok" if report.tier == "l1" else "warn", detail=holds(report), advice=advice)
    for one in report.tiers:
        needed = "warn" if one.why else "ok"
        detail = f"does not work here: {one.why}" if one.why else "works: a program has just run in it"
        yield Finding(name=f"tier {one.tier}", state=needed, detail=detail[:4000], advice=advice)
    if report.tier in ("l1", "l0"):
        yield Finding(name="limits", state="ok", detail=held_together(report)[:4000])


# --- keys


def _keys(home: Home, install: Install) -> Iterator[Finding]:
    for path, what in (
        (home.user_key, "the user key"),
        (home.runtime_key, "the runtime key"),
        (home.holder_key, "the holder key"),
        (home.client_key, "the client key"),
    ):
        yield _key_file(path, what)
    weakest = min(root.assurance for root in install.roots)
    if weakest == Assurance.PLAIN:
        yield Finding(
            name="sealing",
            state="warn",
            detail="your key has no passphrase: every program that runs as you can sign in your name",
            advice="it cannot sign standing grants above medium risk; make a home with a sealed key for those",
        )
    else:
        yield Finding(name="sealing", state="ok", detail="your key is under a passphrase")


def _key_file(path: Path, what: str) -> Finding:
    name = f"{path.stem}-key"
    try:
        found = os.lstat(path)
    except OSError as error:
        detail = f"{what} cannot be found: {error.strerror}"
        return Finding(name=name, state="fail", detail=detail, advice="restore it from a backup")
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o077:
        detail = f"{what} has mode {mode:04o} and owner {found.st_uid}, so others can get at it"
        return Finding(name=name, state="fail", detail=detail, advice=f"chmod 0600 {path}")
    return Finding(name=name, state="ok", detail=f"{what} has mode {mode:04o}")


def _client(home: Home) -> Finding:
    try:
        load_credentials(home)
    except AstridError as error:
        return _bad("client", error)
    return Finding(name="client", state="ok", detail="the client's token names the client's key")


# --- the log


def _log(home: Home) -> Finding:
    try:
        code, said = verify_home(home.root, "--json")
    except LaunchError as error:
        return _bad("log", error)
    try:
        found = cast("dict[str, object]", json.loads(said))
    except json.JSONDecodeError:
        found = {"says": "the verifier said nothing that can be read"}
    detail = str(found.get("says"))
    if code == DONE:
        detail += f": {found.get('records', 0)} records, signed up to {found.get('signed', 0)}"
        return Finding(name="log", state="ok", detail=detail)
    if not home.log.exists() and code != FAILED:
        return Finding(name="log", state="ok", detail="nothing is recorded yet")
    advice = str(found.get("advice", "")) or "see `astrid audit verify`"
    if code == FAILED:
        advice += "; where the daemon refuses it and no copy is whole: `astrid audit accept-loss`"
    where = f" at {found['where']}" if found.get("where") else ""
    return Finding(name="log", state="fail", detail=f"{detail}{where}"[:4000], advice=advice[:4000])


def _witness(home: Home, install: Install) -> Finding:
    try:
        kept = kept_checkpoint(home, install)
    except AstridError as error:
        return _bad("witness", error)
    if kept is None:
        return Finding(
            name="witness",
            state="warn",
            detail="no frontend has seen the log yet",
            advice="it will be kept at the first connection; keep a copy of it elsewhere",
        )
    age = max(0, int(time.time() - os.stat(home.witness).st_mtime))
    detail = f"the last checkpoint seen covers {counted(kept.size, 'record')} and is {lasting(age)} old"
    if age > OLD_ANCHOR_SECONDS:
        advice = "what was restored since could go unnoticed: keep checkpoints elsewhere too"
        return Finding(name="witness", state="warn", detail=detail, advice=advice)
    return Finding(name="witness", state="ok", detail=detail)


def _disk(home: Home) -> Finding:
    found = os.statvfs(home.root)
    free = found.f_bavail * found.f_frsize
    detail = f"{free // (1024 * 1024)} MiB free"
    if free < LOW_DISK_BYTES:
        return Finding(name="disk", state="warn", detail=detail, advice="free some space: nothing runs on a full disk")
    return Finding(name="disk", state="ok", detail=detail)


# --- the daemon


def _daemon(home: Home) -> Iterator[Finding]:
    async def ask() -> tuple[Finding, ...]:
        async with connect(home, authenticate=False) as client:
            found = cast("r.Findings", await client.call("doctor", p.Nothing())).findings
            return (*found, _cosigned(home, client.welcome))

    try:
        found = run_client(ask)
    except AstridError as error:
        if error.code == "daemon.none":
            yield Finding(name="daemon", state="ok", detail="none runs; it is started when it is needed")
        else:
            yield _bad("daemon", error)
        return
    yield Finding(name="daemon", state="ok", detail="one runs and is this home's")
    yield from found


def _cosigned(home: Home, welcome: r.Welcome) -> Finding:
    """Whether the daemon has it on record, for other clients to compare, what this client saw of the log."""
    try:
        mine = load_credentials(home).key.public
    except AstridError as error:
        return _bad("cosigned", error)
    size = _size(welcome.checkpoint)
    own = max((_size(one.note) for one in welcome.cosigned if one.key == mine), default=0)
    detail = f"this client cosigned {own} of {size} records; cosignatures of {len(welcome.cosigned)} clients are known"
    if size - own < 2 * DUE_RECORDS:
        return Finding(name="cosigned", state="ok", detail=detail)
    advice = "run `astrid sessions list`, which does that; if this stays, the daemon's log says why it is refused"
    return Finding(name="cosigned", state="warn", detail=detail, advice=advice)


def _size(note: bytes) -> int:
    return parse_note_body(parse_note(note).text).size
