"""Where a registry lives, how far its channel is trusted, and which hops are refused.

The trust rules of redirects and token realms are here and nowhere else: a hop may not leave TLS,
may not enter this machine or a link-local address from outside, and credentials stay with the
origin they are meant for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from images.client.errors import ProtocolError, UnsafeHopError
from images.client.url import Url
from images.reference import DEFAULT_REGISTRY
from records import Record

HUB_API_HOST = "registry-1.docker.io"


class Endpoint(Record):
    """A registry as it is contacted; ``schemes`` are tried in order."""

    registry: str
    host: str
    schemes: tuple[str, ...]
    verify: bool


def endpoint(registry: str, *, insecure: Iterable[str] = (), has_own_ca: bool = False) -> Endpoint:
    """Decide how ``registry`` is contacted.

    Loopback hosts and those in ``insecure`` (host, host:port or CIDR, as in Docker's daemon.json)
    get HTTPS without verification and then plain HTTP; a CA configured for the host takes both
    back. A port of this machine is asked in plain HTTP first, which nobody else can hear and mostly
    is what it speaks: TLS takes long to load.
    """
    host = HUB_API_HOST if registry == DEFAULT_REGISTRY else registry
    bare = bare_host(host)
    local = is_loopback(bare)
    if has_own_ca or not (local or is_listed(host, insecure)):
        return Endpoint(registry, host, ("https",), verify=True)
    # Without a port the schemes are different ports, of which that of TLS goes first.
    has_port = host.removeprefix(f"[{bare}]") not in ("", bare)
    schemes = ("http", "https") if local and has_port else ("https", "http")
    return Endpoint(registry, host, schemes, verify=False)


def bare_host(host: str) -> str:
    """``host[:port]`` without the port and without an IPv6 address's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    """Whether a bare host names this machine by its own spelling; nothing is resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_listed(host: str, listed: Iterable[str]) -> bool:
    """Whether ``host[:port]`` is named by an entry: exactly, by bare host, or by CIDR."""
    bare = bare_host(host)
    address = _address(bare)
    for entry in listed:
        if entry in (host, bare):
            return True
        if address is not None and "/" in entry:
            network = ipaddress.ip_network(entry, strict=False)
            if address in network:
                return True
    return False


def given_url(base: Url, text: str, *, what: str) -> Url:
    """A URL that a server gave us, resolved against ``base``, kept byte for byte (signed queries).

    A user part is dropped, because it would become an Authorization header of its own.

    Raises:
        ProtocolError: it is not a URL.
    """
    try:
        return Url.read(text, base)
    except ValueError as error:
        raise ProtocolError(f"{what} is not a URL: {text[:100]!r}", where=base.host) from error


def same_origin(one: Url, other: Url) -> bool:
    """Whether both URLs agree in scheme, host and port (RFC 6454)."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def is_private_channel(url: Url) -> bool:
    """Whether nobody on the way can read or change it: TLS, or never leaving this machine."""
    return url.scheme == "https" or is_loopback(url.host)


def check_hop(source: Url, target: Url, *, what: str) -> None:
    """Refuse a redirect, upload location or token realm that an honest registry has no need for.

    Raises:
        UnsafeHopError: not HTTP; from TLS to plain text; from outside into loopback or link-local.
    """
    reason = _hop_problem(source, target)
    if reason is not None:
        raise UnsafeHopError(
            f"{what} leads {reason}: {_shown(target)}",
            where=_shown(source),
            fix="ask the registry's operator; nothing was sent there",
        )


def _hop_problem(source: Url, target: Url) -> str | None:
    host = target.host
    if target.scheme not in ("http", "https") or not host:
        return "to something that is not an HTTP address"
    if same_origin(source, target):
        return None
    if is_loopback(host) and not is_loopback(source.host):
        return "from outside into this machine"
    address = _address(host)
    if address is not None and (
        address.is_link_local or address.is_unspecified or address.is_multicast
    ):
        return "to a link-local address"
    if source.scheme == "https" and not is_private_channel(target):
        return "out of TLS"
    return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def _shown(url: Url) -> str:
    """A URL without query and user, since both may carry secrets."""
    return f"{url.scheme}://{url.authority}{url.path}"
