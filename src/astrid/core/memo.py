"""What an object has answered before.  Pure, and bounded: when it is full, it begins anew.

It belongs to the object whose answers it holds (a policy, a token) and dies with it, so that nothing that was revoked
or replaced can answer.  Only what follows from that object and the key alone may be kept; whatever may change in
between (time, revocations, uses, money) is looked at each time.  Which answer would be missed least is not worth
knowing: to keep that in order costs about as much as to answer.

Never: keeps a failure, or grows beyond its bounds, whatever is asked.

Source: measurements of the central path (a memo per object); threat 47 (attacker-made keys).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

MEMO_ENTRIES = 256  # unless its owner says otherwise
MEMO_TEXT_BYTES = 512  # the model chooses resources; longer ones are computed each time, so that a memo stays small

_K = TypeVar("_K", bound=Hashable)
_A = TypeVar("_A")


class Memo(dict[_K, _A]):
    """Answers by what was asked; at most ``entries`` of them."""

    __slots__ = ("_entries",)

    def __init__(self, entries: int = MEMO_ENTRIES) -> None:
        super().__init__()
        self._entries = entries

    def keep(self, key: _K, answer: _A) -> _A:
        """Remember ``answer``, and give it back."""
        if len(self) >= self._entries:
            self.clear()
        self[key] = answer
        return answer
