"""What a client leaves unread: the kernel keeps it, and the socket, for ever if nobody says how long."""

import asyncio
import socket


def give_up_unread(transport: asyncio.Transport, seconds: float) -> None:
    """Have the kernel end a connection whose other end takes nothing for so long."""
    connection = transport.get_extra_info("socket")
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        milliseconds = round(seconds * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
