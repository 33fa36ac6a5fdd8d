"""Protected names: the table by example, by every spelling, and at every depth."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrid.core.protected import OCCUPIED, SECRET_READS, Protection, classify_write, fold
from astrid.core.resources import file_pattern_tree, file_resource, matches

MODEST = settings(max_examples=150)
FREE, ASK, NEVER = Protection.FREE, Protection.ASK, Protection.NEVER


def classify(path: str) -> Protection:
    return classify_write(tuple(path.split("/")))


@pytest.mark.parametrize("path", OCCUPIED)
def test_whatever_is_occupied_is_protected_by_the_table(path: str) -> None:
    assert classify(path) is not FREE


NEVER_WRITTEN = """
.git .git/hooks .git/hooks/pre-commit .git/config .git/config.lock .git/config.worktree .git/info/attributes
.git/info/exclude .git/info .git/commondir .git/gitdir .git/objects/info/alternates .git/objects/info .git/objects
.git/objects/info/http-alternates .git/objects/info/altern~1 .git/remotes/origin .git/branches/x .git/anything-new
.git/modules .git/modules/sub .git/modules/sub/hooks/post-checkout .git/modules/a/b/hooks/x .git/modules/a/b/config
.git/modules/refs/hooks/x .git/modules/objects/config .git/modules/sub/info/attributes .git/modules/sub/objects
.git/modules/sub/gitdir .git/modules/refs/config~1.wor .git/modules/sub/unknown
.git/worktrees .git/worktrees/w .git/worktrees/w/commondir .git/worktrees/w/gitdir .git/worktrees/w/config.worktree
vendor/lib/.git/hooks/x vendor/lib/.git .git/modules/sub/modules/inner/hooks/x mirror.git/hooks/update mirror.git/config
.astrid .astrid/config.toml sub/.astrid/actors/x/actor.toml .ssh .ssh/authorized_keys .gnupg/x .netrc .git-credentials
.aws/config .aws/credentials .kube/config .docker/config.json .config/gcloud/x .config/git/config .config/systemd/user/x
.config/autostart/a.desktop .hg/hgrc .jj/repo/config.toml
"""

ASKED_FOR = """
.mcp.json sub/.mcp.json .vscode .vscode/tasks.json .idea/workspace.xml .claude/settings.json .cursor/rules/x .envrc .env
.gitmodules .gitattributes src/.gitattributes .husky/pre-commit .devcontainer/devcontainer.json .github/workflows/ci.yml
.github/workflows .github .github/actions/x/action.yml .gitlab-ci.yml .circleci/config.yml Jenkinsfile AGENTS.md
CLAUDE.md ASTRID.md SKILL.md skills/x/SKILL.md actor.toml .pre-commit-config.yaml .npmrc .cargo/config.toml .bashrc
.gitconfig .config .aws .kube .docker .hg .jj .jj/repo .yarn/releases/y.cjs .yarn CODEOWNERS docs/CODEOWNERS
.git/rebase-merge/git-rebase-todo .git/rebase-apply/x .git/sequencer/todo .git/worktrees/w/rebase-merge/x
"""

LEFT_FREE = """
README.md src/main.py git hooks config hooks/x config/x .gitignore .gitkeep .github/ISSUE_TEMPLATE/bug.md conftest.py
Makefile package.json pyproject.toml .editorconfig .config/nextest.toml .docker/Dockerfile .aws/task.json agents/x.md
library/x my.git .gitx git~ a~1 readme~1.md docs/AGENTS.md.txt .env.example env .yarn/cache/x .hg/store/x astrid ssh
.git/HEAD .git/index .git/index.lock .git/refs/heads/main .git/refs/heads/feature/config .git/refs/heads/hooks
.git/logs/HEAD .git/objects/ab/cdef .git/objects/pack/x.pack .git/objects/info/packs .git/objects/info/commit-graph
.git/COMMIT_EDITMSG .git/packed-refs .git/packed-refs.lock .git/sharedindex.0123 .git/info/refs
.git/info/sparse-checkout .git/modules/sub/HEAD .git/modules/a/b/refs/heads/x .git/worktrees/w/HEAD
.git/worktrees/w/index mirror.git/HEAD
"""


@pytest.mark.parametrize("path", NEVER_WRITTEN.split())
def test_what_would_run_outside_the_sandbox_is_never_written(path: str) -> None:
    assert classify(path) is NEVER


@pytest.mark.parametrize("path", ASKED_FOR.split())
def test_what_others_follow_or_open_takes_a_fresh_approval(path: str) -> None:
    assert classify(path) is ASK


@pytest.mark.parametrize("path", LEFT_FREE.split())
def test_ordinary_work_is_free(path: str) -> None:
    assert classify(path) is FREE


SPELLINGS = [
    str.upper,
    str.title,
    lambda name: name + ".",
    lambda name: name + " . ",
    lambda name: name + "::$INDEX_ALLOCATION",
    lambda name: name + ":stream",
    lambda name: name + " :stream",
    lambda name: "\u200c".join(name),  # ignored by some file systems
    lambda name: name + "\ufeff",
    lambda name: name + "\u0301",
    lambda name: "\u202e" + name,
    lambda name: name.replace("i", "\u0131"),  # dotless
    lambda name: name.replace("s", "\u017f"),  # long s
    lambda name: name.replace("k", "\u212a"),  # kelvin
    lambda name: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in name),  # full width
    lambda name: "".join(
        chr(ord(char) - 97 + 0x1D400) if "a" <= char <= "z" else char for char in name
    ),  # bold capitals
    lambda name: name[0] + "".join(char + "\U000e0020" for char in name[1:]),  # tags
    lambda name: name + "\udc80",  # an undecodable byte
]


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize(
    ("name", "below", "expected"),
    [
        (".git", ("hooks", "x"), NEVER),
        (".git", (), NEVER),
        (".ssh", ("id",), NEVER),
        (".astrid", (), NEVER),
        ("skill.md", (), ASK),
        (".vscode", ("tasks.json",), ASK),
    ],
)
def test_no_other_spelling_of_a_protected_name_is_freer(
    spell: object, name: str, below: tuple[str, ...], expected: Protection
) -> None:
    assert callable(spell)
    assert classify_write(("sub", str(spell(name)), *below)) >= expected


@pytest.mark.parametrize("spell", SPELLINGS)
def test_no_other_spelling_of_a_name_inside_a_git_folder_is_freer(spell: object) -> None:
    assert callable(spell)
    assert classify_write((".git", str(spell("hooks")), "pre-commit")) is NEVER
    assert classify_write((".git", "modules", "sub", str(spell("hooks")), "pre-commit")) is NEVER
    assert classify_write((".github", str(spell("workflows")), "ci.yml")) >= ASK


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("git~1", NEVER),
        ("GIT~1/hooks/x", NEVER),
        ("git~2/config", NEVER),
        ("GIT~1/HEAD", FREE),
        ("ASTRID~1/x", NEVER),
        ("SSH~1/x", NEVER),
        ("GITMOD~1", ASK),
        ("MCP~1.JSO", ASK),
        ("VSCODE~1/tasks.json", ASK),
        ("CLAUDE~1.MD", ASK),
        ("GITHUB~1/WORKFL~1/ci.yml", ASK),
        ("AWS~1/CREDEN~1", NEVER),
        ("GI7D29~1", NEVER),
        ("ab12cd~3.txt", NEVER),
        ("abcdef~1.txt", NEVER),
        ("report~1.txt", FREE),
    ],
)
def test_a_short_name_is_judged_like_what_it_may_stand_for(path: str, expected: Protection) -> None:
    assert classify(path) is expected


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ("",),
        (".",),
        ("..", "x"),
        ("a", "", "b"),
        ("a/b",),
        ("a\\b",),
        (".git\\hooks\\x",),
        ("a\0b",),
        ("a\uff0fb",),
        ("a\uff3cb",),
        ("\u2025",),
        ("\uff0e\uff0e", "x"),
        ("...",),
        (" ",),
        (":stream",),
        ("\u200b",),
        ("\u0301",),
        ("℅",),  # NFKC spells it with a slash
    ],
)
def test_what_is_no_plain_name_is_never_written(parts: tuple[str, ...]) -> None:
    assert classify_write(parts) is NEVER


ANY_NAME = st.one_of(
    st.sampled_from(
        "git .git hooks config refs modules objects info HEAD .github workflows .config .ssh x a~1".split()
    ),
    st.text(min_size=1, max_size=4),
)


@MODEST
@given(st.lists(ANY_NAME, min_size=1, max_size=4), st.sampled_from([*NEVER_WRITTEN.split(), *ASKED_FOR.split()]))
def test_a_protected_path_is_no_freer_in_a_folder_that_is_no_git_folder(folders: list[str], path: str) -> None:
    folders = [
        name for name in folders if not fold(name).startswith(("git~", ".git")) and not fold(name).endswith(".git")
    ]
    assert classify_write((*folders, *path.split("/"))) >= classify(path)


@MODEST
@given(st.sampled_from(ASKED_FOR.split()), st.lists(ANY_NAME, min_size=1, max_size=3))
def test_below_what_is_asked_for_nothing_is_free_unless_the_folder_only_leads_there(path: str, more: list[str]) -> None:
    leads = {".github", ".config", ".aws", ".kube", ".docker", ".hg", ".jj", ".jj/repo", ".yarn"}
    if path not in leads:
        assert classify_write((*path.split("/"), *more)) >= ASK


@MODEST
@given(st.lists(ANY_NAME, min_size=1, max_size=5))
def test_folding_twice_is_folding_once(names: list[str]) -> None:
    for name in names:
        assert fold(fold(name)) == fold(name)


@pytest.mark.parametrize(
    "path", [".git/COMMIT_EDITMSG", "sub/.git/logs", "GIT~1/HEAD", "mirror.git/HEAD", "mirror.git"]
)
def test_a_link_inside_a_git_folder_is_never_made(path: str) -> None:
    assert classify_write(tuple(path.split("/")), symlink=True) is NEVER


IN_A_PROTECTED_FOLDER = [
    ("home/u/.config", "git/config", NEVER),
    ("home/u/.config", "systemd/user/x.service", NEVER),
    ("home/u/.config", "app.toml", FREE),
    ("home/u/.ssh", "authorized_keys", NEVER),
    ("p/.git", "hooks/pre-commit", NEVER),
    ("p/.git", "HEAD", FREE),
    ("p/.git/modules/a", "hooks/x", NEVER),
    ("p/.GIT /hooks", "x", NEVER),
    ("p/mirror.git", "hooks/update", NEVER),
    ("p/mirror.git/main", "src/a.py", FREE),
    ("p/.github", "workflows/ci.yml", ASK),
    ("p/.github/workflows", "ci.yml", ASK),
    ("p/.vscode", "tasks.json", ASK),
    ("p/.claude/skills", "x/run.sh", ASK),
    ("p/src", "a.py", FREE),
]


@pytest.mark.parametrize(("root", "path", "expected"), IN_A_PROTECTED_FOLDER)
def test_a_workspace_that_lies_in_a_protected_folder_frees_nothing(root: str, path: str, expected: Protection) -> None:
    assert classify_write(tuple(path.split("/")), tuple(root.split("/"))) is expected


@MODEST
@given(path=st.sampled_from([*NEVER_WRITTEN.split(), *ASKED_FOR.split()]), more=st.data())
def test_no_place_of_the_root_makes_a_path_freer_than_it_is_as_a_whole(path: str, more: st.DataObject) -> None:
    parts = tuple(path.split("/"))
    cut = more.draw(st.integers(0, len(parts) - 1))
    is_bare = any(part.endswith(".git") and part != ".git" for part in parts[: max(cut - 1, 0)])
    assert is_bare or classify_write(parts[cut:], ("home", "u", *parts[:cut])) >= classify_write(parts)


def test_a_link_in_a_workspace_that_is_a_git_folder_is_never_made() -> None:
    assert classify_write(("HEAD",), ("p", ".git"), symlink=True) is NEVER
    assert classify_write(("HEAD",), ("p", "mirror.git"), symlink=True) is NEVER
    assert classify_write(("x",), ("p", "mirror.git", "main"), symlink=True) is FREE


def test_a_link_elsewhere_is_judged_by_its_name() -> None:
    assert classify_write(("src", "link"), symlink=True) is FREE
    assert classify_write((".github",), symlink=True) is ASK


def test_the_classes_are_ordered_by_strictness() -> None:
    assert FREE < ASK < NEVER


# ---- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SECRET_READS)
def test_every_secret_is_a_plain_relative_path_that_makes_a_pattern(name: str) -> None:
    assert not set("*?[]~%\\") & set(name)
    pattern = file_pattern_tree(f"/home/u/{name}")
    assert matches(pattern, file_resource(f"/home/u/{name}"))
    assert matches(pattern, file_resource(f"/home/u/{name}/below"))


def test_no_secret_is_listed_twice_or_below_another() -> None:
    assert len(set(SECRET_READS)) == len(SECRET_READS)
    assert [a for a in SECRET_READS for b in SECRET_READS if a.startswith(f"{b}/")] == []


@pytest.mark.parametrize(
    "path",
    [
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".gnupg/secring.gpg",
        ".netrc",
        ".config/gcloud/credentials.db",
        ".kube/config",
        ".docker/config.json",
        ".npmrc",
        ".pypirc",
        ".git-credentials",
        "id_rsa",
        ".astrid/keys/user.key",
    ],
)
def test_well_known_secrets_are_covered(path: str) -> None:
    assert any(matches(file_pattern_tree(f"/home/u/{name}"), file_resource(f"/home/u/{path}")) for name in SECRET_READS)
