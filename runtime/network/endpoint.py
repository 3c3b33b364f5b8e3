"""Attach a container's network namespace to a bridge, and let it go.

The cost is a constant number of kernel requests: one batch on the host (a veth pair born with one
end on the bridge and the other inside the namespace), one batch inside, and one nftables
transaction when ports are published. Letting go deletes no link: a veth's deletion waits some 36 ms
in the caller, while a namespace whose last process is gone is reaped by the kernel in the
background. The caller only has to close its own descriptors of the namespace.

Synchronous and single-threaded, for a container's shim. The lease and the reserving sockets live as
long as the owner.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from records import Record, field
from runtime.network import addresses, foreign, nftables, rtnetlink, ruleset
from runtime.network.bridge import (
    DEFAULT_BRIDGE,
    Bridge,
    check_name,
    default_links,
    ensure_bridge,
    settle_carrier,
)
from runtime.network.conntrack import forget_udp_flows
from runtime.network.errors import AddressPoolError, NetlinkError
from runtime.network.ledger import Lease, Ledger, Owner, locked
from runtime.network.namespaces import ensure_setting, inside, own_namespace_id
from runtime.network.netlink import NetlinkSocket
from runtime.network.ports import PortBinding, release, reserve
from runtime.network.ruleset import Published

if TYPE_CHECKING:
    from pathlib import Path

LEDGER_DIRECTORY = "/run/lading/network"
"""Not in a store's run-time directory: the bridge is the machine's, and so is the list of who uses
it.
"""
INTERFACE = "eth0"


class Endpoint(Record):
    """A container's place on a bridge. Addresses are dotted text, the prefix length is in bits."""

    identifier: str
    bridge: str
    address: str
    prefix_length: int
    gateway: str
    mtu: int
    hardware_address: str
    host_link: str
    ports: tuple[PortBinding, ...] = ()
    ledger_directory: str | Path = LEDGER_DIRECTORY
    reservations: tuple[socket.socket, ...] = field(default=(), repr=False, compare=False)
    firewall: NetlinkSocket | None = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Close the nfnetlink socket, which waits some 15 ms while the kernel cleans up deletions.

        A shim leaves that to its own exit, after it has told everyone that the container is gone.
        """
        if self.firewall is not None:
            self.firewall.close()


def attach(
    namespace: int,
    *,
    identifier: str,
    bridge: str = DEFAULT_BRIDGE,
    ports: Sequence[PortBinding] = (),
    address: str | None = None,
    owner_pid: int | None = None,
    ledger_directory: str | Path = LEDGER_DIRECTORY,
) -> Endpoint:
    """Give the network namespace of this descriptor a link ``eth0`` on ``bridge``, an address and a
    default route.

    ``identifier`` is unique per endpoint (a container id); ``owner_pid`` (default: the caller) is
    the process whose death ends the lease. ``address`` asks for a certain one. The caller must be
    in the host's network namespace.

    Raises:
        PortTakenError: a host port is in use.
        AddressPoolError: no subnet or address is left, or ``address`` is taken.
        NetlinkError: the kernel refused.
    """
    check_name(bridge)
    owner = Owner.of(os.getpid() if owner_pid is None else owner_pid)
    chosen, held = reserve(ports)
    lease: Lease | None = None
    firewall = NetlinkSocket(nftables.NETLINK_NETFILTER)
    try:
        with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
            place, lease = _claim(
                links, firewall, identifier, bridge, chosen, address, owner, ledger_directory
            )
            host_link = f"lv{os.urandom(5).hex()}"
            hardware = addresses.random_hardware_address()
            _connect(links, place, host_link, hardware, namespace, lease)
            ruleset.publish(firewall, lease.ports)
            forget_udp_flows(firewall, lease.ports)
    except BaseException:
        release(held)
        if lease is not None:
            _give_back(bridge, identifier, ledger_directory, firewall)
        firewall.close()
        raise
    return Endpoint(
        identifier=identifier,
        bridge=bridge,
        address=lease.address,
        prefix_length=place.subnet.prefix_length,
        gateway=place.gateway,
        mtu=place.mtu,
        hardware_address=hardware.hex(":"),
        host_link=host_link,
        ports=tuple(chosen),
        ledger_directory=ledger_directory,
        reservations=tuple(held),
        firewall=firewall,
    )


def detach(endpoint: Endpoint) -> None:
    """Take back ports and address; the links go with their namespace. Twice is harmless.

    ``endpoint.firewall`` stays open: see ``Endpoint.close``.

    Raises:
        NetlinkError: the kernel refused.
    """
    _give_back(endpoint.bridge, endpoint.identifier, endpoint.ledger_directory, endpoint.firewall)
    release(endpoint.reservations)


def bring_up_loopback(namespace: int) -> None:
    """Bring ``lo`` up, which is all that a container without a network gets.

    Raises:
        NetlinkError: the kernel refused.
    """
    with inside(namespace), NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        links.execute([rtnetlink.set_up_by_name("lo")])


def ledger_name(bridge: str) -> str:
    """The ledger of a bridge of the caller's network namespace."""
    return f"{bridge}-{own_namespace_id()}"


def _claim(
    links: NetlinkSocket,
    firewall: NetlinkSocket,
    identifier: str,
    name: str,
    ports: Sequence[PortBinding],
    wanted: str | None,
    owner: Owner,
    directory: str | Path,
) -> tuple[Bridge, Lease]:
    """Under the ledger's lock: see to the bridge and the rules, and write the lease down."""
    with locked(directory, ledger_name(name)) as ledger:
        place = _known_bridge(links, ledger, name) or _remember(ledger, ensure_bridge(links, name))
        ruleset.ensure(firewall, place.subnet, lambda: _all_ports(ledger))
        foreign.let_pass(firewall, name, lambda: [link.name for link in default_links(links)])
        taken = {(binding.protocol, binding.host_port) for binding in ports}
        _unpublish(firewall, ledger.sweep(ports=taken))
        try:
            address = ledger.free_address(wanted)
        except AddressPoolError:
            _unpublish(firewall, ledger.sweep(everything=True))
            address = ledger.free_address(wanted)
        published = tuple(
            Published(b.host_address, b.protocol, b.host_port, address, b.port) for b in ports
        )
        lease = Lease(identifier, owner, address, published)
        ledger.leases[identifier] = lease
    return place, lease


def _known_bridge(links: NetlinkSocket, ledger: Ledger, name: str) -> Bridge | None:
    """The bridge as the ledger remembers it, if it is still there and up."""
    if ledger.subnet is None:
        return None
    try:
        link = next(rtnetlink.parse_links(links.query(rtnetlink.get_link(name))))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    known = (ledger.bridge_index, ledger.hardware_address, True)
    if (link.index, link.hardware_address, link.up) != known:
        return None
    return Bridge(name, link.index, link.hardware_address, ledger.gateway, link.mtu, ledger.subnet)


def _remember(ledger: Ledger, bridge: Bridge) -> Bridge:
    ledger.subnet = bridge.subnet
    ledger.bridge_index = bridge.index
    ledger.hardware_address = bridge.hardware_address
    ledger.gateway = bridge.gateway
    ledger.mtu = bridge.mtu
    return bridge


def _all_ports(ledger: Ledger) -> list[Published]:
    return [port for lease in ledger.leases.values() for port in lease.ports]


def _unpublish(firewall: NetlinkSocket, leases: Sequence[Lease]) -> None:
    for lease in leases:
        ruleset.unpublish(firewall, lease.ports)
        forget_udp_flows(firewall, lease.ports)


def _connect(
    links: NetlinkSocket,
    place: Bridge,
    host_link: str,
    hardware: bytes,
    namespace: int,
    lease: Lease,
) -> None:
    pair = rtnetlink.new_veth(
        host_link,
        INTERFACE,
        master=place.index,
        namespace=namespace,
        hardware_address=hardware,
        mtu=place.mtu,
    )
    links.execute([pair, rtnetlink.set_hairpin(host_link)] if lease.ports else [pair])
    with inside(namespace), NetlinkSocket(rtnetlink.NETLINK_ROUTE) as own:
        # This network has no IPv6: no link-local address, no router advertisements of neighbours.
        ensure_setting(f"ipv6/conf/{INTERFACE}/disable_ipv6", "1")
        index = socket.if_nametoindex(INTERFACE)
        own.execute(
            [
                rtnetlink.set_up_by_name("lo"),
                rtnetlink.add_address(index, lease.address, place.subnet.prefix_length),
                rtnetlink.set_up(index, INTERFACE),
                rtnetlink.add_default_route(place.gateway),
            ]
        )
    settle_carrier(host_link)


def _give_back(
    bridge: str, identifier: str, directory: str | Path, firewall: NetlinkSocket | None
) -> None:
    with locked(directory, ledger_name(bridge)) as ledger:
        lease = ledger.leases.pop(identifier, None)
        if lease is not None and lease.ports and firewall is not None:
            _unpublish(firewall, [lease])
