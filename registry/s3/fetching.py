"""Bytes of objects by presigned URLs: one signature serves every GET of an object for a while.

The SDK takes 1.3 ms of processor time to describe, sign and send one GET and to read its answer's
head, four times what the rest of it takes. Whatever is not plain success here (a busy store,
credentials that were replaced, a connection that the store closed) is asked again by the SDK, which
knows when to repeat and what to say of a failure.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from registry.s3.silence import SILENT

_VALID_SECONDS: Final = 3600
_USED_SECONDS: Final = 900.0
"""Much less than they are valid: the store's clock may be ahead."""
_KEPT: Final = 1024
_REFUSED: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_IMPLEMENTED}
)
_PAUSE_SECONDS: Final = 300.0
"""Until a store is tried again that takes no presigned URLs."""


class Body(Protocol):
    """The bytes of an answer as they arrive."""

    def read(self, amount: int) -> bytes:
        """The next bytes, none at the end."""
        ...

    def close(self) -> None:
        """Give up the rest, and the connection with it."""
        ...


class Fetcher:
    """GETs of one bucket's objects; any thread may call. ``client`` is the SDK's."""

    def __init__(
        self, client: Any, bucket: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock
        # The SDK's own: its proxies, certificates, timeouts, and connections that are open.
        self._http = client._endpoint.http_session
        self._lock = threading.Lock()
        self._urls: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._paused_until = 0.0

    def fetch(self, key: str, first: int, last: int) -> Body | None:
        """Bytes ``first`` to ``last``, both included; None where the SDK has to ask.

        Raises:
            ReadTimeoutError, ConnectTimeoutError: the store keeps silent.
        """
        if self._clock() < self._paused_until:
            return None
        span = {"Range": f"bytes={first}-{last}"}
        try:
            url, new = self._url(key)
        except BotoCoreError:
            return None
        try:
            request = AWSRequest("GET", url, headers=span, stream_output=True)
            answer = self._http.send(request.prepare())
        except SILENT as error:
            # Its words have the URL, by which anybody may read the object.
            raise type(error)(endpoint_url=url.partition("?")[0]) from None
        except BotoCoreError:
            return None
        body: Body = answer.raw
        if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
            return body
        body.close()
        with self._lock:
            self._urls.pop(key, None)
            if new and answer.status_code in _REFUSED:
                self._paused_until = self._clock() + _PAUSE_SECONDS
        return None

    def _url(self, key: str) -> tuple[str, bool]:
        """The URL, and whether it was signed just now."""
        now = self._clock()
        with self._lock:
            until, url = self._urls.get(key, (0.0, ""))
            if now < until:
                self._urls.move_to_end(key)
                return url, False
        parameters = {"Bucket": self._bucket, "Key": key}
        url = self._client.generate_presigned_url(
            "get_object", Params=parameters, ExpiresIn=_VALID_SECONDS
        )
        with self._lock:
            self._urls[key] = now + _USED_SECONDS, url
            while len(self._urls) > _KEPT:
                self._urls.popitem(last=False)
        return url, True
