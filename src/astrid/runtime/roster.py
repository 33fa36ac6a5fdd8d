"""The sessions that are awake, sub-agents among them: by id, by the actor that speaks for each, and by its key.

Source: architecture 2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from astrid.runtime.parts import Live


class Roster(Collection[bytes]):
    """The ids of all of them; ``add`` and ``remove`` change it."""

    def __init__(self) -> None:
        self._lives: dict[bytes, Live] = {}
        self._of_actor: dict[int, Live] = {}
        self._of_key: dict[bytes, Live] = {}

    def __contains__(self, session: object) -> bool:
        return session in self._lives

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lives)

    def __len__(self) -> int:
        return len(self._lives)

    def __getitem__(self, session: bytes) -> Live:
        return self._lives[session]

    def get(self, session: bytes) -> Live | None:
        """The session with this id."""
        return self._lives.get(session)

    def of_actor(self, ref_id: int) -> Live | None:
        """The session whose actor has this ref."""
        return self._of_actor.get(ref_id)

    def of_key(self, key: bytes) -> Live | None:
        """The session that proposes with this key."""
        return self._of_key.get(key)

    def lives(self) -> list[Live]:
        """All of them as they are now, the first to come first."""
        return list(self._lives.values())

    def add(self, live: Live) -> None:
        """It is awake from now on."""
        self._lives[live.session] = self._of_actor[live.ref.id] = self._of_key[live.stem.key] = live

    def remove(self, live: Live) -> None:
        """It is over, or sleeps."""
        del self._lives[live.session], self._of_actor[live.ref.id], self._of_key[live.stem.key]
