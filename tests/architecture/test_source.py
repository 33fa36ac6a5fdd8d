"""Rules of layout that a linter cannot see: what may stand in which file, and nowhere else.

Each rule carries a line that breaks it, and one test plants that line: a rule that finds nothing guards nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.architecture.source import Module, dotted, modules

MAX_LINES = 400

PROCESS_LAUNCHERS = (
    *("adapters/workspace/process.py", "adapters/workspace/watchman.py", "frontends/launch.py"),
    *("adapters/sandbox/starting.py", "adapters/sandbox/cage/supervisor.py"),
)
# Around a contained program, which the zygote starts.
CHILD_NURSERIES = tuple(
    f"adapters/sandbox/{name}.py" for name in ("launcher", "attending", "streaming", "seatbelt_launcher")
)
# An interrupt from the keyboard ends the system in order, child by child, and is raised again after the last of them.
KERNEL_ENDS = ("kernel/life.py", "kernel/system.py")
_PROCESS_CALLS = {
    *("open_process", "run_process", "fork", "forkpty", "system", "popen", "startfile"),
    *("posix_spawn", "posix_spawnp", "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"),
    *("spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve", "spawnvp", "spawnvpe"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that may stand in ``allowed`` only."""

    says: str
    finds: Callable[[ast.AST], bool]
    allowed: tuple[str, ...]
    breach: str


def _last(node: ast.AST) -> str:
    return dotted(node).rpartition(".")[2]


def _imports(node: ast.AST, packages: set[str]) -> bool:
    match node:
        case ast.Import():
            return any(alias.name.partition(".")[0] in packages for alias in node.names)
        case ast.ImportFrom():
            return (node.module or "").partition(".")[0] in packages
        case _:
            return False


def _catches(node: ast.AST, names: set[str]) -> bool:
    """Whether a handler, or a ``suppress``, takes one of the exceptions; one without a type takes ``BaseException``."""
    match node:
        case ast.ExceptHandler(body=[*cleaning, ast.Raise(exc=None)]) if not any(map(_leaves, cleaning)):
            return False  # cleans up and hands on what it saw
        case ast.ExceptHandler(type=None):
            return "BaseException" in names
        case ast.ExceptHandler(type=ast.expr() as caught):
            return any(_last(part) in names for part in ast.walk(caught))
        case ast.Call() if _last(node.func) == "suppress":
            return any(_last(argument) in names for argument in node.args)
        case _:
            return False


def _leaves(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Return | ast.Break | ast.Continue) for node in ast.walk(statement))


def _opens_nursery(node: ast.AST) -> bool:
    return _last(node) == "open_nursery" or (isinstance(node, ast.alias) and node.name == "open_nursery")


def _starts_process(node: ast.AST) -> bool:
    match node:
        case ast.Attribute():
            return node.attr in _PROCESS_CALLS and dotted(node.value) in {"os", "trio", "trio.lowlevel"}
        case ast.ImportFrom(module="os" | "trio" | "trio.lowlevel"):
            return any(alias.name in _PROCESS_CALLS for alias in node.names)
        case ast.Call(args=[ast.Constant(value="clone" | "clone3" | "fork" | "vfork" | "execve"), *_]):
            return _last(node.func) in {"call", "syscall"}  # by its name among the system calls
        case _:
            return _imports(node, {"subprocess", "multiprocessing", "pty"})


RULES = (
    Rule(
        "a nursery is opened in the kernel, in a connection and around a child process",
        _opens_nursery,
        (
            *("kernel/", "daemon/connection.py", "frontends/client.py", "frontends/fleet/run.py"),
            *(*PROCESS_LAUNCHERS, *CHILD_NURSERIES),
            # What a child process opens beyond its sandbox lasts as long as it does, and each is two ways at once.
            *("adapters/egress/proxy.py", "adapters/egress/carrying.py"),
        ),
        "async with trio.open_nursery() as nursery: pass",
    ),
    Rule(
        "what ends a task is never caught",
        lambda node: _catches(node, {"BaseException", "BaseExceptionGroup", "Cancelled", "GeneratorExit"}),
        KERNEL_ENDS,
        "try: pass\nexcept (ValueError, trio.Cancelled): pass",
    ),
    Rule(
        "what ends a task is never caught by a handler without a type",
        lambda node: _catches(node, {"BaseException"}),
        KERNEL_ENDS,
        "try: pass\nexcept: pass",
    ),
    Rule(
        "any exception at all is caught by the supervisor, around the decision and before a worker is asked",
        lambda node: _catches(node, {"Exception", "ExceptionGroup"}),
        ("kernel/life.py", "kernel/supervisor.py", "core/gate_decide.py", "hosts/tool_host.py"),
        "with contextlib.suppress(Exception): pass",
    ),
    Rule(
        "a process is started by a launcher",
        _starts_process,
        PROCESS_LAUNCHERS,
        "async def run(): await trio.lowlevel.open_process(['ls'])",
    ),
    Rule(
        "a process is started by the system call only in a launcher",
        _starts_process,
        PROCESS_LAUNCHERS,
        "kernel.call('clone', 17, 0, 0, 0, 0)",
    ),
    Rule(
        "a module of processes is imported by a launcher",
        _starts_process,
        PROCESS_LAUNCHERS,
        "from subprocess import run",
    ),
    Rule(
        "text is never turned into code",
        lambda node: isinstance(node, ast.Call) and dotted(node.func) in {"eval", "exec", "compile", "__import__"},
        (),
        "eval('1')",
    ),
    Rule(
        "nothing is unpickled",
        lambda node: _imports(node, {"pickle", "marshal", "shelve", "dill"}),
        (),
        "import pickle",
    ),
    Rule(
        "only a shell opens, prints or reads",
        lambda node: isinstance(node, ast.Call) and dotted(node.func) in {"open", "print", "input", "breakpoint"},
        (*("adapters/", "daemon/", "frontends/", "guard/", "home/", "hosts/", "kernel/", "runtime/"),),
        "open('x')",
    ),
)


def breaches(rule: Rule, module: Module) -> list[str]:
    """``path:line`` of every place that breaks the rule."""
    if module.within(rule.allowed):
        return []
    return [f"{module.path}:{getattr(node, 'lineno', 0)}" for node in ast.walk(module.tree) if rule.finds(node)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.says)
def test_nothing_stands_outside_the_files_that_may_hold_it(rule: Rule) -> None:
    assert [place for module in modules() for place in breaches(rule, module)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.says)
def test_a_planted_breach_is_found_and_its_own_place_is_exempt(rule: Rule) -> None:
    tree = ast.parse(f"async def planted():\n    {rule.breach.replace(chr(10), chr(10) + '    ')}\n")
    assert breaches(rule, Module("astrid.core.planted", "src/astrid/core/planted.py", "", tree))
    for place in rule.allowed:
        path = f"src/astrid/{place}" + ("planted.py" if place.endswith("/") else "")
        assert breaches(rule, Module("astrid.planted", path, "", tree)) == []


@pytest.mark.parametrize(
    ("body", "caught"),
    [
        ("raise", False),
        ("undo()\n    raise", False),
        ("if x: return\n    raise", True),
        ("raise Other from None", True),
    ],
)
def test_a_handler_that_hands_on_what_it_saw_has_not_caught_it(body: str, caught: bool) -> None:
    tree = ast.parse(f"def planted():\n  try: do()\n  except BaseException:\n    {body}\n")
    assert any(_catches(node, {"BaseException"}) for node in ast.walk(tree)) is caught


def test_the_core_takes_any_exception_in_one_place_only() -> None:
    core = [module for module in modules() if module.name.startswith("astrid.core")]
    broad = [node for module in core for node in ast.walk(module.tree) if _catches(node, {"Exception"})]
    assert len(broad) <= 1


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {module.path: len(module.text.splitlines()) for module in modules()}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_says_in_its_header_what_it_is() -> None:
    assert [module.path for module in modules() if not ast.get_docstring(module.tree)] == []


def test_every_package_says_in_its_header_what_it_never_does() -> None:
    packages = [module for module in modules() if module.is_package and module.name != "astrid"]
    assert [m.path for m in packages if "never" not in (ast.get_docstring(m.tree) or "").lower()] == []
