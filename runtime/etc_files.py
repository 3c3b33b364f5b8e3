"""The contents of /etc/hosts and /etc/resolv.conf of a container. Pure; hosts(5), resolv.conf(5).

moby ``libnetwork/etchosts`` and ``libnetwork/internal/resolvconf``: what Docker puts there for the
default bridge, no network and the host's network.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from runtime.errors import RuntimeFault

_LOCAL: Final = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,253}")
FALLBACK_NAMESERVERS: Final = ("8.8.8.8", "8.8.4.4")
RESOLVED_STUB: Final = "127.0.0.53"
"""systemd-resolved's own server; the real ones are in /run/systemd/resolve/resolv.conf."""


def check_name(name: str) -> str:
    """``name``, if it can stand in a hosts file.

    Raises:
        RuntimeFault: ``request-invalid``; a newline or space would add lines of its own.
    """
    if not _HOST_NAME.fullmatch(name):
        raise RuntimeFault(f"invalid host name {name!r}", code="request-invalid")
    return name


def hosts(
    *,
    hostname: str,
    domainname: str = "",
    address: str | None = None,
    extra: Iterable[tuple[str, str]] = (),
    gateway: str | None = None,
) -> str:
    """/etc/hosts; ``extra`` are (name, address), where ``host-gateway`` stands for ``gateway``.

    Raises:
        RuntimeFault: ``request-invalid``; a name or address is malformed, or there is no gateway.
    """
    lines = list(_LOCAL)
    for name, target in extra:
        if target == "host-gateway" and gateway is None:
            raise RuntimeFault(
                f"cannot resolve host-gateway for {name}: the container has no gateway",
                fix="give an address, or use a bridge network",
                code="request-invalid",
            )
        chosen = gateway if target == "host-gateway" and gateway is not None else target
        lines.append(f"{_address(chosen)}\t{check_name(name)}")
    if address is not None and hostname:
        full = f"{hostname}.{domainname} {hostname}" if domainname else hostname
        lines.append(f"{address}\t{full}")
    return "\n".join(lines) + "\n"


def _address(text: str) -> str:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    raise RuntimeFault(f"invalid IP address {text!r}", code="request-invalid")


def names_only_resolved(text: str) -> bool:
    """Whether the only server is systemd-resolved's stub, so that its real file should be read."""
    return _parse(text)["nameserver"] == [RESOLVED_STUB]


def resolv_conf(
    host: str,
    *,
    shares_host_network: bool = False,
    nameservers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """/etc/resolv.conf from the host's text, each of the three lists replacing the host's.

    Loopback name servers of the host are out of a container's reach and left out, unless it shares
    the host's network; public ones step in when none remains. A search of ``.`` means none.

    Raises:
        RuntimeFault: ``request-invalid``; an entry contains white space.
    """
    given = (*nameservers, *search, *options)
    if any(len(word.split()) != 1 for word in given):
        raise RuntimeFault("a dns option contains white space", code="request-invalid")
    if shares_host_network and not given:
        return host
    found = _parse(host)
    servers = list(nameservers) or [
        server for server in found["nameserver"] if shares_host_network or not _is_loopback(server)
    ]
    lines = [f"nameserver {server}" for server in servers or FALLBACK_NAMESERVERS]
    for key, chosen in (("search", search), ("options", options)):
        words = list(chosen) or found[key]
        if words and words != ["."]:
            lines.append(f"{key} {' '.join(words)}")
    return "\n".join(lines) + "\n"


def _parse(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in text.splitlines():
        match line.split("#")[0].split(";")[0].split():
            case ["nameserver", server, *_]:
                found["nameserver"].append(server)
            case ["search" | "domain", *words]:
                found["search"] = words
            case ["options", *words]:
                found["options"] += words
    return found


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server.partition("%")[0] == "::1"
