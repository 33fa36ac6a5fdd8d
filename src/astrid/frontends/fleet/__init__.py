"""A fleet: many tasks out of one file, so many at once, on one purse, each a session of its own.

Never: takes a task's words for a person's.  They come out of a file, so the daemon hears them as untrusted text.
"""
