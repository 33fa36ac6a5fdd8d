"""The crash sweep: a real daemon is killed, starved of disk or interrupted at every system call that leaves a trace.

    python -m tests.crash            the whole of it; see ``__main__``
    tests/crash/test_slice.py        a few points of each kind, with everything else in `make test`

The product has no hook for this.  The daemon is started under a filter of the kernel (seccomp) that stops each write,
sync, send, rename and unlink of it and of whatever it starts, and asks the sweep what is to become of it.

    launch    installs the filter and becomes the daemon; a program of its own
    trap      takes what the kernel stops, counts it, lets it pass or strikes
    faults    what is struck with: a kill, a torn write, a power cut, a full disk, a signal
    platter   what a disk still holds after a power cut: nothing that was not synced
    scene     the home, the workspace, the daemon's process
    person    who plays the session: asks, answers, grants and revokes, and remembers what was said to them
    sleeper   another play: a session falls asleep, is answered, and is woken
    family    another: a session with two sub-agents is cut off, and resumed by the next daemon
    vendor    the model that these two talk to, since whoever follows a script never sleeps
    judge     what must hold afterwards, computed from the records and the traces alone
    sweep     one case from start to end
    plan      which points are visited, and which of them have been

Where a kernel or a container lets nobody stop system calls, the sweep says so and exits with 2; its tests are skipped.

A point is a place in one session.  Threads and processes do not take turns quite alike each time, so a few of the last
numbers may not be reached; that is counted and said.  A command line is struck without a terminal; with one, and with
the signer, it is ``tests/e2e/test_kill.py`` that kills.
"""
