"""Conditional requests: 304 for content the client has, 412 for a tag that is not what it expects.

An ETag is a manifest's or blob's digest in quotes. ``If-None-Match`` on a read saves the transfer;
``If-Match`` and ``If-None-Match: *`` on a write make "read a tag, change it, write it back" safe
between clients (RFC 9110, section 13; OCI distribution specification, "Referrers Tag Schema").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from aiohttp import web

from registry.answers import API_VERSION
from registry.errors import ApiError

CONDITIONAL: Final = frozenset({"If-Match", "If-None-Match"})
"""The headers that make a request conditional."""

_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request expects of the tag or digest in its path; None where it says nothing.

    For a PUT by digest with ``?tag=`` it is the digest that is judged, as it is in the path.
    """

    match: str | None
    none_match: str | None

    @classmethod
    def of(cls, request: web.BaseRequest) -> Self | None:
        """The request's conditions, None when it has none."""
        match = _header(request, "If-Match")
        none_match = _header(request, "If-None-Match")
        return None if match is None and none_match is None else cls(match, none_match)

    def check(self, current: str | None) -> None:
        """Compare with the digest that is there now, None for nothing.

        Raises:
            ApiError: PRECONDITION_FAILED, with the ETag of what is there.
        """
        match, none_match = self.match, self.none_match
        if (match is None or _names(match, current, weak=False)) and (
            none_match is None or not _names(none_match, current, weak=True)
        ):
            return
        headers = {} if current is None else {"ETag": f'"{current}"'}
        raise ApiError("PRECONDITION_FAILED", detail={"current": current}, headers=headers)


def not_modified(request: web.BaseRequest, etag: str) -> web.Response | None:
    """The 304 to send, or None when the client wants the content; ``etag`` is unquoted.

    Raises:
        ApiError: PRECONDITION_FAILED, If-Match names other content.
    """
    match = _header(request, "If-Match")
    if match is not None:
        Conditions(match, None).check(etag)
    header = _header(request, "If-None-Match")
    if header is None or not _names(header, etag, weak=True):
        return None
    return web.Response(
        status=304,
        headers={**API_VERSION, "ETag": f'"{etag}"', "Docker-Content-Digest": etag},
    )


def _header(request: web.BaseRequest, name: str) -> str | None:
    """A list header's value; several lines are one list (RFC 9110, section 5.3)."""
    values = request.headers.getall(name, None)
    return None if values is None else ",".join(values)


def _names(header: str, current: str | None, *, weak: bool) -> bool:
    """Whether the list has ``current``; "*" is whatever is there (RFC 9110, section 8.8.3.2)."""
    if current is None:
        return False
    if header.strip() == _ANY:
        return True
    tags = [part.strip() for part in header.split(",")]
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    # Docker's registry and its clients send the bare digest, without quotes.
    return current in tags or f'"{current}"' in tags
