"""The only importers of vendor libraries and of the operating system, one package for each port.

Never: decides whether something may happen.  An adapter does what it is told, once, and says truthfully how it ended.
"""
