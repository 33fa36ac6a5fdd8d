"""The judge of shell lines: what it writes down is what was called, whatever the words hold and whoever writes too."""

from __future__ import annotations

from tests.fakes.real_bash import real_bash


def test_words_are_read_back_as_they_were() -> None:
    with real_bash() as bash:
        run = bash.run("A=$'1\\n2\\\\' p 'a\nb' '\\n' '\\b' '\\\\' $'\\xff&' '' && nosuch 'x\ny'")
    assert sorted(run.calls, reverse=True) == [("p", "a\nb", "\\n", "\\b", "\\\\", "\udcff&", ""), ("nosuch", "x\ny")]
    assert sorted(run.values, reverse=True) == ["1\n2\\", ""]


def test_programs_that_run_at_once_do_not_write_into_each_others_records() -> None:
    with real_bash() as bash:
        for number in range(200):
            how = "stdbuf -o0 " if number % 2 else ""  # writes as it goes
            run = bash.run(f"{how}p 'a\nb\nc' | {how}q 'd\ne\nf' | nosuch 'g\nh' | {how}k '1\n2\n3\n4'")
            assert sorted(run.calls) == [
                ("k", "1\n2\n3\n4"),
                ("nosuch", "g\nh"),
                ("p", "a\nb\nc"),
                ("q", "d\ne\nf"),
            ]
