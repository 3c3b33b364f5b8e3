"""Deleting a tag or a manifest: first a page that says what goes, then the deletion itself.

It is the same write that a client's DELETE makes, under the same rights, rules and audit log. What
was confirmed is what goes: a tag that moved meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from registry.access.identity import Grant
from registry.attributes import REQUEST_ID
from registry.errors import ApiError, PolicyError
from registry.protocols import Access
from registry.routing import Kind, Target
from registry.web.paths import Page, page_path
from registry.web.site import Visit
from registry.web.visitors import read_form

_NAMES: Final = 50


async def ask_deletion(visit: Visit) -> web.Response:
    """The page that asks whether to."""
    _check(visit)
    view = await visit.registry.workers.io(partial(_read, visit))
    return await visit.page("delete.html", **view)


async def delete(visit: Visit) -> web.Response:
    """Delete what the form confirms."""
    registry, caller, target = visit.registry, visit.caller, visit.target
    form = await read_form(registry, visit.request, visit.visitor, caller)
    access = Access("delete", target.name)
    what = Target(Kind.MANIFEST, target.name, target.reference)
    request_id = visit.request[REQUEST_ID]
    identity = visit.visitor.identity
    try:
        _check(visit)
        remove = partial(_remove, visit, form.get("digest", ""))
        if not await registry.writer.write(target.name, remove):
            raise ApiError("MANIFEST_UNKNOWN", message=f"{target.image} is not there any more.")
    except (ApiError, PolicyError) as error:
        refusal = error
        if isinstance(refusal, PolicyError):
            refusal = ApiError("DENIED", message=refusal.what, detail=refusal.fix)
        registry.auditor.refused(
            caller, what, access, refusal, identity=identity, request_id=request_id
        )
        raise
    if access.action in registry.auditor.recorded:
        done, grant = web.Response(status=202), Grant(identity, _rule(visit))
        registry.auditor.done(caller, what, access, grant, done, request_id=request_id)
    return visit.see_other(page_path(Page.REPOSITORY, target.name))


def _rule(visit: Visit) -> str:
    """Which rule allows it, for the audit log."""
    rights = visit.visitor.rights
    if rights is None:
        return "the registry has no users"
    return rights.decide("delete", visit.target.name).rule


def may_delete(visit: Visit) -> bool:
    """Whether a link to a deletion would lead anywhere."""
    config = visit.registry.config
    allowed = config.allow_delete and not config.read_only
    return allowed and visit.visitor.may("delete", visit.target.name)


def _check(visit: Visit) -> None:
    visit.require("delete")
    if visit.registry.config.read_only:
        raise ApiError("UNSUPPORTED", message="This registry is read-only.")
    if not visit.registry.config.allow_delete:
        raise ApiError("UNSUPPORTED", message="Deletion is switched off here.")


def _read(visit: Visit) -> dict[str, Any]:
    site, target = visit.site, visit.target
    found = site.contents.find(visit.registry, target.name, target.reference)
    key = site.queries.key(target.name)
    assert key is not None, "its manifest was found"
    digest = found.row.digest
    by_digest = target.reference == digest
    return {
        "digest": digest,
        "by_digest": by_digest,
        "tags": site.queries.tags_of(key, digest, limit=_NAMES),
        "lists": site.queries.lists_of(key, digest, limit=_NAMES) if by_digest else [],
    }


def _remove(visit: Visit, confirmed: str) -> bool:
    """Delete, if it is still what was confirmed. Write."""
    index, target = visit.registry.index, visit.target
    current = index.current(target.name, target.reference)
    if current is not None and current != confirmed:
        raise ApiError(
            "PRECONDITION_FAILED",
            message=f"{target.image} moved while you looked at it; nothing was deleted.",
        )
    by_digest = ":" in target.reference
    remove: Callable[..., bool] = index.delete_manifest if by_digest else index.delete_tag
    actor = str(visit.visitor.identity) if visit.visitor.named else ""
    return remove(target.name, target.reference, actor=actor)
