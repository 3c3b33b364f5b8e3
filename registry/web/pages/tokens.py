"""Access tokens of who is logged in: the list, a new one, and the end of one.

Only a login that lasts may make some: a token must not outlive what its owner was let in by.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import web

from registry.access.personal import MOST, PersonalToken, TooManyTokensError
from registry.attributes import REQUEST_ID
from registry.errors import ApiError
from registry.web.paths import Page, page_path
from registry.web.site import Visit
from registry.web.text import clean, moment
from registry.web.visitors import read_form

_DAY: Final = 86400.0
_DAYS: Final = (1, 7, 30, 90, 365)
_CHOSEN: Final = 30


async def show_tokens(visit: Visit) -> web.Response:
    """The list, and the form for a new one."""
    _require(visit)
    return await _page(visit)


async def change_tokens(visit: Visit) -> web.Response:
    """Make a token, or end one."""
    _require(visit)
    form = await read_form(visit.registry, visit.request, visit.visitor, visit.caller)
    if form.get("revoke"):
        store = await visit.registry.grants.personal()
        end = partial(store.revoke, visit.visitor.identity, form["revoke"])
        if await visit.registry.workers.io(end):
            _audit(visit, "revoked an access token")
        return visit.see_other(page_path(Page.TOKENS))
    if _problem(visit):
        raise ApiError("DENIED", message=_problem(visit))
    days = form.get("days", "")
    if not days.isascii() or not days.isdigit() or int(days) not in _offered(visit):
        raise ApiError("UNSUPPORTED", status=400, message="A token cannot last that long.")
    label = clean(form.get("label", ""), limit=80).strip()
    try:
        made = await visit.registry.grants.issue_personal(
            visit.visitor.identity, label=label, lifetime=int(days) * _DAY
        )
    except TooManyTokensError:
        return await _page(visit, problem=f"You have {MOST} tokens; take one back first.")
    _audit(visit, "made an access token")
    return await _page(visit, made=made)


def _require(visit: Visit) -> None:
    if not visit.visitor.named:
        raise ApiError("UNAUTHORIZED")


def _problem(visit: Visit) -> str:
    """Why this visitor can make no tokens, "" for who can."""
    registry, visitor = visit.registry, visit.visitor
    if not _offered(visit):
        return "This registry offers no access tokens."
    if not (
        registry.authorizer.vouches_on(visitor.identity) and registry.grants.lasts(visitor.session)
    ):
        return "Your login ends by itself, so it can make no tokens that would outlive it."
    return ""


def _offered(visit: Visit) -> list[int]:
    """For how many days a token may be made."""
    longest = visit.registry.config.access.tokens.personal_lifetime
    return [days for days in _DAYS if days * _DAY <= longest]


async def _page(visit: Visit, *, made: str = "", problem: str = "") -> web.Response:
    store = await visit.registry.grants.personal()
    identity = visit.visitor.identity
    found = await visit.registry.workers.io(partial(store.of, identity, now=visit.now))
    refused = _problem(visit)
    days = [] if refused else _offered(visit)
    return await visit.page(
        "tokens.html",
        made=made,
        problem=problem or refused,
        tokens=[_row(visit, token) for token in found],
        days=days,
        chosen=_CHOSEN if _CHOSEN in days else (days or [0])[-1],
        user=_user(identity.name),
    )


def _row(visit: Visit, token: PersonalToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "label": clean(token.label),
        "created": moment(token.created, visit.now),
        "expires": moment(token.expires, visit.now),
        "used": moment(token.used, visit.now) if token.used else None,
    }


def _user(name: str) -> str:
    """A name for a command line; whose token it is, the token says itself."""
    plain = name.replace("/", "").replace("@", "").replace(".", "").replace("-", "")
    return name if plain.replace("_", "").isalnum() and name.isascii() else "token"


def _audit(visit: Visit, what: str) -> None:
    visit.registry.auditor.granted(
        visit.caller,
        visit.visitor.identity,
        asked=(),
        scope=what,
        request_id=visit.request.get(REQUEST_ID, ""),
    )
