"""IPv4 arithmetic and the choice of a subnet, pure and without the cost of importing
``ipaddress``.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

from runtime.network.errors import AddressPoolError

POOLS: tuple[tuple[str, int], ...] = (
    *((f"172.{second}.0.0", 16) for second in range(17, 32)),
    *((f"192.168.{third}.0", 20) for third in range(0, 256, 16)),
)
"""Docker's local pools in Docker's order."""


def to_number(address: str) -> int:
    """Dotted text as a number; raises OSError for anything else."""
    return int(struct.unpack(">I", socket.inet_aton(address))[0])


def from_number(number: int) -> str:
    """A number as dotted text."""
    return socket.inet_ntoa(struct.pack(">I", number))


def network_of(address: str, prefix_length: int) -> str:
    """The network address of the subnet an address is in."""
    return from_number(to_number(address) & ~((1 << (32 - prefix_length)) - 1))


def first_host(network: str) -> str:
    """The first address of a subnet, which is its gateway."""
    return from_number(to_number(network) + 1)


def overlaps(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether two (network, prefix length) share an address."""
    shorter = min(one[1], other[1])
    return network_of(one[0], shorter) == network_of(other[0], shorter)


def free_pool(taken: Iterable[tuple[str, int]]) -> tuple[str, int]:
    """The first of ``POOLS`` that overlaps none of these; default routes (length 0) do not count.

    Raises:
        AddressPoolError: all overlap.
    """
    routes = [route for route in taken if route[1] > 0]
    for pool in POOLS:
        if not any(overlaps(pool, route) for route in routes):
            return pool
    listing = ", ".join(f"{network}/{length}" for network, length in routes[:8])
    raise AddressPoolError(
        "all predefined address pools have been fully subnetted",
        where=listing,
        fix="remove bridges that are not used any more",
    )


def random_hardware_address() -> bytes:
    """A locally administered unicast MAC address."""
    data = bytearray(os.urandom(6))
    data[0] = data[0] & 0xFE | 0x02
    return bytes(data)
