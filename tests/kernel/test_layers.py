"""The kernel can be lifted out: it imports nothing of ours, and its errors are as drawn."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import astrid.kernel
from astrid.kernel import errors
from astrid.kernel.errors import KernelError, Misuse, Stuck, is_fatal

HOME = Path(astrid.kernel.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text()) for path in HOME.glob("*.py")}


def test_the_kernel_imports_only_trio_msgspec_outcome_and_the_standard_library() -> None:
    allowed = {"trio", "msgspec", "outcome", "astrid.kernel"}
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            targets = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for target in targets:
                top = ".".join(target.split(".")[:2]) if target.startswith("astrid") else target.split(".")[0]
                assert top in allowed or top in sys.stdlib_module_names, f"{name} imports {target}"


def test_the_errors_are_as_drawn() -> None:
    drawing = re.findall(r"^    ([ │├└─]*)(\w+)  ", errors.__doc__ or "", flags=re.M)
    parents: list[str] = []
    drawn: dict[str, str] = {}
    for branch, name in drawing:
        depth = len(branch) // 3
        drawn[name] = parents[depth - 1] if depth else "Exception"
        parents[depth:] = [name]
    real = {
        name: kind.__mro__[1].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, KernelError)
    }
    assert drawn == real


def test_every_error_is_raised_with_a_code_that_can_be_listed() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, KernelError)}
    codes: set[str] = set()
    for tree in MODULES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                code = node.args[0]
                assert isinstance(code, ast.Constant)
                assert isinstance(code.value, str)
                assert re.fullmatch(r"kernel\.[a-z_]+", code.value)
                codes.add(code.value)
    assert {"kernel.actor_gone", "kernel.against_rank", "kernel.too_many_restarts"} <= codes


def test_only_the_ends_of_everything_are_fatal() -> None:
    assert [is_fatal(error) for error in (None, ValueError(), Misuse("kernel.x", "x"))] == [False] * 3
    assert [is_fatal(error) for error in (KeyboardInterrupt(), SystemExit(), Stuck("kernel.x", "x"))] == [True] * 3


def test_a_nursery_is_opened_in_one_place() -> None:
    openers = {
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "open_nursery"
    }
    assert openers == {"system"}
