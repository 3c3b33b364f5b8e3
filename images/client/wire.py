"""One HTTP request on the wire and its answer: what the transport needs of whoever does that.

Two do: ``aiohttp_wire`` for whom has an event loop, ``plain_wire`` for who has none and starts
quickly. Neither follows a redirect, decompresses, or knows of authorization; all rules are the
transport's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Protocol, Self, overload

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from images.client.threads import Lock
    from images.client.url import Url

    Data = bytes | AsyncIterator[bytes] | Mapping[str, str] | None
    """A body; a mapping is a form."""


class Headers(Protocol):
    """Those of an answer, by names in whatever case."""

    def __contains__(self, name: object) -> bool:
        """Whether there is such a one."""

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...

    def getall(self, name: str, default: list[str]) -> list[str]:
        """The values of all lines of the name; ``default`` where there is none."""


class WireError(Exception):
    """There is no answer, or it broke off; ``error`` is what the system said."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error

    @property
    def errno(self) -> int | None:
        """The system's number for it, where it has one."""
        found = getattr(self.error, "errno", None)
        return found if isinstance(found, int) else None


class AddressError(WireError):
    """The URL cannot be asked for."""


class UnknownHostError(WireError):
    """The host's name has no address."""


class ConnectError(WireError):
    """The host does not answer, or refuses."""


class CertificateError(WireError):
    """The host is not who its certificate says, or nobody trusted says so."""


class HandshakeError(WireError):
    """No TLS with this host."""


class Response(ABC):
    """An answer whose body has not been read; ``async with`` releases it."""

    method: str
    url: Url
    status: int
    headers: Headers

    @property
    def content_length(self) -> int | None:
        """What it announces, in bytes; of a HEAD, what a GET would have."""
        stated = self.headers.get("Content-Length", "")
        return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 19 else None

    @abstractmethod
    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            WireError: it ended before its end.
        """

    @abstractmethod
    def release(self) -> None:
        """Nothing more of it is wanted; harmless when repeated."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Wire(Protocol):
    """Sends requests, many at a time; connections are kept and used again."""

    async def open(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        data: Data,
        tls: ssl.SSLContext | None,
        proxy: str | None,
    ) -> Response:
        """Send one request; returns with its answer's head.

        Raises:
            WireError: there is none.
        """

    def lock(self) -> Lock:
        """A lock between all who may use it at the same time."""

    async def close(self) -> None:
        """Close all connections."""
