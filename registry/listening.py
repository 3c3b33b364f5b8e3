"""The sockets a registry listens on: made here, or handed over by the service manager.

Each worker has a socket of its own on the one port (SO_REUSEPORT), so the kernel spreads
connections; the supervisor keeps them all open, so connections that wait for a worker outlive it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from records import Record
from registry.config import RegistryConfig
from registry.errors import RegistryStartError
from registry.systemd import inherited_sockets

BACKLOG: Final = 1024
"""Connections that wait for a worker."""

_METRICS_NAME: Final = "metrics"
"""FileDescriptorName= of an inherited socket that serves metrics."""


class BoundAddress(Record):
    """Where the registry listens."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host:port``, IPv6 in brackets: what an image name begins with."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address a client takes."""
        return f"{self.scheme}://{self.authority}"


class Listeners(Record):
    """``workers[i]`` are the sockets of worker ``i``; all share those in ``metrics``."""

    workers: tuple[tuple[socket.socket, ...], ...]
    metrics: tuple[socket.socket, ...]

    def bound(self, scheme: str) -> BoundAddress:
        """The address of the first one."""
        return BoundAddress(scheme, *self.workers[0][0].getsockname()[:2])

    def close(self) -> None:
        """Close every socket; connections that were taken stay."""
        for group in (*self.workers, self.metrics):
            for listener in group:
                listener.close()

    def keep(self, worker: int) -> None:
        """Close what belongs to other workers alone."""
        mine = self.workers[worker]
        for listener in {s for group in self.workers for s in group if s not in mine}:
            listener.close()


def open_listeners(
    config: RegistryConfig, workers: int, environment: Mapping[str, str]
) -> Listeners:
    """Open the sockets, or take those that systemd opened.

    Raises:
        RegistryStartError: an address is in use or is none of this machine.
    """
    inherited = inherited_sockets(environment, os.getpid())
    main = [s for name, s in inherited if name != _METRICS_NAME]
    metrics = [s for name, s in inherited if name == _METRICS_NAME]
    if main:
        groups: tuple[tuple[socket.socket, ...], ...] = tuple(
            (main[number % len(main)],) for number in range(workers)
        )
    else:
        groups = _bind_groups(config.host, config.port, workers)
    if not metrics and config.metrics.port is not None:
        metrics = list(_bind_groups(config.metrics.host, config.metrics.port, 1)[0])
    for listener in {s for group in (*groups, metrics) for s in group}:
        _tune(listener, config.limits.idle_timeout)
    return Listeners(groups, tuple(metrics))


def _tune(listener: socket.socket, idle: float) -> None:
    """Accepted sockets inherit these: a client that takes nothing, or is gone, is dropped."""
    listener.settimeout(0)
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        milliseconds = max(1, int(idle * 1000))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.listen(BACKLOG)


def _bind_groups(host: str, port: int, count: int) -> tuple[tuple[socket.socket, ...], ...]:
    try:
        addresses = _resolve(host, port)
        # Without SO_REUSEPORT first: with it, two registries would share a port and not notice.
        first = list(_bind(addresses, reuse_port=False))
        if count == 1:
            return (tuple(first),)
        # Never let go: somebody else could take a port that the system chose.
        for listener in first:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        addresses = [(listener.family, listener.getsockname()[:2]) for listener in first]
        others = (tuple(_bind(addresses, reuse_port=True)) for _ in range(count - 1))
        return tuple(first), *others
    except OSError as error:
        raise RegistryStartError(
            f"cannot listen: {error.strerror or error}",
            where=f"{host}:{port}",
            fix="choose another address or port, or stop what is using it",
        ) from error


def _resolve(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    unique = dict.fromkeys((family, address) for family, _, _, _, address in found)
    return [(family, (str(address[0]), port)) for family, address in unique]


def _bind(
    addresses: Sequence[tuple[int, tuple[str, int]]], *, reuse_port: bool
) -> Iterator[socket.socket]:
    """Sockets on these addresses; port 0 takes the same free one for all of them."""
    port = 0
    for family, (host, wanted) in addresses:
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if reuse_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, wanted or port))
        except OSError:
            listener.close()
            raise
        # Listening at once: another process could bind the port between bind and listen.
        listener.listen(BACKLOG)
        port = listener.getsockname()[1]
        yield listener
