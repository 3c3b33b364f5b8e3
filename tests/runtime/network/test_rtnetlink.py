"""Link, address and route messages: golden bytes, and the kernel's own view through pyroute2."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from runtime.network import rtnetlink
from runtime.network.errors import NetlinkError
from runtime.network.namespaces import inside
from runtime.network.netlink import NetlinkSocket
from tests.runtime.network.conftest import new_namespace


def test_veth_message_bytes():
    message = rtnetlink.new_veth(
        "lv1", "eth0", master=5, namespace=9, hardware_address=b"\2\1\2\3\4\5", mtu=1400
    )
    assert message.kind == 16
    assert message.body == bytes.fromhex(
        "00 00 0000 00000000 01000000 01000000"  # ifinfomsg, IFF_UP
        "0800 1f00 01000000"  # IFLA_NUM_TX_QUEUES
        "0800 2000 01000000"  # IFLA_NUM_RX_QUEUES
        "0800 0300 6c763100"  # IFLA_IFNAME lv1
        "0800 0400 78050000"  # IFLA_MTU
        "0800 0a00 05000000"  # IFLA_MASTER
        "60001280"  # IFLA_LINKINFO
        "09000100 7665746800 000000"  # kind veth
        "50000280"  # IFLA_INFO_DATA
        "4c000100"  # VETH_INFO_PEER
        "00 00 0000 00000000 00000000 00000000"  # peer ifinfomsg, down
        "08001f00 01000000"  # IFLA_NUM_TX_QUEUES
        "08002000 01000000"  # IFLA_NUM_RX_QUEUES
        "09000300 6574683000 000000"  # IFLA_IFNAME eth0
        "08001c00 09000000"  # IFLA_NET_NS_FD
        "0a000100 020102030405 0000"  # IFLA_ADDRESS
        "08000400 78050000"  # IFLA_MTU
    )


def test_address_message_bytes():
    message = rtnetlink.add_address(2, "172.17.0.5", 16)
    assert message.body == bytes.fromhex(
        "02 10 00 00 02000000"
        "08000200 ac110005"  # IFA_LOCAL
        "08000100 ac110005"  # IFA_ADDRESS
        "08000400 ac11ffff"  # IFA_BROADCAST
    )


def test_default_route_message_bytes():
    message = rtnetlink.add_default_route("172.17.0.1")
    assert message.body == bytes.fromhex("02 00 00 00 fe 03 00 01 00000000 08000500 ac110001")


@pytest.mark.root
def test_kernel_holds_what_was_asked_for(empty_host):
    ndb = pytest.importorskip("pyroute2")
    namespace = new_namespace()
    try:
        with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
            links.execute(
                [rtnetlink.new_bridge("br0", hardware_address=b"\2\0\0\0\0\x42", mtu=1300)]
            )
            index = socket.if_nametoindex("br0")
            pair = rtnetlink.new_veth(
                "lv1",
                "eth0",
                master=index,
                namespace=namespace,
                hardware_address=b"\2\1\2\3\4\5",
                mtu=1300,
            )
            links.execute([rtnetlink.set_up(index, "br0"), pair, rtnetlink.set_hairpin("lv1")])
        with ndb.IPRoute() as oracle:
            (bridge,) = oracle.get_links(ifname="br0")
            (host_end,) = oracle.get_links(ifname="lv1")
            assert bridge.get("address") == "02:00:00:00:00:42"
            assert (bridge.get("mtu"), bridge["state"]) == (1300, "up")
            assert host_end.get("master") == index
            data = host_end.get_nested("linkinfo", "slave_data")
            assert data.get("mode") == 1
        with inside(namespace), ndb.IPRoute() as oracle:
            (peer,) = oracle.get_links(ifname="eth0")
            assert peer.get("address") == "02:01:02:03:04:05"
            assert (peer.get("mtu"), peer["state"]) == (1300, "down")
    finally:
        os.close(namespace)


@pytest.mark.root
def test_routes_and_addresses_are_read_back(host):
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        routes = list(rtnetlink.parse_routes(links.query(rtnetlink.dump_routes())))
        addresses = list(rtnetlink.parse_addresses(links.query(rtnetlink.dump_addresses())))
    index = socket.if_nametoindex("up0")
    assert rtnetlink.Route("0.0.0.0", 0, "198.51.100.2", index, 0) in routes
    assert rtnetlink.Route("198.51.100.0", 24, "", index, 0) in routes
    assert rtnetlink.Address(index, "198.51.100.1", 24) in addresses


@pytest.mark.root
def test_deleting_an_unknown_link(empty_host):
    with (
        NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links,
        pytest.raises(NetlinkError) as caught,
    ):
        links.execute([rtnetlink.delete_link("nothing0")])
    assert caught.value.errno == errno.ENODEV
