"""The reference monitor: the shells around the gate, the log and the questions.

Never: decides anything itself.  Each actor here owns one machine of ``core``, stamps what it is told with who said
it and when, and performs what the machine wants done.
"""
