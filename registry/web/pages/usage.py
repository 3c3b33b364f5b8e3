"""What takes the space: the largest repositories, and all of them together over time."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import web

from registry.errors import ApiError
from registry.web.charts import DAY, chart_of
from registry.web.site import Visit
from registry.web.usage import LARGEST, TOGETHER

_SHOWN: Final = 50
_YEAR: Final = 366


async def show_usage(visit: Visit) -> web.Response:
    """The largest repositories of those that the visitor may pull from."""
    rights = visit.visitor.rights
    if not visit.visitor.named and rights is not None and not rights.somewhere("pull"):
        raise ApiError("UNAUTHORIZED")
    view = await visit.registry.workers.io(partial(_read, visit))
    return await visit.page("usage.html", **view)


def _read(visit: Visit) -> dict[str, Any]:
    rows = visit.site.queries.fact(LARGEST) or []
    shown = [row for row in rows if visit.visitor.may("pull", row[0])][:_SHOWN]
    most = max((size for _, size, _ in shown), default=0) or 1
    rights = visit.visitor.rights
    chart = total = None
    # The sum over all would tell something of what a visitor may not see.
    if rights is None or rights.everything("pull"):
        days = visit.site.queries.usage(TOGETHER, since=int(visit.now // DAY) - _YEAR)
        total = days[-1][1] if days else None
        chart = chart_of(days)
    return {
        "rows": [
            {"name": name, "bytes": size, "tags": tags, "share": round(100 * size / most, 2)}
            for name, size, tags in shown
        ],
        "noted": bool(rows),
        "total": total,
        "chart": chart,
    }
