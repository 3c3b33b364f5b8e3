"""Addresses: names with several, one free port for all of them, descriptors from a manager."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from registry import listening
from registry.config import RegistryConfig
from registry.errors import RegistryStartError
from registry.listening import BoundAddress, open_listeners
from registry.settings import MetricsSettings
from registry.systemd import inherited_sockets


def test_workers_share_one_port_by_sockets_of_their_own(tmp_path: Path) -> None:
    config = RegistryConfig(root=tmp_path, port=0, metrics=MetricsSettings(port=0))
    listeners = open_listeners(config, 3, {})
    ports = {s.getsockname()[1] for group in listeners.workers for s in group}
    assert len(ports) == 1
    assert len({s.fileno() for group in listeners.workers for s in group}) == 3
    assert listeners.metrics[0].getsockname()[1] not in ports
    bound = listeners.bound("http")
    assert bound == BoundAddress("http", "127.0.0.1", ports.pop())
    listeners.keep(1)
    assert [group[0].fileno() >= 0 for group in listeners.workers] == [False, True, False]
    listeners.close()


def test_a_port_that_the_system_chose_is_held_while_others_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind, tried = listening._bind, []

    def beside_a_stranger(
        addresses: Sequence[tuple[int, tuple[str, int]]], *, reuse_port: bool
    ) -> Iterator[socket.socket]:
        if reuse_port:
            ((_, address),) = addresses
            with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
                stranger.bind(address)
            tried.append(address)
        yield from bind(addresses, reuse_port=reuse_port)

    monkeypatch.setattr(listening, "_bind", beside_a_stranger)
    listeners = open_listeners(RegistryConfig(root=tmp_path, port=0), 3, {})
    assert tried == 2 * [listeners.workers[0][0].getsockname()]
    listeners.close()


def test_a_name_with_several_addresses(tmp_path: Path) -> None:
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    listeners = open_listeners(RegistryConfig(root=tmp_path, host="localhost", port=0), 2, {})
    for group in listeners.workers:
        assert {s.getsockname()[0] for s in group} == found
    assert len({s.getsockname()[1] for group in listeners.workers for s in group}) == 1
    listeners.close()


def test_addresses_that_are_none(tmp_path: Path) -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(RegistryStartError) as caught:
            open_listeners(RegistryConfig(root=tmp_path, host=host, port=0), 1, {})
        assert caught.value.where == f"{host}:0"


def test_descriptors_are_for_one_process_only() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert inherited_sockets(environment, os.getpid()) == []
    assert inherited_sockets({}, os.getpid()) == []
