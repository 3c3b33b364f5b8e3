"""The repositories that a visitor may pull from: search and pages.

``team/*`` finds what begins so, along the index; anything else is looked for within names, a
bounded number of them for each page.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from registry.access.visible import Read, visible
from registry.errors import ApiError
from registry.web.site import Visit
from registry.web.text import moment

PAGE: Final = 50
_WINDOW: Final = 5_000
_WINDOWS: Final = 4
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
    if text.endswith("*"):
        prefix = text[:-1]
        after = max(last, prefix[:-1] + chr(ord(prefix[-1]) - 1) + _LAST) if prefix else last
        names = await _visible(visit, after, PAGE + 1, before=prefix + _LAST)
    elif not text:
        names = await _visible(visit, last, PAGE + 1)
    else:
        return await _within(visit, text, last)
    return names[:PAGE], names[PAGE - 1] if len(names) > PAGE else ""


async def _within(visit: Visit, text: str, last: str) -> tuple[list[str], str]:
    found: list[str] = []
    for _ in range(_WINDOWS):
        names = await _visible(visit, last, _WINDOW)
        for name in names:
            if text in name:
                if len(found) == PAGE:
                    return found, found[-1]
                found.append(name)
        if len(names) < _WINDOW:
            return found, ""
        last = names[-1]
    return found, last


async def _visible(visit: Visit, last: str, limit: int, *, before: str = _LAST) -> list[str]:
    async def read(after: str, count: int) -> list[str]:
        names = partial(visit.site.queries.names, last=after, limit=count, before=before)
        return await visit.registry.workers.look_up(names)

    reading: Read = read
    rights = visit.visitor.rights
    if rights is None:
        return await reading(last, limit)
    return await visible(reading, rights, last=last, limit=limit)
