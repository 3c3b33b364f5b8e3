"""resolv.conf and hosts as a container gets them."""

from __future__ import annotations

import pytest

from runtime.network import files
from runtime.network.errors import NetworkFault

HOST = """\
# made by hand
nameserver 127.0.0.53
nameserver 192.0.2.53 # lan
nameserver ::1
nameserver 2001:db8::53
domain old.example
search corp.example lab.example
options ndots:2 rotate
options timeout:1
"""


def test_parse():
    assert files.parse_resolver(HOST) == files.Resolver(
        ("127.0.0.53", "192.0.2.53", "::1", "2001:db8::53"),
        ("corp.example", "lab.example"),
        ("ndots:2", "rotate", "timeout:1"),
    )


def test_bare_words_are_ignored():
    assert files.parse_resolver("nameserver\nsortlist 1\n;x\n\n") == files.Resolver()


def test_loopback_servers_are_left_out():
    assert files.container_resolver(HOST) == (
        "nameserver 192.0.2.53\n"
        "nameserver 2001:db8::53\n"
        "search corp.example lab.example\n"
        "options ndots:2 rotate timeout:1\n"
    )


def test_public_servers_stand_in_when_none_is_left():
    text = files.container_resolver("nameserver 127.0.0.1\n")
    assert text == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"


def test_flags_win_over_the_host():
    text = files.container_resolver(
        HOST, servers=["127.0.0.1"], search=["a.example"], options=["ndots:0"]
    )
    assert text == "nameserver 127.0.0.1\nsearch a.example\noptions ndots:0\n"


def test_search_of_a_dot_means_none():
    assert "search" not in files.container_resolver(HOST, search=["."])


def test_host_network_keeps_the_hosts_text():
    assert files.container_resolver(HOST, shares_host_network=True) == HOST
    text = files.container_resolver(HOST, shares_host_network=True, options=["ndots:0"])
    assert text.startswith("nameserver 127.0.0.53\n")
    assert text.endswith("options ndots:0\n")


def test_only_the_stub_of_systemd_resolved():
    assert files.needs_resolved_file("nameserver 127.0.0.53\noptions edns0\n")
    assert not files.needs_resolved_file(HOST)


def test_hosts():
    text = files.container_hosts(
        hostname="web",
        domain="corp.example",
        address="172.17.0.2",
        extra=[("db", "10.0.0.9"), ("host.docker.internal", "host-gateway")],
        gateway="172.17.0.1",
    )
    lines = text.splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert "::1\tlocalhost ip6-localhost ip6-loopback" in lines
    assert lines[-3:] == [
        "10.0.0.9\tdb",
        "172.17.0.1\thost.docker.internal",
        "172.17.0.2\tweb.corp.example web",
    ]


def test_hosts_without_ipv6_and_address():
    assert files.container_hosts(hostname="web", ipv6=False) == "127.0.0.1\tlocalhost\n"


def test_host_gateway_needs_a_gateway():
    with pytest.raises(NetworkFault, match="host-gateway") as caught:
        files.container_hosts(hostname="web", extra=[("h", "host-gateway")])
    assert caught.value.where == "h"


@pytest.mark.parametrize(
    ("server", "loopback"),
    [("127.1.2.3", True), ("::1", True), ("::1%lo", True), ("10.0.0.1", False), ("name", False)],
)
def test_is_loopback(server, loopback):
    assert files.is_loopback(server) is loopback
