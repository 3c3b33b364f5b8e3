"""What a request says about who sent it, read only when it is asked for.

Forwarded headers are believed from configured proxies alone. A Host header that is no host, or is
none of ``served_hosts``, is answered with an address of ours, so that nothing of it reaches a
challenge.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from aiohttp import web

from registry.access.settings import AccessSettings

_HOST: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_HOPS: Final = 32
_LONGEST: Final = 4096

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Callers:
    """Makes a ``RequestCaller`` of each request, under one configuration."""

    def __init__(self, settings: AccessSettings, *, scheme: str, authority: str) -> None:
        """``scheme`` and ``authority`` are our own, for requests that do not name us."""
        proxies = tuple(ipaddress.ip_network(p, strict=False) for p in settings.trusted_proxies)
        self.proxies: tuple[Network, ...] = proxies
        self.public_url = settings.public_url
        self.host_names = settings.host_names
        self.served_hosts = tuple(host.lower() for host in settings.served_hosts)
        self.scheme = scheme
        self.authority = authority

    def of(self, request: web.BaseRequest) -> RequestCaller:
        """Who sent ``request``."""
        return RequestCaller(request, self)


class RequestCaller:
    """One request's ``registry.protocols.Caller``."""

    __slots__ = ("_callers", "_request", "authorization")

    def __init__(self, request: web.BaseRequest, callers: Callers) -> None:
        self._request = request
        self._callers = callers
        self.authorization: str | None = request.headers.get("Authorization")

    @property
    def address(self) -> str:
        """The client's IP address, as far as it can be trusted; "" on a Unix socket."""
        peer = self._request.remote or ""
        proxies = self._callers.proxies
        if not proxies or not _within(peer, proxies):
            return peer
        values = self._request.headers.getall("X-Forwarded-For", ())
        return _client(",".join(values)[-_LONGEST:], peer, proxies)

    @property
    def certificate(self) -> bytes | None:
        """The certificate (DER) of the client of this very connection; no header stands for it."""
        transport = self._request.transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    @property
    def led_here(self) -> bool:
        """Whether a browser says that a page of another site is behind this request."""
        return self._request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")

    @property
    def host(self) -> str:
        """The host[:port] by which the client called us."""
        host = self._request.headers.get("Host", "")
        served = self._callers.served_hosts
        if served:
            return host if host.lower() in served else served[0]
        return host if _HOST.match(host) else self._callers.authority

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names before image names that mean this registry."""
        return self._callers.host_names or (self.host,)

    @property
    def origin(self) -> str:
        """scheme://host[:port] of this registry, as the client reaches it."""
        if self._callers.public_url is not None:
            return self._callers.public_url
        scheme = self._callers.scheme
        if self._callers.proxies and _within(self._request.remote or "", self._callers.proxies):
            told = self._request.headers.get("X-Forwarded-Proto", scheme)
            scheme = told if told in ("http", "https") else scheme
        return f"{scheme}://{self.host}"


def _client(forwarded: str, peer: str, proxies: Sequence[Network]) -> str:
    """The rightmost address that is no proxy of ours: left of it anyone can write anything."""
    address = peer
    for hop in reversed(forwarded.split(",")[-_HOPS:]):
        candidate = hop.strip().strip("[]")
        if _parse(candidate) is None:
            break
        address = candidate
        if not _within(candidate, tuple(proxies)):
            break
    return address


@lru_cache(maxsize=4096)
def _within(address: str, proxies: tuple[Network, ...]) -> bool:
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in proxies)


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
