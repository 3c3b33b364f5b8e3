"""The trust service behind a door: loaded when somebody asks for it, or has used it before.

Most registries never see a request for trust data, and its code is a tenth of a start. A store that
holds trust data opens at once, so that a wrong passphrase shows at the start.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from aiohttp import web

from registry.backing import Backing
from registry.errors import ApiError, RegistryStartError
from registry.vault import FOLDER
from registry.workers import Workers

if TYPE_CHECKING:
    from registry.notary.handlers import Authorize, TrustHandler


class TrustFront:
    """Opens the trust service with its state in ``backing`` when it is needed."""

    def __init__(self, backing: Backing, workers: Workers, *, idle: float) -> None:
        self._backing = backing
        self._workers = workers
        self._idle = idle
        self._lock = threading.Lock()
        self._opened: TrustHandler | None = None

    @classmethod
    def open(cls, backing: Backing, workers: Workers, *, idle: float) -> Self:
        """The door; blocks. ``idle`` is how many seconds a client may stall.

        Raises:
            RegistryStartError: there is trust data, and its keys do not open.
        """
        front = cls(backing, workers, idle=idle)
        if front._used():
            front._open()
        return front

    def close(self) -> None:
        """Release what is held open; blocks."""
        if self._opened is not None:
            self._opened.close()

    async def sweep(self) -> int:
        """See ``Notary.sweep``; nothing to do before there is trust data."""
        if self._opened is None and not await self._workers.io(self._used):
            return 0
        return await (await self._handler()).sweep()

    async def handle(
        self, request: web.BaseRequest, authorize: Authorize, *, hosts: Iterable[str]
    ) -> web.Response:
        """See ``TrustHandler.handle``.

        Raises:
            ApiError: UNAVAILABLE, replicas were given no passphrase.
        """
        try:
            handler = await self._handler()
        except RegistryStartError as error:
            raise ApiError("UNAVAILABLE", message=f"no trust data here: {error}") from error
        return await handler.handle(request, authorize, hosts=hosts)

    async def _handler(self) -> TrustHandler:
        opened = self._opened
        return await self._workers.io(self._open) if opened is None else opened

    def _used(self) -> bool:
        return self._backing.has(f"{FOLDER}/notary.db", marked=f"{FOLDER}/master.canary")

    def _open(self) -> TrustHandler:
        from registry.notary.handlers import TrustHandler

        with self._lock:
            opened = self._opened
            if opened is None:
                opened = TrustHandler.open(self._backing, self._workers, idle=self._idle)
                self._opened = opened
            return opened
