"""What is recorded when files are put back."""

from __future__ import annotations

from typing import Any

import pytest

from astrid.core import gate_undo
from astrid.core.canon import decode
from astrid.core.gate_undo import begin_rewinding, end_rewinding
from astrid.core.records import BODIES, MAX_BODY_BYTES, Entry, Kind, is_sealed
from astrid.core.records_undo import FilesRewound
from astrid.core.undo import Undo
from astrid.errors import AstridError

SESSION, OTHER, SALT = b"S" * 16, b"O" * 16, b"s" * 32
UNDOS = (Undo("srv/a", b"a" * 32, b""), Undo("srv/b", b"", b"b" * 32))


def body(made: Entry) -> Any:
    return decode(made.body, BODIES[made.kind], max_bytes=MAX_BODY_BYTES, what="a body")


def test_the_beginning_says_how_many_and_beside_it_lies_which() -> None:
    made = begin_rewinding(SESSION, 3, UNDOS, running=[OTHER], salt=SALT)
    assert (made.kind, made.session, made.urgent) == (Kind.FILES_REWINDING, SESSION, True)
    assert (body(made).turn, body(made).files) == (3, 2)
    (payload,) = made.payloads
    assert decode(payload.data, tuple[Undo, ...], max_bytes=1000, what="a plan") == UNDOS
    assert is_sealed(body(made).plan, payload.salt, payload.data)


def test_it_does_not_begin_while_something_of_the_session_is_under_way() -> None:
    with pytest.raises(AstridError) as caught:
        begin_rewinding(SESSION, 3, UNDOS, running=[OTHER, SESSION], salt=SALT)
    assert caught.value.code == "gate.under-way"


def test_more_files_than_can_be_recorded_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(begin_rewinding(SESSION, 3, UNDOS, running=[], salt=SALT).payloads[0].data)
    monkeypatch.setattr(gate_undo, "MAX_PLAN_BYTES", size)
    begin_rewinding(SESSION, 3, UNDOS, running=[], salt=SALT)
    monkeypatch.setattr(gate_undo, "MAX_PLAN_BYTES", size - 1)
    with pytest.raises(AstridError) as caught:
        begin_rewinding(SESSION, 3, UNDOS, running=[], salt=SALT)
    assert caught.value.code == "record.plan"


def test_the_end_names_its_beginning() -> None:
    made = end_rewinding(SESSION, FilesRewound(began=7, restored=2, left=1))
    assert (made.kind, made.session, made.payloads) == (Kind.FILES_REWOUND, SESSION, ())
    assert (body(made).began, body(made).restored, body(made).left) == (7, 2, 1)
