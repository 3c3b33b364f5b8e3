"""If-None-Match: 304 for content the client already has (RFC 9110, section 13.1.2)."""

from __future__ import annotations

from aiohttp import web

from registry.answers import API_VERSION


def not_modified(request: web.BaseRequest, etag: str) -> web.Response | None:
    """The 304 to send, or None when the client wants the content; ``etag`` is unquoted."""
    header = request.headers.get("If-None-Match")
    if header is None or not _names(header, etag):
        return None
    return web.Response(
        status=304,
        headers={**API_VERSION, "ETag": f'"{etag}"', "Docker-Content-Digest": etag},
    )


def _names(header: str, etag: str) -> bool:
    if header.strip() == "*":
        return True
    candidates = (part.strip().removeprefix("W/") for part in header.split(","))
    # Docker's registry and its clients send the bare digest, without quotes.
    return any(candidate.strip('"') == etag for candidate in candidates)
