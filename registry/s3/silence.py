"""A store that keeps silent: frozen, not dead, it would hold every thread, and whoever waits.

Two requests in a row that nobody answered close the way for a moment, so that those who wait in a
queue are refused at once; then one of them tries, and an answer, whatever it says, opens it again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from registry.errors import ObjectStoreError

SILENT: Final = (ReadTimeoutError, ConnectTimeoutError)
_LONG: Final = frozenset({"CompleteMultipartUpload", "CopyObject", "UploadPartCopy"})
"""Operations that move content inside the store, and may take it a while."""

_ASKED_AGAIN: Final = 2
_IN_A_ROW: Final = 2
_PAUSE_SECONDS: Final = 5.0


def give_up(*, attempts: int, caught_exception: Any, operation: Any, **_: Any) -> None:
    """A hook of ``needs-retry.s3``: ask a silent store twice, not as often as a busy one.

    Raises what the latest attempt raised.
    """
    if (
        isinstance(caught_exception, SILENT)
        and attempts >= _ASKED_AGAIN
        and operation.name not in _LONG
    ):
        raise caught_exception


class Silence:
    """What is known of one store; any thread may ask. ``patience`` in seconds is one request's."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._unheard = 0
        self._until = 0.0

    def check(self) -> None:
        """Go ahead, if somebody may be listening.

        Raises:
            ObjectStoreError: the store was silent a moment ago.
        """
        if self._unheard < _IN_A_ROW:
            return
        with self._lock:
            now = self._clock()
            if now < self._until:
                raise ObjectStoreError("the object store keeps silent")
            # This one tries; the others hear no while it does.
            self._until = now + _ASKED_AGAIN * self._patience + _PAUSE_SECONDS

    def heard(self) -> None:
        """There was an answer."""
        if self._unheard:
            with self._lock:
                self._unheard = 0

    def unheard(self) -> None:
        """Nobody answered in time."""
        with self._lock:
            self._unheard += 1
            self._until = self._clock() + _PAUSE_SECONDS
