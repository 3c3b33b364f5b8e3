"""--publish: ``[address:][host-port[-end]:]port[-end][/protocol]``. docker/go-connections
``nat``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from engine.options.errors import OptionError
from runtime.request import Port

_ANY = "0.0.0.0"
_NUMBER = re.compile(r"[0-9]{1,5}\Z")
_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_ports(values: Iterable[str]) -> list[Port]:
    """The bindings of every ``-p``, in order, each once.

    Raises:
        OptionError: a value is malformed.
    """
    found: dict[Port, None] = {}
    for value in values:
        for binding in parse_port(value):
            found[binding] = None
    return list(found)


def parse_port(value: str) -> list[Port]:
    """The bindings of one ``-p``; a range of container ports makes several.

    Raises:
        OptionError: says which part is malformed.
    """
    text, _, protocol = value.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise OptionError(f"Invalid proto: {protocol}", where=f"--publish {value}")
    address, host, container = _split(text, value)
    ports = _range(container, "containerPort", value)
    if not host:
        return [Port(port, protocol, 0, address) for port in ports]
    hosts = _range(host, "hostPort", value)
    if len(hosts) == len(ports):
        pairs = zip(ports, hosts, strict=True)
        return [Port(port, protocol, number, address) for port, number in pairs]
    if len(ports) != 1:
        raise OptionError(
            f"Invalid ranges specified for container and host Ports: {container} and {host}",
            where=f"--publish {value}",
        )
    return [Port(ports[0], protocol, hosts[0], address, hosts[-1])]


def parse_exposed(value: str) -> list[tuple[int, str]]:
    """A key of an image's ExposedPorts, or an --expose: ``port[-end][/protocol]``.

    Raises:
        OptionError: malformed.
    """
    text, _, protocol = value.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise OptionError(f"Invalid proto: {protocol}", where=f"--expose {value}")
    return [(port, protocol) for port in _range(text, "containerPort", value)]


def _split(text: str, whole: str) -> tuple[str, str, str]:
    if text.startswith("["):
        raise OptionError(
            "publishing on IPv6 addresses is not supported",
            where=f"--publish {whole}",
            fix="publish on an IPv4 address of this host",
        )
    parts = text.split(":")
    if len(parts) > 3:
        raise OptionError(f"Invalid ip address: {text.rsplit(':', 2)[0]}", where="--publish")
    address = parts[0] if len(parts) == 3 and parts[0] else _ANY
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError as error:
        raise OptionError(f"Invalid ip address: {address}", where=f"--publish {whole}") from error
    return address, parts[-2] if len(parts) > 1 else "", parts[-1]


def _range(text: str, what: str, whole: str) -> range:
    first, dash, last = text.partition("-")
    where = f"--publish {whole}"
    if not text:
        raise OptionError(f"No port specified: {whole}<empty>", where=where)
    if not (_NUMBER.match(first) and (not dash or _NUMBER.match(last))):
        raise OptionError(f"Invalid {what}: {text}", where=where)
    start, end = int(first), int(last if dash else first)
    low = 0 if what == "hostPort" else 1
    if not low <= start <= end <= 65535:
        raise OptionError(f"Invalid {what}: {text}", where=where, fix="ports are 1 to 65535")
    return range(start, end + 1)
