"""The memory of a policy or a token: what was kept is given back, and no more of it is kept than was said."""

from __future__ import annotations

from astrid.core.memo import MEMO_ENTRIES, Memo


def test_what_was_kept_is_given_back() -> None:
    memo: Memo[str, int] = Memo()
    assert memo.get("a") is None
    assert memo.keep("a", 0) == 0
    assert memo.get("a") == 0


def test_no_more_is_kept_than_was_said() -> None:
    small, usual = Memo[int, int](3), Memo[int, int]()
    for number in range(MEMO_ENTRIES * 3):
        small.keep(number, number)
        usual.keep(number, number)
        assert len(small) <= 3
        assert len(usual) <= MEMO_ENTRIES
        assert small.get(number) == usual.get(number) == number


def test_a_full_memory_begins_anew() -> None:
    memo: Memo[str, int] = Memo(2)
    for number, key in enumerate("abc"):
        memo.keep(key, number)
    assert memo == {"c": 2}
