"""The next hop of blocking sockets where that is a proxy: its address, our login, and CONNECT."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from images.client.wire import AddressError

if TYPE_CHECKING:
    import socket

HEAD: Final = 64 << 10
"""Bytes of a proxy's answer to CONNECT."""


def read_proxy(text: str) -> SplitResult:
    """The proxy's address.

    Raises:
        AddressError: it is spoken to in TLS, or in something that is not HTTP.
    """
    try:
        way = urlsplit(text)
        if way.scheme != "http" or not way.hostname:
            raise ValueError(f"the proxy {way.scheme}://{way.hostname} is not http://")
        _ = way.port  # reading it checks it
    except ValueError as error:
        raise AddressError(error) from error
    return way


def address(way: SplitResult) -> tuple[str, int]:
    """Host and port to connect to."""
    return way.hostname or "", way.port or 80


def login(way: SplitResult) -> dict[str, str]:
    """Who we are to a proxy, where its URL says (RFC 7617)."""
    if way.username is None:
        return {}
    pair = f"{unquote(way.username)}:{unquote(way.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def tunnel(sock: socket.socket, host: str, port: int, way: SplitResult) -> None:
    """Let a proxy connect us to a host (RFC 9110, section 9.3.6).

    Raises:
        OSError: it does not.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in login(way).items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte or len(head) >= HEAD:
            raise ConnectionError("the proxy gives no answer")
        head += byte
    status = bytes(head).split(None, 2)[1:2]
    if not status or not status[0].startswith(b"2"):
        said = bytes(head).partition(b"\r\n")[0].decode("latin-1")
        raise ConnectionError(f"the proxy does not connect: {said}")
