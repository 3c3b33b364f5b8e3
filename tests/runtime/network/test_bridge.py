"""The bridge: made once, found again, with the host's MTU and a subnet that clashes with
nothing.
"""

from __future__ import annotations

import os
import socket

import pytest

from runtime.network import bridge as bridges
from runtime.network import rtnetlink
from runtime.network.errors import NetworkFault
from runtime.network.namespaces import read_setting
from runtime.network.netlink import NetlinkSocket

pytestmark = pytest.mark.root


@pytest.fixture
def links(host):
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as netlink:
        yield netlink


def test_first_use_makes_it(links):
    made = bridges.ensure_bridge(links, "lading0")
    assert (made.gateway, made.subnet.network, made.subnet.prefix_length) == (
        "172.17.0.1",
        "172.17.0.0",
        16,
    )
    assert made.mtu == 1400
    assert made.index == socket.if_nametoindex("lading0")
    assert read_setting("ipv4/ip_forward") == "1"
    assert read_setting("ipv4/conf/lading0/route_localnet") == "1"
    assert read_setting("ipv6/conf/lading0/accept_ra") == "0"


def test_second_use_finds_it(links):
    assert bridges.ensure_bridge(links, "lading0") == bridges.ensure_bridge(links, "lading0")


def test_routes_of_the_host_are_avoided(links):
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as netlink:
        index = socket.if_nametoindex("up0")
        netlink.execute([rtnetlink.add_address(index, "172.17.44.1", 24)])
    assert bridges.ensure_bridge(links, "lading0").subnet.network == "172.18.0.0"


def test_a_creation_that_was_cut_short_is_finished(links):
    hardware = b"\2\0\0\0\0\7"
    links.execute([rtnetlink.new_bridge("lading0", hardware_address=hardware, mtu=1400)])
    made = bridges.ensure_bridge(links, "lading0")
    assert made.gateway == "172.17.0.1"
    (link,) = rtnetlink.parse_links(links.query(rtnetlink.get_link("lading0")))
    assert link.up


def test_a_bridge_that_was_put_down_comes_up_again(links):
    bridges.ensure_bridge(links, "lading0")
    os.system("ip link set lading0 down")
    bridges.ensure_bridge(links, "lading0")
    (link,) = rtnetlink.parse_links(links.query(rtnetlink.get_link("lading0")))
    assert link.up


def test_mtu_without_a_default_route(empty_host):
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        assert bridges.default_mtu(links) == 1500


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", ".", "a b"])
def test_names_the_kernel_would_not_take(name):
    with pytest.raises(NetworkFault, match="invalid bridge name"):
        bridges.check_name(name)
