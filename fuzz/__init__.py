"""Attacks on Astrid by machines: one invariant in each file here, stated on its first line.

Each ``test_...`` that Hypothesis drives, and each state machine, is a target.  ``pytest`` runs them briefly like any
other test; ``python -m fuzz`` runs them for as long as asked, guided by coverage where it can (``engine/``).

Never: imported by what it attacks, nor by a test that could do with a fake.
"""
