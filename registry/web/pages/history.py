"""The moves of one tag: when, from what to what, and by whom."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import web

from registry.errors import ApiError
from registry.web.site import Visit
from registry.web.text import moment

_MOVES: Final = 200


async def show_history(visit: Visit) -> web.Response:
    """The latest moves of a tag."""
    visit.require("pull")
    if ":" in visit.target.reference:
        raise ApiError("MANIFEST_UNKNOWN", message="A digest always means the same; tags move.")
    view = await visit.registry.workers.io(partial(_read, visit))
    return await visit.page("history.html", **view)


def _read(visit: Visit) -> dict[str, Any]:
    target, index = visit.target, visit.registry.index
    events = index.tag_history(target.name, target.reference, limit=_MOVES)
    if not events:
        raise ApiError(
            "MANIFEST_UNKNOWN", message=f"No move of a tag {target.reference} is remembered here."
        )
    names = {name for event in events for name in (event.digest, event.previous) if name}
    return {
        "rows": [
            {
                "event": event,
                "moment": moment(event.moment, visit.now),
                "who": event.actor if visit.visitor.knows_people else "",
            }
            for event in events
        ],
        "here": {name for name in names if index.manifest(target.name, name) is not None},
        "current": index.tagged_manifest(target.name, target.reference),
        "most": _MOVES,
    }
