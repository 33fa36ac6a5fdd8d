"""What runs the targets: it finds them, feeds them, keeps corpora and turns each crash into a vector.

Never: knows what a target is about, changes a file of the project other than ``tests/vectors/fuzz`` and, when asked,
``fuzz/corpus``; everything else it leaves in ``.fuzz/``.
"""
