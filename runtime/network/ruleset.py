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
from functools import cache

from records import Record
from runtime.network import expressions as ex
from runtime.network import nftables as nft
from runtime.network.errors import NetlinkError
from runtime.network.netlink import Message, NetlinkSocket

TABLE = "lading"
_FAMILY = nft.FAMILY_INET
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
"""What can be published, with the protocol numbers."""

_IPV4 = (ex.meta_family(), ex.equal(bytes((nft.FAMILY_IPV4,))))
_DNAT = (
    ex.conntrack_status(),
    ex.mask(struct.pack("=I", 0x20)),
    ex.equal(bytes(4), negate=True),
)
_ESTABLISHED = (
    ex.conntrack_state(),
    ex.mask(struct.pack("=I", 0x2 | 0x4)),
    ex.equal(bytes(4), negate=True),
)
_LOCAL = (ex.destination_type(), ex.equal(struct.pack("=I", 2)))
_SAME = (*_IPV4, ex.ipv4_source(), ex.meta_interface_out(1), ex.in_set("same"))
_TO_LOOPBACK = (*_IPV4, ex.ipv4_destination(), ex.mask(b"\xff\0\0\0"), ex.equal(b"\x7f\0\0\0"))
_FROM_LOOPBACK = (*_IPV4, ex.ipv4_source(), ex.mask(b"\xff\0\0\0"), ex.equal(b"\x7f\0\0\0"))
_NO_DNAT = (*_DNAT[:2], ex.equal(bytes(4)))
_OUT_TO_NETS = (ex.meta_interface_out(), ex.in_set("nets"))
_IN_FROM_NETS = (ex.meta_interface_in(), ex.in_set("nets"))

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
    ("raw", (*_IN_FROM_NETS, *_TO_LOOPBACK, ex.verdict(ex.DROP))),
    ("prerouting", (*_TO_LOOPBACK, ex.verdict(ex.RETURN))),
    ("prerouting", (*_LOCAL, ex.verdict(ex.JUMP, "publish"))),
    ("output", (*_LOCAL, ex.verdict(ex.JUMP, "publish"))),
    (
        "publish",
        (
            *_IPV4,
            ex.ipv4_destination(0),
            ex.meta_protocol(1),
            ex.destination_port(2),
            ex.map_lookup("pub4"),
            ex.destination_nat(),
        ),
    ),
    (
        "publish",
        (
            *_IPV4,
            ex.meta_protocol(0),
            ex.destination_port(1),
            ex.map_lookup("pubany4"),
            ex.destination_nat(),
        ),
    ),
    ("forward", (*_ESTABLISHED, ex.verdict(ex.ACCEPT))),
    (
        "forward",
        (
            ex.meta_interface_in(0),
            ex.meta_interface_out(4),
            ex.in_set("icc"),
            ex.verdict(ex.ACCEPT),
        ),
    ),
    ("forward", (*_DNAT, *_OUT_TO_NETS, ex.verdict(ex.ACCEPT))),
    ("forward", (*_OUT_TO_NETS, ex.verdict(ex.DROP))),
    (
        "forward",
        (
            ex.meta_interface_in(),
            ex.in_set("guarded"),
            ex.meta_kind_out(),
            ex.equal(ex.interface_name("bridge")),
            ex.meta_interface_out(),
            ex.in_set("uplinks", negate=True),
            *_NO_DNAT,
            ex.verdict(ex.DROP),
        ),
    ),
    ("postrouting", (*_DNAT, *_SAME, ex.masquerade())),
    ("postrouting", (*_SAME, ex.verdict(ex.RETURN))),
    ("postrouting", (*_DNAT, *_OUT_TO_NETS, *_FROM_LOOPBACK, ex.masquerade())),
    ("postrouting", (ex.meta_interface_in(), ex.in_set("natted"), ex.masquerade())),
)


class Subnet(Record):
    """A bridge of ours and the IPv4 subnet on it (network address as dotted text)."""

    bridge: str
    network: str
    prefix_length: int


class Published(Record):
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
        _FAMILY, TABLE, "guarded", [nft.Element((ex.interface_name(bridge),))]
    )
    elements = [nft.Element((ex.interface_name(name),)) for name in uplinks]
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
    element = nft.Element((ex.interface_name(bridge),))
    try:
        netlink.query(nft.get_element(_FAMILY, TABLE, "nets", element))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def _subnet_messages(subnet: Subnet, *, delete: bool = False) -> list[Message]:
    name = ex.interface_name(subnet.bridge)
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
