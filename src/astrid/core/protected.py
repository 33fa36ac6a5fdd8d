"""Names in a workspace that an agent must not write, or only when a person approves; files no tool reads.  Pure.

The file tools, the launcher of sandboxes and the check after each shell call ask this one table.

What is protected: whatever makes a tool *outside* the sandbox run something, or widens somebody's authority, merely
because a person opens, enters, commits, pulls or pushes the workspace.  Not what runs only when the project itself is
run (a Makefile, a test).

Names are compared folded, so that no file system's idea of "the same name" reaches a protected one by another
spelling.  Folding too much only costs a question.

Never: follows links, or knows the disk: paths come resolved.  Renaming or deleting a folder also moves what is *in*
it: the caller asks about every entry below.

Invariants:
  A rule holds at any depth (nested repositories, submodules) and for everything below it, also where it begins above
  the workspace.
  A folder on the way to a rule is itself ASK: else `mv x .github` would bring in what could not be written there.
  Inside a git folder, what is not known to be harmless is NEVER; the folder itself is NEVER.

Source: attacks on agents' workspaces (protecting only hooks and config is a trap); threats 19 and 27;
CVE-2014-9390 (``.git`` through ignored code points), CVE-2019-1353 (through short names).
"""

from __future__ import annotations

import enum
import re
import unicodedata


class Protection(enum.IntEnum):
    """What writing a path takes; a higher value is stricter."""

    FREE = 0
    ASK = 1  # a person approves this very write, whatever token covers it
    NEVER = 2


# Keys, credentials, and configuration that may name a program to run: no task needs an agent to write them.
_NEVER = (
    ".astrid .ssh .gnupg .netrc _netrc .git-credentials .pgpass .aws/config .aws/credentials .kube/config",
    ".docker/config.json .config/gcloud .config/git .config/autostart .config/systemd .config/environment.d .hg/hgrc",
    ".jj/repo/config.toml",
)

_ASK = (
    # Instructions and definitions that the next session would follow.
    "agents.md agents.override.md agent.md astrid.md claude.md claude.local.md gemini.md skill.md actor.toml",
    ".cursorrules .windsurfrules .clinerules .roorules .roomodes .goosehints .rules copilot-instructions.md .mcp.json",
    "mcp.json .claude.json .aider.conf.yml .claude .cursor .codex .gemini .windsurf .continue .roo .openclaw .agents",
    ".kiro .amazonq .junie .opencode",
    # Editors, debuggers and shells that run what they find on opening or entering.
    ".vscode .idea .fleet .zed .vs .envrc .env .devcontainer .devcontainer.json .dir-locals.el .exrc .nvimrc",
    ".nvim.lua .vimrc .gdbinit .lldbinit .mise.toml mise.toml .mise .inputrc .tmux.conf .bashrc .bash_profile",
    ".bash_login .bash_logout .bash_aliases .profile .zshrc .zshenv .zprofile .zlogin .zlogout .kshrc .xprofile",
    ".xinitrc .xsession .pam_environment .config/fish .config/nvim .local/bin",
    # Version control: filters, hooks, where submodules come from, who must review.
    ".gitmodules .gitattributes .gitconfig .lfsconfig .husky .pre-commit-config.yaml .pre-commit-config.yml",
    "lefthook.yml lefthook.yaml .lefthook.yml .lefthook .overcommit.yml codeowners",
    # Package tools: registries, credentials, and programs an editor loads when it opens the project.
    ".npmrc .yarnrc .yarnrc.yml .yarn/releases .yarn/plugins .pnpmfile.cjs .pypirc pip.conf .cargo .bazelrc",
    "gradle-wrapper.properties .mvn .bundle/config",
    # Continuous integration: runs elsewhere, with secrets, once it is pushed.
    ".github/workflows .github/actions .github/dependabot.yml .gitlab-ci.yml .gitlab-ci.yaml .gitlab/ci .circleci",
    ".forgejo/workflows .gitea/workflows jenkinsfile azure-pipelines.yml azure-pipelines.yaml .azure-pipelines",
    ".drone.yml .travis.yml .woodpecker .woodpecker.yml .woodpecker.yaml bitbucket-pipelines.yml .buildkite",
    "appveyor.yml .appveyor.yml .cirrus.yml .teamcity .tekton cloudbuild.yaml cloudbuild.yml buildspec.yml",
)


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# What git itself writes in ordinary work and never runs: without these a sandboxed `git commit` could not work.
_GIT_DATA = _names(
    "objects refs logs index head packed-refs shallow rr-cache lfs description gc.pid gc.log commit_editmsg",
    "tag_editmsg orig_head fetch_head merge_head merge_msg merge_mode merge_rr merge_autostash auto_merge squash_msg",
    "cherry_pick_head revert_head rebase_head bisect_log bisect_start bisect_terms bisect_names bisect_expected_rev",
    "bisect_ancestors_ok",
)
# Not `attributes`, which picks a filter program, or `exclude`, which hides files from review.
_GIT_INFO_DATA = _names("refs sparse-checkout")
# Not `alternates`, which reads another repository.
_GIT_OBJECTS_INFO_DATA = _names("packs commit-graph commit-graphs")
# A person's `rebase --continue` runs the `exec` lines in these.
_GIT_TODO = _names("rebase-merge rebase-apply sequencer")
# A submodule's name may hold slashes and equal any name of git's, so there these are refused wherever they stand.
# They make git run a program (hooks, config, info/attributes) or send it to another folder that does.
_GIT_CONTROL = _names("hooks config config.worktree info commondir gitdir alternates remotes branches")

_DROPPED_CATEGORIES = frozenset("MC")  # marks; control, format, surrogate, private and unassigned
_SHORT_NAME = re.compile(r"([^.]{1,6})~[0-9]{1,6}(?:\.([^.]{1,3}))?\Z")  # 8.3: GIT~1, MCP~1.JSO
# The same after many collisions: what it abbreviates cannot be told.
_HASHED_SHORT_NAME = re.compile(r"[^.]{2}[0-9a-f]{4}~[0-9](?:\.[^.]{1,3})?\Z")

# Occupied by a sandbox while a command runs, also where they are not there yet: the names of the table by which a
# workspace is taken over most often.  Each takes a mount for each command, so not all of them; and none that keeps a
# tool from working while it is an empty folder (`.git/commondir`).
OCCUPIED: tuple[str, ...] = (
    *(".astrid", ".git/hooks", ".git/config", ".git/info", ".git/modules"),
    *(".gitmodules", ".gitattributes", ".husky", ".mcp.json", ".claude", ".cursor", ".codex", ".gemini"),
    *(".vscode", ".idea", ".envrc", ".env", ".devcontainer", ".github/workflows", ".gitlab-ci.yml", ".npmrc"),
)

Rule = tuple[tuple[frozenset[str], ...], Protection]


def fold(name: str) -> str:
    """``name`` as the most forgiving file system would compare it: case, compatibility forms, marks and ignored code
    points gone.
    """
    if name.isascii() and name.isprintable():
        text = name.lower()
    else:
        # Upper first, so that a dotless i and a long s end as the letters they become in upper case.
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).upper().casefold())
        text = "".join(char for char in text if unicodedata.category(char)[0] not in _DROPPED_CATEGORIES)
    return text.partition(":")[0].rstrip(". ")  # NTFS: the name of a stream; trailing dots and spaces


def _short_form(name: str) -> str:
    stem, dot, extension = name.lstrip(".").rpartition(".")
    stem, extension = (stem, extension) if dot else (extension, "")
    return f"{stem.replace('.', '')[:6]}:{extension[:3]}"


def _key(folded: str) -> str:
    """A short name as ``stem:extension``, without its number; any other name as it is, and that holds no colon."""
    short = _SHORT_NAME.match(folded)
    return folded if short is None else f"{short[1]}:{short[2] or ''}"


def _rules() -> dict[str, tuple[Rule, ...]]:
    table: dict[str, tuple[Rule, ...]] = {}
    for lines, protection in ((_NEVER, Protection.NEVER), (_ASK, Protection.ASK)):
        for entry in " ".join(lines).split():
            first, *rest = (frozenset((part, _short_form(part))) for part in entry.split("/"))
            for key in first:
                table[key] = (*table.get(key, ()), (tuple(rest), protection))
    return table


_RULES = _rules()
_GIT_KEYS = frozenset((".git", _short_form(".git")))


def classify_write(
    relative_parts: tuple[str, ...], above: tuple[str, ...] = (), *, symlink: bool = False
) -> Protection:
    """What writing, creating, renaming or deleting this entry of a workspace takes.

    ``relative_parts`` are the components of a resolved path below the workspace's root, and ``above`` those of the
    root: a workspace may itself lie in what is protected.  The root itself is NEVER, and so is any name that is, or
    folds to, no plain name (empty, ``..``, with a separator).  ``symlink`` says that a link is created: inside a git
    folder git would write through it, with text an agent chose, to where it points.
    """
    if not relative_parts or any(map(_is_no_name, relative_parts)):
        return Protection.NEVER
    keys = tuple(_key(fold(part)) for part in (*above, *relative_parts))
    # Below a bare repository lie, by custom, its working trees: of those above, only the root itself is taken for one.
    starts = [
        place
        for place, key in enumerate(keys)
        if place >= len(above) - 1 or key in _GIT_KEYS or not key.endswith(".git")
    ]
    if symlink and any(keys[place] in _GIT_KEYS or keys[place].endswith(".git") for place in starts):
        return Protection.NEVER
    return max(_classify_at(keys[place], keys[place + 1 :]) for place in starts)


def _is_no_name(name: str) -> bool:
    folded = fold(name)
    separators = any(char in unicodedata.normalize("NFKC", name) for char in "/\\\0")
    return separators or not folded or _HASHED_SHORT_NAME.match(folded) is not None


def _classify_at(key: str, below: tuple[str, ...]) -> Protection:
    if key in _GIT_KEYS and not below:
        return Protection.NEVER
    if key in _GIT_KEYS or (key.endswith(".git") and below):  # `name.git` is by custom a bare repository
        return _classify_git(below)
    found = (_classify_by_rule(rest, protection, below) for rest, protection in _RULES.get(key, ()))
    return max(found, default=Protection.FREE)


def _classify_by_rule(rest: tuple[frozenset[str], ...], protection: Protection, below: tuple[str, ...]) -> Protection:
    if any(key not in names for names, key in zip(rest, below, strict=False)):
        return Protection.FREE
    return protection if len(below) >= len(rest) else Protection.ASK


def _classify_git(inner: tuple[str, ...]) -> Protection:
    """The class of a path inside a git folder, not empty."""
    names = tuple(part.removesuffix(".lock") for part in inner)
    match names:
        case ("modules", *rest):
            # SAFETY: `modules/refs/hooks/x` is a hook of a submodule called `refs`, so one good name says nothing.
            control = any(name in _GIT_CONTROL or ":" in name for name in rest)
            harmless = not control and not _GIT_DATA.isdisjoint(rest) and rest[-1] != "objects"
        case ("worktrees", _, *rest) if rest:
            return _classify_git(tuple(rest))
        case (top, *_) if top in _GIT_TODO:
            return Protection.ASK
        case ("info", name, *_):
            harmless = name in _GIT_INFO_DATA
        case ("objects",) | ("objects", "info"):
            harmless = False  # made once, by `git init`; another folder in their place would bring its own alternates
        case ("objects", "info", name, *_):
            harmless = name in _GIT_OBJECTS_INFO_DATA
        case _:
            harmless = names[0] in _GIT_DATA or names[0].startswith("sharedindex.")
    return Protection.FREE if harmless else Protection.NEVER


# Below a person's home folder: keys, credentials, the stores of browsers and password managers.  Each entry stands
# for itself and for everything below it, without wildcards.  Data for the default policy.
SECRET_READS: tuple[str, ...] = (
    *sorted(
        _names(
            ".astrid .ssh .gnupg .pki .age .password-store .local/share/keyrings .local/share/kwalletd",
            "Library/Keychains id_rsa id_dsa id_ecdsa id_ed25519 .netrc _netrc .pgpass .my.cnf .mylogin.cnf",
            ".vault-token .git-credentials",
            ".config/git/credentials .config/gh .config/hub .config/glab-cli .config/op .config/sops .config/doctl",
            ".aws .azure .config/gcloud .oci .kube .docker/config.json .config/containers/auth.json .s3cfg .boto .fly",
            ".config/rclone .config/heroku .terraformrc .terraform.d/credentials.tfrc.json .databrickscfg",
            ".npmrc .yarnrc.yml .pypirc .gem/credentials .cargo/credentials .cargo/credentials.toml .m2/settings.xml",
            ".m2/settings-security.xml .gradle/gradle.properties .composer/auth.json .config/composer/auth.json",
            ".nuget/NuGet .claude/.credentials.json .codex/auth.json .gemini/oauth_creds.json .huggingface/token",
            ".cache/huggingface/token .mozilla .thunderbird .config/google-chrome .config/chromium",
            ".config/BraveSoftware .config/microsoft-edge Library/Cookies Library/Safari .electrum .bitcoin",
            ".ethereum/keystore .config/solana/id.json .bash_history .zsh_history .python_history .node_repl_history",
            ".psql_history .mysql_history .sqlite_history",
        )
    ),
    "Library/Application Support/Firefox",
    "Library/Application Support/Google/Chrome",
)
