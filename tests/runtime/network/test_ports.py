"""Host ports are held by sockets that answer nothing."""

from __future__ import annotations

import errno
import socket

import pytest

from runtime.network.errors import NetworkFault, PortTakenError
from runtime.network.ports import PortBinding, release, reserve
from tests.ports import free_port

LOOPBACK = "127.0.0.1"


def test_a_free_port_is_chosen_and_held():
    chosen, held = reserve([PortBinding(80, host_address=LOOPBACK)])
    try:
        assert chosen[0].host_port > 0
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind((LOOPBACK, chosen[0].host_port))
    finally:
        release(held)


@pytest.mark.root
def test_a_held_port_answers_nothing():
    chosen, held = reserve([PortBinding(80, host_address=LOOPBACK)])
    try:
        with socket.socket() as client:
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.connect((LOOPBACK, chosen[0].host_port))
    finally:
        release(held)


def test_a_taken_port_is_refused_in_dockers_words_and_nothing_stays_held():
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        free = free_port()
        with pytest.raises(PortTakenError) as caught:
            reserve(
                [
                    PortBinding(80, host_port=free, host_address=LOOPBACK),
                    PortBinding(81, host_port=taken, host_address=LOOPBACK),
                ]
            )
        assert caught.value.what == f"Bind for {LOOPBACK}:{taken} failed: port is already allocated"
        assert (caught.value.code, caught.value.errno) == ("port-taken", errno.EADDRINUSE)
    with socket.socket() as again:
        again.bind((LOOPBACK, free))


def test_tcp_and_udp_ports_of_one_number_do_not_clash():
    port = free_port()
    both = [PortBinding(53, kind, port, LOOPBACK) for kind in ("tcp", "udp")]
    chosen, held = reserve(both)
    release(held)
    assert chosen == both


def test_first_free_port_of_a_range():
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        end = min(taken + 50, 65535)
        chosen, held = reserve([PortBinding(80, "tcp", taken, LOOPBACK, end)])
        release(held)
        assert taken < chosen[0].host_port <= end
        with pytest.raises(PortTakenError):
            reserve([PortBinding(80, "tcp", taken, LOOPBACK, taken)])


def test_foreign_address_is_refused():
    with pytest.raises(NetworkFault, match="Cannot assign requested address") as caught:
        reserve([PortBinding(80, host_address="203.0.113.77")])
    assert caught.value.fix == "use an address of this host"


def test_unknown_protocol_is_refused():
    with pytest.raises(NetworkFault, match="unknown protocol dccp"):
        reserve([PortBinding(80, "dccp")])
