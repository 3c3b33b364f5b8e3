"""The bridge that containers of a network share: made on first use, found again afterwards.

A bridge is the truth about itself: its subnet is the address it carries, so a lost ledger costs
nothing. Creation runs under the ledger's lock; another tool that makes the same bridge meanwhile is
met by looking again.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from array import array

from records import Record
from runtime.network import addresses, rtnetlink
from runtime.network.errors import NetlinkError, NetworkFault
from runtime.network.namespaces import ensure_setting
from runtime.network.netlink import NetlinkSocket
from runtime.network.ruleset import Subnet

DEFAULT_BRIDGE = "lading0"
_ETHERNET_MTU = 1500
_SIOCETHTOOL = 0x8946
_ETHTOOL_GLINK = 0x0A


class Bridge(Record):
    """A bridge that is up and has an address: the gateway of its subnet."""

    name: str
    index: int
    hardware_address: str
    gateway: str
    mtu: int
    subnet: Subnet


def ensure_bridge(netlink: NetlinkSocket, name: str) -> Bridge:
    """Find the bridge or make it, in the caller's network namespace.

    A new one takes the first of Docker's pools that overlaps no route of this host, and the MTU of
    the link that the default route uses. Forwarding is switched on.

    Raises:
        AddressPoolError: every pool overlaps a route.
        NetlinkError: the kernel refused.
        NetworkFault: a link of this name has no IPv4 address and is none of ours.
    """
    try:
        bridge = find_bridge(netlink, name)
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        bridge = _create(netlink, name)
    _configure(name)
    return bridge


def find_bridge(netlink: NetlinkSocket, name: str) -> Bridge:
    """Look the bridge up; one without an address (a creation that was cut short) gets its address.

    Raises:
        NetlinkError: ENODEV if there is no such link.
    """
    link = next(rtnetlink.parse_links(netlink.query(rtnetlink.get_link(name))))
    found = rtnetlink.parse_addresses(netlink.query(rtnetlink.dump_addresses()))
    own = next((address for address in found if address.index == link.index), None)
    if own is None:
        own = _address(netlink, link)
    elif not link.up:
        netlink.execute([rtnetlink.set_up(link.index, name)])
    network = addresses.network_of(own.address, own.prefix_length)
    subnet = Subnet(name, network, own.prefix_length)
    return Bridge(name, link.index, link.hardware_address, own.address, link.mtu, subnet)


def _create(netlink: NetlinkSocket, name: str) -> Bridge:
    mtu = default_mtu(netlink)
    hardware = addresses.random_hardware_address()
    try:
        netlink.execute([rtnetlink.new_bridge(name, hardware_address=hardware, mtu=mtu)])
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
    # Router advertisements of a container must not give this host a route (CVE-2020-13401).
    ensure_setting(f"ipv6/conf/{name}/accept_ra", "0")
    ensure_setting(f"ipv6/conf/{name}/disable_ipv6", "1")
    return find_bridge(netlink, name)


def _address(netlink: NetlinkSocket, link: rtnetlink.Link) -> rtnetlink.Address:
    routes = list(rtnetlink.parse_routes(netlink.query(rtnetlink.dump_routes())))
    network, length = addresses.free_pool(
        (route.destination, route.prefix_length) for route in routes
    )
    gateway = addresses.first_host(network)
    netlink.execute(
        [
            rtnetlink.add_address(link.index, gateway, length),
            rtnetlink.set_up(link.index, link.name),
        ]
    )
    return rtnetlink.Address(link.index, gateway, length)


def _configure(name: str) -> None:
    ensure_setting("ipv4/ip_forward", "1")
    # Connections to a port published on 127.0.0.1 reach the container through this bridge.
    ensure_setting(f"ipv4/conf/{name}/route_localnet", "1")


def default_mtu(netlink: NetlinkSocket) -> int:
    """The MTU of the link with the best default route; Ethernet's where there is none."""
    links = default_links(netlink)
    return min(links[0].mtu, 65535) if links else _ETHERNET_MTU


def default_links(netlink: NetlinkSocket) -> list[rtnetlink.Link]:
    """The links that default routes use, best first."""
    routes = rtnetlink.parse_routes(netlink.query(rtnetlink.dump_routes()))
    defaults = [route for route in routes if route.prefix_length == 0 and route.link]
    indexes = dict.fromkeys(route.link for route in sorted(defaults, key=lambda r: r.metric))
    answers = [netlink.query(rtnetlink.get_link_by_index(index)) for index in indexes]
    return [link for answer in answers for link in rtnetlink.parse_links(answer)]


def delete_bridge(netlink: NetlinkSocket, name: str) -> None:
    """Delete a bridge; ENODEV if there is none."""
    netlink.execute([rtnetlink.delete_link(name)])


def settle_carrier(name: str) -> None:
    """Make the kernel handle a carrier change of this link now instead of from its work queue.

    Until then a bridge does not forward from the port, and a container's first ARP request would be
    lost and repeated a second later. Asking for the link state by ethtool handles what is pending.
    """
    value = array("I", (_ETHTOOL_GLINK, 0))
    request = struct.pack("@16sP16x", name.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def check_name(name: str) -> None:
    """Refuse what the kernel would not take as a link name.

    Raises:
        NetworkFault: says what is wrong with it.
    """
    if (
        not 1 <= len(name.encode()) <= 15
        or "/" in name
        or name in (".", "..")
        or name.split() != [name]
    ):
        raise NetworkFault(f"invalid bridge name {name!r}", fix="1 to 15 bytes, no slash, no blank")
