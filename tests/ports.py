"""Ports for servers that a test starts later, in a process of their own."""

import itertools
import os
import socket

# Below what the kernel gives to every client's connection, and to whoever asks for any port: one of
# those could take a port between the moment that it is found free here and its server's start.
_FIRST, _COUNT = 10_000, 22_000
# Each test process begins somewhere else, and gives none twice.
_ports = (_FIRST + number % _COUNT for number in itertools.count(257 * os.getpid()))


def free_port() -> int:
    """Return a port of this machine on which nobody listens, and which no other test is given."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
