"""Where things lie under ``$ASTRID_HOME``, and how files that matter are read and written.  Shared by the daemon
and the frontends.

Never: makes or uses a key, or decides what a file means.  A file that guards anything is refused when others can
read or change it.

Source: the first Astrid (names); threats 41, 43; OpenSSH's rule for key files.
"""

from astrid.home.files import clear_drafts, read_guarded, write_guarded
from astrid.home.kept import KeptFiles
from astrid.home.layout import Home, actors_folder, home_folder, open_home
from astrid.home.lock import HomeLock
from astrid.home.secrets import Secrets
from astrid.home.workspaces import WorkspaceIdentity, identify_workspace, workspace_id

__all__ = [
    "Home",
    "HomeLock",
    "KeptFiles",
    "Secrets",
    "WorkspaceIdentity",
    "actors_folder",
    "clear_drafts",
    "home_folder",
    "identify_workspace",
    "open_home",
    "read_guarded",
    "workspace_id",
    "write_guarded",
]
