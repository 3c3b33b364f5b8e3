"""Container names, host names, --add-host and --dns."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.options.errors import OptionError

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z"
_HOST_NAME = r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_-]+)*\Z"


def check_name(name: str) -> str:
    """``name`` without a leading slash, if it is a container's name.

    Raises:
        OptionError: Docker's sentence.
    """
    bare = name.removeprefix("/")
    if not re.match(_NAME, bare):
        raise OptionError(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return bare


def check_host_name(name: str, flag: str = "--hostname") -> str:
    """``name``, if it can be a host or domain name.

    Raises:
        OptionError: it cannot.
    """
    if len(name) > 64 or not re.match(_HOST_NAME, name):
        raise OptionError(f"invalid hostname format: {name}", where=flag)
    return name


def extra_hosts(values: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """``name:address`` or ``name=address`` of --add-host as (name, address or ``host-gateway``).

    Raises:
        OptionError: no separator, or not an address.
    """
    return tuple(_extra_host(value) for value in values)


def _extra_host(value: str) -> tuple[str, str]:
    name, separator, address = value.partition("=")
    if not separator:
        name, separator, address = value.partition(":")
    if not separator or not name:
        raise OptionError(f'bad format for add-host: "{value}"', fix="write name:address")
    address = address.removeprefix("[").removesuffix("]")
    if address != "host-gateway" and not is_address(address):
        raise OptionError(f'invalid IP address in add-host: "{address}"', where=value)
    return check_host_name(name, "--add-host"), address


def name_servers(values: Iterable[str]) -> tuple[str, ...]:
    """The addresses of --dns.

    Raises:
        OptionError: one is not an address.
    """
    servers = tuple(values)
    for server in servers:
        if not is_address(server):
            raise OptionError(f'IP address is not correctly formatted: "{server}"', where="--dns")
    return servers


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False
