"""The trusted core: pure functions and machines.

Never: imports Trio, touches a file, a clock, a socket, a thread or a source of randomness.  Whatever the core must
know about the world arrives as an argument; whatever it wants done leaves as a value.
"""
