"""What went wrong with other agents, tried on ours: one test an incident, named by its number or by who reported it.

Judged by what is left outside: a secret in what the model is told, a file that changed.  Those about what a folder
brings along, hosts on the network, and what was approved once are in ``test_incidents_late``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from astrid.adapters.sandbox.shell import BoxedShell
from astrid.adapters.workspace.shell import OWN_RIGHTS
from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.box_ports import Tier
from astrid.core.call import Need
from astrid.core.resources import file_pattern_tree
from astrid.core.risk import Risk
from astrid.core.tokens import Permission
from astrid.errors import AstridError
from astrid.runtime.boxes import boxes
from tests.fakes.workspace_bench import Bench

pytestmark = pytest.mark.e2e

CANARY = "canary-of-the-incidents"


@asynccontextmanager
async def agent(tmp_path: Path, tier: Tier) -> AsyncIterator[Bench]:
    """The tools of a session in a workspace; beside it a file with a secret."""
    root = tmp_path.resolve()  # noqa: ASYNC240 - it is there
    (root / "ws").mkdir()
    (root / "home").mkdir()
    (root / "ws-evil").mkdir()
    for place in (root / "outside", root / "ws-evil" / "file"):
        place.write_text(CANARY)
    async with boxes("l0", [str(root / "home")]) as launcher:
        tools = WorkspaceTools(
            root / "ws",
            home=root / "home",
            profile=bytes(OWN_RIGHTS),
            shell=BoxedShell(launcher, tier),
            hidden=lambda _: False,
        )
        try:
            yield Bench(root / "ws", root / "home", tools, set())
        finally:
            tools.close()


async def told(bench: Bench, line: str) -> str:
    """What a model is told of a line, once a person has said yes to it, if one is asked at all."""
    try:
        return (await bench.outcome("bash", command=line)).content.decode()
    except AstridError as refused:
        return refused.render()


def outside_of(bench: Bench) -> Path:
    """The file with the secret."""
    return bench.folder.parent / "outside"


async def is_named_or_held(bench: Bench, line: str, program: str) -> None:
    """A person who is asked about ``line`` is told of ``program``; nobody is asked where it is held, named or not."""
    preparation = await bench.prepare("bash", command=line)
    if preparation.fresh:
        assert f"%2F{program}/" in " ".join(need.resource for need in preparation.needs)
        return
    assert preparation.needs == (Need(file_pattern_tree(str(bench.folder)).text, int(Permission.EXECUTE)),)
    assert preparation.risk == Risk.MEDIUM


@pytest.mark.parametrize(
    "line", ['echo "$(touch made)"', "echo `touch made`", 'echo "a"; touch made', "echo <(touch made)"]
)
async def test_cve_2025_54795_what_hides_in_the_words_of_a_harmless_program_is_named(
    tmp_path: Path, tier: Tier, line: str
) -> None:
    async with agent(tmp_path, tier) as bench:
        try:
            await is_named_or_held(bench, line, "touch")
        except AstridError as refused:
            assert refused.code.startswith("command.")


async def test_fifty_commands_before_it_hide_no_command(tmp_path: Path, tier: Tier) -> None:
    async with agent(tmp_path, tier) as bench:
        line = "; ".join([*("true" for _ in range(60)), "touch made"])
        try:
            await is_named_or_held(bench, line, "touch")
        except AstridError as refused:
            assert refused.code.startswith("command.")


@pytest.mark.parametrize("line", ["echo a\rtouch made", "echo a\x0btouch made", "echo \x1b[2K", "echo a\x00b"])
async def test_a_line_that_two_parsers_read_differently_is_refused(tmp_path: Path, tier: Tier, line: str) -> None:
    async with agent(tmp_path, tier) as bench:
        with pytest.raises(AstridError):
            await bench.prepare("bash", command=line)


@pytest.mark.parametrize(
    "line",
    [
        "find . -maxdepth 0 -exec cat {outside} ;",
        "sed -n '1e cat {outside}' file",
        "sort --compress-program=./reader -S 1b file",
        "awk 'BEGIN {{ while ((getline l < \"{outside}\") > 0) print l }}'",
        "tar cf - --checkpoint=1 --checkpoint-action=exec='cat {outside}' file",
    ],
)
async def test_cve_2025_66032_a_reader_with_a_dangerous_option_reads_nothing_outside(
    tmp_path: Path, tier: Tier, line: str
) -> None:
    async with agent(tmp_path, tier) as bench:
        (bench.folder / "file").write_text("x\n" * 100)
        (bench.folder / "reader").write_text(f"#!/bin/sh\ncat {tmp_path}/outside >&2\n")
        (bench.folder / "reader").chmod(0o755)
        assert CANARY not in await told(bench, line.format(outside=outside_of(bench)).replace(" ;", r" \;"))


@pytest.mark.parametrize("joint", ["&&", ";", "||", "|", "&"])
async def test_what_follows_the_first_command_is_named_too(tmp_path: Path, tier: Tier, joint: str) -> None:
    async with agent(tmp_path, tier) as bench:
        await is_named_or_held(bench, f"ls {joint} touch made" + " " * 2000, "touch")


async def test_cve_2026_22708_no_variable_of_one_command_reaches_the_next(tmp_path: Path, tier: Tier) -> None:
    async with agent(tmp_path, tier) as bench:
        assert "exit code" not in await told(bench, "export LEFT=behind")
        assert "behind" not in await told(bench, "env")


@pytest.mark.parametrize("line", ["$X y", "'' y", "${SHELL} -c ls", "l? y"])
async def test_cve_2026_28463_a_program_known_only_when_the_line_runs_is_refused(
    tmp_path: Path, tier: Tier, line: str
) -> None:
    async with agent(tmp_path, tier) as bench:
        with pytest.raises(AstridError):
            await bench.prepare("bash", command=line)


@pytest.mark.parametrize(
    "line",
    [
        "bash -c 'cat /proc/self/root{outside}'",
        "cp /bin/cat c && chmod +x c && bash -c './c {outside}'",
        "bash -c '/lib64/ld-linux-x86-64.so.2 /bin/cat {outside}'",
        "ln -s {outside} l && bash -c 'cat l'",
    ],
)
async def test_ona_no_other_name_of_a_file_or_a_program_leads_out(tmp_path: Path, tier: Tier, line: str) -> None:
    async with agent(tmp_path, tier) as bench:
        assert CANARY not in await told(bench, line.format(outside=outside_of(bench)))


@pytest.mark.parametrize("folder", ["..", "/", "~", "link", "a/../../ws-evil", "/proc/self/cwd/.."])
async def test_cve_2025_59532_no_folder_outside_is_one_to_run_in(tmp_path: Path, tier: Tier, folder: str) -> None:
    async with agent(tmp_path, tier) as bench:
        (bench.folder / "link").symlink_to(bench.home)
        (bench.folder / "a").mkdir()
        assert (await bench.refusal("bash", command="true", cwd=folder)).code.startswith("workspace.")
        done = await bench.outcome(
            "bash", command="bash -c 'echo x > ../made; echo x > ../../made; cat ../made'", cwd="a"
        )
        assert done.content.startswith(b"x")
        assert not (bench.folder.parent / "made").exists()


@pytest.mark.parametrize("argument", ["tier", "sandbox", "env", "dangerouslyDisableSandbox"])
async def test_no_argument_of_a_call_chooses_the_box(tmp_path: Path, tier: Tier, argument: str) -> None:
    async with agent(tmp_path, tier) as bench:
        refused = await bench.refusal("bash", command="true", **{argument: "none"})
        assert refused.code == "workspace.arguments"


async def test_cve_2025_55284_no_name_is_looked_up_and_nothing_leaves(tmp_path: Path, tier: Tier) -> None:
    async with agent(tmp_path, tier) as bench:
        code = "import socket as s; k = s.socket(s.AF_INET, s.SOCK_DGRAM); k.connect(('127.0.0.53', 53)); print('OUT')"
        (bench.folder / "f.py").write_text(code)
        assert "OUT" not in (await told(bench, "python3 f.py")).splitlines()


@pytest.mark.parametrize(
    "name", [".vscode/settings.json", ".cursor/mcp.json", ".mcp.json", ".claude/settings.json", ".git/hooks/pre-commit"]
)
@pytest.mark.parametrize("there", [True, False])
async def test_what_steers_an_agent_or_an_editor_is_not_a_commands_to_write(
    tmp_path: Path, tier: Tier, name: str, there: bool
) -> None:
    """CVE-2025-53773, CVE-2025-54135; and CVE-2026-25725, where it was not there when the box was made."""
    if tier == "l0":
        pytest.skip("tier l0 protects no names")
    async with agent(tmp_path, tier) as bench:
        (bench.folder / ".git").mkdir()
        if there:
            (bench.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (bench.folder / name).write_text("mine")
        await told(bench, f"bash -c 'mkdir -p {os.path.dirname(name) or '.'}; echo evil > {name}'")
        assert ((bench.folder / name).read_text() if there else (bench.folder / name).exists()) == (
            "mine" if there else False
        )


@pytest.mark.parametrize("name", [".cUrSoR/mcp.json", ".VSCODE/settings.json", ".MCP.json", ".mcp\u200b.json"])
async def test_cve_2025_59944_another_spelling_of_a_protected_name_asks_a_person_too(
    tmp_path: Path, tier: Tier, name: str
) -> None:
    async with agent(tmp_path, tier) as bench:
        try:
            preparation = await bench.prepare("write_file", file_path=name, content="x")
        except AstridError as refused:
            assert refused.code.startswith(("workspace.", "pattern."))
        else:
            assert (preparation.fresh, preparation.risk) == (True, Risk.HIGH)


@pytest.mark.parametrize("path", ["../ws-evil/file", "link", "{evil}"])
async def test_cve_2025_53110_a_neighbour_whose_name_begins_alike_is_outside(
    tmp_path: Path, tier: Tier, path: str
) -> None:
    async with agent(tmp_path, tier) as bench:
        evil = bench.folder.parent / "ws-evil" / "file"
        (bench.folder / "link").symlink_to(evil)
        try:
            preparation = await bench.prepare("read_file", file_path=path.format(evil=evil))
        except AstridError as refused:
            assert refused.code == "workspace.escape"
        else:
            assert "ws-evil" in preparation.needs[0].resource
            assert preparation.risk > Risk.LOW
        assert CANARY not in await told(bench, f"bash -c 'cat {path.format(evil=evil)}'")


async def test_amazon_q_nothing_outside_can_be_wiped(tmp_path: Path, tier: Tier) -> None:
    async with agent(tmp_path, tier) as bench:
        (bench.folder / "w.sh").write_text(f"rm -rf {outside_of(bench)} {bench.home}\n")
        await told(bench, "bash w.sh")
        assert (tmp_path / "outside").read_text() == CANARY
        assert (tmp_path / "home").is_dir()


async def test_what_a_command_prints_steers_no_terminal(tmp_path: Path, tier: Tier) -> None:
    async with agent(tmp_path, tier) as bench:
        (bench.folder / "p.py").write_text(r"print('\x1b[2J\x9b1A\u202e\U000e0041')")
        text = await told(bench, "python3 p.py")
        assert not {"\x1b", "\x9b", "\u202e", "\U000e0041"} & set(text)


async def test_s1ngularity_a_command_reaches_no_socket_and_no_home_of_an_agent(tmp_path: Path, tier: Tier) -> None:
    async with agent(tmp_path, tier) as bench:
        (bench.home / "token").write_text(CANARY)
        code = f"import socket as s; s.socket(s.AF_UNIX).connect({str(bench.home / 'socket')!r}); print('OUT')"
        (bench.folder / "f.py").write_text(code)
        text = await told(bench, f"bash -c 'cat {bench.home}/token; ls ~/.astrid; python3 f.py'")
        assert CANARY not in text
        assert "Operation not permitted" in text or "Permission denied" in text
        assert "OUT" not in text.splitlines()
