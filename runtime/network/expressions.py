"""What nf_tables rules are made of: load, compare, look up, decide. Pure.

linux/netfilter/nf_tables.h, "expressions". Registers are counted in four-byte steps from 0; loads
go to the first one unless told otherwise. Numbers are in network byte order, loaded packet data as
it is on the wire, except where a function says host byte order.
"""

from __future__ import annotations

from runtime.network.netlink import attribute, be32, nested, text

DROP = 0
ACCEPT = 1
JUMP = -3
RETURN = -5

_IPV4 = 2
_REGISTER = 8
"""NFT_REG32_00."""


def interface_name(name: str) -> bytes:
    """A link name as set keys and comparisons hold it: sixteen bytes, NUL-padded."""
    return name.encode().ljust(16, b"\0")


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *data))


def value(data: bytes) -> bytes:
    """A piece of packet data or set data (NFTA_DATA_VALUE)."""
    return attribute(1, data)


def meta(key: int, register: int = 0) -> bytes:
    """Load packet metadata (NFT_META_*) into the ``register``-th four-byte register."""
    return _expression("meta", be32(2, key), be32(1, _REGISTER + register))


def meta_interface_in(register: int = 0) -> bytes:
    """Load the name of the link a packet came in by."""
    return meta(6, register)


def meta_interface_out(register: int = 0) -> bytes:
    """Load the name of the link a packet leaves by."""
    return meta(7, register)


def meta_kind_out() -> bytes:
    """Load the kind of the link a packet leaves by (NFT_META_OIFKIND), as sixteen bytes."""
    return meta(27)


def meta_family() -> bytes:
    """Load the packet's address family (NFT_META_NFPROTO)."""
    return meta(15)


def meta_protocol(register: int = 0) -> bytes:
    """Load the transport protocol (NFT_META_L4PROTO)."""
    return meta(16, register)


def _payload(base: int, offset: int, length: int, register: int) -> bytes:
    where = be32(2, base) + be32(3, offset) + be32(4, length)
    return _expression("payload", be32(1, _REGISTER + register) + where)


def ipv4_source(register: int = 0) -> bytes:
    """Load the IPv4 source address."""
    return _payload(1, 12, 4, register)


def ipv4_destination(register: int = 0) -> bytes:
    """Load the IPv4 destination address."""
    return _payload(1, 16, 4, register)


def destination_port(register: int = 0) -> bytes:
    """Load the destination port of TCP, UDP or SCTP."""
    return _payload(2, 2, 2, register)


def conntrack_state() -> bytes:
    """Load the connection tracking state bits, in host byte order."""
    return _expression("ct", be32(2, 0), be32(1, _REGISTER))


def conntrack_status() -> bytes:
    """Load the connection tracking status bits, in host byte order."""
    return _expression("ct", be32(2, 2), be32(1, _REGISTER))


def destination_type() -> bytes:
    """Load the route type of the destination address (``fib daddr type``), in host byte order."""
    return _expression("fib", be32(1, _REGISTER), be32(2, 3), be32(3, 2))


def mask(data: bytes) -> bytes:
    """Keep these bits of the first register."""
    return _expression(
        "bitwise",
        be32(1, _REGISTER),
        be32(2, _REGISTER),
        be32(3, len(data)),
        nested(4, value(data)),
        nested(5, value(bytes(len(data)))),
    )


def equal(data: bytes, *, negate: bool = False) -> bytes:
    """Go on only if the first register equals (or differs from) ``data``."""
    return _expression("cmp", be32(1, _REGISTER), be32(2, int(negate)), nested(3, value(data)))


def in_set(name: str, *, negate: bool = False) -> bytes:
    """Go on only if the key in the first registers is (or is not) in the set."""
    return _expression("lookup", text(1, name), be32(2, _REGISTER), be32(5, int(negate)))


def map_lookup(name: str) -> bytes:
    """Replace the first registers by the data of the map; a missing key ends the rule."""
    return _expression("lookup", text(1, name), be32(2, _REGISTER), be32(3, _REGISTER))


def destination_nat() -> bytes:
    """Rewrite the IPv4 destination to the address in register 0 and the port in register 1."""
    return _expression(
        "nat",
        be32(1, 1),
        be32(2, _IPV4),
        be32(3, _REGISTER),
        be32(5, _REGISTER + 1),
    )


def masquerade() -> bytes:
    """Rewrite the source to the address of the link the packet leaves by."""
    return _expression("masq")


def verdict(code: int, chain: str = "") -> bytes:
    """End the rule with ACCEPT, DROP, RETURN or JUMP to a chain."""
    target = text(2, chain) if chain else b""
    unsigned = be32(1, code & 0xFFFFFFFF)
    return _expression("immediate", be32(1, 0), nested(2, nested(2, unsigned, target)))
