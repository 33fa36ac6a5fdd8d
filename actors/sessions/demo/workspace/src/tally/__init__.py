"""Adds up receipts."""

from tally.receipt import Line, total

__all__ = ["Line", "total"]
