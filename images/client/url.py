"""Addresses of requests, as they are sent: what a server gave us is not changed by a byte.

Reading is urllib.parse's (RFC 3986), which is there anyway; a general URL type would be most of
what a short command imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

from records import Record, replace

_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


class Url(Record):
    """An absolute URL without user and fragment, neither of which is ever sent.

    ``host`` is in lower case and without an IPv6 address's brackets, "" where there is none;
    ``port`` 0 where the scheme has none; ``target`` is the path, and the query after a "?".
    """

    scheme: str
    host: str
    port: int
    target: str = "/"

    @classmethod
    def read(cls, text: str, base: Url | None = None) -> Url:
        """The URL that ``text`` is, relative to ``base`` where one is given.

        Raises:
            ValueError: it is none.
        """
        parts = urlsplit(text if base is None else urljoin(str(base), text))
        host = parts.hostname or ""
        if not host.isascii() or not host.isprintable():
            raise ValueError(f"no host is called {host!r}")
        path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
        port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        return cls(parts.scheme, host, port, f"{path}?{parts.query}" if parts.query else path)

    @property
    def authority(self) -> str:
        """``host[:port]`` as the Host header has it: the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (0, _PORTS.get(self.scheme)) else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def with_query(self, pairs: Iterable[tuple[str, str]]) -> Url:
        """With more in the query, after what is there."""
        more = urlencode(list(pairs), safe=":/")
        if not more:
            return self
        return replace(self, target=f"{self.target}{'&' if '?' in self.target else '?'}{more}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"
