"""Host ports held by real sockets, so that no other program takes a published port.

A TCP socket is bound and listening with a filter that drops everything: no connection is answered
by it, neither before the rewriting rules exist nor after they are gone. A UDP socket is bound
likewise.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress

from records import Record, replace
from runtime.network.errors import NetworkFault, PortTakenError

_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""One classic BPF instruction: return 0 bytes."""
_SOCKET_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "sctp": socket.SOCK_STREAM}
_PROTOCOLS = {
    "tcp": socket.IPPROTO_TCP,
    "udp": socket.IPPROTO_UDP,
    "sctp": socket.IPPROTO_SCTP,
}


class PortBinding(Record):
    """A wish to publish: ``host_port`` 0 means any free one, ``host_address`` an IPv4 address of
    this host.
    """

    port: int
    protocol: str = "tcp"
    host_port: int = 0
    host_address: str = "0.0.0.0"
    host_port_end: int = 0
    """With it, the first free port from ``host_port`` to here is taken."""


def reserve(bindings: Iterable[PortBinding]) -> tuple[list[PortBinding], list[socket.socket]]:
    """Hold the host port of every binding; returns them with the ports chosen, and the sockets that
    hold them.

    A kernel without SCTP holds nothing for SCTP ports.

    Raises:
        PortTakenError: a port is in use; nothing is held then.
        NetworkFault: the address is not one of this host, or the protocol is unknown.
    """
    chosen: list[PortBinding] = []
    held: list[socket.socket] = []
    try:
        for binding in bindings:
            holder = _hold_first(binding)
            port = binding.host_port
            if holder is not None:
                held.append(holder)
                port = holder.getsockname()[1]
            chosen.append(replace(binding, host_port=port, host_port_end=0))
    except BaseException:
        release(held)
        raise
    return chosen, held


def release(held: Sequence[socket.socket]) -> None:
    """Let the ports go."""
    for holder in held:
        with suppress(OSError):
            holder.close()


def _hold_first(binding: PortBinding) -> socket.socket | None:
    """Hold the port, or the first free one of the range."""
    for port in range(binding.host_port, binding.host_port_end):
        try:
            return _hold(replace(binding, host_port=port))
        except PortTakenError:
            continue
    return _hold(replace(binding, host_port=max(binding.host_port, binding.host_port_end)))


def _hold(binding: PortBinding) -> socket.socket | None:
    where = f"{binding.host_address}:{binding.host_port}/{binding.protocol}"
    if binding.protocol not in _SOCKET_KINDS:
        raise NetworkFault(f"unknown protocol {binding.protocol}", where=where)
    try:
        holder = socket.socket(
            socket.AF_INET, _SOCKET_KINDS[binding.protocol], _PROTOCOLS[binding.protocol]
        )
    except OSError as error:
        if binding.protocol == "sctp" and binding.host_port:
            return None
        raise NetworkFault(str(error.strerror), where=where, errno=error.errno) from error
    try:
        _drop_everything(holder)
        holder.bind((binding.host_address, binding.host_port))
        if binding.protocol == "tcp":
            holder.listen(1)
    except OSError as error:
        holder.close()
        raise _refusal(error, where) from error
    return holder


def _drop_everything(holder: socket.socket) -> None:
    import ctypes

    buffer = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
    program = struct.pack("@HP", 1, ctypes.addressof(buffer))
    # Hardened kernels keep filters to CAP_NET_ADMIN; the port is held without one too.
    with suppress(PermissionError):
        holder.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _refusal(error: OSError, where: str) -> NetworkFault:
    if error.errno == errno.EADDRINUSE:
        return PortTakenError(
            f"Bind for {where.rpartition('/')[0]} failed: port is already allocated",
            where=where,
            fix="stop what listens there, or publish on another host port",
            errno=error.errno,
        )
    fix = "use an address of this host" if error.errno == errno.EADDRNOTAVAIL else None
    return NetworkFault(
        f"failed to bind host port: {error.strerror}", where=where, fix=fix, errno=error.errno
    )
