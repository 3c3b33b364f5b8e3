"""What happens around every request: a name for it, counters, a line in the log."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from functools import lru_cache
from typing import Final, Protocol

from aiohttp import web

from registry import routing
from registry.answers import REQUEST_ID_HEADER
from registry.attributes import REQUEST_ID
from registry.errors import ApiError
from registry.tally import Count, Level, Tally

access_log = logging.getLogger("registry.access")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._+/=:-]{1,128}\Z", re.ASCII)
_CACHED_PATH: Final = 512
_LOGGED_PATH: Final = 2048


class Answers(Protocol):
    """Who answers."""

    async def dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        ...

    def user_of(self, request: web.BaseRequest) -> str:
        """Who sent a request that was answered, "" for nobody in particular."""
        ...


class Observer:
    """Stands between the server and who answers."""

    def __init__(self, answers: Answers, tally: Tally) -> None:
        self._answers = answers
        self._tally = tally
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Have one request answered."""
        tally = self._tally
        request_id = request[REQUEST_ID] = self._name(request.headers.get(REQUEST_ID_HEADER))
        tally.move(Level.REQUESTS, 1)
        started = time.perf_counter()
        try:
            response = await self._answers.dispatch(request)
        finally:
            tally.move(Level.REQUESTS, -1)
        seconds = time.perf_counter() - started
        if not response.prepared:
            response.headers[REQUEST_ID_HEADER] = request_id
        path = request.raw_path
        kind = kind_of(path) if len(path) < _CACHED_PATH else kind_of.__wrapped__(path)
        tally.request(kind, request.method, response.status, seconds)
        if request.method != "HEAD" and response.content_length:
            tally.count(Count.SENT, response.content_length)
        received = request.content.total_bytes
        if received:
            tally.count(Count.RECEIVED, received)
        if response.status == 408:
            tally.count(Count.BODY_TIMEOUTS)
        if access_log.isEnabledFor(logging.INFO):
            self._log(request, response, seconds)
        return response

    def _name(self, wanted: str | None) -> str:
        """The id of the client's choice when it is well formed, else one of ours."""
        if wanted is not None and _REQUEST_ID.match(wanted):
            return wanted
        return f"{self._prefix}-{next(self._numbers)}"

    def _log(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        path = request.raw_path[:_LOGGED_PATH]
        arguments = (request.remote, request.method, path, response.status, seconds * 1000)
        # Made by hand: looking for the caller's line would cost more than all the rest.
        record = logging.LogRecord(
            access_log.name, logging.INFO, "", 0, "%s %s %s %d %.1fms", arguments, None
        )
        record.request_id = request[REQUEST_ID]
        record.user = self._answers.user_of(request)
        record.client = request.remote
        record.method = request.method
        record.path = path
        record.status = response.status
        record.seconds = round(seconds, 6)
        record.bytes = response.content_length
        access_log.handle(record)


@lru_cache(maxsize=8192)
def kind_of(raw_path: str) -> str:
    """What a path names, as metrics call it; "other" is no path of ours."""
    try:
        target = routing.parse(raw_path.partition("?")[0])
    except ApiError:
        return "other"
    return "other" if target is None else target.kind.value
