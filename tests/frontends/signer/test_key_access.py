"""Who even names the user's key file: the signer, and the commands that tell how it is kept without opening it."""

from __future__ import annotations

import ast

from tests.architecture.source import modules

MAY_NAME_IT = {
    "astrid.home.layout",  # says where it is
    "astrid.frontends.signer.vault",  # opens it
    "astrid.frontends.signer.creation",  # whether it is there
    "astrid.frontends.cli.keys",  # whether it is there, and its mode
    "astrid.frontends.cli.doctor",  # likewise
    "astrid.frontends.demo.stage",  # leaves it out of its copies
}


def test_nobody_else_names_the_user_key_file() -> None:
    named = {
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr == "user_key")
        or (isinstance(node, ast.Constant) and node.value == "user.key")
    }
    assert named <= MAY_NAME_IT


def test_only_the_signer_imports_what_opens_it() -> None:
    importers = {
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "astrid.frontends.signer.vault"
    }
    assert importers == {"astrid.frontends.signer.creation", "astrid.frontends.signer.service"}
    services = {
        module.name
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module == "astrid.frontends.signer.service"
    }
    assert services == {"astrid.frontends.signer.__main__"}
