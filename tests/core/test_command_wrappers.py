"""Programs that start another program, and the shells that are given a script."""

from __future__ import annotations

import pytest

from astrid.core.command_model import Budget, Script, Segment, Word
from astrid.core.command_parser import parse_script
from astrid.core.command_wrappers import inner_commands
from astrid.errors import CommandError


def segment(line: str) -> Segment:
    """The only segment of a harmless line, its first word then being the first of ``line``."""
    (found,) = parse_script(f"x {line}", dialect="bash", via="plain", depth=3, budget=Budget())[:1]
    return Segment(argv=found.argv[1:], depth=3, background=True)


def show(word: Word) -> str:
    if word.literal is not None:
        return word.literal
    return f"{word.prefix}{'...' if word.splits else '?'}"


def inner(line: str) -> list[str]:
    found: list[str] = []
    for item in inner_commands(segment(line)):
        match item:
            case Segment():
                assert (item.via, item.depth, item.background) == ("wrapper", 3, True)
                words = [f"{known.name}={show(known.value)}" for known in item.assignments]
                found.append(" ".join([*words, *(show(word) for word in item.argv)]))
            case Script():
                found.append(f"{item.dialect}: {item.text}")
    return found


def refusal(line: str) -> str:
    with pytest.raises(CommandError) as caught:
        inner(line)
    return caught.value.code


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ls -l", []),
        ("env", []),
        ("env A=1", []),
        ("env a b", ["a b"]),
        ("/usr/bin/env a", ["a"]),
        ("ENV a", ["a"]),  # the same file, where letter case does not count
        ('env A=1 B="$(x)y" a', ["A=1 B=? a"]),
        ("env A=~/x a", ["A=? a"]),
        ("env 'A=1 2' a", ["A=1 2 a"]),
        ("env -- A=1 a", ["A=1 a"]),
        ("env --help a", []),
        ("sudo a", ["a"]),
        ("sudo -n -u me -E A=1 a -x", ["A=1 a -x"]),
        ("sudo --user=me -- a", ["a"]),
        ("sudo -l", []),
        ("nohup a", ["a"]),
        ("nice a", ["a"]),
        ("nice -n 5 a", ["a"]),
        ("nice -n-5 --adjustment=3 a", ["a"]),
        ("timeout 5 a", ["a"]),
        ("timeout -k 1 -sKILL --foreground 5s a 6", ["a 6"]),
        ("stdbuf -oL -e 0 --input=0 a", ["a"]),
        ("time -p a", ["a"]),
        ("ionice -c 3 -n7 a", ["a"]),
        ("setsid -wc a", ["a"]),
        ("command a", ["a"]),
        ("command -v a", []),
        ("builtin cd a", ["cd a"]),
        ("exec a b", ["a b"]),
        ("env nice sudo a", ["nice sudo a"]),
        ("xargs", []),
        ("xargs a -f", ["a -f ..."]),
        ("xargs -0 -r -n 1 -P4 -d '\\n' a", ["a ..."]),
        ("xargs -I {} a x{}y {} z", ["a x? ? z"]),
        ("xargs -I% -P2 a $x 'b'%*", ["a ... ..."]),
        ("find . -name '*.py'", []),
        ("find . -exec a {} ';'", ["a ?"]),
        ("find . -exec a x{}y b \\; -o -ok c \\;", ["a x? b", "c"]),
        ("find . -exec a {} +", ["a ..."]),
        ("find . -exec a + {} +", ["a + ..."]),
        ("find . -execdir /bin/a {} ';'", ["/bin/a ?"]),
        ("find src/* ~ -okdir a \"b$x\" ';'", ["a ?"]),
        ("bash -c 'a; b' c d", ["bash: a; b"]),
        ("bash -euo pipefail -xc 'a'", ["bash: a"]),
        ("bash --norc --noprofile -c -e -o errexit a", ["bash: a"]),
        ("sh -c a", ["posix: a"]),
        ("/bin/dash -ec a", ["posix: a"]),
        ("bash --version", []),
        ("sh --help", []),
        ("bash a.sh -c b", ["./a.sh -c b"]),
        ("bash -eu ../dir/a.sh", ["../dir/a.sh"]),
        ("sh /home/u/a.sh $x", ["/home/u/a.sh ..."]),
        ("zsh a.zsh b", ["./a.zsh b"]),
        ("sh dev/a.sh", ["dev/a.sh"]),
    ],
)
def test_what_a_program_starts_is_revealed(line: str, expected: list[str]) -> None:
    assert inner(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "env -i a",
        "env - a",
        "env -u A a",
        "env -S 'a b'",
        "env -C / a",
        "env --chdir=/ a",
        "env A=1 -i a",
        "env -- - a",
        "env 'BASH_FUNC_ls%%=() { a; }' ls",
        "env =1 a",
        "env A=* a",
        "env 1A=x a",
        "sudo -i",
        "sudo -s a",
        "sudo -D / a",
        "sudo -e a",
        "sudo A=1 -u me a",
        "nice -5 a",
        "nice --adj=5 a",
        "timeout",
        "timeout --kill 5 a",
        "stdbuf -x a",
        "time -o f a",
        "ionice -p 1",
        "command -p a",
        "exec -a b c",
        "exec -c a",
        "xargs -a f a",
        "xargs -i a",
        "xargs -l a",
        "xargs --replace a",
        "xargs --max-lines a",
        "xargs -p a",
        "xargs -I '' a",
        "xargs -I {} -n 1 a {}",
        "xargs -n 1 -I {} a {}",
        "find . -exec a",
        "find . -exec a {}",
        "find . -exec a + ;",
        "find . -exec ';'",
        "find . -exec",
        "find . -execdir ./a ';'",
        "find . -okdir bin/a {} ';'",
        "bash",
        "bash -",
        "bash -s a",
        "bash -i",
        "bash -l a",
        "bash --login a",
        "bash --rcfile a",
        "bash --init-file a -c b",
        "bash +x a",
        "bash -c",
        "bash -O extglob -c a",
        "bash -o posix -c a",
        "bash -o",
        "bash --version -c a",
        "bash -c --version",
        "bash -- a",
        "bash ''",
        "bash /dev/stdin",
        "bash /dev/fd/3",
        "bash /proc/self/fd/0",
        "bash //proc/self/fd/0",
        "bash ../../dev/stdin",
        "sh --norc -c a",
        "sh",
        "zsh",
        "zsh -c a",
        "fish -c a",
        "ksh /dev/stdin",
        "su -c a",
        "doas a",
        "busybox a",
        "chroot / a",
        "flock f a",
        "watch a",
        "strace a",
        "parallel a",
        "gxargs a",
        "/lib64/ld-linux-x86-64.so.2 a",
        "/lib/ld-musl-x86_64.so.1 a",
        "ld.so a",
    ],
)
def test_a_wrapper_that_cannot_be_read_is_refused(line: str) -> None:
    assert refusal(line) == "command.wrapper"


def test_exec_without_a_program_is_refused() -> None:
    assert refusal("exec") == "command.builtin"


@pytest.mark.parametrize(
    "line",
    [
        "env $x a",
        "env A=$x a",
        'env "$x" a',
        "nice -n $x a",
        "timeout $x a",
        'timeout "5$x" a',
        "sudo -u $x a",
        "xargs -n $x a",
        "find $x -name a",
        'find "$x" -name a',
        "find * -name a",
        "find . -name *.py",
        "find . -exec a $x ';'",
        "find . -exec a \"$x\" ';'",
        "find . -exec a ';'\"$x\" b ';'",
        "find . -exec a +$x b ';'",
        "bash $x",
        'bash "$x"',
        "bash <(a)",
        "bash -c $x",
        'bash -c "a $x"',
        "bash ~/a.sh",
        "zsh $x",
    ],
)
def test_a_word_that_decides_what_is_run_has_to_be_literal(line: str) -> None:
    assert refusal(line) == "command.dynamic-option"


def test_the_words_of_the_inner_program_may_be_dynamic() -> None:
    assert inner("env a $x *") == ["a ... ..."]


def test_a_segment_without_a_program_starts_nothing() -> None:
    assert inner_commands(Segment()) == ()
