"""The pages behind a door: templates and queries are loaded when somebody asks for a page.

Most requests come from clients that never do, and a template engine is a good part of a start.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from aiohttp import web

from registry.index import SqlIndex

if TYPE_CHECKING:
    from registry.service import Registry
    from registry.web.site import Site


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
