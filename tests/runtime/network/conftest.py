"""Namespaces to play host, container and neighbour in; everything vanishes with the last
descriptor.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime import syscalls
from runtime.network import nftables, rtnetlink
from runtime.network.endpoint import Endpoint, attach, detach
from runtime.network.namespaces import inside
from runtime.network.netlink import NetlinkSocket

CLONE_NEWNET = 0x40000000
HOST_ADDRESS = "198.51.100.1"
OUTSIDE_ADDRESS = "198.51.100.2"


def open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def new_namespace() -> int:
    """A descriptor of a new network namespace; the caller stays where it is."""
    own = open_own()
    try:
        syscalls.unshare(CLONE_NEWNET)
        return open_own()
    finally:
        syscalls.setns(own, CLONE_NEWNET)
        os.close(own)


@dataclass
class Host:
    """The namespace a test plays the host in, with a neighbour on one link and any number of
    containers.
    """

    own: int
    outside: int
    ledger: Path
    namespaces: list[int] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)

    def container(self, name: str = "", **options) -> tuple[int, Endpoint]:
        namespace = new_namespace()
        self.namespaces.append(namespace)
        name = name or f"container-{len(self.endpoints)}"
        endpoint = attach(namespace, identifier=name, ledger_directory=self.ledger, **options)
        self.endpoints.append(endpoint)
        return namespace, endpoint

    def close(self) -> None:
        for endpoint in self.endpoints:
            detach(endpoint)
            endpoint.close()
        for namespace in self.namespaces:
            os.close(namespace)


def connect_neighbour(outside: int) -> None:
    """A veth between the caller's namespace and ``outside``, addressed and up, MTU 1400, default
    route.
    """
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        pair = rtnetlink.new_veth(
            "up0", "eth0", master=0, namespace=outside, hardware_address=b"\2\0\0\0\0\1", mtu=1400
        )
        index = 0
        links.execute([pair])
        index = socket.if_nametoindex("up0")
        links.execute(
            [
                rtnetlink.set_up_by_name("lo"),
                rtnetlink.add_address(index, HOST_ADDRESS, 24),
                rtnetlink.set_up(index, "up0"),
            ]
        )
    with inside(outside), NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        index = socket.if_nametoindex("eth0")
        links.execute(
            [
                rtnetlink.set_up_by_name("lo"),
                rtnetlink.add_address(index, OUTSIDE_ADDRESS, 24),
                rtnetlink.set_up(index, "eth0"),
            ]
        )
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        links.execute([rtnetlink.add_default_route(OUTSIDE_ADDRESS)])


def firewall_socket() -> NetlinkSocket:
    return NetlinkSocket(nftables.NETLINK_NETFILTER)


@pytest.fixture
def empty_host() -> Iterator[None]:
    """The test runs in a new network namespace where nothing is but a loopback that is up."""
    own = open_own()
    syscalls.unshare(CLONE_NEWNET)
    try:
        with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
            links.execute([rtnetlink.set_up_by_name("lo")])
        yield
    finally:
        syscalls.setns(own, CLONE_NEWNET)
        os.close(own)


@pytest.fixture
def host(empty_host: None, tmp_path: Path) -> Iterator[Host]:
    """The test runs in a host namespace of its own with a neighbour that is its default gateway."""
    own, outside = open_own(), new_namespace()
    try:
        connect_neighbour(outside)
        host = Host(own, outside, tmp_path / "ledger")
        yield host
        host.close()
    finally:
        os.close(own)
        os.close(outside)
