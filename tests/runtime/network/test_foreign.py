"""Other firewalls: their drop policy is met with two accept rules in the right chain, once."""

from __future__ import annotations

import socket
import subprocess

import pytest

from runtime.network import foreign, rtnetlink, ruleset
from runtime.network.bridge import ensure_bridge, settle_carrier
from runtime.network.namespaces import inside
from runtime.network.netlink import NetlinkSocket
from tests.conftest import require_program
from tests.runtime.network.conftest import firewall_socket, new_namespace
from tests.runtime.network.test_reachability import assert_reaches, listening, reach

pytestmark = pytest.mark.root


def iptables(*words: str) -> str:
    program = require_program("iptables-nft")
    result = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    return result.stdout


def let_pass(firewall) -> list[foreign.Blocker]:
    ruleset.ensure(firewall, ruleset.Subnet("lading0", "172.17.0.0", 16), list)
    return foreign.let_pass(firewall, "lading0", lambda: ["up0"])


def docker_firewall() -> None:
    """What dockerd 20.10 leaves in ``filter``."""
    iptables("-N", "DOCKER-USER")
    iptables("-A", "DOCKER-USER", "-j", "RETURN")
    iptables("-A", "FORWARD", "-j", "DOCKER-USER")
    iptables("-P", "FORWARD", "DROP")


def test_nothing_to_do_without_other_firewalls(empty_host):
    with firewall_socket() as firewall:
        assert let_pass(firewall) == []


def test_accepting_chains_are_left_alone(empty_host):
    iptables("-A", "FORWARD", "-j", "ACCEPT")
    before = iptables("-S")
    with firewall_socket() as firewall:
        assert let_pass(firewall) == []
    assert iptables("-S") == before


def test_rules_go_into_dockers_own_place_for_them(empty_host):
    docker_firewall()
    with firewall_socket() as firewall:
        (blocker,) = let_pass(firewall)
        let_pass(firewall)
    assert (blocker.table, blocker.chain, blocker.entrance) == ("filter", "FORWARD", "DOCKER-USER")
    listing = iptables("-S", "DOCKER-USER").splitlines()
    accepting = [line for line in listing if "ACCEPT" in line]
    assert sorted(accepting) == [
        '-A DOCKER-USER -i lading0 -m comment --comment "lading: from lading0" -j ACCEPT',
        '-A DOCKER-USER -o lading0 -m comment --comment "lading: to lading0" -j ACCEPT',
    ]
    assert listing[-1] == "-A DOCKER-USER -j RETURN"


def test_other_droppers_get_them_at_their_head(empty_host):
    iptables("-A", "FORWARD", "-i", "eth9", "-j", "DROP")
    iptables("-P", "FORWARD", "DROP")
    with firewall_socket() as firewall:
        let_pass(firewall)
    rules = [line for line in iptables("-S", "FORWARD").splitlines() if line.startswith("-A")]
    assert rules[-1] == "-A FORWARD -i eth9 -j DROP"
    assert len(rules) == 3


def test_containers_reach_each_other_and_outside_despite_dockers_drop(host):
    docker_firewall()
    one, _ = host.container()
    two, other = host.container()
    with listening(two) as server:
        assert_reaches(one, other.address, 80, server)
    with listening(host.outside) as server:
        assert_reaches(one, "198.51.100.2", 80, server)


def test_isolation_holds_despite_the_accept_rules(host):
    docker_firewall()
    one, _ = host.container()
    two, other = host.container(bridge="lading1")
    with listening(two):
        assert reach(one, other.address) is None


def foreign_bridge(host) -> int:
    """A bridge that is none of ours with one namespace on it, 172.17.0.2; returns the namespace."""
    namespace = new_namespace()
    host.namespaces.append(namespace)
    with NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        made = ensure_bridge(links, "other0")
        pair = rtnetlink.new_veth(
            "v0",
            "eth0",
            master=made.index,
            namespace=namespace,
            hardware_address=b"\2\0\0\0\0\5",
            mtu=1400,
        )
        links.execute([pair])
    with inside(namespace), NetlinkSocket(rtnetlink.NETLINK_ROUTE) as own:
        index = socket.if_nametoindex("eth0")
        own.execute(
            [
                rtnetlink.add_address(index, "172.17.0.2", 16),
                rtnetlink.set_up(index, "eth0"),
                rtnetlink.add_default_route("172.17.0.1"),
            ]
        )
    settle_carrier("v0")
    return namespace


def test_the_accept_rules_open_no_way_into_other_bridges(host):
    other = foreign_bridge(host)
    docker_firewall()
    ours, _ = host.container()
    with listening(other) as server:
        assert reach(ours, "172.17.0.2") is None
        with firewall_socket() as firewall:
            ruleset.guard(firewall, "lading0", ["other0"])
        assert_reaches(ours, "172.17.0.2", 80, server)
