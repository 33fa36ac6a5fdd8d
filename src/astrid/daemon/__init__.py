"""The daemon ``astridd``: the one process that holds sessions, one per home, behind a Unix socket.

    __main__    the command line                      lifecycle   from start to end: lock, actors, socket, signals
    process     what surrounds a process that nobody may look into
    server      who may connect                       connection  one client, as an actor
    admission   what a client's token lets it ask     attendance  who can answer questions
    service     what each method does                 checkup     what it finds when it looks at itself
    books       reading the log for clients           summaries, explaining   records for people
    health      ends sessions that everybody left     report      what the daemon says about itself

Never: opens ``user.key``, grants anything, or prints what a session said.

Source: architecture 4; the first Astrid; threats 30, 43, 46.
"""

from __future__ import annotations


def main() -> int:
    """``astridd``: the daemon's command line; what the process exits with."""
    from astrid.daemon.__main__ import main as run  # imported late: a package that imports its own main runs it twice

    return run()
