"""The tools of the workspace as a model sees them: arguments, descriptions, and what a decision needs to know of them.

Never: runs anything.  The schema that a model gets and the type that its arguments are checked against are one.

Source: the first Astrid (names, parameters, limits); architecture 6 ("Tool definitions").
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from astrid.core.call import MAX_CALL_BYTES
from astrid.core.json_scan import scan_json
from astrid.core.risk import EffectClass
from astrid.core.tools import ControlKind, OutputTrust, ToolSpec
from astrid.core.visible import visible
from astrid.errors import WorkspaceError

HOST_KIND = "workspace"
HOST_ID = "main"
MAX_DEPTH = 2
DEFAULT_TIMEOUT_MS = 120_000
MAX_TIMEOUT_MS = 600_000
MAX_LEAVES = 16
_READ = (
    "Files and folders outside the workspace that the command has to read or run, by their real paths; asks a person."
)
_WRITE = "Files and folders outside the workspace that the command has to change, by their real paths; asks a person."
MAX_HOSTS = 16
MAX_HOST_CHARS = 260
_NO_CODE = b"\0" * 32  # the tools are part of Astrid, whose version the profile names

FilePath = Annotated[
    str, Meta(description="Path of the file, from the workspace's root; absolute and ~/ paths ask a person.")
]
FolderPath = Annotated[str, Meta(description="Folder, from the workspace's root.")]
HostName = Annotated[str, Meta(min_length=1, max_length=MAX_HOST_CHARS)]
SearchPath = Annotated[
    str, Meta(description="Folder to search, from the workspace's root; the root itself if left out.")
]


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of one tool, and what the tool is."""

    NAME: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    EFFECT: ClassVar[EffectClass]
    CONTROL: ClassVar[tuple[str, ControlKind]]
    VERBS: ClassVar[tuple[str, ...]]
    NOUNS: ClassVar[tuple[str, ...]]


class ReadFile(Arguments, frozen=True):
    """``read_file``."""

    NAME = "read_file"
    DESCRIPTION = (
        "Read a text file. Lines are numbered; at most 2000 of them are shown at once, each cut at 2000 "
        "bytes. Use offset and limit for more. Characters that cannot be seen are written as \\u{hex}. A PNG or JPEG "
        "image is shown as one, if the model takes images."
    )
    EFFECT = EffectClass.READ
    CONTROL = ("file_path", ControlKind.OBJECT)
    VERBS = ("open", "read", "show", "view")
    NOUNS = ("file", "source", "text")

    file_path: FilePath
    offset: Annotated[int, Meta(ge=1, description="First line to show, counted from 1.")] = 1
    limit: Annotated[int, Meta(ge=1, description="How many lines to show.")] = 2000


class WriteFile(Arguments, frozen=True):
    """``write_file``."""

    NAME = "write_file"
    DESCRIPTION = (
        "Write a whole text file, replacing what it held; folders are created as needed. It happens "
        "completely or not at all."
    )
    EFFECT = EffectClass.STAGING
    CONTROL = ("file_path", ControlKind.OBJECT)
    VERBS = ("create", "save", "write")
    NOUNS = ("file", "source", "text")

    file_path: FilePath
    content: Annotated[str, Meta(description="The new text of the file.")]


class EditFile(Arguments, frozen=True):
    """``edit_file``."""

    NAME = "edit_file"
    DESCRIPTION = (
        "Replace a text in a file. old_string must match exactly, white space included, and must stand there "
        "exactly once unless replace_all is set."
    )
    EFFECT = EffectClass.STAGING
    CONTROL = ("file_path", ControlKind.OBJECT)
    VERBS = ("change", "edit", "fix", "replace")
    NOUNS = ("file", "source", "text")

    file_path: FilePath
    old_string: Annotated[str, Meta(min_length=1, description="The text to replace.")]
    new_string: Annotated[str, Meta(description="What to put in its place.")]
    replace_all: Annotated[bool, Meta(description="Replace every occurrence.")] = False


class Glob(Arguments, frozen=True):
    """``glob``."""

    NAME = "glob"
    DESCRIPTION = (
        "Find files by name, newest first. * is part of a name, ** any number of folders, ? one character, "
        "[a-z] one of a set, {a,b} either. Names that begin with a dot are found only by a pattern that says "
        "so."
    )
    EFFECT = EffectClass.READ
    CONTROL = ("path", ControlKind.OBJECT)
    VERBS = ("find", "list", "search")
    NOUNS = ("file", "folder")

    pattern: Annotated[str, Meta(description="For example **/*.py or src/*.{ts,tsx}.")]
    path: SearchPath = "."


class Grep(Arguments, frozen=True):
    """``grep``."""

    NAME = "grep"
    DESCRIPTION = (
        "Find lines by a regular expression (no look-around, no back-references), in one file or in all text "
        "files of a folder. Folders whose name begins with a dot are left out, and the search stops after 100"
        " files with matches."
    )
    EFFECT = EffectClass.READ
    CONTROL = ("path", ControlKind.OBJECT)
    VERBS = ("find", "grep", "search")
    NOUNS = ("file", "line", "text")

    pattern: Annotated[str, Meta(min_length=1, max_length=4096, description="The regular expression.")]
    path: Annotated[str, Meta(description="File or folder to search; the workspace's root if left out.")] = "."
    glob: Annotated[str, Meta(description="Search only files with such names, for example *.py.")] = ""
    context: Annotated[int, Meta(ge=0, le=20, description="Lines to show before and after each match.")] = 0
    case_insensitive: Annotated[bool, Meta(description="Ignore the case of letters.")] = False


class ListDirectory(Arguments, frozen=True):
    """``list_directory``."""

    NAME = "list_directory"
    DESCRIPTION = "List a folder: first its folders, then its files with their size."
    EFFECT = EffectClass.READ
    CONTROL = ("path", ControlKind.OBJECT)
    VERBS = ("list", "show")
    NOUNS = ("directory", "file", "folder")

    path: FolderPath


class Bash(Arguments, frozen=True):
    """``bash``."""

    NAME = "bash"
    DESCRIPTION = (
        "Run one command line with bash. Programs are looked for in the system's folders only. Every call starts "
        "afresh, in the folder cwd: cd, variables and functions do not persist, and what still runs in the background "
        "at the end is killed. Lines that cannot be judged (eval, functions, loops) are refused: put them into a "
        "script file and run that."
    )
    EFFECT = EffectClass.EXEC
    CONTROL = ("command", ControlKind.COMMAND)
    VERBS = ("build", "execute", "run", "start", "test")
    NOUNS = ("command", "program", "script", "shell")

    command: Annotated[str, Meta(min_length=1, description="The command line.")]
    cwd: Annotated[str, Meta(description="Folder of the workspace to run in; the root if left out.")] = "."
    read: Annotated[tuple[str, ...], Meta(max_length=MAX_LEAVES, description=_READ)] = ()
    write: Annotated[tuple[str, ...], Meta(max_length=MAX_LEAVES, description=_WRITE)] = ()
    timeout: Annotated[int, Meta(ge=1, le=MAX_TIMEOUT_MS, description="Milliseconds after which it is killed.")] = (
        DEFAULT_TIMEOUT_MS
    )
    hosts: Annotated[
        tuple[HostName, ...],
        Meta(
            max_length=MAX_HOSTS,
            description="Hosts the command needs to reach, each as name or name:port (443 if left out); a person is"
            " asked. None if left out.",
        ),
    ] = ()


ALL: tuple[type[Arguments], ...] = (ReadFile, WriteFile, EditFile, Glob, Grep, ListDirectory, Bash)

_A = TypeVar("_A", bound=Arguments)


def decode_arguments(shape: type[_A], args: bytes) -> _A:
    """The arguments that the JSON text ``args`` spells.

    Raises:
        CanonError: JSON with two meanings.
        WorkspaceError: not the arguments of this tool.
    """
    scan_json(args, max_bytes=MAX_CALL_BYTES, max_depth=MAX_DEPTH)
    try:
        return msgspec.json.decode(args, type=shape)
    except msgspec.ValidationError as error:
        raise invalid_arguments(visible(str(error))) from error


def invalid_arguments(reason: str) -> WorkspaceError:
    """The arguments are none of this tool's."""
    return WorkspaceError(
        "workspace.arguments",
        f"Invalid arguments: {reason}",
        effect="none",
        advice="see the tool's schema",
    )


def bash_spec(profile: bytes, about: str, *, contains: bool) -> ToolSpec:
    """The definition of ``bash`` in a box of ``profile``.  Where that ``contains`` all a line can do, its effect is of
    another class; where it does not, a person is asked about each line.
    """
    if contains:
        return msgspec.structs.replace(tool_spec(Bash, profile, about), effect=EffectClass.CONTAINED.value)
    spec = tool_spec(Bash, profile, f"A person approves each line. {about}".rstrip())
    return msgspec.structs.replace(spec, fresh=True)


def tool_spec(shape: type[Arguments], profile: bytes, about: str = "") -> ToolSpec:
    """The definition of one tool.  ``profile`` is the digest of the sandbox profile in force, ``about`` what a model
    is to know of that.
    """
    argument, kind = shape.CONTROL
    return ToolSpec(
        name=shape.NAME,
        host_kind=HOST_KIND,
        host_id=HOST_ID,
        description=f"{shape.DESCRIPTION} {about}".rstrip().encode(),
        schema=_schema(shape),
        effect=shape.EFFECT.value,
        control=((argument, kind.value),),
        verbs=shape.VERBS,
        nouns=shape.NOUNS,
        output_trust=OutputTrust.THIRD_PARTY,
        endorsed_fields=(),
        creates_id="",
        code=_NO_CODE,
        profile=profile,
        fresh=False,
    )


def _schema(shape: type[Arguments]) -> bytes:
    _, components = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
    schema = components[shape.__name__]
    del schema["title"]
    schema.pop("description", None)  # the docstring; the tool has a description of its own
    return msgspec.json.encode(schema, order="deterministic")
