"""Who reaches whom: every case with bridged frames seen by the IP hooks and not."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress

import pytest

from runtime.network import rtnetlink
from runtime.network.endpoint import detach
from runtime.network.namespaces import inside, open_namespace, write_setting
from runtime.network.netlink import NetlinkSocket
from runtime.network.ports import PortBinding
from tests.runtime.network.conftest import HOST_ADDRESS, OUTSIDE_ADDRESS

pytestmark = pytest.mark.root


@pytest.fixture(params=["1", "0"], ids=["br_netfilter", "plain"], autouse=True)
def bridged_frames(request, host):
    write_setting("bridge/bridge-nf-call-iptables", request.param)


@contextmanager
def listening(namespace: int | None, address: str = "0.0.0.0", port: int = 80):
    with inside(namespace) if namespace is not None else inside_self():
        server = socket.socket()
    with server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(8)
        server.settimeout(60)
        yield server


@contextmanager
def inside_self():
    namespace = open_namespace(os.getpid())
    try:
        yield
    finally:
        os.close(namespace)


def reach(namespace: int | None, address: str, port: int = 80, *, patience: float = 0.4):
    """Connect from a namespace (None: the host); the client socket, or None when nothing
    answers.
    """
    with inside(namespace) if namespace is not None else inside_self():
        client = socket.socket()
    client.settimeout(patience)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        return None
    return client


def peer_of(server: socket.socket) -> str:
    connection, (address, _) = server.accept()
    connection.close()
    return address


def assert_reaches(namespace, address, port, server, *, seen_as: str | None = None):
    client = reach(namespace, address, port, patience=60)
    assert client is not None
    client.close()
    peer = peer_of(server)
    if seen_as is not None:
        assert peer == seen_as


def test_container_reaches_outside_under_the_hosts_address(host):
    container, _ = host.container()
    with listening(host.outside) as server:
        assert_reaches(container, OUTSIDE_ADDRESS, 80, server, seen_as=HOST_ADDRESS)


def test_container_reaches_a_service_of_the_host_under_its_own_address(host):
    container, endpoint = host.container()
    with listening(None) as server:
        assert_reaches(container, endpoint.gateway, 80, server, seen_as=endpoint.address)
        assert_reaches(container, HOST_ADDRESS, 80, server, seen_as=endpoint.address)


def test_containers_of_one_bridge_reach_each_other(host):
    one, endpoint = host.container()
    two, other = host.container()
    with listening(two) as server:
        assert_reaches(one, other.address, 80, server, seen_as=endpoint.address)


def test_host_reaches_a_container_directly(host):
    container, endpoint = host.container()
    with listening(container) as server:
        assert_reaches(None, endpoint.address, 80, server, seen_as=endpoint.gateway)


def test_bridges_are_isolated_from_each_other(host):
    one, _ = host.container()
    two, other = host.container(bridge="lading1")
    assert other.gateway == "172.18.0.1"
    with listening(two):
        assert reach(one, other.address) is None


def test_outside_does_not_reach_a_container_directly(host):
    container, endpoint = host.container(ports=[PortBinding(80, host_port=8080)])
    route_through_host(host)
    with listening(container) as server:
        assert reach(host.outside, endpoint.address) is None
        assert_reaches(host.outside, HOST_ADDRESS, 8080, server, seen_as=OUTSIDE_ADDRESS)


def route_through_host(host):
    with inside(host.outside), NetlinkSocket(rtnetlink.NETLINK_ROUTE) as links:
        links.execute([rtnetlink.add_default_route(HOST_ADDRESS)])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.5", HOST_ADDRESS])
def test_published_port_answers_on_every_address_of_the_host(host, address):
    container, _ = host.container(ports=[PortBinding(80, host_port=8080)])
    with listening(container) as server:
        assert_reaches(None, address, 8080, server)


def test_port_published_on_loopback_answers_only_there(host):
    binding = PortBinding(80, host_port=8080, host_address="127.0.0.1")
    container, _ = host.container(ports=[binding])
    route_through_host(host)
    with listening(container) as server:
        assert_reaches(None, "127.0.0.1", 8080, server)
        assert reach(None, HOST_ADDRESS, 8080) is None
        assert reach(host.outside, HOST_ADDRESS, 8080) is None
        assert reach(host.outside, "127.0.0.1", 8080) is None


def test_container_reaches_itself_and_a_neighbour_by_the_published_port(host):
    one, endpoint = host.container(ports=[PortBinding(80, host_port=8080)])
    two, _ = host.container()
    with listening(one) as server:
        assert_reaches(one, HOST_ADDRESS, 8080, server)
        assert_reaches(two, HOST_ADDRESS, 8080, server)
        assert_reaches(two, endpoint.gateway, 8080, server)


def test_container_of_another_bridge_reaches_a_published_port(host):
    one, _ = host.container(ports=[PortBinding(80, host_port=8080)])
    two, _ = host.container(bridge="lading1")
    with listening(one) as server:
        assert_reaches(two, HOST_ADDRESS, 8080, server)


def test_a_container_cannot_reach_the_hosts_loopback_services(host):
    container, endpoint = host.container()
    with inside(container):
        write_setting("ipv4/conf/all/route_localnet", "1")
        write_setting("ipv4/conf/lo/forwarding", "1")
    with listening(None, "127.0.0.1", 9000):
        client = reach_through_gateway(container, endpoint, "127.0.0.1", 9000)
        assert client is None


def reach_through_gateway(container, endpoint, address, port):
    """Connect to a loopback address over the link instead of the container's own loopback."""
    with inside(container):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    client.settimeout(0.4)
    try:
        client.bind((endpoint.address, 0))
        client.connect((address, port))
    except OSError:
        client.close()
        return None
    return client


def test_udp_port_answers_on_loopback(host):
    binding = PortBinding(53, "udp", 5353, "127.0.0.1")
    container, _ = host.container(ports=[binding])
    with inside(container):
        server = socket.socket(type=socket.SOCK_DGRAM)
    with server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("0.0.0.0", 53))
        server.settimeout(60)
        client.settimeout(60)
        client.sendto(b"ask", ("127.0.0.1", 5353))
        data, peer = server.recvfrom(16)
        server.sendto(b"answer", peer)
        assert (data, client.recvfrom(16)[0]) == (b"ask", b"answer")


def test_udp_client_that_keeps_sending_reaches_the_next_container(host):
    binding = PortBinding(53, "udp", 5353)
    with inside(host.outside), socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect((HOST_ADDRESS, 5353))
        client.send(b"before anybody listens")
        for number in (1, 2):
            with inside_host(host):
                container, endpoint = host.container(ports=[binding])
            with inside(container):
                server = socket.socket(type=socket.SOCK_DGRAM)
            with server:
                server.bind(("0.0.0.0", 53))
                server.settimeout(0.5)
                send_until_heard(client, server, b"to %d" % number)
            with inside_host(host):
                detach(endpoint)


@contextmanager
def inside_host(host):
    with inside(host.own):
        yield


def send_until_heard(client, server, data):
    """The first datagrams may meet a refusal of an earlier one, or a link that just comes up."""
    for _ in range(100):
        with suppress(ConnectionRefusedError):
            client.send(data)
        with suppress(TimeoutError):
            assert server.recv(100) == data
            return
    raise AssertionError("nothing was heard")


def test_unpublished_port_is_refused_and_free_again(host):
    _, endpoint = host.container(ports=[PortBinding(80, host_port=8080)])
    detach(endpoint)
    assert reach(None, "127.0.0.1", 8080) is None
    with listening(None, port=8080) as server:
        assert_reaches(None, "127.0.0.1", 8080, server)
