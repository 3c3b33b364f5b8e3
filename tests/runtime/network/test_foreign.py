"""Other firewalls: their drop policy is met with two accept rules in the right chain, once."""

from __future__ import annotations

import subprocess

import pytest

from runtime.network import foreign
from tests.conftest import require_program
from tests.runtime.network.conftest import firewall_socket
from tests.runtime.network.test_reachability import assert_reaches, listening, reach

pytestmark = pytest.mark.root


def iptables(*words: str) -> str:
    program = require_program("iptables-nft")
    result = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    return result.stdout


def docker_firewall() -> None:
    """What dockerd 20.10 leaves in ``filter``."""
    iptables("-N", "DOCKER-USER")
    iptables("-A", "DOCKER-USER", "-j", "RETURN")
    iptables("-A", "FORWARD", "-j", "DOCKER-USER")
    iptables("-P", "FORWARD", "DROP")


def test_nothing_to_do_without_other_firewalls(empty_host):
    with firewall_socket() as firewall:
        assert foreign.let_pass(firewall, "lading0") == []


def test_accepting_chains_are_left_alone(empty_host):
    iptables("-A", "FORWARD", "-j", "ACCEPT")
    before = iptables("-S")
    with firewall_socket() as firewall:
        assert foreign.let_pass(firewall, "lading0") == []
    assert iptables("-S") == before


def test_rules_go_into_dockers_own_place_for_them(empty_host):
    docker_firewall()
    with firewall_socket() as firewall:
        (blocker,) = foreign.let_pass(firewall, "lading0")
        foreign.let_pass(firewall, "lading0")
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
        foreign.let_pass(firewall, "lading0")
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
