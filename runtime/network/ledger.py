"""Which container has which address and ports: one small file per bridge and network namespace.

The file is read and replaced under flock(2), so processes that never meet agree on it. It belongs
to the bridge, not to a store: two stores on one machine share the bridge and therefore the ledger.
A lease names its owner by pid and start time; leases of dead owners are found and given back by
whoever comes next.

Addresses are given next-fit: a namespace that is being torn down still answers ARP for some 100 ms,
so an address that was just given back is the last to be given again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from records import Record
from runtime.network.addresses import from_number, to_number
from runtime.network.errors import AddressPoolError
from runtime.network.ruleset import Published, Subnet

if TYPE_CHECKING:
    from pathlib import Path

_FORMAT = 2
_SWEEP = 8
"""Leases looked at for a dead owner in one visit, which keeps a visit's cost constant."""


class Owner(Record):
    """A process, told from a later one of the same pid by its start time (proc(5), stat field
    22).
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The owner record of a process; a start time of 0 if there is none such."""
        return cls(pid, _start_time(pid))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.started != 0 and _start_time(self.pid) == self.started


class Lease(Record):
    """One endpoint's claims: its name, its owner, its address and its published ports."""

    endpoint: str
    owner: Owner
    address: str
    ports: tuple[Published, ...] = ()


class Ledger:
    """The leases of one bridge, in memory while its file is locked."""

    def __init__(
        self,
        subnet: Subnet | None = None,
        *,
        bridge_index: int = 0,
        hardware_address: str = "",
        gateway: str = "",
        mtu: int = 0,
    ) -> None:
        """``hardware_address`` is the bridge's: random, so it tells one bridge from a later one of
        the same name and number.
        """
        self.subnet = subnet
        self.bridge_index = bridge_index
        self.hardware_address = hardware_address
        self.gateway = gateway
        self.mtu = mtu
        self.last = 0
        self.swept = 0
        self.leases: dict[str, Lease] = {}

    def free_address(self, wanted: str | None = None) -> str:
        """The next free host address of the subnet, or ``wanted`` if it is free.

        Raises:
            AddressPoolError: the subnet is full, or ``wanted`` is taken or outside.
        """
        if self.subnet is None:
            raise AddressPoolError("the bridge has no subnet")
        first = to_number(self.subnet.network)
        size = 1 << (32 - self.subnet.prefix_length)
        taken = {to_number(lease.address) for lease in self.leases.values()}
        taken.add(to_number(self.gateway))
        where = f"{self.subnet.network}/{self.subnet.prefix_length}"
        if wanted is not None:
            number = to_number(wanted)
            if not first < number < first + size - 1:
                raise AddressPoolError(f"address {wanted} is outside the subnet", where=where)
            if number in taken:
                raise AddressPoolError("Address already in use", where=wanted)
            return wanted
        hosts = size - 2
        start = self.last - first if first < self.last < first + size - 1 else 0
        for step in range(hosts):
            number = first + 1 + (start + step) % hosts
            if number not in taken:
                self.last = number
                return from_number(number)
        raise AddressPoolError(
            "no available IPv4 addresses on this network", where=where, fix="stop some containers"
        )

    def sweep(
        self, *, everything: bool = False, ports: Collection[tuple[str, int]] = ()
    ) -> list[Lease]:
        """Remove and return leases of dead owners.

        Looks at ``everything``, or at a few and at those that published one of ``ports`` (protocol,
        host port).
        """
        names = list(self.leases)
        if not everything:
            start = self.swept % max(1, len(names))
            few = (names[start:] + names[:start])[:_SWEEP]
            self.swept = start + len(few)
            names = [name for name in names if self._published(name, ports)] if ports else []
            names = list(dict.fromkeys(few + names))
        return [self.leases.pop(name) for name in names if not self.leases[name].owner.alive]

    def _published(self, name: str, ports: Collection[tuple[str, int]]) -> bool:
        return any((port.protocol, port.host_port) in ports for port in self.leases[name].ports)

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "format": _FORMAT,
            "subnet": [self.subnet.bridge, self.subnet.network, self.subnet.prefix_length]
            if self.subnet
            else None,
            "bridge": [self.bridge_index, self.hardware_address, self.gateway, self.mtu],
            "last": self.last,
            "swept": self.swept,
            "leases": [
                [
                    lease.endpoint,
                    lease.owner.pid,
                    lease.owner.started,
                    lease.address,
                    [[p.host_address, p.protocol, p.host_port, p.port] for p in lease.ports],
                ]
                for lease in self.leases.values()
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ledger:
        """Read the file's content; another format's is as good as none."""
        if data.get("format") != _FORMAT:
            return cls()
        index, hardware, gateway, mtu = data["bridge"]
        leases = {}
        for endpoint, pid, started, address, ports in data["leases"]:
            published = tuple(
                Published(host, protocol, host_port, address, port)
                for host, protocol, host_port, port in ports
            )
            leases[endpoint] = Lease(endpoint, Owner(pid, started), address, published)
        subnet = Subnet(*data["subnet"]) if data["subnet"] else None
        ledger = cls(
            subnet, bridge_index=index, hardware_address=hardware, gateway=gateway, mtu=mtu
        )
        ledger.last, ledger.swept, ledger.leases = data["last"], data["swept"], leases
        return ledger


@contextmanager
def locked(directory: str | Path, name: str) -> Iterator[Ledger]:
    """Hold the ledger ``name`` alone; changes made to it are written when the body ends without an
    exception.

    A file that cannot be read as a ledger (a torn disk, a hand edit) is treated as empty.
    """
    os.makedirs(directory, mode=0o711, exist_ok=True)
    lock = os.open(f"{directory}/{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    path, stage = f"{directory}/{name}.json", f"{directory}/{name}.new"
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _read(path) or _read(stage)
        ledger = _parse(before)
        yield ledger
        after = json.dumps(ledger.to_json(), separators=(",", ":")).encode()
        if after != before:
            with open(stage, "wb") as file:
                file.write(after)
            # A name that is replaced makes ext4 write the file out first, for milliseconds. Whoever
            # is killed in between leaves the whole new file under its other name.
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.rename(stage, path)
    finally:
        os.close(lock)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _parse(content: bytes) -> Ledger:
    try:
        return Ledger.from_json(json.loads(content)) if content else Ledger()
    except (ValueError, KeyError, TypeError, AttributeError):
        return Ledger()


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks after boot; 0 if there is none or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            content = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The command name in field 2 may hold spaces and parentheses: fields are counted from its end.
    fields = content[content.rindex(b")") + 2 :].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
