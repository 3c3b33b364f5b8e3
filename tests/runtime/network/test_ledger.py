"""Leases: next-fit, owners that die, files that are torn, and processes that race."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import pytest

from runtime.network.errors import AddressPoolError
from runtime.network.ledger import Lease, Ledger, Owner, locked
from runtime.network.ruleset import Published, Subnet

DEAD = Owner(1, 1)


def ledger(prefix_length: int = 29) -> Ledger:
    return Ledger(subnet=Subnet("br0", "10.0.0.0", prefix_length), gateway="10.0.0.1", mtu=1500)


def take(book: Ledger, name: str, owner: Owner, wanted: str | None = None) -> str:
    address = book.free_address(wanted)
    book.leases[name] = Lease(name, owner, address)
    return address


def test_addresses_are_given_next_fit():
    book, me = ledger(), Owner.of(os.getpid())
    assert [take(book, name, me) for name in "abc"] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    del book.leases["a"]
    assert take(book, "d", me) == "10.0.0.5"
    assert take(book, "e", me) == "10.0.0.6"
    assert take(book, "f", me) == "10.0.0.2"


def test_network_gateway_and_broadcast_are_never_given():
    book, me = ledger(), Owner.of(os.getpid())
    given = {take(book, str(number), me) for number in range(5)}
    assert given == {f"10.0.0.{last}" for last in range(2, 7)}
    with pytest.raises(AddressPoolError, match="no available IPv4 addresses"):
        book.free_address()


def test_wanted_address():
    book, me = ledger(), Owner.of(os.getpid())
    assert take(book, "a", me, "10.0.0.5") == "10.0.0.5"
    with pytest.raises(AddressPoolError, match="already in use"):
        book.free_address("10.0.0.5")
    with pytest.raises(AddressPoolError, match="already in use"):
        book.free_address("10.0.0.1")
    for outside in ("10.0.0.0", "10.0.0.7", "10.0.1.2"):
        with pytest.raises(AddressPoolError, match="outside the subnet"):
            book.free_address(outside)


def test_a_ledger_is_found_after_a_kill_at_any_point_of_its_replacement(tmp_path):
    with locked(tmp_path, "br0") as book:
        book.last = 1
    # Before the old one is removed, the new one may be half written and does not count.
    (tmp_path / "br0.new").write_text('{"format":')
    with locked(tmp_path, "br0") as book:
        assert book.last == 1
    (tmp_path / "br0.json").rename(tmp_path / "br0.new")
    with locked(tmp_path, "br0") as book:
        assert book.last == 1
        book.last = 2
    with locked(tmp_path, "br0") as book:
        assert book.last == 2


def test_sweep_returns_leases_of_dead_owners_only():
    book, me = ledger(24), Owner.of(os.getpid())
    take(book, "mine", me)
    take(book, "dead", DEAD)
    assert [lease.endpoint for lease in book.sweep(everything=True)] == ["dead"]
    assert list(book.leases) == ["mine"]


def test_short_sweeps_get_round_to_every_lease():
    book, me = ledger(24), Owner.of(os.getpid())
    for number in range(20):
        take(book, f"mine{number}", me)
    take(book, "dead", DEAD)
    assert any(book.sweep() for _ in range(3))


def test_a_dead_owner_of_a_port_is_always_found():
    book, me = ledger(24), Owner.of(os.getpid())
    for number in range(20):
        take(book, f"mine{number}", me)
    port = Published("0.0.0.0", "tcp", 8080, "10.0.0.99", 80)
    book.leases["dead"] = Lease("dead", DEAD, "10.0.0.99", (port,))
    assert book.sweep(ports={("udp", 8080)}) == []
    assert [lease.endpoint for lease in book.sweep(ports={("tcp", 8080)})] == ["dead"]


def test_a_process_of_the_same_pid_is_not_the_owner():
    me = Owner.of(os.getpid())
    assert me.alive
    assert not Owner(me.pid, me.started + 1).alive


def test_a_zombie_owns_nothing():
    child = subprocess.Popen(["sleep", "60"])
    owner = Owner.of(child.pid)
    assert owner.alive
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.alive
    child.wait()
    assert not owner.alive


def test_ledger_survives_its_file(tmp_path):
    port = Published("127.0.0.1", "tcp", 8080, "10.0.0.2", 80)
    with locked(tmp_path, "br0") as book:
        book.subnet, book.gateway = Subnet("br0", "10.0.0.0", 24), "10.0.0.1"
        book.bridge_index, book.mtu, book.last = 7, 1400, 5
        book.leases["a"] = Lease("a", Owner(1, 2), "10.0.0.2", (port,))
    with locked(tmp_path, "br0") as again:
        assert again.to_json() == book.to_json()
        assert again.leases["a"].ports == (port,)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format":99}', '{"format":1}', '"x"'])
def test_a_damaged_file_is_an_empty_ledger(tmp_path, content):
    (tmp_path / "br0.json").write_text(content)
    with locked(tmp_path, "br0") as book:
        assert book.leases == {}


def test_a_failed_body_changes_nothing(tmp_path):
    with locked(tmp_path, "br0") as book:
        book.last = 1
    with suppress(RuntimeError), locked(tmp_path, "br0") as book:
        book.last = 2
        raise RuntimeError
    with locked(tmp_path, "br0") as book:
        assert book.last == 1


def test_racing_processes_get_different_addresses(tmp_path):
    children = []
    for number in range(8):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            for step in range(10):
                with locked(tmp_path, "br0") as book:
                    book.subnet, book.gateway = Subnet("br0", "10.0.0.0", 24), "10.0.0.1"
                    address = book.free_address()
                    name = f"{number}-{step}"
                    book.leases[name] = Lease(name, Owner(1, 1), address)
                os.write(writer, f"{address}\n".encode())
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    given = []
    for pid, reader in children:
        with os.fdopen(reader) as lines:
            given += lines.read().split()
        assert os.waitpid(pid, 0)[1] == 0
    assert len(given) == len(set(given)) == 80
