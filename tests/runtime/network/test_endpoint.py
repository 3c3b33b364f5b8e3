"""Attach and detach: what the namespace gets, what is left behind, what happens in a race or a
crash.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time

import pytest

from runtime.network import endpoint as endpoints
from runtime.network.endpoint import attach, bring_up_loopback, detach
from runtime.network.errors import AddressPoolError, PortTakenError
from runtime.network.ledger import locked
from runtime.network.namespaces import inside, open_namespace, read_setting
from runtime.network.ports import PortBinding
from tests.conftest import require_program
from tests.runtime.network.conftest import new_namespace

pytestmark = pytest.mark.root
pyroute2 = pytest.importorskip("pyroute2")


def leases(host) -> set[str]:
    with locked(host.ledger, endpoints.ledger_name("lading0")) as ledger:
        return set(ledger.leases)


def published() -> str:
    nft = require_program("nft")
    words = [nft, "list", "map", "inet", "lading", "pubany4"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_the_namespace_has_link_address_route_and_loopback(host):
    namespace, endpoint = host.container()
    with inside(namespace):
        with pyroute2.IPRoute() as oracle:
            (link,) = oracle.get_links(ifname="eth0")
            (address,) = oracle.get_addr(label="eth0")
            (route,) = oracle.get_default_routes(family=socket.AF_INET)
            (loopback,) = oracle.get_links(ifname="lo")
        assert read_setting("ipv6/conf/eth0/disable_ipv6") == "1"
    assert (link["state"], link.get("mtu"), link.get("address")) == (
        "up",
        endpoint.mtu,
        endpoint.hardware_address,
    )
    assert (address.get("address"), address["prefixlen"]) == (endpoint.address, 16)
    assert route.get("gateway") == endpoint.gateway == "172.17.0.1"
    assert loopback["state"] == "up"


def test_the_callers_namespace_is_unchanged(host):
    before = os.stat("/proc/self/ns/net").st_ino
    host.container()
    assert os.stat("/proc/self/ns/net").st_ino == before


def test_detach_gives_back_address_port_and_rule_but_waits_for_no_link(host):
    namespace, endpoint = host.container(ports=[PortBinding(80, host_port=8080)])
    assert "tcp . 8080 : 172.17.0.2 . 80" in published()
    detach(endpoint)
    detach(endpoint)
    assert "8080" not in published()
    assert leases(host) == set()
    assert socket.if_nametoindex(endpoint.host_link)
    with inside(namespace):
        assert socket.if_nametoindex("eth0")


def test_links_vanish_with_the_namespace(host):
    namespace = new_namespace()
    endpoint = attach(namespace, identifier="gone", ledger_directory=host.ledger)
    detach(endpoint)
    endpoint.close()
    os.close(namespace)
    deadline = time.monotonic() + 60
    while endpoint.host_link in [name for _, name in socket.if_nameindex()]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_taken_port_leaves_nothing_behind(host):
    host.container(ports=[PortBinding(80, host_port=8080)])
    with pytest.raises(PortTakenError, match="port is already allocated"):
        host.container("second", ports=[PortBinding(80, host_port=8080)])
    assert leases(host) == {"container-0"}


def test_a_failure_inside_gives_the_lease_back(host):
    namespace, _ = host.container()
    ports = [PortBinding(80, host_port=8081)]
    with pytest.raises(Exception, match="File exists"):
        attach(namespace, identifier="again", ports=ports, ledger_directory=host.ledger)
    assert leases(host) == {"container-0"}
    with socket.socket() as free:
        free.bind(("0.0.0.0", 8081))


def test_wanted_address(host):
    _, endpoint = host.container(address="172.17.3.4")
    assert endpoint.address == "172.17.3.4"
    with pytest.raises(AddressPoolError):
        host.container("second", address="172.17.3.4")


def test_a_dead_owners_claims_are_taken_back(host):
    owner = subprocess.Popen(["sleep", "60"])
    _, endpoint = host.container(
        "orphan", owner_pid=owner.pid, ports=[PortBinding(80, host_port=8080)]
    )
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    for reservation in endpoint.reservations:
        reservation.close()
    _, other = host.container("next", ports=[PortBinding(81, host_port=8080)])
    assert leases(host) == {"next"}
    assert f"tcp . 8080 : {other.address} . 81" in published()


def test_a_bridge_made_anew_by_hand_is_noticed(host):
    host.container()
    subprocess.run([require_program("ip"), "link", "delete", "lading0"], check=True)
    _, endpoint = host.container()
    assert endpoint.gateway == "172.17.0.1"
    assert socket.if_nametoindex("lading0")


def test_a_ledger_of_another_bridge_of_that_name_is_not_believed(host):
    host.container()
    with locked(host.ledger, endpoints.ledger_name("lading0")) as ledger:
        ledger.hardware_address = "02:00:00:00:00:01"
        ledger.gateway = "10.9.9.1"
    _, endpoint = host.container()
    assert endpoint.gateway == "172.17.0.1"


def test_racing_processes_share_one_bridge(host):
    children = []
    for number in range(6):
        namespace = new_namespace()
        host.namespaces.append(namespace)
        pid = os.fork()
        if pid == 0:
            try:
                attach(namespace, identifier=f"racer{number}", ledger_directory=host.ledger)
            except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
                os._exit(1)
            os._exit(0)
        children.append((pid, namespace))
    addresses = set()
    for pid, namespace in children:
        assert os.waitpid(pid, 0)[1] == 0
        with inside(namespace), pyroute2.IPRoute() as oracle:
            (address,) = oracle.get_addr(label="eth0")
            addresses.add(address.get("address"))
    assert len(addresses) == 6


def test_loopback_alone():
    namespace = new_namespace()
    try:
        bring_up_loopback(namespace)
        with inside(namespace), socket.socket() as server:
            server.bind(("127.0.0.1", 80))
    finally:
        os.close(namespace)


def test_the_namespace_of_a_process_is_found_by_pid():
    namespace = open_namespace(os.getpid())
    try:
        assert os.fstat(namespace).st_ino == os.stat("/proc/self/ns/net").st_ino
    finally:
        os.close(namespace)
