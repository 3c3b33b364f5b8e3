"""What is asked of a registry and what comes back, as values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from images.client.errors import ProtocolError, Target
from records import Record, field

if TYPE_CHECKING:
    from images.client.url import Url
    from images.client.wire import Headers, Response

    Body = Callable[[], bytes | AsyncIterator[bytes]]


class Repository(Record, order=True):
    """A repository at a registry; ``name`` is empty for the registry as a whole."""

    registry: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}" if self.name else self.registry


class Request(Record):
    """What to ask: ``path`` is a path below the registry's origin, or a ``hosts.given_url``.

    ``body`` makes the body anew for each attempt; ``length`` is its size in bytes. ``replay`` false
    means that a failure is the caller's to handle, because the other side's state is unknown.
    ``anonymous`` requests never carry credentials.
    """

    method: str
    repository: Repository
    path: str | Url
    target: Target
    scopes: frozenset[str] = frozenset()
    expected: frozenset[int] = frozenset({200})
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    length: int = 0
    replay: bool = True
    anonymous: bool = False


class Unchanged(Record):
    """A PUT's condition: the tag is what was read. ``etag`` is as served, "" for no such tag.

    Registries that know no conditions write all the same (RFC 9110, sections 13.1.1 and 13.1.2).
    """

    etag: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """The condition on the wire."""
        return {"If-Match": self.etag} if self.etag else {"If-None-Match": "*"}


class Answer(Record):
    """A whole answer: where it came from in the end, its headers, and its body."""

    url: Url
    headers: Headers
    body: bytes


async def read_limited(response: Response, limit: int) -> bytes:
    """Read a whole body of at most ``limit`` bytes.

    Raises:
        ProtocolError: it is longer.
    """
    announced = response.content_length
    if announced is not None and announced > limit and response.method != "HEAD":
        raise ProtocolError(
            f"an answer of {announced} bytes is over the limit of {limit}", where=response.url.host
        )
    parts, total = [], 0
    async for part in response.chunks():
        total += len(part)
        if total > limit:
            raise ProtocolError(
                f"an answer is longer than the limit of {limit} bytes", where=response.url.host
            )
        parts.append(part)
    return b"".join(parts)
