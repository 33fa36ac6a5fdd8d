"""Files of a session that is over are put back from the command line, by a daemon of their own."""

from __future__ import annotations

import pytest

from tests.e2e.test_kill import is_sound, read, records, told
from tests.fakes.processes import Place
from tests.fakes.terminal import Terminal, astrid, installed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not installed(), reason="the product is not installed where an isolated Python finds it"),
]
EDIT = {
    "id": "t1",
    "name": "edit_file",
    "arguments": {"file_path": "a.txt", "old_string": "hello", "new_string": "bye"},
}
MAKE = {"id": "t2", "name": "write_file", "arguments": {"file_path": "new/b.txt", "content": "made\n"}}
KINDS = ("files-rewinding", "files-rewound")


def test_whoever_agrees_has_the_files_as_they_were(place: Place) -> None:
    with place.daemon():
        script = place.script({"tool_calls": [EDIT]}, {"tool_calls": [MAKE]}, {"text": "done"})
        assert place.exec("go", "--model", script).returncode == 0
        [one] = told(place, "sessions", "list", "--all")["sessions"]
        words = ["sessions", "rewind", one["session_id"], "--to", "0", "--only", "files"]
        changed, made = place.workspace / "a.txt", place.workspace / "new" / "b.txt"
        assert (read(changed), read(made)) == ("bye\nworld\n", "made\n")

        refused = place.astrid(*words)
        assert (refused.returncode, "[session.not-agreed]" in refused.stderr) == (1, True), refused
        shown = told(place, *words, "--dry-run")
        assert {(file["path"], file["does"]) for file in shown["files"]} == {
            (str(changed), "restore"),
            (str(made), "remove"),
        }
        assert [records(place, "--kind", kind) for kind in KINDS] == [[], []]
        assert (read(changed), read(made)) == ("bye\nworld\n", "made\n")

        terminal = Terminal(astrid(*words), place.home.root)
        terminal.sees(r"rewind\? \[y/N\] ")
        terminal.types("y\r")
        terminal.sees("put back:")
        assert terminal.ends() == 0
        terminal.close()
        assert (read(changed), made.exists()) == ("hello\nworld\n", False)
        assert [len(records(place, "--kind", kind)) for kind in KINDS] == [1, 1]
        assert is_sound(place)
        assert told(place, *words)["files"] == []
