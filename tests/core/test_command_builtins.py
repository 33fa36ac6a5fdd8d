"""What would change the shell, or have it evaluate data."""

from __future__ import annotations

import pytest

from astrid.core.command_builtins import check_segment, check_variable
from astrid.core.command_model import Budget, Segment
from astrid.core.command_parser import parse_script
from astrid.errors import CommandError


def parsed(line: str) -> tuple[Segment, ...]:
    return parse_script(line, dialect="bash", via="plain", depth=0, budget=Budget())


def refusal(line: str) -> str:
    with pytest.raises(CommandError) as caught:
        parsed(line)
    return caught.value.code


@pytest.mark.parametrize(
    "builtin",
    "eval source . trap alias unalias set shopt enable hash declare typeset local readonly read mapfile readarray let"
    " getopts complete compgen compopt bind fc history".split(),
)
def test_a_builtin_that_changes_or_evaluates_is_refused_however_it_is_reached(builtin: str) -> None:
    for line in (f"{builtin} a", f"\\{builtin}", f"command {builtin} a", f"builtin {builtin} a", f"(a; {builtin})"):
        assert refusal(line) == "command.builtin"


@pytest.mark.parametrize(
    "line", ["cd a", "echo a", "true", "exit 1", "type a", "umask 022", "kill 1", "pwd", ": a", "a eval"]
)
def test_other_builtins_are_programs_like_any_other(line: str) -> None:
    assert parsed(line)[0].program == line.split()[0]


@pytest.mark.parametrize(
    "name",
    "PATH HOME IFS ENV BASH_ENV BASH_FUNC_a BASHOPTS SHELLOPTS CDPATH GLOBIGNORE POSIXLY_CORRECT PS4 RANDOM SRANDOM"
    " OPTIND HISTCMD LINENO LD_PRELOAD LD_LIBRARY_PATH DYLD_INSERT_LIBRARIES GIT_SSH_COMMAND GIT_CONFIG_COUNT PAGER"
    " NODE_OPTIONS PERL5OPT npm_config_script_shell auto_resume LC_ALL LANG".split(),
)
def test_a_variable_that_the_shell_or_a_program_obeys_is_not_set(name: str) -> None:
    for line in (f"{name}=x", f"{name}=x a", f"{name}+=x a", f"env {name}=x a", f"export {name}=x", f"unset {name}"):
        assert refusal(line) == "command.environment"
    assert refusal(f"export {name}") == "command.environment"
    assert refusal(f'{name}="$x" a') == "command.environment"


@pytest.mark.parametrize("name", ["FOO", "PYTHONPATH", "CC", "GIT_AUTHOR_NAME", "PATHS", "path", "MYPATH"])
def test_other_variables_may_be_set(name: str) -> None:
    for line in (
        f"{name}=x",
        f"{name}=$x a",
        f"env {name}=x a",
        f'export {name}="$x"',
        f"export {name}",
        f"unset {name}",
    ):
        assert parsed(line)


@pytest.mark.parametrize("value", ["C", "POSIX", "C.UTF-8", "en_US.UTF-8", "de_DE.utf8"])
def test_the_language_may_be_set_where_it_changes_no_byte(value: str) -> None:
    check_variable("LC_ALL", value)
    check_variable("LANG", value)
    assert parsed(f"LC_ALL={value} sort")
    assert parsed(f"export LANG={value}")


@pytest.mark.parametrize("value", ["zh_CN.gbk", "ja_JP.SJIS", "en_US", "", None])
def test_the_language_is_not_set_to_another_encoding(value: str | None) -> None:
    with pytest.raises(CommandError):
        check_variable("LC_CTYPE", value)


@pytest.mark.parametrize(
    "argument",
    ["-f a", "-n", "a[0]=1", "'a[$(b)]=1'", "$x", '"$x"', "a=$x", "a=*", "1a", "=a", "a+=b", '"a$x"', "a*", "~"],
)
def test_exporting_what_is_no_plain_name_is_refused(argument: str) -> None:
    assert refusal(f"export {argument}") == "command.builtin"


@pytest.mark.parametrize("argument", ["-f a", "'a[$(b)]'", "a=b", "$x"])
def test_unsetting_what_is_no_plain_name_is_refused(argument: str) -> None:
    assert refusal(f"unset {argument}") == "command.builtin"


@pytest.mark.parametrize("line", ["export", "export a b=c", "export a=~/x", 'export a="b $x"', "unset a b"])
def test_plain_names_are_exported_and_unset(line: str) -> None:
    assert parsed(line)


@pytest.mark.parametrize(
    "words",
    [
        "-v 'a[$(b)]'",
        "-R a",
        "! -v a",
        "$x",
        "$x = a",
        "a = *",
        '"$x" a',
        '! "$x" a',
        'a "$x" b',
        '-n "$x" -a b',
        '"$x" = a -o b',
    ],
)
def test_a_test_whose_operator_may_evaluate_is_refused(words: str) -> None:
    assert refusal(f"test {words}") == "command.builtin"
    assert refusal(f"[ {words} ]") == "command.builtin"


@pytest.mark.parametrize(
    "words",
    ["", "a", '"$x"', "-f a", '-n "$x"', '! -n "$x"', '"$x" = a', '! "$x" = "$y"', "a -eq b", "-n a -a b = c", "!"],
)
def test_a_test_with_plain_operators_passes(words: str) -> None:
    assert parsed(f"test {words}")
    assert parsed(f"[ {words} ]")


@pytest.mark.parametrize("line", ["[ -f a", "[", '[ -f "$x"'])
def test_a_test_that_is_not_closed_is_refused(line: str) -> None:
    assert refusal(line) == "command.builtin"


@pytest.mark.parametrize("arguments", ["-v a b", "-va b", "'-va[$(b)]' c", "$x", '"$x" a', "*", '"-$x"'])
def test_printing_into_a_variable_is_refused(arguments: str) -> None:
    assert refusal(f"printf {arguments}") == "command.builtin"


@pytest.mark.parametrize("arguments", ["", "a", "'%s' \"$x\"", "'%s' -v", "-- -v", '"a$x"', "~"])
def test_other_printing_passes(arguments: str) -> None:
    assert parsed(f"printf {arguments}")


@pytest.mark.parametrize("line", ["jobs -x a", "jobs -lx a", "wait -p a", "wait -fnp a", "wait $x", "jobs *"])
def test_jobs_that_run_a_command_or_set_a_variable_are_refused(line: str) -> None:
    assert refusal(line) == "command.builtin"


@pytest.mark.parametrize("line", ["jobs", "jobs -l", "wait", "wait -n", "wait 12"])
def test_other_jobs_pass(line: str) -> None:
    assert parsed(line)


def test_a_segment_without_a_program_passes() -> None:
    check_segment(Segment())
