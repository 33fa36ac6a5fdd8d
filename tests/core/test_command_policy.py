"""The administrator's list, and the files that redirections open."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.command import CommandLine, Segment, parse_command
from astrid.core.command_policy import blocked_by, changes_directory, program_names, writes_and_reads
from astrid.errors import CommandError


def blocked(line: str, *entries: str) -> str | None:
    return blocked_by(parse_command(line), frozenset(entries))


# ---- one word --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "sudo a",
        "/usr/bin/sudo a",
        "../bin/sudo",
        's""udo a',
        "\\sudo a",
        "$'su\\x64o' a",
        "{sudo,a}",
        "SUDO a",
        "A=1 sudo a",
        "a; sudo b",
        "a | sudo b",
        "(sudo a)",
        "{ sudo a; }",
        "! sudo a",
        "a $(sudo b)",
        "a `sudo b`",
        'a "$(sudo b)"',
        "a <(sudo b)",
        "a >$(sudo b)",
        "A=$(sudo b)",
        "a <<E\n$(sudo b)\nE",
        "a $(b $(sudo c))",
        "env sudo a",
        "env A=1 nice -n 3 nohup sudo a",
        "timeout 5 sudo a",
        "command sudo a",
        "exec sudo a",
        "a | xargs sudo b",
        "xargs -I {} sudo a {}",
        "find . -exec sudo a {} \\;",
        "bash -c 'a; sudo b'",
        "sh -c \"sh -c 'sudo b'\"",
        "bash /usr/bin/sudo",
        "sudo.ws a",
        "a & sudo b",
    ],
)
def test_a_blocked_program_is_found_wherever_it_would_run(line: str) -> None:
    assert blocked(line, "sudo") == "sudo"


@pytest.mark.parametrize(
    "line", ["echo sudo", "man sudo", "git init", "sudoku", "visudo", "a sudo=1", "echo 'sudo x'", "cat sudo.d/a"]
)
def test_a_word_that_is_no_program_blocks_nothing(line: str) -> None:
    assert blocked(line, "sudo", "init") is None


@pytest.mark.parametrize(
    ("line", "found"), [("mkfs /x", True), ("/sbin/mkfs.ext4 /x", True), ("mkfsx", False), ("mkfs_ext4", False)]
)
def test_an_entry_covers_its_family(line: str, *, found: bool) -> None:
    assert (blocked(line, "mkfs") is not None) is found


def test_an_entry_with_a_path_means_its_base_name() -> None:
    assert blocked("sudo a", "/usr/bin/sudo")


def test_an_empty_entry_is_an_error_and_blocks_not_nothing() -> None:
    with pytest.raises(CommandError) as caught:
        blocked("a", "  ")
    assert caught.value.code == "command.blocked-entry"


def test_without_entries_nothing_is_blocked() -> None:
    assert blocked("sudo rm -rf /") is None
    assert blocked_by(CommandLine(segments=(Segment(),)), frozenset({"sudo"})) is None


# ---- several words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /",
        "rm -fr /",
        "rm -r -f /",
        "rm -f -r /",
        "rm -Rf /",
        "rm -rvf /",
        "rm --recursive --force /",
        "rm --rec --forc /",
        "rm -r --force /",
        "rm -rf -- /",
        "rm / -rf",
        "rm -rf a /",
        "rm -rf / a",
        "rm -rf --no-preserve-root /",
        "rm -rf //",
        "rm -rf /.",
        "rm -rf /tmp/..",
        "rm -rf /./../",
        "rm -rf ../../../..",
        "rm -rf ..",
        "rm -rf '/'",
        "{rm,-rf,/}",
        "/bin/rm -rf /",
        "env rm -rf /",
        "a $(rm -rf /)",
        "cd / && rm -rf .",
        "cd .. && rm -rf .",
        "cd && rm -rf .",
        "cd - && rm -rf ./",
        "cd $x && rm -rf .",
        "cd ~; rm -rf .",
        "cd -P / ; rm -rf .",
        "popd; rm -rf .",
    ],
)
def test_an_entry_of_several_words_matches_however_they_are_spelled(line: str) -> None:
    assert blocked(line, "rm -rf /") == "rm -rf /"


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /tmp",
        "rm -rf /tmp/x",
        "rm -rf build",
        "rm -rf .",
        "rm -rf ./build",
        "rm -rf ../build",
        "rm -r /",
        "rm -f /",
        "rm /",
        "rm -- -rf /",
        "rm -rf",
        "rm -i /",
        "rm -rf *",
        "rm -rf /tmp/*",
        "rm -rf ~/build",
        "rm -rf -",
        "cd sub && rm -rf .",
        "cd /tmp/x && rm -rf .",
        "cd / && rm -rf build",
        "echo rm -rf /",
        "rmdir -rf /",
        'rm -rf "$x/build"',
        'rm -rf "/tmp/$x/build/"',
        'rm "$x"',
        'rm -f "$x"',
        "rm a*",
        "rm *",
    ],
)
def test_another_command_of_the_same_program_passes(line: str) -> None:
    assert blocked(line, "rm -rf /") is None


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf $x",
        'rm -rf "$x"',
        'rm -rf "/tmp/$x"',
        'rm -rf "$x/"',
        'rm -rf "$x/.."',
        "rm -rf $x/build",
        "rm $x /",
        'rm "$x" /',
        'rm "$x" "$y"',
        "rm $x",
        "rm * /",
        "rm -rf ~",
        "rm -rf ~root/",
        "rm -rf ~/.",
        "rm -rf /*/..",
        "rm -rf `a`",
        "a | xargs rm",
        "a | xargs -I {} rm -rf {}",
        "find / -exec rm -rf {} +",
        "bash -c 'rm -rf $1' x /",
    ],
)
def test_a_dynamic_word_counts_as_what_it_may_become(line: str) -> None:
    assert blocked(line, "rm -rf /") == "rm -rf /"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("rm -rf /*", True),
        ("rm -rf '/*'", True),
        ("rm -rf //*", True),
        ("rm -rf /./*", True),
        ("rm -rf /?*", True),
        ("rm -rf /[a-z]*", True),
        ("rm -rf /b*/x", True),
        ("rm -rf ~/*", True),
        ('rm -rf "$x"/*', True),
        ("cd / && rm -rf *", True),
        ("cd /; rm -rf ./*", True),
        ("rm -rf ../*", True),
        ("rm -rf *", False),
        ("rm -rf ./*", False),
        ("rm -rf /tmp/*", False),
        ("rm -rf /tmp/?", False),
        ("rm -rf /", False),
        ("cd /tmp && rm -rf *", False),
    ],
)
def test_an_entry_with_a_glob_matches_globs_in_the_same_directory(line: str, *, found: bool) -> None:
    assert (blocked(line, "rm -rf /*") is not None) is found


@pytest.mark.parametrize(
    ("line", "entry", "found"),
    [
        ("chmod 777 a", "chmod 777", True),
        ("chmod -R 777 a", "chmod 777", True),
        ("chmod 0777 a", "chmod 777", True),
        ("chmod 755 a", "chmod 777", False),
        ("chmod 7777 a", "chmod 777", False),
        ('chmod "$x" a', "chmod 777", True),
        ('chmod "7$x" a', "chmod 777", True),
        ('chmod "u+$x" a', "chmod 777", False),
        ("chmod u+x *", "chmod 777", False),
        ("chmod 777? a", "chmod 777", False),
        ("git push --force", "git push --force", True),
        ("git push -f origin", "git push --force", True),
        ("git -C dir push --force=true", "git push --force", True),
        ("git push --force-with-lease", "git push --force", False),
        ("git push", "git push --force", False),
        ("git reset --hard HEAD", "git reset --hard", True),
        ("git reset --soft", "git reset --hard", False),
        ("rm -rf ~", "rm -rf ~", True),
        ("rm -rf *", "rm -rf *", True),
        ("a -xy --long=3 b c", "a -y --long c", True),
        ("a -- --long", "a --long", False),
        ("a -- -x", "a -- -x", True),
        ("a -", "a -", True),
    ],
)
def test_options_fold_and_operands_compare_as_documented(line: str, entry: str, *, found: bool) -> None:
    assert (blocked(line, entry) is not None) is found


@given(
    st.permutations(["-r", "-f", "/"]),
    st.lists(st.sampled_from(["-v", "-i", "a", "b c", "/x", "-d", "--verbose"]), max_size=4),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100)
def test_no_other_words_and_no_order_save_a_blocked_command(
    words: list[str], others: list[str], random: Random
) -> None:
    mixed = [*words, *(f"'{other}'" for other in others)]
    random.shuffle(mixed)
    assert blocked(" ".join(["rm", *mixed]), "rm -rf /")


# ---- code in a word --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "python3 -c 'import os; os.system(\"sudo a\")'",
        "python3.11 -c 'x(\"/usr/bin/sudo\")'",
        "node -e \"require('child_process').execSync('sudo a')\"",
        'perl -e \'exec "sudo", "a"\'',
        "awk 'BEGIN { system(\"sudo a\") }'",
        "python3 <<'E'\nx('sudo')\nE",
        "python3 <<<'sudo'",
        "ssh host 'sudo a'",
    ],
)
def test_a_blocked_program_named_in_code_is_found(line: str) -> None:
    assert blocked(line, "sudo") == "sudo"


def test_all_words_of_an_entry_have_to_be_named_in_code() -> None:
    assert blocked("node -e \"x('rm -rf /')\"", "rm -rf /")
    assert blocked("node -e \"x('rm -rf /home')\"", "rm -rf /") is None


@pytest.mark.parametrize(
    "line", ["python3 manage.py init", "python3 sudo.py", "python3 -c 'print(1)' <sudo", "perl $x", "cat <<E\nsudo\nE"]
)
def test_what_is_no_code_names_nothing(line: str) -> None:
    assert blocked(line, "sudo", "init") is None


# ---- names, directories, files ---------------------------------------------------------------------------------------


def test_programs_are_named_by_base_name_and_as_written_and_once() -> None:
    line = "A=1; /bin/a; b $(./c); env a; (b)"
    assert program_names(parse_command(line)) == ("a", "/bin/a", "b", "c", "./c", "env")


@pytest.mark.parametrize(
    ("line", "changes"),
    [("cd a", True), ("(a; pushd b)", True), ("builtin cd a", True), ("a cd", False), ("A=1", False)],
)
def test_a_change_of_the_directory_is_seen(line: str, *, changes: bool) -> None:
    assert changes_directory(parse_command(line)) is changes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", []),
        ("a <b >c >>d <>e >|f", [("read", "b"), ("write", "c"), ("append", "d"), ("readwrite", "e"), ("write", "f")]),
        ("a &>b; c &>>d", [("write", "b"), ("append", "d")]),
        ("a >&b", [("write", "b")]),
        ("a 2>&1 <&3 >&- 3>&4-", []),
        ("a <<<b <<E\nc\nE", []),
        ("a >$x >* >~/b", [("write", None)] * 3),
        ("a > >(b >c)", [("write", None), ("write", "c")]),
        ("(a >b) >c", [("write", "b"), ("write", "c")]),
        ("a $(b <c)", [("read", "c")]),
        ("bash -c 'a >b'", [("write", "b")]),
        ("cd a && b >c >/d", [("write", None), ("write", "/d")]),
        ("a >''", [("write", "")]),
    ],
)
def test_redirected_files_are_listed_with_what_is_done_to_them(
    line: str, expected: list[tuple[str, str | None]]
) -> None:
    assert [(item.mode, item.path) for item in writes_and_reads(parse_command(line))] == expected
