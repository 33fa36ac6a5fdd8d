"""``astrid instructions``: the files and skills that instruct sessions in a folder, and which of them you trust.

Never: trusts what it did not show: the bytes that are shown are those whose digest is kept.

Source: threats 27, 44.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from astrid.core.frame import MAX_PASSAGE_BYTES, Passage, Standing, quotation
from astrid.core.quoting import quote
from astrid.errors import InputError
from astrid.frontends.cli import DENIED, DONE, counted
from astrid.frontends.cli.signed import print_json
from astrid.home import Home, actors_folder, home_folder, identify_workspace, open_home
from astrid.home.instructions import LeftOut, read_instructions
from astrid.home.skills import read_skills
from astrid.home.trust import TrustList, content_digest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``astrid instructions``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what instructs a session there, and what is not trusted")
    trust = actions.add_parser("trust", help="show files and trust what they say now; all of them, or those named")
    trust.add_argument("file", nargs="*", type=Path, metavar="FILE")
    trust.add_argument("--yes", action="store_true", help="do not ask at the terminal")
    untrust = actions.add_parser("untrust", help="trust files no more")
    untrust.add_argument("file", nargs="+", type=Path, metavar="FILE")
    for action in (listing, trust):
        action.add_argument("--workspace", type=Path, metavar="DIR", help="the folder (the current one)")
    for action in (listing, trust, untrust):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        AstridError: what went wrong.
    """
    home = open_home(home_folder(os.environ))
    match args.action:
        case "list":
            return _list(home, _root(home, args), as_json=args.json)
        case "trust":
            return _trust(home, _root(home, args), args)
        case _:
            return _untrust(home, args)


def advise_trust(home: Home, workspace: str) -> str:
    """What a person is told who starts a session where untrusted files instruct it; nothing if there are none.

    Raises:
        AstridError: a file of the home is not as it should be.
    """
    root = os.fsencode(workspace)
    found = _passages(_found(workspace, home, TrustList(home)))
    unknown = [quote(os.path.relpath(one.path, root)) for one in found if one.standing is Standing.UNTRUSTED]
    if not unknown:
        return ""
    return (
        f"not trusted here: {', '.join(unknown)}; so whatever reaches beyond the workspace asks you. "
        "Read and trust them with `astrid instructions trust`"
    )


def _root(home: Home, args: argparse.Namespace) -> str:
    return identify_workspace(args.workspace or Path.cwd(), home).path


def _found(root: str, home: Home, trusted: TrustList) -> list[Passage | LeftOut]:
    """What a session there is told by files that are not Astrid's own: instructions, and then skills."""
    skills = read_skills(actors_folder() / "skills", root, home, trusted)
    files = [one if isinstance(one, LeftOut) else one.file for one in skills]
    foreign = [one for one in files if isinstance(one, LeftOut) or one.standing is not Standing.BUILT_IN]
    return [*read_instructions(root, home, trusted), *foreign]


def _passages(found: Sequence[Passage | LeftOut]) -> list[Passage]:
    return [one for one in found if isinstance(one, Passage)]


# --- list


def _list(home: Home, root: str, *, as_json: bool) -> int:
    found = _found(root, home, TrustList(home))
    if as_json:
        print_json({"instructions": [_plain(one) for one in found]})
        return DONE
    for one in found:
        print(_line(one))
    if not found:
        print(f"nothing instructs a session in {quote(os.fsencode(root))}")
    return DONE


def _line(one: Passage | LeftOut) -> str:
    if isinstance(one, LeftOut):
        return f"left out  {quote(one.path)}: {one.why}"
    return f"{one.standing.value:<9} {quote(one.path)}, {one.total_bytes} bytes, sha256 {content_digest(one.data)}"


def _plain(one: Passage | LeftOut) -> dict[str, object]:
    path = os.fsdecode(one.path)
    if isinstance(one, LeftOut):
        return {"file": path, "standing": "left out", "why": one.why}
    return {
        "file": path,
        "standing": one.standing.value,
        "bytes": one.total_bytes,
        "sha256": content_digest(one.data),
    }


# --- trust, untrust


def _trust(home: Home, root: str, args: argparse.Namespace) -> int:
    trusted = TrustList(home)
    chosen = _chosen(_passages(_found(root, home, trusted)), args.file)
    if chosen and not args.yes and not _agreed(chosen):
        return DENIED
    trusted.add((one.path, one.data) for one in chosen)
    _say("trusted", [one.path for one in chosen], as_json=args.json)
    return DONE


def _chosen(found: list[Passage], named: list[Path]) -> list[Passage]:
    """Those that are named, or else all that are not trusted yet."""
    if not named:
        return [one for one in found if one.standing is Standing.UNTRUSTED]
    known = {one.path: one for one in found if one.standing is not Standing.OWN}
    paths = list(map(_place, named))
    for path in paths:
        if path not in known:
            raise InputError(
                "instructions.unknown",
                f"{quote(path)} does not instruct a session here",
                advice="see `astrid instructions list`; give --workspace DIR for another folder",
            )
    return [known[path] for path in paths]


def _place(file: Path) -> bytes:
    """Where a file is: its folder without links, and its own name, which may be one."""
    return os.fsencode(os.path.join(os.path.realpath(file.parent), file.name))


def _agreed(chosen: list[Passage]) -> bool:
    """Whether the person agrees, who has just been shown all of it."""
    if not sys.stdin.isatty():
        raise InputError(
            "instructions.no-terminal",
            "nobody is at the terminal to read what would be trusted",
            advice="read the files, and say --yes",
        )
    for one in chosen:
        sys.stderr.write(quotation(one, 8 * MAX_PASSAGE_BYTES))  # shown whole, however much of it is hidden text
        if one.total_bytes > len(one.data):
            sys.stderr.write("what is beyond that is not shown to the model either\n")
    sys.stderr.write(f"\ntrust {counted(len(chosen), 'file')} to say exactly this? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _untrust(home: Home, args: argparse.Namespace) -> int:
    trusted = TrustList(home)
    paths = list(map(_place, args.file))
    for path in paths:
        if not trusted.names(path):
            raise InputError(
                "instructions.not-trusted", f"{quote(path)} is not trusted", advice="see `astrid instructions list`"
            )
    trusted.remove(paths)
    _say("untrusted", paths, as_json=args.json)
    return DONE


def _say(what: str, paths: list[bytes], *, as_json: bool) -> None:
    if as_json:
        print_json({what: list(map(os.fsdecode, paths))})
        return
    for path in paths:
        print(f"{what} {quote(path)}")
    if not paths:
        print("nothing to trust: see `astrid instructions list`")
