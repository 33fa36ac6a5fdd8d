"""The log, its side tables and the anchor on disk, in SQLite through apsw.

Never: hashes, signs or judges; what it is given is what it stores, and what it stores is what it gives back.
"""
