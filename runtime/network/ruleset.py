"""The table ``inet lading``: static rules; everything that changes is an element of a set or map.

A container start is therefore a batch of constant size, whatever the number of containers. What the
rules say:

- raw: nothing from our bridges may reach the host's 127.0.0.0/8 (they have route_localnet on).
- prerouting: packets for an address of this host go to ``publish``; loopback addresses are left
  alone, so a port published on 127.0.0.1 is not reachable from a neighbouring machine.
- output: the same for this host's own connections, loopback included.
- publish: rewrite to the container of ``pub4`` (address, protocol, port) or ``pubany4``.
- forward: replies pass; same-bridge traffic of ``icc`` passes; rewritten packets pass; anything
  else into a bridge of ours is dropped: the isolation between networks and from outside.
  Out of a bridge of ``guarded`` nothing gets into other bridges, except by their published ports or
  where a bridge leads to the world (``uplinks``): see ``foreign``.
- postrouting: masquerade a container that reaches itself or a neighbour by a published port, this
  host's loopback connections, and whatever leaves a bridge of ``natted``.

``same`` is asked by source prefix, not by incoming link: with br_netfilter a rewritten frame to a
neighbour is bridged and has no incoming link name here.
"""

from __future__ import annotations

import errno
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from runtime.network import nftables as nft
from runtime.network.errors import NetlinkError
from runtime.network.netlink import Message, NetlinkSocket

TABLE = "lading"
_FAMILY = nft.FAMILY_INET
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
"""What can be published, with the protocol numbers."""

_IPV4 = (nft.meta_family(), nft.equal(bytes((nft.FAMILY_IPV4,))))
_DNAT = (
    nft.conntrack_status(),
    nft.mask(struct.pack("=I", 0x20)),
    nft.equal(bytes(4), negate=True),
)
_ESTABLISHED = (
    nft.conntrack_state(),
    nft.mask(struct.pack("=I", 0x2 | 0x4)),
    nft.equal(bytes(4), negate=True),
)
_LOCAL = (nft.destination_type(), nft.equal(struct.pack("=I", 2)))
_SAME = (*_IPV4, nft.ipv4_source(), nft.meta_interface_out(1), nft.in_set("same"))
_TO_LOOPBACK = (*_IPV4, nft.ipv4_destination(), nft.mask(b"\xff\0\0\0"), nft.equal(b"\x7f\0\0\0"))
_FROM_LOOPBACK = (*_IPV4, nft.ipv4_source(), nft.mask(b"\xff\0\0\0"), nft.equal(b"\x7f\0\0\0"))
_NO_DNAT = (*_DNAT[:2], nft.equal(bytes(4)))
_OUT_TO_NETS = (nft.meta_interface_out(), nft.in_set("nets"))
_IN_FROM_NETS = (nft.meta_interface_in(), nft.in_set("nets"))

_SETS = (
    nft.SetSpec("nets", (nft.INTERFACE,)),
    nft.SetSpec("natted", (nft.INTERFACE,)),
    nft.SetSpec("guarded", (nft.INTERFACE,)),
    nft.SetSpec("uplinks", (nft.INTERFACE,)),
    nft.SetSpec("icc", (nft.INTERFACE, nft.INTERFACE)),
    nft.SetSpec("same", (nft.IPV4_ADDRESS, nft.INTERFACE), interval=True),
    nft.SetSpec(
        "pub4", (nft.IPV4_ADDRESS, nft.PROTOCOL, nft.SERVICE), (nft.IPV4_ADDRESS, nft.SERVICE)
    ),
    nft.SetSpec("pubany4", (nft.PROTOCOL, nft.SERVICE), (nft.IPV4_ADDRESS, nft.SERVICE)),
)
_CHAINS = (
    nft.ChainSpec("publish"),
    nft.ChainSpec("raw", "filter", nft.HOOK_PREROUTING, -300),
    nft.ChainSpec("prerouting", "nat", nft.HOOK_PREROUTING, -100),
    nft.ChainSpec("output", "nat", nft.HOOK_OUTPUT, -100),
    nft.ChainSpec("forward", "filter", nft.HOOK_FORWARD, 0),
    nft.ChainSpec("postrouting", "nat", nft.HOOK_POSTROUTING, 100),
)
_RULES: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("raw", (*_IN_FROM_NETS, *_TO_LOOPBACK, nft.verdict(nft.DROP))),
    ("prerouting", (*_TO_LOOPBACK, nft.verdict(nft.RETURN))),
    ("prerouting", (*_LOCAL, nft.verdict(nft.JUMP, "publish"))),
    ("output", (*_LOCAL, nft.verdict(nft.JUMP, "publish"))),
    (
        "publish",
        (
            *_IPV4,
            nft.ipv4_destination(0),
            nft.meta_protocol(1),
            nft.destination_port(2),
            nft.map_lookup("pub4"),
            nft.destination_nat(),
        ),
    ),
    (
        "publish",
        (
            *_IPV4,
            nft.meta_protocol(0),
            nft.destination_port(1),
            nft.map_lookup("pubany4"),
            nft.destination_nat(),
        ),
    ),
    ("forward", (*_ESTABLISHED, nft.verdict(nft.ACCEPT))),
    (
        "forward",
        (
            nft.meta_interface_in(0),
            nft.meta_interface_out(4),
            nft.in_set("icc"),
            nft.verdict(nft.ACCEPT),
        ),
    ),
    ("forward", (*_DNAT, *_OUT_TO_NETS, nft.verdict(nft.ACCEPT))),
    ("forward", (*_OUT_TO_NETS, nft.verdict(nft.DROP))),
    (
        "forward",
        (
            nft.meta_interface_in(),
            nft.in_set("guarded"),
            nft.meta_kind_out(),
            nft.equal(nft.interface_name("bridge")),
            nft.meta_interface_out(),
            nft.in_set("uplinks", negate=True),
            *_NO_DNAT,
            nft.verdict(nft.DROP),
        ),
    ),
    ("postrouting", (*_DNAT, *_SAME, nft.masquerade())),
    ("postrouting", (*_SAME, nft.verdict(nft.RETURN))),
    ("postrouting", (*_DNAT, *_OUT_TO_NETS, *_FROM_LOOPBACK, nft.masquerade())),
    ("postrouting", (nft.meta_interface_in(), nft.in_set("natted"), nft.masquerade())),
)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A bridge of ours and the IPv4 subnet on it (network address as dotted text)."""

    bridge: str
    network: str
    prefix_length: int


@dataclass(frozen=True, slots=True)
class Published:
    """A host port that leads to a container. ``host_address`` 0.0.0.0 means every address of this
    host.
    """

    host_address: str
    protocol: str
    host_port: int
    address: str
    port: int


@cache
def static_messages() -> tuple[Message, ...]:
    """The whole table without elements, as the body of one batch."""
    body = [
        *(nft.new_set(_FAMILY, TABLE, spec, number + 1) for number, spec in enumerate(_SETS)),
        *(nft.new_chain(_FAMILY, TABLE, chain) for chain in _CHAINS),
        *(nft.new_rule(_FAMILY, TABLE, chain, rule) for chain, rule in _RULES),
    ]
    return (nft.new_table(_FAMILY, TABLE, _fingerprint(body)), *body)


@cache
def fingerprint() -> str:
    """The comment by which a table in the kernel is known to have been written by these very
    rules.
    """
    return _fingerprint(static_messages()[1:])


def _fingerprint(messages: Sequence[Message]) -> str:
    return f"rules {zlib.crc32(b''.join(message.body for message in messages)):08x}"


def ensure(
    netlink: NetlinkSocket, subnet: Subnet, published: Callable[[], Sequence[Published]]
) -> None:
    """See that the table is there, has these rules and knows the bridge; write what is missing.

    A table of other rules (an older version's) is replaced in one transaction. ``published`` is
    asked only then, for what must be restored.

    Raises:
        NetlinkError: the kernel refused.
    """
    found = _found_fingerprint(netlink)
    if found == fingerprint() and _knows(netlink, subnet.bridge):
        return
    messages: list[Message] = []
    if found != fingerprint():
        table = static_messages()[0]
        messages += [table, nft.delete_table(_FAMILY, TABLE), *static_messages()]
    messages += _subnet_messages(subnet)
    for name, elements in _published_elements(published()).items():
        messages += nft.put_elements(_FAMILY, TABLE, name, elements)
    nft.commit(netlink, messages)


def publish(netlink: NetlinkSocket, ports: Sequence[Published]) -> None:
    """Make host ports lead to a container, all or none.

    Raises:
        NetlinkError: EEXIST if a port leads elsewhere.
    """
    messages: list[Message] = []
    for name, elements in _published_elements(ports).items():
        messages += nft.add_elements(_FAMILY, TABLE, name, elements)
    if messages:
        nft.commit(netlink, messages)


def unpublish(netlink: NetlinkSocket, ports: Sequence[Published]) -> None:
    """Take host ports back; what is gone already (someone flushed the table) is no error."""
    for name, elements in _published_elements(ports).items():
        for element in elements:
            try:
                nft.commit(netlink, nft.delete_elements(_FAMILY, TABLE, name, [element]))
            except NetlinkError as error:
                if error.errno != errno.ENOENT:
                    raise


def guard(netlink: NetlinkSocket, bridge: str, uplinks: Sequence[str]) -> None:
    """Keep what comes from ``bridge`` out of other bridges than ``uplinks``.

    Raises:
        NetlinkError: the kernel refused.
    """
    messages = nft.put_elements(
        _FAMILY, TABLE, "guarded", [nft.Element((nft.interface_name(bridge),))]
    )
    elements = [nft.Element((nft.interface_name(name),)) for name in uplinks]
    nft.commit(netlink, [*messages, *nft.put_elements(_FAMILY, TABLE, "uplinks", elements)])


def forget(netlink: NetlinkSocket, subnet: Subnet) -> None:
    """Take a bridge out of the sets; a missing element or table is no error."""
    for message in _subnet_messages(subnet, delete=True):
        try:
            nft.commit(netlink, [message])
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise


def _found_fingerprint(netlink: NetlinkSocket) -> str | None:
    try:
        comments = nft.parse_table_comments(netlink.query(nft.get_table(_FAMILY, TABLE)))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return comments[0] if comments else None


def _knows(netlink: NetlinkSocket, bridge: str) -> bool:
    element = nft.Element((nft.interface_name(bridge),))
    try:
        netlink.query(nft.get_element(_FAMILY, TABLE, "nets", element))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def _subnet_messages(subnet: Subnet, *, delete: bool = False) -> list[Message]:
    name = nft.interface_name(subnet.bridge)
    first = socket.inet_aton(subnet.network)
    host_bits = (1 << (32 - subnet.prefix_length)) - 1
    last = struct.pack(">I", struct.unpack(">I", first)[0] | host_bits)
    change = nft.delete_elements if delete else nft.put_elements
    elements = {
        "nets": nft.Element((name,)),
        "natted": nft.Element((name,)),
        "icc": nft.Element((name, name)),
        "same": nft.Element((first, name), end=(last, name)),
    }
    return [
        message
        for set_name, element in elements.items()
        for message in change(_FAMILY, TABLE, set_name, [element])
    ]


def _published_elements(ports: Sequence[Published]) -> dict[str, list[nft.Element]]:
    elements: dict[str, list[nft.Element]] = {}
    for port in ports:
        any_address = port.host_address == "0.0.0.0"
        key: tuple[bytes, ...] = (
            bytes((PROTOCOLS[port.protocol],)),
            struct.pack(">H", port.host_port),
        )
        if not any_address:
            key = (socket.inet_aton(port.host_address), *key)
        data = (socket.inet_aton(port.address), struct.pack(">H", port.port))
        name = "pubany4" if any_address else "pub4"
        elements.setdefault(name, []).append(nft.Element(key, data=data))
    return elements
