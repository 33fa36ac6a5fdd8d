"""Actors on Trio: mailboxes, refs, ranks and supervisors.  Knows no agent, tool or token, and fits any program.

It never looks into a message, never opens a file or a socket, and never reads a clock but the run's own.

    async with open_system(SupervisorSpec("root", children=(ChildSpec("counter", Counter),))) as system:
        total = await system.ask(system.ref("root/counter"), Add(amount=2), within=1)

  message   what travels, and what becomes of it when there is no room
  ref       who is who: a ``Sender`` is a fact, a ``Ref`` is the right to send
  actor     what an actor is, and the ``Context`` through which it does everything
  spec      supervision trees as data
  system    the way in
  restart   the pure machine that decides what a supervisor does, in the words of ``signals``; ``supervisor`` does it
  mailbox, slot, timers, life, cell, run    how it works inside
  statistics, testing                 how to look at it

What holds, whatever happens: every ask ends, in an answer, a refusal or ``ActorGone``; nobody can choose who they
are; nobody can wait for a higher rank; children stop right to left; no task outlives its system.
"""

from astrid.kernel.actor import Actor, Context
from astrid.kernel.errors import (
    ActorGone,
    AgainstRank,
    AskTooLate,
    Failed,
    KernelError,
    MailboxFull,
    Misuse,
    Stuck,
    TooManyRestarts,
)
from astrid.kernel.message import Exit, Lane, Message, Overflow, Reason
from astrid.kernel.ref import OUTSIDE, Down, Posted, Ref, Sender
from astrid.kernel.run import Codec
from astrid.kernel.spec import ChildSpec, SupervisorSpec
from astrid.kernel.statistics import ActorStatistics, DeadLetter, SupervisorStatistics, SystemStatistics
from astrid.kernel.supervisor import SupervisorHandle
from astrid.kernel.system import System, open_system
from astrid.kernel.timers import Timer

__all__ = [
    "OUTSIDE",
    "Actor",
    "ActorGone",
    "ActorStatistics",
    "AgainstRank",
    "AskTooLate",
    "ChildSpec",
    "Codec",
    "Context",
    "DeadLetter",
    "Down",
    "Exit",
    "Failed",
    "KernelError",
    "Lane",
    "MailboxFull",
    "Message",
    "Misuse",
    "Overflow",
    "Posted",
    "Reason",
    "Ref",
    "Sender",
    "Stuck",
    "SupervisorHandle",
    "SupervisorSpec",
    "SupervisorStatistics",
    "System",
    "SystemStatistics",
    "Timer",
    "TooManyRestarts",
    "open_system",
]
