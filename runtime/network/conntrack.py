"""Connection tracking entries that would outlive a published UDP port.

A flow keeps the rewriting it started with for as long as its client keeps sending: to a container
that is gone, or to nobody if it began before the port was published. So such flows are forgotten
whenever a UDP port is published or taken back. TCP connections end by themselves.
linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterable

from runtime.network.errors import NetlinkError
from runtime.network.netlink import (
    NLM_F_DUMP,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
)
from runtime.network.ruleset import Published

_SUBSYSTEM = 1 << 8
_NEW, _GET, _DELETE = 0, 1, 2
_TUPLE_ORIGINAL, _TUPLE_PROTOCOL = 1, 2
_PROTOCOL_NUMBER, _DESTINATION_PORT = 1, 3
_NESTED = 0x8000
_HEADER = struct.pack(">BBH", socket.AF_INET, 0, 0)


def forget_udp_flows(netlink: NetlinkSocket, ports: Iterable[Published]) -> int:
    """Delete the entries of UDP flows that were first sent to one of these host ports.

    Returns how many there were. Kernels without connection tracking over netlink have none to
    delete.

    Raises:
        NetlinkError: the kernel refused.
    """
    wanted = {port.host_port for port in ports if port.protocol == "udp"}
    if not wanted:
        return 0
    try:
        answers = netlink.query(dump())
    except NetlinkError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return 0
        raise
    stale = stale_tuples(answers, wanted)
    for original in stale:
        try:
            netlink.execute([deletion(original)])
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
    return len(stale)


def dump() -> Message:
    """Ask for every IPv4 entry."""
    return Message(_SUBSYSTEM | _GET, NLM_F_DUMP, _HEADER, "list tracked connections")


def deletion(original: bytes) -> Message:
    """Delete the entry with this original tuple, as a dump showed it."""
    body = _HEADER + attribute(_TUPLE_ORIGINAL | _NESTED, original)
    return Message(_SUBSYSTEM | _DELETE, 0, body, "forget a tracked connection")


def stale_tuples(answers: Iterable[tuple[int, bytes]], ports: Collection[int]) -> list[bytes]:
    """The original tuples of UDP entries in a dump whose destination port is one of ``ports``."""
    found = []
    for kind, body in answers:
        if kind != _SUBSYSTEM | _NEW:
            continue
        original = dict(attributes(body[len(_HEADER) :])).get(_TUPLE_ORIGINAL, b"")
        protocol = dict(attributes(dict(attributes(original)).get(_TUPLE_PROTOCOL, b"")))
        if protocol.get(_PROTOCOL_NUMBER) != bytes((socket.IPPROTO_UDP,)):
            continue
        if int.from_bytes(protocol.get(_DESTINATION_PORT, b"")) in ports:
            found.append(original)
    return found
