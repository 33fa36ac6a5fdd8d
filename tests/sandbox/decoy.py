"""What stands for the daemon and its neighbours: it holds secrets, listens everywhere, and writes down who came.

decoy.py FOLDER KEYFILE      the names of its places are printed as JSON; each contact is a line of FOLDER/log
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys


def main(folder: str, key_file: str) -> None:
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(what: str) -> None:
        os.write(log, f"{what}\n".encode())

    signal.signal(signal.SIGUSR1, lambda *_: say("signal"))
    held = open(key_file)  # noqa: SIM115 - its descriptor is what an attack looks for
    chosen = selectors.DefaultSelector()
    places = {"tcp": socket.socket(), "abstract": socket.socket(socket.AF_UNIX)}
    places["tcp"].bind(("127.0.0.1", 0))
    places["abstract"].bind(f"\0decoy-{os.getpid()}")
    os.makedirs(f"{folder}/run")
    for name in ("daemon.sock", "docker.sock", "bus"):
        places[name] = socket.socket(socket.AF_UNIX)
        places[name].bind(f"{folder}/run/{name}")
    for name, one in places.items():
        one.listen(8)
        chosen.register(one, selectors.EVENT_READ, name)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 0))
    chosen.register(datagrams, selectors.EVENT_READ, "udp")
    local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    local.bind(f"{folder}/run/dgram")
    chosen.register(local, selectors.EVENT_READ, "local datagram")
    spare = socket.socket()
    spare.bind(("127.0.0.1", 0))
    port2 = spare.getsockname()[1]
    spare.close()
    names = {"PORT": places["tcp"].getsockname()[1], "UDP": datagrams.getsockname()[1], "PORT2": port2}
    os.write(1, json.dumps({**names, "ABS": f"decoy-{os.getpid()}"}).encode() + b"\n")
    while True:
        for key, _ in chosen.select(0.05):
            if key.fileobj in (datagrams, local):
                key.fileobj.recv(1000)  # pyright: ignore[reportAttributeAccessIssue]
                say(key.data)
                continue
            peer, _ = key.fileobj.accept()  # pyright: ignore[reportAttributeAccessIssue]
            say(key.data)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            peer.close()
        with socket.socket() as visitor:  # of a port that a contained program may have taken
            if visitor.connect_ex(("127.0.0.1", port2)) == 0:
                say("visited")
        assert not held.closed


if __name__ == "__main__":
    main(*sys.argv[1:])
