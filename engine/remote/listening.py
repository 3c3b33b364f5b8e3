"""``lading builder serve``: sessions over TLS, a process each, for clients with a certificate.

Whoever holds a certificate of the given authority may build, which is to run commands here. There
is no other door: without a client certificate no byte of the protocol is exchanged.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from engine.remote.channel import Channel
from engine.remote.errors import ChannelError, NodeError

SESSIONS: Final = 16
"""At the same time; more are turned away."""
HANDSHAKE_SECONDS: Final = 20.0
KEEPALIVE_SECONDS: Final = 30
"""After so long without a word, and as often as that, TCP asks whether the client is there."""

log = logging.getLogger("builder")

Session = Callable[[Channel], None]


def server_context(cert: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """TLS 1.3 that asks clients for a certificate of ``client_ca``.

    Raises:
        NodeError: a file is no good.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(cert, key)
        context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise NodeError(
            f"the certificates cannot be used: {error}",
            where=", ".join(map(str, (cert, key, client_ca))),
            fix="give PEM files: a certificate, its key, the authority of the clients",
        ) from error
    return context


def serve(
    address: tuple[str, int],
    context: ssl.SSLContext,
    session: Session,
    *,
    ready: Callable[[str, int], object],
) -> None:
    """Serve until SIGTERM or SIGINT, then end the sessions; blocks.

    ``ready`` gets the address that is listened on.

    Raises:
        NodeError: the address cannot be used.
    """
    try:
        listener = socket.create_server(address)
    except OSError as error:
        raise NodeError(f"cannot listen: {error}", where=f"{address[0]}:{address[1]}") from error
    stop, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = [signal.signal(it, lambda *_: os.write(wake, b".")) for it in _STOPPING]
    children: set[int] = set()
    try:
        with listener:
            ready(*listener.getsockname()[:2])
            while stop not in select.select([listener.fileno(), stop], [], [], 1.0)[0]:
                children = {pid for pid in children if not _ended(pid)}
                listener.settimeout(0)
                with suppress(BlockingIOError, ConnectionError):
                    connection, peer = listener.accept()
                    with connection:
                        if len(children) < SESSIONS:
                            children.add(_start(connection, peer[0], context, session, listener))
                        else:
                            log.warning("%s is turned away: %d sessions", peer[0], SESSIONS)
    finally:
        for number, handler in zip(_STOPPING, before, strict=True):
            signal.signal(number, handler)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        os.close(stop)
        os.close(wake)


_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


def _ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _start(
    connection: socket.socket,
    peer: str,
    context: ssl.SSLContext,
    session: Session,
    listener: socket.socket,
) -> int:
    """A process for one session; returns its id to the parent."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        listener.close()
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        _converse(connection, peer, context, session)
        status = 0
    except (ChannelError, OSError) as error:
        log.warning("%s: %s", peer, error)
    except Exception:
        # The process ends below without a traceback of its own.
        log.exception("%s: the session failed", peer)
    finally:
        os._exit(status)


def _converse(
    connection: socket.socket, peer: str, context: ssl.SSLContext, session: Session
) -> None:
    # A client whose machine went away says nothing; its session would stay for ever.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS)
    connection.settimeout(HANDSHAKE_SECONDS)
    with context.wrap_socket(connection, server_side=True) as stream:
        stream.settimeout(None)
        name = _common_name(stream)
        log.info("%s is here as %s", peer, name)
        with stream.makefile("rb", buffering=0) as reader, stream.makefile("wb") as writer:
            session(Channel(reader, writer, peer=peer))
        log.info("%s as %s is done", peer, name)


def _common_name(stream: ssl.SSLSocket) -> str:
    certificate: Any = stream.getpeercert() or {}
    names = [value for part in certificate.get("subject", ()) for name, value in part]
    return names[-1] if names else "?"
