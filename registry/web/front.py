"""The pages behind a door: templates and queries are loaded when somebody asks for a page.

Most requests come from clients that never do, and a template engine is a good part of a start. A
service that has started loads them by itself after a while, bit by bit, so that nobody waits.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from registry.index import SqlIndex
from registry.workers import Workers

if TYPE_CHECKING:
    from registry.service import Registry
    from registry.web.site import Site


_AFTER_SECONDS: Final = 2.0
"""How long a service is left alone with its start."""

_PAUSE_SECONDS: Final = 0.1


class WebFront:
    """Opens the site of one process when it is needed."""

    def __init__(self, index: SqlIndex) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._opened: Site | None = None

    async def handle(self, registry: Registry, request: web.BaseRequest, path: str) -> web.Response:
        """See ``Site.handle``."""
        site = self._opened
        if site is None:
            site = await registry.workers.io(self._open)
        return await site.handle(registry, request, path)

    async def warm(self, workers: Workers) -> None:
        """Load what the first page would have to wait for, between the requests of others."""
        await asyncio.sleep(_AFTER_SECONDS)
        site = await workers.io(self._open)
        for name in await workers.io(site.templates):
            await asyncio.sleep(_PAUSE_SECONDS)
            await workers.io(partial(site.compile, name))

    def note_usage(self) -> None:
        """See ``registry.web.usage``; blocks."""
        from registry.web.usage import note_usage

        note_usage(self._index)

    def _open(self) -> Site:
        from registry.web.queries import Queries
        from registry.web.site import Site

        with self._lock:
            site = self._opened
            if site is None:
                site = self._opened = Site.load(Queries(self._index.reader))
            return site
