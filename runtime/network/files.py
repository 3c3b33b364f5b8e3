"""The texts of a container's resolv.conf, hosts and hostname. Pure functions; resolv.conf(5),
hosts(5).

A container of a bridge cannot reach a name server on the host's loopback, so those are left out,
and Docker's public ones stand in when none is left. A container that shares the host's network gets
the host's own texts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime.network.errors import NetworkFault

FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
RESOLVED_STUB = "127.0.0.53"
"""systemd-resolved's own server: its real servers are in /run/systemd/resolve/resolv.conf."""
HOST_GATEWAY = "host-gateway"
_LOCALHOST = "127.0.0.1\tlocalhost\n"
_LOCALHOST_V6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolver(text: str) -> Resolver:
    """Read a resolv.conf: every nameserver, the last search or domain line, every option."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *names]:
                search = tuple(names)
            case ["options", *names]:
                options += names
    return Resolver(tuple(servers), search, tuple(options))


def needs_resolved_file(text: str) -> bool:
    """Whether the host only names systemd-resolved's stub, so that its real file should be read
    instead.
    """
    return parse_resolver(text).servers == (RESOLVED_STUB,)


def container_resolver(
    host: str,
    *,
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    shares_host_network: bool = False,
) -> str:
    """The text of a container's resolv.conf, from the host's and from ``--dns``, ``--dns-search``,
    ``--dns-option``.

    A search of ``.`` means none.
    """
    found = parse_resolver(host)
    if shares_host_network and not (servers or search or options):
        return host
    kept: Sequence[str] = servers or found.servers
    if not servers and not shares_host_network:
        kept = [server for server in kept if not is_loopback(server)] or FALLBACK_SERVERS
    domains = [] if list(search) == ["."] else list(search or found.search)
    chosen = list(options or found.options)
    lines = [f"nameserver {server}" for server in kept]
    if domains:
        lines.append(f"search {' '.join(domains)}")
    if chosen:
        lines.append(f"options {' '.join(chosen)}")
    return "\n".join(lines) + "\n"


def container_hosts(
    *,
    hostname: str,
    domain: str = "",
    address: str = "",
    extra: Iterable[tuple[str, str]] = (),
    gateway: str = "",
    ipv6: bool = True,
) -> str:
    """The text of a container's hosts file.

    ``extra`` holds (name, address) of ``--add-host``; the address ``host-gateway`` stands for
    ``gateway``. ``address`` is the container's own, empty when it has none.

    Raises:
        NetworkFault: host-gateway was asked for and there is no gateway.
    """
    text = _LOCALHOST + (_LOCALHOST_V6 if ipv6 else "")
    for name, target in extra:
        if target == HOST_GATEWAY and not gateway:
            raise NetworkFault(
                "unable to derive the IP value for host-gateway",
                where=name,
                fix="give an address, or use a bridge network",
            )
        text += f"{gateway if target == HOST_GATEWAY else target}\t{name}\n"
    if address:
        names = f"{hostname}.{domain} {hostname}" if domain else hostname
        text += f"{address}\t{names}\n"
    return text


def is_loopback(server: str) -> bool:
    """Whether a name server's address is on the loopback of the machine that asks."""
    try:
        return socket.inet_pton(socket.AF_INET, server)[0] == 127
    except OSError:
        return server.partition("%")[0] == "::1"
