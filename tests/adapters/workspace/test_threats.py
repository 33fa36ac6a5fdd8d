"""Threats 19 and 20 on real files and programs: the attack does nothing, and works once its control is taken away.

Source: docs/security/threats.md.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrid.adapters.workspace import commands, process, tools
from astrid.core import decide as decide_module
from astrid.core.budget import Ledger
from astrid.core.call import Call, Need, call_digest, encode_call
from astrid.core.canon import MAX_U64
from astrid.core.decide import Ask, Circumstances, Limits, Permit, decide
from astrid.core.policy import Policy, PolicyConfig
from astrid.core.tokens import Grant, Permission, Scope, Token, issue, verify_chain
from tests.fakes.authority import ROOTS, SESSION, SESSION_KEY, USER, WORKSPACE, block, moment
from tests.fakes.workspace_bench import Bench, MakeBench

# --- 20: several resources, one check


def _seen(bench: Bench) -> None:
    (bench.folder / "f").write_text("a")
    (bench.folder / "d").mkdir()
    (bench.folder / "run.sh").write_text("#!/bin/sh\n")
    (bench.folder / "run.sh").chmod(0o755)


# Each tool, and for the shell every way to touch more than one thing: redirections, pipelines, lists, copies, a folder.
CALLS: dict[str, tuple[str, dict[str, str], int]] = {
    "read": ("read_file", {"file_path": "f"}, 1),
    "overwrite": ("write_file", {"file_path": "f", "content": "x"}, 1),
    "create": ("write_file", {"file_path": "d/new", "content": "x"}, 1),
    "edit": ("edit_file", {"file_path": "f", "old_string": "a", "new_string": "b"}, 1),
    "find": ("glob", {"pattern": "*"}, 1),
    "search": ("grep", {"pattern": "x", "path": "d"}, 1),
    "list": ("list_directory", {"path": "d"}, 1),
    "redirect in and out": ("bash", {"command": "cat < f > out"}, 3),
    "append": ("bash", {"command": "echo x >> f"}, 2),
    "pipeline": ("bash", {"command": "cat f | sort | uniq -c"}, 3),
    "list of commands": ("bash", {"command": "mv f d/f; cp d/f g && rm d/f || true"}, 4),
    "script of the workspace": ("bash", {"command": "./run.sh > d/log 2> d/errors"}, 3),
    "another folder": ("bash", {"command": "cd d && ../run.sh"}, 2),
    "inside a substitution": ("bash", {"command": "echo $(id -u)"}, 2),
    "behind a wrapper": ("bash", {"command": "env nice sort f"}, 3),
}


async def prepared(bench: Bench, what: str) -> Call:
    _seen(bench)
    tool, args, _ = CALLS[what]
    made = bench.call(tool, await bench.prepare(tool, **args), **args)
    return msgspec.structs.replace(
        made, aud=moment().aud, session=SESSION, workspace=WORKSPACE, principal_key=SESSION_KEY.public
    )


def permits(bench: Bench, call: Call, *grants: tuple[Grant, ...]) -> bool:
    """Whether tokens with these grants let the call run.  Each is a person's yes to this very call."""
    digest = call_digest(encode_call(call))

    def yes(number: int, given: tuple[Grant, ...]) -> Token:
        made = block(
            nonce=bytes([number]) * 16,
            holder=SESSION_KEY.public,
            session=SESSION,
            scope=Scope.ONCE,
            uses=1,
            depth=0,
            call=digest,
            grants=tuple(sorted(given)),
        )
        return verify_chain(issue(made, USER), ROOTS)

    spec = next(spec for spec in bench.tools.specs() if spec.name == call.tool)
    policy = Policy(PolicyConfig(blocked_tools=(), denied_paths=()), home="/nowhere")
    limits = Limits(MAX_U64, MAX_U64, MAX_U64)
    around = Circumstances(policy, Ledger(), limits, moment(), standing=True, fresh_reason="")
    held = [yes(number, given) for number, given in enumerate(grants) if given]
    decision = decide(call, digest, spec, held, around)
    assert isinstance(decision, Permit | Ask), decision
    return isinstance(decision, Permit)


def grants_for(call: Call) -> tuple[Grant, ...]:
    return tuple(Grant(need.resource, need.permission, 0, 3, b"") for need in call.needs)


@pytest.mark.parametrize("what", CALLS)
async def test_a_call_is_permitted_by_its_whole_set_and_by_nothing_less(bench: Bench, what: str) -> None:
    call = await prepared(bench, what)
    whole = grants_for(call)
    assert len(whole) == CALLS[what][2], [grant.pattern for grant in whole]
    assert permits(bench, call, whole)
    for dropped in whole:
        rest = tuple(grant for grant in whole if grant != dropped)
        assert not permits(bench, call, rest), dropped
        assert not rest or not permits(bench, call, rest, (dropped,)), "two tokens covered it together"
        for bit in Permission:
            if bit & dropped.perms and bit != dropped.perms:
                weaker = msgspec.structs.replace(dropped, perms=dropped.perms & ~bit)
                assert not permits(bench, call, (*rest, weaker)), (dropped, bit)


@pytest.mark.parametrize("what", [what for what, (_, _, size) in CALLS.items() if size > 1])
async def test_a_check_of_the_first_resource_alone_would_let_the_others_through(
    bench: Bench, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await prepared(bench, what)
    first, *_ = grants_for(call)
    assert not permits(bench, call, (first,))
    weigh = decide_module._weigh

    def weigh_the_first(token: Token, wanted: Any, around: Any) -> Any:
        less = msgspec.structs.replace(wanted.call, needs=wanted.call.needs[:1])
        return weigh(token, msgspec.structs.replace(wanted, call=less), around)

    monkeypatch.setattr(decide_module, "_weigh", weigh_the_first)
    assert permits(bench, call, (first,))


async def test_what_the_tool_would_touch_beyond_the_decided_set_is_not_touched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _seen(bench)
    args = {"command": "cat < f > out"}
    made = bench.call("bash", await bench.prepare("bash", **args), **args)
    fewer = msgspec.structs.replace(made, needs=tuple(need for need in made.needs if not is_out(need)))
    assert (await bench.execute(fewer)).effect == "none"
    assert not (bench.folder / "out").exists()
    monkeypatch.setattr(tools, "_check_decided", lambda now, call: None)
    assert (await bench.execute(fewer)).effect == "done"
    assert (bench.folder / "out").exists()


def is_out(need: Need) -> bool:
    return need.resource.endswith("/out")


# --- 19: what changed between the yes and the run


def _rewrite(bench: Bench) -> None:
    (bench.folder / "deploy.sh").write_text("#!/bin/sh\ntouch ran\n")


def _recipe(bench: Bench) -> None:
    (bench.folder / "Makefile").write_text("all:\n\ttouch ran\n")


def _earlier_recipe(bench: Bench) -> None:
    (bench.folder / "GNUmakefile").write_text("all:\n\ttouch ran\n")


def _linked_recipe(bench: Bench) -> None:
    (bench.folder / "d" / "rules").write_text("all:\n\ttouch ran\n")


def _module(bench: Bench) -> None:
    (bench.folder / "job.py").write_text("open('ran', 'w')\n")


def _hook(bench: Bench) -> None:
    hook = bench.folder / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)
    (bench.folder / "tracked").touch()


def _hook_elsewhere(bench: Bench) -> None:
    (bench.folder / "hooks").mkdir()
    (bench.folder / "hooks" / "post-index-change").write_text("#!/bin/sh\ntouch ran\n")
    (bench.folder / "hooks" / "post-index-change").chmod(0o755)
    git(bench, "config", "core.hooksPath", "hooks")
    (bench.folder / "tracked").touch()


def git(bench: Bench, *arguments: str) -> None:
    subprocess.run(
        ["/usr/bin/git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", *arguments],
        cwd=bench.folder,
        env={"HOME": str(bench.home), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )


def installed(name: str) -> bool:
    return Path("/usr/bin", name).exists()


def repository(bench: Bench) -> None:
    git(bench, "init", "-q")
    (bench.folder / "tracked").write_text("x")
    git(bench, "add", "tracked")
    # As old as can be, so that git has to look at it again.
    subprocess.run(["/usr/bin/touch", "-d", "2001-01-01", str(bench.folder / "tracked")], check=True)


SWAPS: dict[str, tuple[str, Callable[[Bench], object]]] = {
    "a script": ("./deploy.sh", _rewrite),
    "the script of an interpreter": ("/bin/sh deploy.sh", _rewrite),
    "a program's script": ("python3 job.py", _module),
    "a recipe": ("make all", _recipe),
    "a recipe that comes before": ("make all", _earlier_recipe),
    "a recipe behind a link": ("make all", _linked_recipe),
    "a hook of git": ("git status", _hook),
    "the configuration of git": ("git status", _hook_elsewhere),
}


@pytest.mark.parametrize("what", SWAPS)
async def test_what_a_line_runs_was_swapped_after_the_yes(
    bench: Bench, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, swap = SWAPS[what]
    if not installed(command.split()[0]) and command.split()[0] in ("make", "git", "python3"):
        pytest.skip(f"{command.split()[0]} is not installed")
    (bench.folder / "deploy.sh").write_text("#!/bin/sh\ntrue\n")
    (bench.folder / "deploy.sh").chmod(0o755)
    (bench.folder / "job.py").write_text("pass\n")
    (bench.folder / "Makefile").write_text("all:\n\ttrue\n")
    if "link" in what:
        (bench.folder / "d").mkdir()
        (bench.folder / "Makefile").rename(bench.folder / "d" / "rules")
        (bench.folder / "Makefile").symlink_to("d/rules")
    if command.startswith("git"):
        repository(bench)
    call = bench.call("bash", await bench.prepare("bash", command=command), command=command)
    swap(bench)
    assert (await bench.execute(call)).effect == "none"
    assert not (bench.folder / "ran").exists()
    # The control removed: the call is not compared with what is there now.
    monkeypatch.setattr(tools, "_check_decided", lambda now, call: None)
    await bench.execute(call)
    assert (bench.folder / "ran").exists()


@pytest.mark.parametrize("command", ["git status", "git -C . status", "cd . && git status"])
async def test_what_git_would_run_is_pinned_wherever_the_repository_lies(bench: Bench, command: str) -> None:
    repository(bench)
    _hook(bench)
    (bench.folder / ".git" / "hooks" / "pre-commit.sample").write_text("for people")
    found = {pre.path.rpartition("/ws/")[2] for pre in (await bench.prepare("bash", command=command)).pre}
    assert found >= {".git", ".git/commondir", ".git/config", ".git/config.worktree", ".git/hooks/post-index-change"}
    assert not [path for path in found if path.endswith(".sample")]


async def test_a_folder_that_says_where_the_repository_lies_is_pinned_by_what_it_says(bench: Bench) -> None:
    (bench.folder / ".git").write_text("gitdir: ../elsewhere\n")
    found = {pre.path.rpartition("/ws/")[2]: pre for pre in (await bench.prepare("bash", command="git status")).pre}
    assert len(found[".git"].content) == 32
    assert found[".git/config"].ino == 0


@pytest.mark.skipif(not installed("git"), reason="git is not installed")
async def test_the_monitor_that_a_repository_names_does_not_run(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repository was handed over with its configuration; a person approves ``git status``."""
    bench = make_bench()
    repository(bench)
    canary = bench.folder / "canary.sh"
    canary.write_text(f"#!/bin/sh\ntouch {bench.folder}/ran\n")
    canary.chmod(0o755)
    git(bench, "config", "core.fsmonitor", str(canary))
    assert "canary.sh" in await bench.text("bash", command="git status --short")
    assert not (bench.folder / "ran").exists()
    monkeypatch.setattr(process, "_HARDENED", {})
    await make_bench().text("bash", command="git status --short")
    assert (bench.folder / "ran").exists()


async def test_what_keeps_the_monitor_away_is_not_undone_by_the_line_or_the_configuration(
    bench: Bench, make_bench: MakeBench
) -> None:
    for line in ("GIT_CONFIG_COUNT=0 git status", "export GIT_CONFIG_COUNT=0; git status", "unset GIT_CONFIG_COUNT"):
        assert (await bench.refusal("bash", command=line)).code == "command.environment"
    with pytest.raises(tools.WorkspaceError):
        make_bench(env={"GIT_CONFIG_COUNT": "0"})


async def test_a_program_of_the_workspace_in_front_of_the_systems(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    (bench.folder / "ls").write_text("#!/bin/sh\n/usr/bin/touch ran\n")
    (bench.folder / "ls").chmod(0o755)
    await bench.text("bash", command="ls")
    assert not (bench.folder / "ran").exists()
    for line in ("PATH=. ls", "export PATH=.:$PATH; ls", "hash -p ./ls ls; ls", "alias ls=./ls; ls"):
        assert (await bench.refusal("bash", command=line)).code.startswith("command.")
    # The control removed: programs may be looked for in the workspace.
    monkeypatch.setattr(tools, "_check_program_folder", lambda folder, locator: None)
    monkeypatch.setattr(tools, "FIXED_PATH", (str(bench.folder), *process.FIXED_PATH))
    await make_bench().text("bash", command="ls")
    assert (bench.folder / "ran").exists()


async def test_a_file_that_is_not_pinned_would_run_as_it_is_by_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half of the control: a call that does not hold the content cannot tell that it is another."""
    monkeypatch.setattr(commands._Survey, "_pin", lambda self, path: None)
    (bench.folder / "deploy.sh").write_text("#!/bin/sh\ntrue\n")
    (bench.folder / "deploy.sh").chmod(0o755)
    call = bench.call("bash", await bench.prepare("bash", command="./deploy.sh"), command="./deploy.sh")
    _rewrite(bench)
    await bench.execute(call)
    assert (bench.folder / "ran").exists()
