"""The repositories that a visitor may pull from: search and pages.

``team/*`` finds what begins so, along the index; anything else is looked for within names, a
bounded number of them for each page.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from aiohttp import web

from registry.access.visible import Read, visible
from registry.errors import ApiError
from registry.web.site import Visit
from registry.web.text import moment

PAGE: Final = 50
_BEGINNING: Final = re.compile(r"[a-z0-9._/-]*\Z")
"""What a name can begin with."""
_LAST: Final = "\U0010ffff"


async def show_repositories(visit: Visit) -> web.Response:
    """A page of repositories."""
    visitor = visit.visitor
    if not visitor.named and visitor.rights is not None and not visitor.rights.somewhere("pull"):
        raise ApiError("UNAUTHORIZED")
    text = visit.query("q").strip().lower()
    names, onward = await _find(visit, text, visit.query("last"))
    read = partial(visit.site.queries.repositories, names)
    rows = await visit.registry.workers.look_up(read) if names else []
    return await visit.page(
        "repositories.html",
        text=text,
        last=visit.query("last"),
        onward=onward,
        rows=[(row, None if row.moved is None else moment(row.moved, visit.now)) for row in rows],
    )


async def _find(visit: Visit, text: str, last: str) -> tuple[list[str], str]:
    """Names of one page, and after which the next begins ("" for no next)."""
    if text and not text.endswith("*"):
        return await _within(visit, text, last)
    prefix = text[:-1]
    if not _BEGINNING.match(prefix):
        return [], ""
    after = max(last, prefix[:-1] + chr(ord(prefix[-1]) - 1) + _LAST) if prefix else last

    async def read(after: str, count: int) -> list[str]:
        names = partial(visit.site.queries.names, last=after, limit=count, before=prefix + _LAST)
        return await visit.registry.workers.look_up(names)

    return _page(await _visible(visit, read, after))


async def _within(visit: Visit, text: str, last: str) -> tuple[list[str], str]:
    """Names with ``text`` in them, as far as one window goes."""
    ended = ""

    async def read(after: str, count: int) -> list[str]:
        nonlocal ended
        if ended:
            return []  # what lies behind is for the next page
        search = partial(visit.site.queries.found_names, text, last=after, limit=count)
        names, end = await visit.registry.workers.look_up(search)
        ended = end or ""
        return names

    names, onward = _page(await _visible(visit, read, last))
    return names, onward or ended


async def _visible(visit: Visit, read: Read, last: str) -> list[str]:
    rights = visit.visitor.rights
    if rights is None:
        return await read(last, PAGE + 1)
    return await visible(read, rights, last=last, limit=PAGE + 1)


def _page(names: list[str]) -> tuple[list[str], str]:
    return names[:PAGE], names[PAGE - 1] if len(names) > PAGE else ""
