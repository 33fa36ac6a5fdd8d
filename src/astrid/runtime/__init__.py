"""The composition root: the one place that knows every class.

``tree`` is the supervision tree on one screen, ``boot`` loads what it needs, ``log`` reads the past, ``gateway``
opens and closes sessions.

Never: decides, grants or signs anything but checkpoints and narrowing; what it composes does the work.
"""
