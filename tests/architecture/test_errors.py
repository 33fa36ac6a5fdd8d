"""Error classes, their drawing, their codes and the page that lists them say the same."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from astrid import errors
from astrid.errors import AstridError
from tests.architecture.source import ROOT, Module, dotted, modules

PAGE = ROOT / "docs" / "errors.md"
# The classes themselves, and the place that hands on what the other end of a connection reported.
NOT_RAISED = {"astrid.errors", "astrid.wire.errors"}
CODE = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+")
ROW = re.compile(r"^\| `(?P<code>[^`]+)` \| (?P<where>[^|]+) \| (?P<words>(?:[^|\\]|\\.)+) \|$", re.MULTILINE)
BRANCH = re.compile(r"^(?P<stem>[ │├└─]*)(?P<name>[A-Z]\w*Error)\b")


# What the page suggests where the place that raises gives no advice; somebody who knows better rewrites the row.
USUALLY = {
    "InternalError": "a bug in Astrid: report it",
    "CanonError": "damaged, or made by another version: make it anew",
    "KeyFormatError": "use a key made by `astrid keys`",
    "PatternError": "correct the pattern",
    "CommandError": "write the command more plainly, or put it into a script file and run that",
    "TokenError": "refused whole: ask for a new one",
    "ChainError": "keep this copy and compare it with an anchor or another witness",
    "LocalProtocolError": "a bug on this side: report it",
    "RemoteProtocolError": "update the older of the two ends; the connection is closed",
    "ConfigError": "correct the entry that the message names",
    "InputError": "correct what was given",
    "WireError": "correct the request",
    "ModelError": "try again, or choose another model",
    "JournalError": "free or repair the disk; nothing runs until the log can be written",
    "LaunchError": "check that the program exists and may be run",
    "WorkspaceError": "look at the file or folder, and correct the call",
}


# Where a person meets an error first: at a command, at the signer, in a file of the home, when the daemon starts.
# A bug is theirs to report, whatever it is about.
MET = (
    "astrid.frontends.",
    "astrid.home.",
    "astrid.runtime.",
    "astrid.daemon.",
    "astrid.adapters.store.",
    "astrid.adapters.llm.catalogue",
    "astrid.adapters.llm.script",
)
BUGS = {"InternalError", "LocalProtocolError"}


@dataclass(frozen=True, slots=True)
class Raised:
    """One place where an error of ours is made, with the codes it may carry; none when they cannot be read off."""

    module: str
    line: int
    kind: str
    codes: tuple[str, ...]
    says: str
    advice: str  # as far as it can be read off
    advises: bool

    @property
    def row(self) -> str:
        """What the page may say about it: what was wrong, and what to do."""
        says = self.says or "".join(self.codes[:1]).partition(".")[2].replace("-", " ")
        return f"{says} → {self.advice or USUALLY.get(self.kind, '?')}".replace("|", "\\|")


def drawn(text: str) -> dict[str, str]:
    """Name -> name of the parent, read from a drawn tree; the root has the empty parent."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.cleandoc(text).splitlines():
        if found := BRANCH.match(line):
            depth = len(found["stem"])
            while above and above[-1][0] >= depth:
                above.pop()
            parents[found["name"]] = above[-1][1] if above else ""
            above.append((depth, found["name"]))
    return parents


def defined(root: type[BaseException]) -> dict[str, str]:
    """Name -> name of the parent, for a class and all that derive from it in its own module."""
    parents = {root.__name__: ""}
    for child in root.__subclasses__():
        if child.__module__ == root.__module__:
            parents |= defined(child) | {child.__name__: root.__name__}
    return parents


def our_errors() -> frozenset[str]:
    """The names of AstridError and of everything in the product that derives from it, by whatever way."""
    names = set(defined(AstridError))
    classes = [node for module in modules() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    while found := {c.name for c in classes if {dotted(b).rpartition(".")[2] for b in c.bases} & names} - names:
        names |= found
    return frozenset(names)


def raised(module: Module, names: frozenset[str]) -> Iterator[Raised]:
    """Every place in the module that makes one of the errors."""
    constants = {
        target.id: node.value
        for node in module.tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and (kind := dotted(node.func).rpartition(".")[2]) in names:
            code, says = [*node.args, None, None][:2]
            advice = next((keyword.value for keyword in node.keywords if keyword.arg == "advice"), None)
            yield Raised(
                module.name,
                node.lineno,
                kind,
                tuple(_literals(code)),
                _words(says, constants),
                _words(advice, constants),
                not (advice is None or (isinstance(advice, ast.Constant) and not advice.value)),
            )


def _literals(node: ast.expr | None) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(code)):
            yield code
        case ast.IfExp():
            yield from _literals(node.body)
            yield from _literals(node.orelse)
        case _:
            return


def _words(node: ast.expr | None, constants: dict[str, ast.expr]) -> str:
    """The text of a literal, with dots where a value is filled in; nothing where it is not one."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(_words(part, constants) or "…" for part in node.values)
        case ast.Name() if node.id in constants:
            return _words(constants[node.id], {})
        case _:
            return ""


def everything_raised() -> list[Raised]:
    """Every place in the product that makes one of our errors."""
    names = our_errors()
    return [place for module in modules() if module.name not in NOT_RAISED for place in raised(module, names)]


def rows_wanted() -> dict[str, tuple[str, str]]:
    """Code -> the modules that raise it, as the page writes them, and what the page may say about it."""
    found: dict[str, list[Raised]] = {}
    for place in everything_raised():
        for code in place.codes:
            found.setdefault(code, []).append(place)
    return {
        code: (
            ", ".join(f"`{name.removeprefix('astrid.')}`" for name in sorted({place.module for place in places})),
            max(places, key=lambda place: (bool(place.advice), bool(place.says))).row,
        )
        for code, places in sorted(found.items())
    }


def rows_written() -> dict[str, tuple[str, str]]:
    """Code -> where it is raised and what is said about it, as the page has them."""
    return {row["code"]: (row["where"].strip(), row["words"].strip()) for row in ROW.finditer(PAGE.read_text("utf-8"))}


def test_the_tree_drawn_in_the_header_is_the_tree_of_the_classes() -> None:
    assert drawn(errors.__doc__ or "") == defined(AstridError)


def test_a_class_missing_from_a_drawing_would_be_noticed() -> None:
    text = (errors.__doc__ or "").replace("PatternError", "Pattern")
    assert set(defined(AstridError)) - set(drawn(text)) == {"PatternError"}


def test_a_class_drawn_below_another_parent_would_be_noticed() -> None:
    assert drawn("AError\n├─ BError\n│   └─ CError\n└─ DError") == {
        "AError": "",
        "BError": "AError",
        "CError": "BError",
        "DError": "AError",
    }


def test_there_is_a_suggestion_for_every_kind_of_error() -> None:
    kinds = set(defined(AstridError)) - {"AstridError", "EdgeError"}  # what nobody raises
    assert kinds == set(USUALLY)


def test_no_error_of_ours_is_defined_outside_the_tree() -> None:
    assert our_errors() == set(defined(AstridError))


def test_every_code_is_a_literal_at_the_place_that_raises_it() -> None:
    assert [f"{place.module}:{place.line}" for place in everything_raised() if not place.codes] == []


def test_whatever_a_person_meets_first_says_what_to_do() -> None:
    """A code and a message leave them alone with it; give the place that raises it an ``advice``."""
    met = [place for place in everything_raised() if place.module.startswith(MET) and place.kind not in BUGS]
    assert {place.module.split(".")[1] for place in met} == {part.split(".")[1] for part in MET}
    silent = [f"{place.module}:{place.line} {place.codes}" for place in met if not place.advises]
    assert not silent, "these say what was wrong and not what to do about it:\n" + "\n".join(silent)


def test_every_code_is_a_family_and_a_reason() -> None:
    assert [code for code in rows_wanted() if not CODE.fullmatch(code)] == []


def test_the_scan_sees_codes_however_the_class_is_named_and_misses_none_that_is_not_literal() -> None:
    tree = ast.parse("raise errors.TokenError('a.b', '')\nTokenError('c.d' if x else 'e.f', '')\nTokenError(code, '')")
    module = Module("astrid.planted", "src/astrid/planted.py", "", tree)
    assert sorted(p.codes for p in raised(module, our_errors())) == [(), ("a.b",), ("c.d", "e.f")]


def test_the_page_lists_each_code_once_with_the_modules_that_raise_it() -> None:
    written = rows_written()
    wanted = rows_wanted()
    missing = [
        f"| `{code}` | {where} | {written.get(code, ('', words))[1]} |"
        for code, (where, words) in wanted.items()
        if written.get(code, ("",))[0] != where
    ]
    stale = sorted(set(written) - set(wanted))
    assert not missing, "docs/errors.md needs these rows:\n" + "\n".join(missing)
    assert not stale, "docs/errors.md has rows that nothing raises: " + ", ".join(stale)


def test_the_rows_of_the_page_are_sorted_and_unique() -> None:
    codes = [row["code"] for row in ROW.finditer(PAGE.read_text("utf-8"))]
    assert codes == sorted(set(codes))


def test_every_row_of_the_page_has_the_shape_that_is_checked() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert [line for line in rows if not ROW.fullmatch(line)] == []
