from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from astrid.adapters.workspace import commands
from astrid.adapters.workspace.commands import Touched, survey
from astrid.adapters.workspace.handles import Root
from astrid.adapters.workspace.openers import open_by_walking
from astrid.adapters.workspace.paths import Locator
from astrid.adapters.workspace.process import FIXED_PATH
from astrid.core.call import Pre
from astrid.core.tokens import Permission
from astrid.errors import AstridError, CommandError, WorkspaceError

EXECUTE = Permission.EXECUTE
Survey = Callable[[str], Touched]


@pytest.fixture
def programs(folder: Path) -> Path:
    """A folder of programs outside the workspace, found before the system's own."""
    made = folder.parent / "bin"
    made.mkdir()
    for name in ("tool", "python3", "node", "make", "npm", "env", "bash", "echo"):
        (made / name).write_text("#!/bin/sh\n")
        (made / name).chmod(0o755)
    (made / "notes").write_text("no program")
    return made


@pytest.fixture
def look(folder: Path, programs: Path) -> Iterator[Survey]:
    root, system = Root.open(folder), Root.of_system(open_by_walking)
    locator = Locator(root, system, folder.parent / "home", lambda resource: "/hidden" in resource)

    def run(line: str, folders: Sequence[str] = (str(programs), *FIXED_PATH)) -> Touched:
        return survey(line, locator, folders)

    yield run
    root.close()
    system.close()


def run(program: Path | str, *arguments: str) -> str:
    return "/".join([f"exec://{str(program).replace('/', '%2F')}", *arguments])


def builtin(name: str, *arguments: str) -> str:
    return run(f"/builtin:bash/{name}", *arguments)


def refusal(look: Survey, line: str) -> AstridError:
    with pytest.raises((CommandError, WorkspaceError)) as caught:
        look(line)
    return caught.value


def pinned(touched: Touched, folder: Path) -> dict[str, bytes]:
    """What is pinned below the folder that holds the workspace: name -> content's digest."""
    base = f"{str(folder.parent)[1:]}/"
    return {pre.path.removeprefix(base): pre.content for pre in touched.pre}


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


# Programs -------------------------------------------------------------------------------------------------------------


def test_a_program_is_named_by_where_it_is_found_with_its_arguments(look: Survey, programs: Path) -> None:
    assert look("tool -x 'a b' \"\"").needs == {run(programs / "tool", "-x", "a b", "%%"): EXECUTE}


def test_each_part_of_a_line_is_a_need(look: Survey, programs: Path) -> None:
    touched = look("tool a | tool b && (tool c; tool d $(tool e)) & tool f")
    names = {need.rpartition("tool/")[2] for need in touched.needs}
    assert names == {"a", "b", "c", "d", "e", "f"} - {"d"} | {"d/${...}"}


def test_what_a_program_starts_for_the_line_is_a_need_too(look: Survey, programs: Path) -> None:
    assert set(look("env A=1 tool x").needs) == {
        run(programs / "env", "A=1", "tool", "x"),
        builtin("assign", "A=1"),
        run(programs / "tool", "x"),
    }


def test_a_builtin_is_a_program_where_none_can_be(look: Survey, programs: Path) -> None:
    assert look("echo hi; true").needs == {builtin("echo", "hi"): EXECUTE, builtin("true"): EXECUTE}
    # What `env` starts is a program, not the builtin of the same name.
    assert run(programs / "echo", "hi") in look("env echo hi").needs


def test_an_assignment_is_a_need_of_its_own(look: Survey, programs: Path) -> None:
    assert look("A=1 B=$(tool) tool").needs == {
        builtin("assign", "A=1", "B=${...}"): EXECUTE,
        run(programs / "tool"): EXECUTE,
    }
    assert look("A=1").needs == {builtin("assign", "A=1"): EXECUTE}


def test_a_line_that_only_opens_a_device_still_needs_something(look: Survey) -> None:
    assert look("< /dev/null").needs == {builtin(":"): EXECUTE}


def test_what_is_known_only_at_run_time_is_marked(look: Survey, programs: Path) -> None:
    needs = look('tool $A "x$B" *.py ~ last').needs
    assert needs == {run(programs / "tool", "${...}", "x${...}", "%2A.py", "~", "last"): EXECUTE}


@pytest.mark.parametrize("line", ["nosuchprogram", "notes", "env nosuchprogram"])
def test_an_unknown_program_is_refused(look: Survey, line: str) -> None:
    assert refusal(look, line).code == "command.unknown-program"


def test_a_program_of_the_workspace_is_never_found_by_its_bare_name(look: Survey, folder: Path) -> None:
    (folder / "mine").write_text("#!/bin/sh\n")
    (folder / "mine").chmod(0o755)
    assert refusal(look, "mine").code == "command.unknown-program"


def test_a_program_is_named_by_its_real_folder_but_its_own_name(look: Survey, folder: Path, programs: Path) -> None:
    (folder.parent / "alias").symlink_to(programs)
    (programs / "other").symlink_to("tool")
    assert look(f"{folder.parent}/alias/other").needs == {run(programs / "other"): EXECUTE}


def test_a_program_of_the_workspace_is_pinned_by_its_content(look: Survey, folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "go").write_text("echo 1")
    (folder / "link").symlink_to("bin/go")
    for line in ("bin/go", "./bin/go", str(folder / "bin/go"), "./link"):
        touched = look(line)
        assert touched.needs == {run(folder / "bin" / "go"): EXECUTE}
        assert pinned(touched, folder) == {"ws/bin/go": sha("echo 1")}


def test_a_program_outside_that_is_a_link_into_the_workspace_is_pinned(
    look: Survey, folder: Path, programs: Path
) -> None:
    (folder / "evil").write_text("echo 1")
    (folder / "evil").chmod(0o755)
    (programs / "nice").symlink_to(folder / "evil")
    touched = look("nice")
    assert touched.needs == {run(folder / "evil"): EXECUTE}
    assert pinned(touched, folder) == {"ws/evil": sha("echo 1")}


def test_a_link_of_the_workspace_to_a_program_outside_is_pinned_to_what_it_leads_to(
    look: Survey, folder: Path, programs: Path
) -> None:
    (folder / "python").symlink_to(programs / "python3")
    touched = look("./python -V")
    assert touched.needs == {run(folder / "python", "-V"): EXECUTE}
    assert pinned(touched, folder) == {"bin/python3": sha("#!/bin/sh\n")}


def test_a_program_that_is_not_there_is_pinned_as_absent(look: Survey, folder: Path) -> None:
    assert look("./missing").pre == (Pre(f"{str(folder)[1:]}/missing", 0, 0, b""),)


@pytest.mark.parametrize("line", ["/proc/self/exe", "/proc/1/root/bin/ls", "/dev/fd/3", "/sys/x"])
def test_programs_of_the_kernel_are_refused(look: Survey, line: str) -> None:
    codes = ("command.kernel-program", "command.process-path", "command.unresolved")
    assert refusal(look, line).code in codes


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
@pytest.mark.parametrize(
    "line",
    [
        "echo a > /proc/self/cwd/hook",
        "echo a > way/hook",
        "echo a > /proc/../proc/./self/cwd/hook",
        "echo a > /proc/net/../cwd/hook",
        "tool < /proc/thread-self/cwd/s.py",
        "/proc/self/cwd/s.py",
        "way/s.py",
        "python3 /proc/self/cwd/s.py",
        "python3 /proc/4000000/cwd/s.py",
        "node --require=/proc/self/cwd/s.py",
        "make -f /proc/self/cwd/s.py",
        "cat way/s.py | python3",
        "cd /proc/self/cwd && ./s.py",
        "cd way && ./s.py",
    ],
)
def test_a_path_that_the_shell_would_resolve_otherwise_is_refused(look: Survey, folder: Path, line: str) -> None:
    (folder / "s.py").write_text("print(1)")
    (folder / "s.py").chmod(0o755)
    (folder / "hook").symlink_to(".git/hooks/x")
    (folder / "way").symlink_to("/proc/self/cwd")
    assert refusal(look, line).code == "command.process-path"


@pytest.mark.parametrize(
    "line", ["tool > /dev/null", "python3 -m x /dev/null < /dev/stdin", "tool /proc/cpuinfo < /dev/null | python3 -m x"]
)
def test_what_is_the_same_to_each_process_is_not_refused(look: Survey, line: str) -> None:
    assert look(line).pre == ()


@pytest.mark.parametrize("line", ["./x", "tool > x/y", "cd x && tool", "python3 x"])
def test_a_path_that_cannot_be_resolved_is_refused(look: Survey, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: bytes) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(commands.os.path, "realpath", refuse)
    assert refusal(look, line).code == "command.unresolved"


def test_an_argument_that_cannot_be_shown_is_refused(look: Survey) -> None:
    assert refusal(look, "tool 'a\u2025b'").code == "command.odd-characters"


def test_a_command_that_is_too_long_to_be_named_is_refused(look: Survey) -> None:
    assert refusal(look, f"tool '{'*' * 6000}'").code == "command.no-resource"


# Scripts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["python3 s.py", "python3 -u s.py arg", "env python3 ./s.py", "bash s.py", "node --require=./s.py"]
)
def test_the_script_of_an_interpreter_is_pinned_by_its_content(look: Survey, folder: Path, line: str) -> None:
    (folder / "s.py").write_text("print(1)")
    assert pinned(look(line), folder) == {"ws/s.py": sha("print(1)")}


@pytest.mark.parametrize(
    "line",
    ["python3 < s.py", "python3 - <./s.py", "cat s.py | python3", "tool s.py | env python3 -", "(python3) <s.py"],
)
def test_a_script_that_reaches_its_interpreter_through_a_pipe_is_pinned_too(
    look: Survey, folder: Path, line: str
) -> None:
    (folder / "s.py").write_text("print(1)")
    assert pinned(look(line), folder) == {"ws/s.py": sha("print(1)")}


def test_what_is_piped_from_a_hidden_file_is_not_looked_at(look: Survey, folder: Path) -> None:
    (folder / "hidden").write_text("print(1)")
    assert look("python3 < hidden").pre == ()


def test_a_script_is_pinned_as_what_its_links_lead_to(look: Survey, folder: Path) -> None:
    (folder / "s.py").write_text("print(1)")
    (folder / "link.py").symlink_to("s.py")
    assert pinned(look("python3 link.py"), folder) == {"ws/s.py": sha("print(1)")}


def test_a_script_outside_the_workspace_is_pinned_but_not_its_data(look: Survey, folder: Path) -> None:
    (folder.parent / "s.py").write_text("print(1)")
    assert pinned(look("python3 ../s.py ../secret.txt"), folder) == {"s.py": sha("print(1)")}


@pytest.mark.parametrize("line", ['python3 "$X"', "python3 -c $X", "node *.js", "python3 -u ~/x.py"])
def test_a_script_that_is_known_only_at_run_time_is_refused(look: Survey, line: str) -> None:
    assert refusal(look, line).code == "command.dynamic-script"


def test_other_programs_arguments_are_not_pinned(look: Survey, folder: Path) -> None:
    (folder / "s.py").write_text("print(1)")
    assert look("tool s.py").pre == ()


def test_the_recipes_of_make_are_pinned_also_the_absent_ones(look: Survey, folder: Path) -> None:
    (folder / "Makefile").write_text("all:\n")
    found = pinned(look("make all"), folder)
    assert found == {"ws/GNUmakefile": b"", "ws/makefile": b"", "ws/Makefile": sha("all:\n")}


@pytest.mark.parametrize("line", ["make -C sub", "make -Csub", "make --directory=sub"])
def test_the_recipe_in_another_folder_is_pinned(look: Survey, folder: Path, line: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "Makefile").write_text("sub:\n")
    assert pinned(look(line), folder)["ws/sub/Makefile"] == sha("sub:\n")


@pytest.mark.parametrize("line", ["make -f my.mk", "make -fmy.mk", "make --file=my.mk"])
def test_another_recipe_is_pinned(look: Survey, folder: Path, line: str) -> None:
    (folder / "my.mk").write_text("x:\n")
    assert pinned(look(line), folder)["ws/my.mk"] == sha("x:\n")


def test_what_npm_runs_is_pinned(look: Survey, folder: Path) -> None:
    (folder / "package.json").write_text("{}")
    assert pinned(look("npm test"), folder) == {"ws/package.json": sha("{}")}


def test_files_too_large_to_be_checked_are_refused(look: Survey, folder: Path) -> None:
    with (folder / "huge").open("wb") as file:
        file.truncate(commands.MAX_PROGRAM_BYTES + 1)
    assert refusal(look, "./huge").code == "command.too-large"
    assert refusal(look, "python3 huge").code == "command.too-large"


def test_all_files_together_may_be_too_large(look: Survey, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_PINNED_BYTES", 10)
    (folder / "a").write_text("123456")
    (folder / "b").write_text("123456")
    assert refusal(look, "python3 a b").code == "command.too-large"


def test_a_line_may_touch_too_much(look: Survey, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_PINNED_FILES", 1)
    (folder / "a").write_text("1")
    (folder / "b").write_text("2")
    assert refusal(look, "python3 a b").code == "command.too-many"


# cd -------------------------------------------------------------------------------------------------------------------


def test_after_a_plain_cd_relative_names_are_meant_there(look: Survey, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "s.py").write_text("sub")
    (folder / "s.py").write_text("top")
    (folder / "sub" / "go").write_text("go")
    touched = look("cd sub && ./go | python3 s.py")
    assert run(folder / "sub" / "go") in touched.needs
    # If cd fails the script is looked for where it was, so both are pinned.
    assert pinned(touched, folder) == {"ws/sub/go": sha("go"), "ws/sub/s.py": sha("sub"), "ws/s.py": sha("top")}


@pytest.mark.parametrize(
    "line",
    [
        "cd sub; ./go",
        "cd sub && true; ./go",
        "cd sub && cd .. && ./go",
        "true && cd sub && ./go",
        "cd $X && ./go",
        "cd - && ./go",
        "cd && ./go",
        "cd sub & ./go",
        "(cd sub) && ./go",
        "cd sub || ./go",
        "pushd sub && ./go",
        "cd $X && python3 s.py",
        "cd a && cd b && make -f x.mk",
    ],
)
def test_names_after_any_other_change_of_folder_are_refused(look: Survey, line: str) -> None:
    assert refusal(look, line).code == "command.moved"


@pytest.mark.parametrize(
    "line", ["cd $X && tool a", "cd a && cd b && python3 -V", "cd $X && /bin/ls", "cd a; python3 s.py"]
)
def test_what_needs_no_relative_name_may_follow_any_cd(look: Survey, line: str) -> None:
    assert look(line).needs


def test_cd_into_a_folder_and_back_is_refused(look: Survey) -> None:
    assert refusal(look, "cd sub/../x && ./go").code == "command.dots"
    assert look("cd ../x && ./go").needs


# Redirections ---------------------------------------------------------------------------------------------------------


def test_redirections_are_needs_on_files(look: Survey, folder: Path, programs: Path) -> None:
    (folder / "in").write_text("x")
    touched = look("tool < in > out 2>> log 3<> both 2>&1")
    name = f"file:/{folder}/"
    write = Permission.WRITE | Permission.CREATE
    assert touched.needs == {
        run(programs / "tool"): EXECUTE,
        f"{name}in": Permission.READ,
        f"{name}out": write,
        f"{name}log": write,
        f"{name}both": Permission.READ | write,
    }
    assert pinned(touched, folder)["ws/out"] == b""


def test_a_replaced_file_is_pinned_by_its_content(look: Survey, folder: Path) -> None:
    (folder / "out").write_text("old")
    assert pinned(look("tool > out"), folder)["ws/out"] == sha("old")


def test_of_a_hidden_file_nothing_is_looked_up(look: Survey, folder: Path) -> None:
    (folder / "hidden").write_text("old")
    touched = look("tool > hidden")
    assert f"file:/{folder}/hidden" in touched.needs
    assert touched.pre == ()


def test_a_redirection_through_a_link_names_the_file_behind_it(look: Survey, folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret.txt")
    assert f"file:/{folder.parent}/secret.txt" in look("tool > link").needs


def test_a_quoted_tilde_is_a_name_and_no_home(look: Survey, folder: Path) -> None:
    assert f"file:/{folder}/~/x" in look("tool > '~/x'").needs


@pytest.mark.parametrize("line", ["tool > /dev/null 2> /dev/stderr", "tool < /dev/zero"])
def test_plain_devices_need_nothing(look: Survey, programs: Path, line: str) -> None:
    assert look(line).needs == {run(programs / "tool"): EXECUTE}


@pytest.mark.parametrize("line", ["tool > $X", "tool > *.txt", "tool > ~/x", "cd sub && tool > x"])
def test_a_redirection_known_only_at_run_time_is_refused(look: Survey, line: str) -> None:
    assert refusal(look, line).code == "command.redirection"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("tool > .git/hooks/pre-commit", "workspace.protected"),
        ("tool >> ../home/.ssh/authorized_keys", "workspace.protected"),
        ("tool > /dev/sda", "workspace.kernel-files"),
        ("tool > /proc/sys/kernel/core_pattern", "workspace.kernel-files"),
    ],
)
def test_a_redirection_to_what_no_tool_may_write_is_refused(look: Survey, line: str, code: str) -> None:
    assert refusal(look, line).code == code


# Refused lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["eval x", "for x in a; do tool; done", "f() { tool; }; f", "$X", "'unclosed", "PATH=. tool"]
)
def test_what_cannot_be_judged_is_refused(look: Survey, line: str) -> None:
    assert refusal(look, line).code.startswith("command.")


def test_the_real_system_has_what_a_line_needs(look: Survey) -> None:
    touched = look("ls -la | wc -l", FIXED_PATH)  # type: ignore[call-arg]
    real = os.path.realpath("/bin")
    assert {need.split("/")[2] for need in touched.needs} <= {
        f"{folder.replace('/', '%2F')}%2F{name}" for folder in (real, "/bin", "/usr/bin") for name in ("ls", "wc")
    }
