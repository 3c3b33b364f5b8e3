"""One repository: its tags with what they are, its size, and what to type to get them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from registry.records import ManifestRow
from registry.web.charts import DAY, Chart, chart_of
from registry.web.queries import TagRow
from registry.web.site import Visit, unknown_repository
from registry.web.text import moment

if TYPE_CHECKING:
    from registry.web.queries import RepositoryRow

PAGE: Final = 25
_YEAR: Final = 366
_NUMBER: Final = 15


@dataclass(frozen=True, slots=True)
class _Tags:
    """A page of tags; ``onward`` is after which the next one begins, "" for no next."""

    rows: list[TagRow]
    onward: str


async def show_repository(visit: Visit) -> web.Response:
    """A page of the tags of a repository."""
    visit.require("pull")
    view = await visit.registry.workers.io(partial(_read, visit))
    return await visit.page("repository.html", **view)


def _read(visit: Visit) -> dict[str, Any]:
    queries, registry, name = visit.site.queries, visit.registry, visit.target.name
    key = queries.key(name)
    if key is None:
        raise unknown_repository()
    text, by_name = visit.query("q").strip(), visit.query("order") == "name"
    tags = _tags(visit, key, text, by_name=by_name)
    rows = [
        {
            "tag": row,
            "platforms": visit.site.contents.platforms(registry, name, _manifest(row)),
            "moved": moment(row.updated, visit.now),
            "who": row.actor if visit.visitor.knows_people else "",
        }
        for row in tags.rows
    ]
    (repository,) = queries.repositories([name])
    return {
        "text": text,
        "by_name": by_name or bool(text),
        "last": visit.query("last"),
        "onward": tags.onward,
        "rows": rows,
        "repository": repository,
        "quota": _quota(visit, repository),
        "chart": _chart(visit, key, repository),
    }


def _tags(visit: Visit, key: int, text: str, *, by_name: bool) -> _Tags:
    queries, last, limit = visit.site.queries, visit.query("last"), PAGE + 1
    if text.endswith("*"):
        rows = queries.prefixed_tags(key, text[:-1], last=last, limit=limit)
    elif text:
        rows, end = queries.found_tags(key, text, last=last, limit=limit)
        if len(rows) <= PAGE:
            return _Tags(rows, end or "")
    elif by_name:
        rows = queries.named_tags(key, last=last, limit=limit)
    else:
        rows = queries.newest_tags(key, before=_place(last), limit=limit)
    shown = rows[:PAGE]
    if len(rows) <= PAGE:
        return _Tags(shown, "")
    end_row = shown[-1]
    by_time = not by_name and not text
    return _Tags(shown, f"{end_row.updated}~{end_row.name}" if by_time else end_row.name)


def _place(last: str) -> tuple[int, str] | None:
    """``moment~tag``: after which tag a page by time begins."""
    moved, mark, name = last.partition("~")
    fits = mark and moved.isascii() and moved.isdigit() and len(moved) <= _NUMBER
    return (int(moved), name) if fits else None


def _manifest(row: TagRow) -> ManifestRow:
    return ManifestRow(row.digest, row.media_type, row.manifest_size)


def _quota(visit: Visit, repository: RepositoryRow) -> dict[str, Any] | None:
    """The bytes that are left of the narrowest quota, and the share that is taken, in percent."""
    registry = visit.registry
    left = registry.index.room(repository.name) if registry.config.quotas else None
    if left is None:
        return None
    whole = repository.bytes + left
    return {"left": left, "share": round(100 * repository.bytes / whole, 1) if whole else 100.0}


def _chart(visit: Visit, key: int, repository: RepositoryRow) -> Chart | None:
    today = int(visit.now // DAY)
    days = visit.site.queries.usage(key, since=today - _YEAR)
    return chart_of([*days, (today, repository.bytes)])
