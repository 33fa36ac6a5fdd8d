from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.adapters.workspace.handles import Opener, Root
from astrid.adapters.workspace.openers import open_by_walking, open_in_kernel
from astrid.adapters.workspace.paths import Locator, check_writable
from astrid.errors import WorkspaceError


@pytest.fixture
def system(opener: Opener) -> Iterator[Root]:
    opened = Root.of_system(opener)
    yield opened
    opened.close()


@pytest.fixture
def locator(root: Root, system: Root, folder: Path) -> Locator:
    return Locator(root, system, folder.parent / "home", lambda resource: resource.endswith("/hidden"))


def refusal(locator: Locator, text: str) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        locator.locate(text)
    return caught.value


@pytest.mark.parametrize("text", ["a/b", "./a//b", "a/./b/", "x/../a/b", "WS/a/b", "WS/../ws/a/b", "../ws/a/b"])
def test_paths_in_the_workspace_are_inside_however_they_are_written(locator: Locator, folder: Path, text: str) -> None:
    target = locator.locate(text.replace("WS", str(folder)))
    assert target.inside
    assert target.parts == (b"a", b"b")
    assert target.resource == f"file:/{folder}/a/b"
    assert target.absolute == f"{folder}/a/b"


def test_relative_paths_start_at_the_root_wherever_the_process_is(
    locator: Locator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "ws-evil")
    assert locator.locate("secret.txt").resource.endswith("/ws/secret.txt")


def test_the_root_itself_has_a_resource_and_a_tree(locator: Locator, folder: Path) -> None:
    target = locator.locate(".")
    assert (target.parts, target.resource, target.tree) == ((), f"file:/{folder}", f"file:/{folder}/**")
    outside = locator.locate("/")
    assert (outside.resource, outside.tree) == ("file://", "file://**")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("../secret.txt", "TMP/secret.txt"),
        ("a/../../secret.txt", "TMP/secret.txt"),
        ("/etc/passwd", "/etc/passwd"),
        ("WS-evil/secret.txt", "TMP/ws-evil/secret.txt"),
        ("../ws-evil/x", "TMP/ws-evil/x"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("~", "TMP/home"),
        ("~/x", "TMP/home/x"),
        ("~/../secret.txt", "TMP/secret.txt"),
    ],
)
def test_paths_elsewhere_are_outside_and_mean_what_they_say(
    locator: Locator, folder: Path, text: str, meant: str
) -> None:
    target = locator.locate(text.replace("WS", str(folder)))
    assert not target.inside
    assert target.absolute == meant.replace("TMP", str(folder.parent))


@pytest.mark.parametrize("exists", [True, False])
def test_finding_an_outside_path_says_nothing_about_what_is_there(locator: Locator, folder: Path, exists: bool) -> None:
    if exists:
        (folder.parent / "x").symlink_to("secret.txt")
    assert locator.locate("../x").parts[-1:] == (b"x",)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "workspace.path"),
        ("a\0b", "workspace.path"),
        ("~root/x", "workspace.path"),
        ("~x", "workspace.path"),
        ("a" * 256, "workspace.path"),
        ("/".join(["a" * 200] * 21), "workspace.path"),
        ("/".join(["a"] * 300), "workspace.path"),
        ("/proc/self/environ", "workspace.kernel-files"),
        ("/sys/x", "workspace.kernel-files"),
        ("/dev/sda", "workspace.kernel-files"),
        ("../../../../../../../../proc/1/mem", "workspace.kernel-files"),
        ("a\u202eb", "workspace.odd-name"),
        ("a\u200bb", "workspace.odd-name"),
        ("\uff0e\uff0e/secret.txt", "workspace.odd-name"),
        ("a\uff0fb", "workspace.odd-name"),
        ("\u2025/x", "workspace.odd-name"),
        ("e\u0301", "workspace.odd-name"),
        ("a\x1bb", "workspace.odd-name"),
        ("/opt/a\u202eb", "workspace.odd-name"),
    ],
)
def test_what_is_no_honest_path_is_refused(locator: Locator, text: str, code: str) -> None:
    assert refusal(locator, text).code == code


def test_a_link_to_an_odd_name_is_refused_too(locator: Locator, folder: Path) -> None:
    (folder / "plain").symlink_to("o\u200bdd")
    assert refusal(locator, "plain").code == "workspace.odd-name"


def test_an_ordinary_name_in_another_script_is_fine(locator: Locator) -> None:
    assert locator.locate("données/日本語.txt").parts == ("données".encode(), "日本語.txt".encode())


def test_a_backslash_is_a_character_of_a_name(locator: Locator) -> None:
    assert locator.locate("..\\..\\etc").parts == (b"..\\..\\etc",)


def test_the_argument_is_shown_so_that_it_cannot_deceive(locator: Locator) -> None:
    assert locator.locate("a\nb").shown == "a\\u{a}b"


def test_a_workspace_with_an_odd_path_is_refused(tmp_path: Path, system: Root, opener: Opener) -> None:
    (tmp_path / "o\u200bdd").mkdir()
    root = Root.open(tmp_path / "o\u200bdd", opener)
    try:
        with pytest.raises(WorkspaceError) as caught:
            Locator(root, system, tmp_path, lambda resource: False)
    finally:
        root.close()
    assert caught.value.code == "workspace.odd-name"


def test_what_is_hidden_is_not_looked_at_behind_its_name(locator: Locator, folder: Path) -> None:
    (folder / "hidden").symlink_to("elsewhere")
    (folder / "shown").symlink_to("elsewhere")
    assert locator.locate("hidden").parts == (b"hidden",)
    assert locator.locate("shown").parts == (b"elsewhere",)


def test_what_is_too_deep_to_be_named_is_hidden(locator: Locator) -> None:
    assert locator.is_hidden((b"a",) * 300)
    assert not locator.is_hidden((b"a",))


def test_folders_are_known_to_lie_in_the_workspace_by_where_they_really_are(locator: Locator, folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert locator.holds(folder.parent / "link" / "bin")
    assert not locator.holds(folder.parent / "ws-evil")


@pytest.mark.parametrize("text", [".git/config", "a/.git/hooks/x", ".ASTRID/x", "~/.ssh/id_rsa", "."])
def test_what_no_tool_may_write_is_refused_by_name_alone(locator: Locator, text: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        check_writable(locator.locate(text))
    assert caught.value.code == "workspace.protected"


@pytest.mark.parametrize(("text", "asks"), [("AGENTS.md", True), ("~/.bashrc", True), ("src/a.py", False)])
def test_what_steers_other_programs_asks_a_person(locator: Locator, text: str, asks: bool) -> None:
    assert check_writable(locator.locate(text)) is asks


def test_a_workspace_that_is_itself_protected_is_as_protected_as_before(folder: Path, system: Root) -> None:
    (folder / ".config").mkdir()
    root = Root.open(folder / ".config")
    locator = Locator(root, system, folder.parent / "home", lambda _: False)
    with pytest.raises(WorkspaceError) as caught:
        check_writable(locator.locate("git/config"))
    assert caught.value.code == "workspace.protected"
    assert check_writable(locator.locate("fish/config.fish"))
    assert not check_writable(locator.locate("app.toml"))
    root.close()


@pytest.mark.parametrize("text", ["env/x.pth", "env", "lib/a.py", "way/lib/a.py", "~/../code/a.py", "gone/a.py"])
def test_what_astrid_runs_from_is_never_written(root: Root, system: Root, folder: Path, text: str) -> None:
    (folder / "env").mkdir()
    (folder / "way").symlink_to(".")
    (folder.parent / "code").mkdir()
    (folder / "real").symlink_to("lib")
    kept = (folder / "env", folder / "real", folder.parent / "code", folder / "gone")
    locator = Locator(root, system, folder.parent / "home", lambda _: False, kept)
    with pytest.raises(WorkspaceError) as caught:
        check_writable(locator.locate(text))
    assert caught.value.code == "workspace.own-code"
    assert not check_writable(locator.locate("envx/a.py"))


def corpus() -> list[str]:
    vectors = Path(__file__).parents[2] / "vectors" / "corpora" / "path_traversal.json"
    return [path for paths in json.loads(vectors.read_text("utf-8"))["items"].values() for path in paths]


def test_no_text_of_the_traversal_lists_is_inside_and_leads_out(locator: Locator, folder: Path) -> None:
    seen: Counter[str] = Counter()
    for line in corpus():
        for text in (line.replace("{FILE}", "secret.txt"), f"a/{line}"):
            try:
                target = locator.locate(text)
            except WorkspaceError:
                continue
            assert b".." not in target.parts
            if target.inside:
                seen["inside"] += 1
                assert os.path.realpath(target.absolute).startswith(f"{folder}/") or not target.parts
            elif os.path.exists(target.absolute):
                seen["outside"] += 1
                # Outside is asked for by name, and the name is the real one or it will not open.
                assert target.absolute == os.path.normpath(os.path.join(folder, text)).replace("//", "/")
    assert seen["inside"] > 300, seen
    assert seen["outside"] > 5, seen


PIECES = st.sampled_from(["a", "b", "..", ".", "", "ws", "link", "~", "secret.txt", "..."])


@pytest.mark.parametrize("way", [open_in_kernel, open_by_walking], ids=["openat2", "walk"])
@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=7), st.booleans())
def test_a_path_is_inside_exactly_if_its_text_says_so(way: Opener, pieces: list[str], absolute: bool) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch).resolve()
        (base / "ws").mkdir()
        text = ("/" if absolute else "") + "/".join(pieces)
        root, system = Root.open(base / "ws", way), Root.of_system(way)
        try:
            target = Locator(root, system, base / "home", lambda resource: False).locate(text)
        except WorkspaceError:
            return
        finally:
            root.close()
            system.close()
        home = text == "~" or text.startswith("~/")
        start = (base / "home", text[1:].lstrip("/")) if home else (base / "ws", text)
        meant = os.path.normpath(os.path.join(*start)).replace("//", "/")
        assert target.absolute == meant
        assert target.inside == (meant == str(base / "ws") or meant.startswith(f"{base}/ws/"))
