"""A tool that only ``astrid demo`` offers: a payment, so that the rules for payments have something to refuse.

Never: reaches a bank or a network.  What it does, it does to a file of its own.
"""
