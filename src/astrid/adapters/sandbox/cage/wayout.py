"""The one way out of a box: a listener inside of its own empty network, on which somebody outside accepts.

A socket stays in the network in which it was made, whoever holds it.  So the daemon takes the program's connections
itself, and nothing of ours runs beside the program to carry them.

Never: made in a network that is not the box's own.

Source: network_namespaces(7), unix(7).
"""

from __future__ import annotations

import socket

from astrid.adapters.sandbox.cage import kernel

HOST, PORT = "127.0.0.1", 3128
_BACKLOG = 64


def open_way_out() -> socket.socket:
    """The listener, and a loopback device that works.

    Raises:
        OSError: one of them is not to be had.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    kernel.raise_loopback(listener.fileno())
    listener.bind((HOST, PORT))
    listener.listen(_BACKLOG)
    return listener
