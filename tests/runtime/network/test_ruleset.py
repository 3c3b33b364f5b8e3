"""The ruleset as nft reads it back, and how its elements come and go."""

from __future__ import annotations

import errno
import subprocess

import pytest

from runtime.network import ruleset
from runtime.network.errors import NetlinkError
from runtime.network.ruleset import Published, Subnet
from tests.conftest import require_program
from tests.runtime.network.conftest import firewall_socket

pytestmark = pytest.mark.root

SUBNET = Subnet("lading0", "172.17.0.0", 16)
WEB = Published("0.0.0.0", "tcp", 8080, "172.17.0.2", 80)
DNS = Published("127.0.0.1", "udp", 53, "172.17.0.3", 5353)
EXPECTED = """\
chain publish {
dnat ip to ip daddr . meta l4proto . th dport map @pub4
meta nfproto ipv4 dnat ip to meta l4proto . th dport map @pubany4
}
chain raw {
type filter hook prerouting priority raw; policy accept;
iifname @nets ip daddr 127.0.0.0/8 drop
}
chain prerouting {
type nat hook prerouting priority dstnat; policy accept;
ip daddr 127.0.0.0/8 return
fib daddr type local jump publish
}
chain output {
type nat hook output priority -100; policy accept;
fib daddr type local jump publish
}
chain forward {
type filter hook forward priority filter; policy accept;
ct state established,related accept
iifname . oifname @icc accept
ct status dnat oifname @nets accept
oifname @nets drop
iifname @guarded meta oifkind "bridge" oifname != @uplinks ct status ! dnat drop
}
chain postrouting {
type nat hook postrouting priority srcnat; policy accept;
ct status dnat ip saddr . oifname @same masquerade
ip saddr . oifname @same return
ct status dnat oifname @nets ip saddr 127.0.0.0/8 masquerade
iifname @natted masquerade
}
}
"""


def nft(*words: str) -> str:
    program = require_program("nft")
    result = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    lines = (line.strip() for line in result.stdout.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


@pytest.fixture
def firewall(empty_host):
    with firewall_socket() as netlink:
        yield netlink


def ensure(firewall, *published: Published) -> None:
    ruleset.ensure(firewall, SUBNET, lambda: published)


def test_rules_read_back(firewall):
    ensure(firewall)
    listing = nft("list", "table", "inet", "lading")
    assert listing.endswith(EXPECTED)
    assert f'comment "{ruleset.fingerprint()}"' in listing


def test_elements_read_back(firewall):
    ensure(firewall)
    ruleset.publish(firewall, [WEB, DNS])
    listing = nft("list", "table", "inet", "lading")
    for elements in (
        'elements = { "lading0" }',
        'elements = { "lading0" . "lading0" }',
        'elements = { 172.17.0.0/16 . "lading0" }',
        "elements = { tcp . 8080 : 172.17.0.2 . 80 }",
        "elements = { 127.0.0.1 . udp . 53 : 172.17.0.3 . 5353 }",
    ):
        assert elements in listing


def test_ensuring_twice_changes_nothing(firewall):
    ensure(firewall)
    ruleset.publish(firewall, [WEB])
    before = nft("-a", "list", "ruleset")
    ensure(firewall, DNS)
    assert nft("-a", "list", "ruleset") == before


def test_a_second_bridge_joins_the_table(firewall):
    ensure(firewall)
    ruleset.ensure(firewall, Subnet("lading1", "172.18.0.0", 16), list)
    assert '172.17.0.0/16 . "lading0"' in nft("list", "set", "inet", "lading", "same")
    assert '172.18.0.0/16 . "lading1"' in nft("list", "set", "inet", "lading", "same")


def test_flushed_rules_come_back_with_the_published_ports(firewall):
    ensure(firewall)
    nft("flush", "ruleset")
    ensure(firewall, WEB)
    listing = nft("list", "table", "inet", "lading")
    assert listing.endswith(EXPECTED)
    assert "tcp . 8080 : 172.17.0.2 . 80" in listing


def test_an_older_versions_table_is_replaced_in_one_go(firewall):
    nft('add table inet lading { comment "rules 00000000"; }; add chain inet lading old')
    ensure(firewall, WEB)
    listing = nft("list", "table", "inet", "lading")
    assert "chain old" not in listing
    assert listing.endswith(EXPECTED)


def test_other_tables_are_left_alone(firewall):
    nft("add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; }")
    before = nft("list", "table", "ip", "filter")
    ensure(firewall)
    assert nft("list", "table", "ip", "filter") == before


def test_a_port_that_leads_elsewhere_is_refused_whole(firewall):
    ensure(firewall)
    ruleset.publish(firewall, [WEB])
    other = Published("0.0.0.0", "tcp", 8080, "172.17.0.9", 80)
    with pytest.raises(NetlinkError) as caught:
        ruleset.publish(firewall, [DNS, other])
    assert caught.value.errno == errno.EEXIST
    assert "elements" not in nft("list", "map", "inet", "lading", "pub4")


def test_unpublishing_what_is_gone_is_harmless(firewall):
    ensure(firewall)
    ruleset.publish(firewall, [WEB, DNS])
    ruleset.unpublish(firewall, [WEB])
    ruleset.unpublish(firewall, [WEB, DNS])
    assert "elements" not in nft("list", "map", "inet", "lading", "pubany4")
    nft("flush", "ruleset")
    ruleset.unpublish(firewall, [WEB, DNS])


def test_a_range_of_ten_thousand_ports(firewall):
    ensure(firewall)
    ports = [Published("0.0.0.0", "udp", n, "172.17.0.2", n) for n in range(20000, 30000)]
    ruleset.publish(firewall, ports)
    listing = nft("list", "map", "inet", "lading", "pubany4")
    assert listing.count("udp . ") == 10000


def test_forgetting_a_bridge(firewall):
    ensure(firewall)
    ruleset.forget(firewall, SUBNET)
    ruleset.forget(firewall, SUBNET)
    assert "elements" not in nft("list", "table", "inet", "lading")
