"""One trusted actor class per kind of thing that runs.

Never: holds a reference to a tool.  A host of a principal (a session) reaches effects through the interceptor
alone; a host of tools answers the interceptor alone.
"""
