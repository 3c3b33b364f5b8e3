"""Links, addresses and routes as rtnetlink messages; everything here is pure.

rtnetlink(7), linux/if_link.h, linux/rtnetlink.h. Requests are returned as ``Message`` values for
``NetlinkSocket.execute``; dumps are parsed from the bodies that ``NetlinkSocket.query`` returns.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from records import Record
from runtime.network.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    attribute,
    attributes,
    nested,
    text,
    u32,
)

NETLINK_ROUTE = 0
IFF_UP = 0x1

_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_NET_NS_FD = 28
_IFLA_NUM_TX_QUEUES = 31
_IFLA_NUM_RX_QUEUES = 32
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INFO_SLAVE_DATA = 5
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE = 4
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6

_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_RT_SCOPE_UNIVERSE = 0
_RTN_UNICAST = 1

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Link(Record):
    """What a link dump tells of one link."""

    index: int
    name: str
    mtu: int
    up: bool
    hardware_address: str = ""


class Address(Record):
    """An IPv4 address on a link: dotted text and prefix length."""

    index: int
    address: str
    prefix_length: int


class Route(Record):
    """An IPv4 route: network and gateway as dotted text, empty where there is none."""

    destination: str
    prefix_length: int
    gateway: str
    link: int
    metric: int


def _link(index: int = 0, *, up: bool = False) -> bytes:
    state = IFF_UP if up else 0
    return _LINK.pack(socket.AF_UNSPEC, 0, index, state, state)


def new_veth(
    name: str, peer: str, *, master: int, namespace: int, hardware_address: bytes, mtu: int
) -> Message:
    """A veth pair: ``name`` up in the bridge ``master``, ``peer`` born down in the namespace of
    this fd.

    The peer cannot be born up: the kernel answers ENOTCONN while the pair is half made. Asked for
    no number of queues, veth makes one for each processor, turns all but one off again, and waits
    for a grace period at each end while it holds the lock of all links.
    """
    one_queue = u32(_IFLA_NUM_TX_QUEUES, 1) + u32(_IFLA_NUM_RX_QUEUES, 1)
    peer_link = (
        _link()
        + one_queue
        + text(_IFLA_IFNAME, peer)
        + u32(_IFLA_NET_NS_FD, namespace)
        + attribute(_IFLA_ADDRESS, hardware_address)
        + u32(_IFLA_MTU, mtu)
    )
    body = (
        _link(up=True)
        + one_queue
        + text(_IFLA_IFNAME, name)
        + u32(_IFLA_MTU, mtu)
        + u32(_IFLA_MASTER, master)
        + nested(
            _IFLA_LINKINFO,
            text(_IFLA_INFO_KIND, "veth"),
            nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer_link)),
        )
    )
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create link {name}")


def new_bridge(name: str, *, hardware_address: bytes, mtu: int) -> Message:
    """A bridge, down. A fixed hardware address keeps it from changing with every port."""
    body = (
        _link()
        + text(_IFLA_IFNAME, name)
        + u32(_IFLA_MTU, mtu)
        + attribute(_IFLA_ADDRESS, hardware_address)
        + nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"))
    )
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create bridge {name}")


def set_up(index: int, name: str) -> Message:
    """Bring a link up."""
    return Message(_RTM_SETLINK, 0, _link(index, up=True), f"bring up {name}")


def set_up_by_name(name: str) -> Message:
    """Bring up the link of this name."""
    return Message(_RTM_SETLINK, 0, _link(up=True) + text(_IFLA_IFNAME, name), f"bring up {name}")


def set_hairpin(port: str) -> Message:
    """Let a bridge send a frame back out of the port it came from."""
    body = (
        _link()
        + text(_IFLA_IFNAME, port)
        + nested(
            _IFLA_LINKINFO,
            text(_IFLA_INFO_SLAVE_KIND, "bridge"),
            nested(_IFLA_INFO_SLAVE_DATA, attribute(_IFLA_BRPORT_MODE, b"\1")),
        )
    )
    return Message(_RTM_NEWLINK, 0, body, f"set hairpin on {port}")


def delete_link(name: str) -> Message:
    """Delete a link. A veth waits some 36 ms for the kernel here: drop its namespace instead."""
    return Message(_RTM_DELLINK, 0, _link() + text(_IFLA_IFNAME, name), f"delete link {name}")


def add_address(index: int, address: str, prefix_length: int) -> Message:
    """Give a link an IPv4 address with its broadcast address."""
    packed = socket.inet_aton(address)
    host_bits = (1 << (32 - prefix_length)) - 1
    broadcast = struct.pack(">I", struct.unpack(">I", packed)[0] | host_bits)
    body = (
        _ADDRESS.pack(socket.AF_INET, prefix_length, 0, _RT_SCOPE_UNIVERSE, index)
        + attribute(_IFA_LOCAL, packed)
        + attribute(_IFA_ADDRESS, packed)
        + attribute(_IFA_BROADCAST, broadcast)
    )
    return Message(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body, f"add address {address}")


def add_default_route(gateway: str) -> Message:
    """Route everything through ``gateway``."""
    route = _ROUTE.pack(
        socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0
    )
    body = route + attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
    return Message(
        _RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, f"add default route via {gateway}"
    )


def get_link(name: str) -> Message:
    """Ask for one link by name; ENODEV if there is none."""
    return Message(_RTM_GETLINK, 0, _link() + text(_IFLA_IFNAME, name), f"look up link {name}")


def get_link_by_index(index: int) -> Message:
    """Ask for one link by index."""
    return Message(_RTM_GETLINK, 0, _link(index), f"look up link number {index}")


def dump_addresses() -> Message:
    """Ask for every IPv4 address."""
    body = _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)
    return Message(_RTM_GETADDR, NLM_F_DUMP, body, "list addresses")


def dump_routes() -> Message:
    """Ask for every IPv4 route of every table."""
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    return Message(_RTM_GETROUTE, NLM_F_DUMP, body, "list routes")


def parse_links(answers: Iterable[tuple[int, bytes]]) -> Iterator[Link]:
    """The links in a dump."""
    for kind, body in answers:
        if kind != _RTM_NEWLINK:
            continue
        _, _, index, flags, _ = _LINK.unpack_from(body)
        name, mtu, hardware = "", 0, b""
        for attribute_kind, payload in attributes(body[_LINK.size :]):
            if attribute_kind == _IFLA_IFNAME:
                name = payload.rstrip(b"\0").decode()
            elif attribute_kind == _IFLA_MTU:
                (mtu,) = struct.unpack("=I", payload)
            elif attribute_kind == _IFLA_ADDRESS:
                hardware = payload
        yield Link(index, name, mtu, bool(flags & IFF_UP), hardware.hex(":"))


def parse_addresses(answers: Iterable[tuple[int, bytes]]) -> Iterator[Address]:
    """The IPv4 addresses in a dump."""
    for kind, body in answers:
        if kind != _RTM_NEWADDR:
            continue
        family, prefix_length, _, _, index = _ADDRESS.unpack_from(body)
        local = b""
        for attribute_kind, payload in attributes(body[_ADDRESS.size :]):
            if attribute_kind == _IFA_LOCAL or (attribute_kind == _IFA_ADDRESS and not local):
                local = payload
        if family == socket.AF_INET and len(local) == 4:
            yield Address(index, socket.inet_ntoa(local), prefix_length)


def parse_routes(answers: Iterable[tuple[int, bytes]]) -> Iterator[Route]:
    """The IPv4 unicast routes in a dump."""
    for kind, body in answers:
        if kind != _RTM_NEWROUTE:
            continue
        family, length, _, _, _, _, _, route_type, _ = _ROUTE.unpack_from(body)
        if family != socket.AF_INET or route_type != _RTN_UNICAST:
            continue
        found = dict(attributes(body[_ROUTE.size :]))
        yield Route(
            destination=socket.inet_ntoa(found.get(_RTA_DST, bytes(4))),
            prefix_length=length,
            gateway=socket.inet_ntoa(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else "",
            link=struct.unpack("=I", found[_RTA_OIF])[0] if _RTA_OIF in found else 0,
            metric=struct.unpack("=I", found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0,
        )
