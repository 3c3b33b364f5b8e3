"""Addresses and prefixes of networks in CIDR notation (RFC 4632)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.functions.strings import integer
from engine.bake.values import value as make
from engine.bake.values.types import NUMBER, STRING

if TYPE_CHECKING:
    from engine.bake.values.value import Value

    Network = IPv4Network | IPv6Network

_PREFIX: Final = Parameter("prefix", STRING)


def _network(value: Value) -> Network:
    try:
        if "/" not in value.data:
            raise ValueError(value.data)
        return ip_network(value.data, strict=False)
    except ValueError as error:
        raise FunctionError(f"{value.data!r} is no network in CIDR notation", 0) from error


def _host(prefix: Value, number: Value) -> Value:
    network, host = _network(prefix), integer(number, 1)
    if not -network.num_addresses <= host < network.num_addresses:
        raise FunctionError(f"the network has only {network.num_addresses} addresses", 1)
    return make.string(str(network[host]))


def _netmask(prefix: Value) -> Value:
    network = _network(prefix)
    if network.version != 4:
        raise FunctionError("only IPv4 networks have netmasks", 0)
    return make.string(str(network.netmask))


def _subnet(prefix: Value, bits: Value, number: Value) -> Value:
    network, extra, index = _network(prefix), integer(bits, 1), integer(number, 2)
    length = network.prefixlen + extra
    if extra < 0 or length > network.max_prefixlen:
        raise FunctionError(f"the prefix cannot be {length} bits long", 1)
    if not 0 <= index < 1 << extra:
        raise FunctionError(f"{extra} bits have no room for the number {index}", 2)
    return make.string(_at(network, int(network.network_address), index, length))


def _at(network: Network, start: int, index: int, length: int) -> str:
    address = start + (index << (network.max_prefixlen - length))
    made = IPv4Address(address) if network.version == 4 else IPv6Address(address)
    return f"{made}/{length}"


def _subnets(prefix: Value, *bits: Value) -> Value:
    """One after the other, each from the next address that is a multiple of its size."""
    network = _network(prefix)
    position = int(network.network_address)
    end = position + network.num_addresses
    made = []
    for argument, value in enumerate(bits, 1):
        length = network.prefixlen + integer(value, argument)
        if (
            not network.prefixlen < length <= network.max_prefixlen
            or length > network.prefixlen + 32
        ):
            raise FunctionError(f"the prefix cannot be {length} bits long", argument)
        size = 1 << (network.max_prefixlen - length)
        position = -(-position // size) * size
        if position + size > end:
            raise FunctionError("the network has no room left for this one", argument)
        made.append(make.string(_at(network, position, 0, length)))
        position += size
    return make.list_of(made, STRING)


FUNCTIONS: Final = (
    Function("cidrhost", (_PREFIX, Parameter("hostnum", NUMBER)), _host),
    Function("cidrnetmask", (_PREFIX,), _netmask),
    Function(
        "cidrsubnet", (_PREFIX, Parameter("newbits", NUMBER), Parameter("netnum", NUMBER)), _subnet
    ),
    Function("cidrsubnets", (_PREFIX,), _subnets, variadic=Parameter("newbits", NUMBER)),
)
