from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import trio

from astrid.adapters.workspace import plans
from astrid.adapters.workspace.handles import Opener, Root
from astrid.adapters.workspace.matcher import Engine
from astrid.adapters.workspace.plans import Plan, Planner
from astrid.adapters.workspace.shell import CUT_SUFFIX, MAX_OUTPUT_BYTES, OpenShell, run_line
from astrid.adapters.workspace.tools import WorkspaceTools
from astrid.box_ports import Finished
from astrid.core.call import decode_call, encode_call
from astrid.core.resources import file_pattern_tree, parse_pattern
from astrid.core.risk import EffectClass, Risk
from astrid.core.segments import escape
from astrid.core.tokens import Permission
from astrid.core.tools import ControlKind, OutputTrust
from astrid.errors import CanonError, LaunchError, WorkspaceError
from astrid.ports import ToolServer
from tests.fakes.workspace_bench import Bench, MakeBench

NEW = {"file_path": "new.txt", "content": "new"}
CHANGED = "what the call works on changed since it was decided; look at it again and repeat the call"


# The definitions ------------------------------------------------------------------------------------------------------


def test_the_workspace_is_a_tool_server(bench: Bench) -> None:
    server: ToolServer = bench.tools
    assert [spec.name for spec in server.specs()] == [
        "read_file",
        "write_file",
        "edit_file",
        "glob",
        "grep",
        "list_directory",
        "bash",
    ]


def test_definitions_say_what_a_decision_needs(bench: Bench) -> None:
    specs = {spec.name: spec for spec in bench.tools.specs()}
    assert {name: spec.effect_class for name, spec in specs.items()} == {
        "read_file": EffectClass.READ,
        "glob": EffectClass.READ,
        "grep": EffectClass.READ,
        "list_directory": EffectClass.READ,
        "write_file": EffectClass.STAGING,
        "edit_file": EffectClass.STAGING,
        "bash": EffectClass.EXEC,
    }
    assert [name for name, spec in specs.items() if spec.fresh] == ["bash"]
    assert specs["bash"].control == (("command", ControlKind.COMMAND.value),)
    assert specs["read_file"].control == (("file_path", ControlKind.OBJECT.value),)
    assert all(spec.output_trust == OutputTrust.THIRD_PARTY for spec in specs.values())
    assert all((spec.profile == b"\7" * 32) is (name != "bash") for name, spec in specs.items())
    assert specs["bash"].profile == OpenShell.profile
    assert len({spec.tooldef() for spec in specs.values()}) == len(specs)


def test_schemas_forbid_what_they_do_not_name(bench: Bench) -> None:
    for spec in bench.tools.specs():
        schema = json.loads(spec.schema)
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])
        assert all("description" in field for field in schema["properties"].values())
        assert spec.control[0][0] in schema["properties"]
        assert spec.schema == msgspec.json.encode(schema, order="deterministic")


@pytest.mark.parametrize(
    ("tool", "args"),
    [
        ("read_file", '{"file_path":"f","extra":1}'),
        ("read_file", "{}"),
        ("read_file", '{"file_path":1}'),
        ("read_file", '{"file_path":"f","offset":0}'),
        ("read_file", '{"file_path":"f","offset":null}'),
        ("bash", '{"command":"true","timeout":600001}'),
        ("bash", '{"command":""}'),
        ("grep", '{"pattern":"x","context":21}'),
    ],
)
async def test_wrong_arguments_are_told_as_such(bench: Bench, tool: str, args: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await bench.tools.prepare(tool, args.encode())
    assert caught.value.code == "workspace.arguments"
    assert caught.value.message.startswith("Invalid arguments: ")
    assert caught.value.effect == "none"


@pytest.mark.parametrize(
    "args", [b'{"file_path":"a","file_path":"b"}', b'{"file_path":"\\ud800"}', b"{", b'{"file_path":"a","offset":1e3}']
)
async def test_arguments_with_two_meanings_are_refused(bench: Bench, args: bytes) -> None:
    with pytest.raises(CanonError):
        await bench.tools.prepare("read_file", args)


async def test_a_refusal_shows_no_hidden_character_of_the_arguments(bench: Bench) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await bench.tools.prepare("read_file", b'{"file_path":"f","\\u001b[2J":1}')
    assert "\\u{1b}[2J" in caught.value.message


async def test_an_unknown_tool_is_refused(bench: Bench) -> None:
    assert (await bench.refusal("task", description="x")).code == "workspace.no-tool"


# What a call needs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "args", "needs"),
    [
        ("read_file", {"file_path": "f"}, {"f": Permission.READ}),
        ("write_file", {"file_path": "f", "content": ""}, {"f": Permission.WRITE}),
        ("write_file", {"file_path": "a/new", "content": ""}, {"a/new": Permission.WRITE | Permission.CREATE}),
        (
            "edit_file",
            {"file_path": "f", "old_string": "a", "new_string": "b"},
            {"f": Permission.READ | Permission.WRITE},
        ),
        ("glob", {"pattern": "*"}, {"**": Permission.LIST}),
        ("glob", {"pattern": "*", "path": "d"}, {"d/**": Permission.LIST}),
        ("grep", {"pattern": "x"}, {"**": Permission.READ | Permission.LIST}),
        ("grep", {"pattern": "x", "path": "d"}, {"d/**": Permission.READ | Permission.LIST}),
        ("grep", {"pattern": "x", "path": "absent"}, {"absent/**": Permission.READ | Permission.LIST}),
        ("grep", {"pattern": "x", "path": "f"}, {"f": Permission.READ}),
        ("list_directory", {"path": "d"}, {"d": Permission.LIST}),
    ],
)
async def test_each_tool_needs_exactly_this(
    bench: Bench, tool: str, args: dict[str, object], needs: dict[str, int]
) -> None:
    (bench.folder / "f").write_text("a")
    (bench.folder / "d").mkdir()
    preparation = await bench.prepare(tool, **args)
    assert {need.resource: need.permission for need in preparation.needs} == {
        bench.name(path): permission for path, permission in needs.items()
    }
    assert (preparation.risk, preparation.fresh, preparation.max_micros, preparation.cwd_rel) == (
        Risk.LOW,
        False,
        0,
        "",
    )
    for need in preparation.needs:
        assert parse_pattern(need.resource).text == need.resource


async def test_every_preparation_fits_into_a_call(bench: Bench) -> None:
    (bench.folder / "f").write_text("a")
    for tool, args in {
        "write_file": {"file_path": "new/x", "content": "x"},
        "grep": {"pattern": "x", "path": "/opt"},
        "bash": {"command": "cat < f > out; ls | wc -l"},
    }.items():
        call = bench.call(tool, await bench.prepare(tool, **args), **args)
        assert decode_call(encode_call(call)) == call


async def test_one_need_short_is_not_enough(bench: Bench) -> None:
    args = {"command": "echo a > out; echo b"}
    preparation = await bench.prepare("bash", **args)
    assert len(preparation.needs) > 2
    for missing in preparation.needs:
        fewer = tuple(need for need in preparation.needs if need != missing)
        call = bench.call("bash", msgspec.structs.replace(preparation, needs=fewer), **args)
        outcome = await bench.execute(call)
        assert (outcome.content.decode(), outcome.effect) == (CHANGED, "none")
    assert os.listdir(bench.folder) == []


async def test_paths_outside_raise_the_risk_and_ask_for_both(bench: Bench) -> None:
    name = f"file:/{bench.folder.parent}/secret.txt"
    looked = await bench.prepare("read_file", file_path="../secret.txt")
    assert (looked.risk, looked.needs[0].resource) == (Risk.MEDIUM, name)
    written = await bench.prepare("write_file", file_path="../secret.txt", content="x")
    assert written.risk == Risk.HIGH
    assert written.needs[0].permission == Permission.WRITE | Permission.CREATE
    searched = await bench.prepare("grep", pattern="x", path="../secret.txt")
    assert {need.resource: need.permission for need in searched.needs} == {
        name: Permission.READ,
        f"{name}/**": Permission.READ | Permission.LIST,
    }


async def test_what_a_person_approved_outside_is_done(bench: Bench) -> None:
    assert await bench.text("read_file", file_path="../secret.txt") == "     1\tTOP SECRET"
    assert await bench.text("write_file", file_path="~/notes/a", content="x") == "Wrote 1 bytes to ~/notes/a"
    assert (bench.home / "notes" / "a").read_text() == "x"
    assert (await bench.text("grep", pattern="SECRET", path="..")).splitlines()[
        0
    ] == f"{bench.folder.parent}/secret.txt:1:TOP SECRET"
    assert (
        await bench.text("grep", pattern="x", path="~/notes/a") == f"{bench.home}/notes/a:1:x\n(1 matches in 1 files)"
    )
    assert (
        await bench.text("glob", pattern="*.txt", path="..") == f"{bench.folder.parent}/secret.txt\n(1 files matched)"
    )


async def test_a_path_outside_with_a_link_is_refused_with_advice(bench: Bench) -> None:
    (bench.folder.parent / "alias").symlink_to("secret.txt")
    told = await bench.failure("read_file", file_path="../alias")
    assert told == "../alias goes through a symbolic link; name the real path of the file"


async def test_controls_show_where_a_path_really_is(bench: Bench) -> None:
    (bench.folder / "link").symlink_to("real")
    assert (await bench.prepare("read_file", file_path="link")).controls == (("file_path", f"{bench.folder}/real"),)
    assert (await bench.prepare("bash", command="true")).controls == (("command", "true"),)


async def test_a_call_that_names_too_much_to_be_approved_is_refused(bench: Bench) -> None:
    assert (await bench.refusal("bash", command="echo " + "x" * 3100)).code == "workspace.too-much"


@pytest.mark.parametrize("path", [".git/hooks/pre-commit", ".astrid/config.toml", "~/.ssh/authorized_keys"])
async def test_files_no_tool_may_write_are_refused(bench: Bench, path: str) -> None:
    for tool, args in {"write_file": {"content": "x"}, "edit_file": {"old_string": "a", "new_string": "b"}}.items():
        assert (await bench.refusal(tool, file_path=path, **args)).code == "workspace.protected"


async def test_files_that_steer_others_need_a_fresh_approval(bench: Bench) -> None:
    preparation = await bench.prepare("write_file", file_path="AGENTS.md", content="x")
    assert (preparation.fresh, preparation.risk) == (True, Risk.HIGH)
    assert preparation.why == "this file decides what other programs, or the next session, will do"


async def test_a_command_always_needs_a_fresh_approval(bench: Bench) -> None:
    preparation = await bench.prepare("bash", command="true")
    assert (preparation.fresh, preparation.risk) == (True, Risk.HIGH)
    assert preparation.why == "a command runs with your own rights: there is no box around it"


class Refusing(OpenShell):
    """Where no box is good enough."""

    def check(self) -> None:
        raise LaunchError("sandbox.no-tier", "no command is run: no box", effect="none")


async def test_nobody_is_asked_about_a_command_that_would_not_be_run(make_bench: MakeBench) -> None:
    refused = make_bench(engine=Engine(), shell=Refusing())
    assert (await refused.refusal("bash", command="touch made")).code == "sandbox.no-tier"


async def test_a_command_that_was_permitted_is_not_run_once_there_is_no_box(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = bench.call("bash", await bench.prepare("bash", command="touch made"), command="touch made")
    monkeypatch.setattr(OpenShell, "check", Refusing.check)
    outcome = await bench.execute(call)
    assert (outcome.effect, outcome.is_error, os.listdir(bench.folder)) == ("none", True, [])


class Limited(OpenShell):
    """Where a run ends at a limit."""

    async def run(self, argv: Sequence[str], **_: object) -> Finished:  # type: ignore[override]
        return Finished(returncode=-9, stdout=b"some", stderr=b"", truncated=False, stopped="memory")


async def test_a_model_is_told_at_which_limit_its_command_ended(make_bench: MakeBench) -> None:
    outcome = await make_bench(engine=Engine(), shell=Limited()).outcome("bash", command="true")
    told = "some\nStopped at the limit of memory; the command and everything it started were killed"
    assert (outcome.content.decode(), outcome.is_error) == (told, True)


def test_what_holds_commands_is_part_of_the_definition_of_bash_alone(make_bench: MakeBench) -> None:
    class Other(OpenShell):
        profile = b"\7" * 32
        about = "It runs in a box."

    usual, other = (make_bench(shell=shell).tools.specs() for shell in (OpenShell(), Other()))
    changed = {one.name for one, two in zip(usual, other, strict=True) if one != two}
    assert changed == {"bash"}
    assert b"It runs in a box." in other[-1].description


# Nothing is given away ------------------------------------------------------------------------------------------------

PROBES = [
    ("read_file", {}),
    ("write_file", {"content": "x"}),
    ("edit_file", {"old_string": "a", "new_string": "b"}),
]


@pytest.mark.parametrize(("tool", "args"), PROBES)
@pytest.mark.parametrize("kind", ["file", "folder", "link", "link out", "fifo"])
async def test_a_hidden_file_is_prepared_like_one_that_is_not_there(
    bench: Bench, tool: str, args: dict[str, object], kind: str
) -> None:
    bench.hidden.add(bench.name("key"))
    absent = await bench.prepare(tool, file_path="key", **args)
    make_at(bench.folder / "key", kind)
    assert await bench.prepare(tool, file_path="key", **args) == absent


@pytest.mark.parametrize("tool", ["list_directory", "glob", "grep"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "link out", "fifo"])
async def test_a_hidden_folder_is_searched_like_one_that_is_not_there(bench: Bench, tool: str, kind: str) -> None:
    args = {"path": "key"} if tool == "list_directory" else {"path": "key", "pattern": "x"}
    bench.hidden.add(bench.name("key"))
    absent = await bench.prepare(tool, **args)
    make_at(bench.folder / "key", kind)
    assert await bench.prepare(tool, **args) == absent


@pytest.mark.parametrize(("tool", "args"), [*PROBES[:1], ("list_directory", {}), ("grep", {"pattern": "x"})])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
async def test_preparing_an_outside_path_says_nothing_about_it(
    bench: Bench, tool: str, args: dict[str, object], kind: str
) -> None:
    name = "file_path" if tool == "read_file" else "path"
    absent = await bench.prepare(tool, **{name: "../probe"}, **args)
    make_at(bench.folder.parent / "probe", kind)
    assert await bench.prepare(tool, **{name: "../probe"}, **args) == absent


def make_at(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_text("secret")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("elsewhere")
        case "link out":
            path.symlink_to("/etc/passwd")
        case _:
            os.mkfifo(path)


async def test_a_link_that_leads_out_is_refused_for_every_tool(bench: Bench) -> None:
    (bench.folder / "out").symlink_to("..")
    for tool, args in {
        "read_file": {"file_path": "out/secret.txt"},
        "write_file": {"file_path": "out/new", "content": "x"},
        "edit_file": {"file_path": "out/secret.txt", "old_string": "a", "new_string": "b"},
        "glob": {"pattern": "*", "path": "out"},
        "grep": {"pattern": "x", "path": "out"},
        "list_directory": {"path": "out"},
    }.items():
        error = await bench.refusal(tool, **args)
        assert (error.code, error.message) == ("workspace.escape", "a link on the path leads out of the workspace")


# Between the decision and the effect ----------------------------------------------------------------------------------


async def test_a_link_that_changed_since_the_decision_is_not_followed(bench: Bench) -> None:
    (bench.folder / "a").write_text("a")
    (bench.folder / "b").write_text("b")
    (bench.folder / "link").symlink_to("a")
    call = bench.call("read_file", await bench.prepare("read_file", file_path="link"), file_path="link")
    (bench.folder / "link").unlink()
    (bench.folder / "link").symlink_to("b")
    outcome = await bench.execute(call)
    assert (outcome.is_error, outcome.effect, outcome.content.decode()) == (True, "none", CHANGED)


async def test_names_exchanged_all_the_time_never_let_a_write_out(bench: Bench) -> None:
    (bench.folder / "d").mkdir()
    (bench.folder / "d" / "secret.txt").write_text("harmless")
    (bench.folder / "l").symlink_to("..")
    library = ctypes.CDLL(None)
    first, second = (os.fsencode(bench.folder / name) for name in ("d", "l"))
    seen = {"done": 0, "refused": 0}

    async def swap() -> None:
        while True:
            library.renameat2(-100, first, -100, second, 2)  # AT_FDCWD, RENAME_EXCHANGE
            await trio.lowlevel.checkpoint()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swap)
            while min(seen.values()) < 20:
                args = {"file_path": "d/secret.txt", "content": "written"}
                try:
                    preparation = await bench.prepare("write_file", **args)
                except WorkspaceError as error:
                    assert error.code == "workspace.escape"
                    continue
                outcome = await bench.execute(bench.call("write_file", preparation, **args))
                assert outcome.is_error == (outcome.effect == "none")
                seen["refused" if outcome.is_error else "done"] += 1
            nursery.cancel_scope.cancel()
    assert (bench.folder.parent / "secret.txt").read_text() == "TOP SECRET"
    assert not list(bench.folder.parent.glob("*.tmp"))


@pytest.mark.parametrize("field", ["tooldef", "host_kind", "host_id", "tool", "risk", "cwd_rel", "pre", "needs"])
async def test_a_call_that_is_not_what_was_decided_does_nothing(bench: Bench, field: str) -> None:
    args = {"file_path": "AGENTS.md", "content": "x"}
    call = bench.call("write_file", await bench.prepare("write_file", **args), **args)
    other: dict[str, object] = {
        "tooldef": b"\0" * 32,
        "host_kind": "mcp",
        "host_id": "other",
        "tool": "edit_file",
        "risk": 0,
        "cwd_rel": "sub",
        "pre": (),
        "needs": (),
    }
    outcome = await bench.execute(msgspec.structs.replace(call, **{field: other[field]}))
    assert (outcome.is_error, outcome.effect, outcome.content.decode()) == (True, "none", CHANGED)
    assert os.listdir(bench.folder) == []


async def test_arguments_that_became_unreadable_do_nothing(bench: Bench) -> None:
    call = bench.call("read_file", await bench.prepare("read_file", file_path="f"), file_path="f")
    outcome = await bench.execute(msgspec.structs.replace(call, args=b"{"))
    assert (outcome.is_error, outcome.effect) == (True, "none")


async def test_a_workspace_that_was_moved_runs_nothing(bench: Bench) -> None:
    (bench.folder / "f").write_text("x")
    call = bench.call("read_file", await bench.prepare("read_file", file_path="f"), file_path="f")
    bench.folder.rename(bench.folder.parent / "moved")
    assert (await bench.refusal("read_file", file_path="f")).code == "workspace.moved"
    outcome = await bench.execute(call)
    assert (outcome.is_error, outcome.effect) == (True, "none")


# bash -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sub", "s b", "\u00e9", "%2F"])
async def test_the_folder_of_a_command_is_decided_on_and_its_names_are_looked_for_there(
    bench: Bench, name: str
) -> None:
    folder = bench.folder / name
    folder.mkdir()
    (folder / "run.sh").write_text("pwd")
    preparation = await bench.prepare("bash", command="bash run.sh > out", cwd=name)
    assert preparation.cwd_rel == escape(name.encode())
    assert {pre.path.rpartition("/")[2] for pre in preparation.pre} >= {"run.sh", "out"}
    assert all(
        f"/{escape(name.encode())}/" in pre.path for pre in preparation.pre if pre.path.endswith(("run.sh", "out"))
    )
    done = await bench.outcome("bash", command="bash run.sh > out", cwd=name)
    assert (done.is_error, (folder / "out").read_text()) == (False, f"{folder}\n")
    call = bench.call("bash", preparation, command="bash run.sh > out", cwd=name)
    elsewhere = msgspec.structs.replace(call, cwd_rel="")
    assert (await bench.execute(elsewhere)).effect == "none"


@pytest.mark.parametrize(
    ("argument", "value", "code"),
    [
        ("cwd", "../ws-evil", "workspace.arguments"),
        ("cwd", "out", "workspace.escape"),
        ("read", ["inside"], "workspace.arguments"),
        ("write", ["."], "workspace.arguments"),
        ("read", ["/proc/1/environ"], "workspace.kernel-files"),
        ("read", ["a\0b"], "workspace.path"),
        ("read", ["/x"] * 17, "workspace.arguments"),
        ("write", ["/x/" + "y" * 300], "workspace.path"),
    ],
)
async def test_a_folder_or_a_leave_that_makes_no_sense_is_refused(
    bench: Bench, argument: str, value: object, code: str
) -> None:
    (bench.folder / "out").symlink_to(bench.folder.parent)
    assert (await bench.refusal("bash", command="true", **{argument: value})).code == code


async def test_what_a_command_is_to_see_besides_is_needed_whole(bench: Bench) -> None:
    given = {"read": ["~/a", "/opt/b"], "write": ["/opt/b", "/opt/c"]}
    preparation = await bench.prepare("bash", command="true", **given)
    wanted = {need.resource: need.permission for need in preparation.needs if need.resource.startswith("file://")}
    looks = int(Permission.READ | Permission.LIST | Permission.EXECUTE)
    changes = looks | int(Permission.WRITE | Permission.CREATE | Permission.DELETE)
    home = file_pattern_tree(str(bench.home / "a")).text
    assert wanted == {home: looks, "file://opt/b/**": changes, "file://opt/c/**": changes}


async def test_output_comes_before_errors_and_the_exit_code(bench: Bench) -> None:
    outcome = await bench.outcome("bash", command="echo out; echo err >&2; exit 3")
    assert outcome.content.decode() == "out\nSTDERR:\nerr\n(exit code: 3)"
    assert (outcome.is_error, outcome.effect) == (True, "done")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("true", "(no output)"),
        ("echo hi", "hi"),
        ("printf 'a\\n\\n'", "a\n"),
        ("printf 'a\\r\\nb\\rc'", "a\nb\\u{d}c"),
        ("printf 'caf\\xe9 \\x1b[2J\\xe2\\x80\\xae'", "caf\ufffd \\u{1b}[2J\\u{202e}"),
        ("echo err >&2", "STDERR:\nerr"),
        ("cat", "(no output)"),
        ("echo $BASH_VERSION$0 | grep -c bash", "1"),
    ],
)
async def test_a_command_that_succeeds_says_this(bench: Bench, command: str, text: str) -> None:
    assert await bench.text("bash", command=command) == text


async def test_a_failure_without_output_and_a_signal_are_told(bench: Bench) -> None:
    assert (await bench.outcome("bash", command="false")).content == b"(no output)\n(exit code: 1)"
    killed = await bench.outcome("bash", command="kill -9 $$")
    assert killed.content == b"(no output)\n(exit code: 137)"


async def test_long_output_is_cut_and_the_code_still_told(bench: Bench) -> None:
    outcome = await bench.outcome("bash", command="head -c 2000000 /dev/zero | tr '\\0' x; exit 2")
    text = outcome.content.decode()
    assert text == "x" * MAX_OUTPUT_BYTES + CUT_SUFFIX + "\n(exit code: 2)"


async def test_what_cannot_be_seen_in_an_output_takes_no_more_room_than_the_rest(bench: Bench) -> None:
    outcome = await bench.outcome("bash", command="head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2")
    assert MAX_OUTPUT_BYTES < len(outcome.content) < MAX_OUTPUT_BYTES + 100


async def test_a_command_runs_in_the_workspace_and_nothing_persists(bench: Bench) -> None:
    (bench.folder / "sub").mkdir()
    assert await bench.text("bash", command="pwd") == str(bench.folder)
    assert await bench.text("bash", command="pwd", cwd="sub") == f"{bench.folder}/sub"
    await bench.text("bash", command="cd sub; X=1")
    assert await bench.text("bash", command="pwd; echo $X-") == f"{bench.folder}\n-"


async def test_no_start_up_file_and_no_variable_of_ours_acts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = bench.home / "evil"
    evil.write_text("echo evil\n")
    for name in (".bashrc", ".bash_profile", ".profile"):
        (bench.home / name).write_text("echo evil\n")
    monkeypatch.setenv("BASH_ENV", str(evil))
    monkeypatch.setenv("ENV", str(evil))
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    names = (await bench.text("bash", command="env")).splitlines()
    assert {line.partition("=")[0] for line in names} == {
        *("PATH", "HOME", "LANG", "TERM", "TMPDIR", "ASTRID_TOOL_RUN"),
        *("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"),  # no program of a repository's choice
        *("PWD", "SHLVL", "_"),  # bash sets these itself
    }
    assert f"HOME={bench.home}" in names


async def test_a_configured_variable_and_program_folder_are_used(make_bench: MakeBench, folder: Path) -> None:
    (folder.parent / "bin").mkdir()
    (folder.parent / "bin" / "greet").write_text("#!/bin/sh\necho hello $NAME\n")
    (folder.parent / "bin" / "greet").chmod(0o755)
    bench = make_bench(env={"NAME": "you"}, program_folders=[folder.parent / "bin"])
    assert await bench.text("bash", command="greet") == "hello you"


async def test_at_the_timeout_everything_is_killed_and_the_text_says_so(bench: Bench) -> None:
    with trio.fail_after(30):
        outcome = await bench.outcome("bash", command="echo begun; sleep 1000 & sleep 1000", timeout=300)
    told = "begun\nTimeout after 300ms; the command and everything it started were killed"
    assert outcome.content.decode() == told
    assert (outcome.is_error, outcome.effect) == (True, "done")


async def test_a_call_that_is_cancelled_while_it_is_planned_does_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = bench.call("write_file", await bench.prepare("write_file", **NEW), **NEW)
    scope, plan = trio.CancelScope(), Planner.plan

    def cancelled_meanwhile(planner: Planner, tool: str, args: bytes) -> Plan:
        trio.from_thread.run_sync(scope.cancel)
        return plan(planner, tool, args)

    monkeypatch.setattr(Planner, "plan", cancelled_meanwhile)
    with scope:
        await bench.execute(call)
    assert scope.cancelled_caught
    assert not (bench.folder / NEW["file_path"]).exists()


async def test_a_cancelled_command_is_killed(bench: Bench) -> None:
    with trio.fail_after(30), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: bench.outcome("bash", command="bash -c 'echo $$ > pid; exec sleep 1000'"))
            while not (bench.folder / "pid").exists() or not (bench.folder / "pid").read_text():  # noqa: ASYNC110
                await trio.sleep(0.005)
            scope.cancel()
    assert scope.cancelled_caught
    assert not runs(bench.folder / "pid")


def runs(path: Path) -> bool:
    """Whether the process whose number is in ``path`` still runs, and does not only wait to be reaped."""
    try:
        return " Z " not in Path("/proc", path.read_text().strip(), "stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("change", ["content", "swap", "link", "gone"])
async def test_a_script_that_changed_since_the_yes_does_not_run(bench: Bench, change: str) -> None:
    script = bench.folder / "deploy.sh"
    script.write_text("#!/bin/sh\necho good\n")
    script.chmod(0o755)
    (bench.folder / "evil.sh").write_text("#!/bin/sh\ntouch ran\n")
    (bench.folder / "evil.sh").chmod(0o755)
    assert await bench.text("bash", command="./deploy.sh") == "good"
    call = bench.call("bash", await bench.prepare("bash", command="./deploy.sh"), command="./deploy.sh")
    match change:
        case "content":
            script.write_text("#!/bin/sh\ntouch ran\n")
        case "swap":
            (bench.folder / "evil.sh").rename(script)
        case "link":
            script.unlink()
            script.symlink_to("evil.sh")
        case _:
            script.unlink()
    outcome = await bench.execute(call)
    assert (outcome.is_error, outcome.effect, outcome.content.decode()) == (True, "none", CHANGED)
    assert not (bench.folder / "ran").exists()


async def test_a_program_of_the_workspace_does_not_shadow_the_systems(bench: Bench) -> None:
    for name in ("ls", "git"):
        (bench.folder / name).write_text("#!/bin/sh\ntouch ran\n")
        (bench.folder / name).chmod(0o755)
    await bench.outcome("bash", command="ls")
    assert not (bench.folder / "ran").exists()


async def test_a_line_that_begins_with_a_dash_is_no_option(bench: Bench, root: Root) -> None:
    assert (await bench.refusal("bash", command="-x")).code == "command.unknown-program"
    outcome = await run_line(
        "--version", OpenShell(), workspace=root.text_path, folder=root.descriptor, env={}, timeout_ms=30_000
    )
    assert "--version: command not found" in outcome.content.decode()


@pytest.mark.parametrize(
    "command", ["eval 'echo x'", "while true; do true; done", "echo 'unclosed", "$X", "a() { true; }"]
)
async def test_a_line_that_cannot_be_judged_is_refused_with_advice(bench: Bench, command: str) -> None:
    error = await bench.refusal("bash", command=command)
    assert error.code.startswith("command.")


async def test_without_a_shell_nothing_happens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astrid.adapters.workspace.shell.BASH", "/no/such/bash")
    assert await bench.failure("bash", command="true") == "the program could not be started"


# The server itself ----------------------------------------------------------------------------------------------------


def test_identity_is_the_folder_that_was_opened(bench: Bench) -> None:
    status = bench.folder.stat()
    assert bench.tools.identity() == (status.st_dev, status.st_ino, str(bench.folder))


@pytest.mark.parametrize("unsafe", ["bin", "relative", "a:b", "link"])
def test_programs_are_never_looked_for_in_the_workspace(folder: Path, opener: Opener, unsafe: str) -> None:
    (folder.parent / "link").symlink_to(folder)
    path = {
        "bin": folder / "bin",
        "relative": Path("bin"),
        "a:b": folder.parent / "a:b",
        "link": folder.parent / "link" / "bin",
    }[unsafe]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WorkspaceError) as caught:
        WorkspaceTools(
            folder,
            home=folder,
            profile=b"\0" * 32,
            shell=OpenShell(),
            hidden=lambda name: False,
            program_folders=[path],
            opener=opener,
        )
    assert caught.value.code == "workspace.program-folder"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_program_folder_that_cannot_be_resolved_is_refused(
    folder: Path, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(locator: object, path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("astrid.adapters.workspace.paths.Locator.holds", refuse)
    with pytest.raises(WorkspaceError, match="cannot be looked for"):
        WorkspaceTools(
            folder,
            home=folder,
            profile=b"\0" * 32,
            shell=OpenShell(),
            hidden=lambda name: False,
            program_folders=[folder.parent / "bin"],
            opener=opener,
        )


async def test_a_closed_server_does_nothing(bench: Bench) -> None:
    (bench.folder / "f").write_text("x")
    call = bench.call("read_file", await bench.prepare("read_file", file_path="f"), file_path="f")
    bench.tools.close()
    bench.tools.close()
    outcome = await bench.execute(call)
    assert (outcome.is_error, outcome.effect) == (True, "none")


async def test_calls_leave_no_descriptor_behind(make_bench: MakeBench, engine: Engine) -> None:
    bench = make_bench(engine=engine)
    (bench.folder / "f").write_text("x\n")

    async def use() -> None:
        await bench.text("read_file", file_path="f")
        await bench.text("write_file", file_path="d/g", content="x")
        await bench.text("edit_file", file_path="d/g", old_string="x", new_string="y")
        await bench.text("glob", pattern="**")
        await bench.text("grep", pattern="x")
        await bench.text("list_directory", path=".")
        await bench.text("bash", command="cat < f > out; ./f || true")
        await bench.failure("read_file", file_path="none")

    await use()  # threads that stay have descriptors of their own
    before = sorted(os.listdir("/proc/self/fd"))
    await use()
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_needs_are_limited_by_what_a_grant_can_hold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MAX_NEEDS_BYTES", 10)
    assert (await bench.refusal("read_file", file_path="f")).code == "workspace.too-much"
