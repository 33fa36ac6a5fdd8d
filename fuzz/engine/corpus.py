"""Folders of inputs, each file named by the digest of what is in it.

``fuzz/corpus/<target>`` is the small one that belongs to the project; ``.fuzz/corpus/<target>`` (or what FUZZ_CACHE
names instead of ``.fuzz``) is everything that was ever new on this machine.  An input is bytes for Hypothesis'
``fuzz_one_input``, without the zeros at its end, which are added again when it is run.

Never: renames or changes an input; writes half of one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fuzz.engine.targets import FOLDER, PROJECT, Target

CACHE = Path(os.environ.get("FUZZ_CACHE", PROJECT / ".fuzz"))
PADDING = bytes(2048)  # an input that ends too early is one in which every further choice is the simplest


def kept_folder(target: Target) -> Path:
    """Where the project keeps a few inputs of this target."""
    return FOLDER / "corpus" / target.name


def cache_folder(target: Target, part: str = "corpus") -> Path:
    """Where this machine keeps something of this target; it is there when this returns."""
    folder = CACHE / part / target.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def name_of(data: bytes) -> str:
    """The file name of an input."""
    return hashlib.sha256(data).hexdigest()[:16]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there with all of ``data``, or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def read_inputs(*folders: Path) -> list[bytes]:
    """The inputs of all ``folders``, each once, the shortest first; a folder that is not there holds none."""
    found = {
        path.read_bytes().rstrip(b"\0")
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if not path.name.startswith(".")
    }
    return sorted(found, key=lambda data: (len(data), data))
