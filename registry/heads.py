"""What came is no request: a head that is too long or malformed is answered, and one log line.

The text of such a head stays out of the log: the start of a field may be a password.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from registry.answers import API_VERSION, REQUEST_ID_HEADER
from registry.errors import ApiError
from registry.tally import Tally

access_log = logging.getLogger("registry.access")

LINE_LIMIT: Final = 8 << 10
"""Longest path with its query in bytes (RFC 9112, section 3, recommends 8000 at least)."""

FIELD_LIMIT: Final = 16 << 10
"""Longest header field in bytes; tokens with many groups pass 8 KiB."""

FIELDS: Final = 64
"""Most header fields of a request."""

_TOO_MANY: Final = "Too many headers received"
_LONGEST_REASON: Final = 120

Linger = Callable[[], Awaitable[None]]


def refuse_head(
    request: web.BaseRequest, error: HttpProcessingError, tally: Tally, linger: Linger
) -> web.StreamResponse:
    """The answer to what could not be parsed; ``request`` knows who sent it, and nothing else.

    ``linger`` is awaited once the answer is sent: a connection that is closed while bytes wait to
    be read is reset, and the client would never see the answer (RFC 9112, section 9.6).
    """
    status, reason = _verdict(error)
    request_id = secrets.token_hex(6)
    tally.request("other", "other", status, 0.0)
    access_log.info(
        "%s sent no request: %s, answered %d",
        request.remote,
        reason,
        status,
        extra={"request_id": request_id, "client": request.remote, "status": status},
    )
    return _LastAnswer(ApiError("UNSUPPORTED", status=status, message=reason), request_id, linger)


class _LastAnswer(web.Response):
    """An answer after which nothing is read as a request."""

    def __init__(self, refusal: ApiError, request_id: str, linger: Linger) -> None:
        headers = {**API_VERSION, "Content-Type": "application/json", REQUEST_ID_HEADER: request_id}
        super().__init__(status=refusal.status, body=refusal.body(), headers=headers)
        self.force_close()
        self._linger = linger

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it, and let the client read it."""
        await super().write_eof(data)
        await self._linger()


def _verdict(error: HttpProcessingError) -> tuple[int, str]:
    """Status (RFC 6585, section 5; RFC 9110, section 15.5.15) and what is wrong, in a line."""
    if isinstance(error, LineTooLong):
        if error.args[1] == LINE_LIMIT:
            return 414, f"the path is longer than {LINE_LIMIT} bytes"
        return 431, f"a header field is longer than {FIELD_LIMIT} bytes"
    told = error.message.partition("\n")[0].rstrip(":")
    if told == _TOO_MANY:
        return 431, f"more than {FIELDS} header fields"
    # Behind a colon the parser quotes what it read.
    said = told.partition(": ")[0][:_LONGEST_REASON]
    return 400, f"malformed request: {said}"


async def until_gone(gone: asyncio.Event, seconds: float) -> None:
    """Wait for the client to hang up, for so long."""
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    except TimeoutError:
        return
