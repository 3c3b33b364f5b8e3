"""Logging in at an issuer: the way there, and the way back.

The page one comes back to goes on by itself: browsers keep the session from a redirect that began
at another site, and send it when a page of ours leads on (SameSite=Strict).
"""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from registry.access.jwt import TokenError
from registry.access.oidc.browser import TICKET_SECONDS, BrowserLogins, Ticket, new_ticket
from registry.attributes import REQUEST_ID
from registry.errors import ApiError
from registry.web.paths import Page, callback_path, local_path, login_path, page_path
from registry.web.site import Visit
from registry.web.text import clean

_WORDS = 300


async def begin_login(visit: Visit) -> web.Response:
    """Send the browser to the issuer; who is logged in goes on."""
    logins, name = _logins(visit), visit.target.issuer
    onward = local_path(visit.query("next", limit=2048))
    if visit.visitor.named:
        return visit.see_other(onward)
    ticket = new_ticket(f"{visit.caller.origin}{callback_path(name)}", onward)
    try:
        address = await logins.begin(name, ticket)
    except TokenError as error:
        return await _refused(visit, error, onward)
    sealed = visit.registry.grants.seal(
        _purpose(name), {"ticket": asdict(ticket)}, lifetime=TICKET_SECONDS
    )
    response = visit.see_other(address)
    visit.visitor.keep_ticket(response, sealed, lifetime=TICKET_SECONDS)
    return response


async def finish_login(visit: Visit) -> web.Response:
    """Take the answer of the issuer, once, and remember who it is in the browser."""
    _logins(visit)
    registry, name = visit.registry, visit.target.issuer
    sealed = registry.grants.unseal(_purpose(name), visit.visitor.ticket(visit.request))
    ticket = Ticket(**sealed["ticket"]) if sealed else None
    if ticket is None and visit.visitor.named:
        return visit.see_other(page_path(Page.HOME))  # the way back, gone once more
    onward = "/" if ticket is None else ticket.onward
    try:
        if ticket is None:
            raise TokenError(
                "the login took too long, was over already, or began in another browser"
            )
        query = visit.request.query
        answer = {key: query.getall(key) for key in query}
        login = await registry.authorizer.browser_login(name, ticket, answer)
    except TokenError as error:
        return await _refused(visit, error, onward)
    lifetime = registry.config.web.session
    session = registry.grants.open_session(login, lifetime=lifetime)
    registry.auditor.granted(
        visit.caller,
        login.identity,
        asked=(),
        scope="",
        request_id=visit.request.get(REQUEST_ID, ""),
    )
    response = await visit.page("welcome.html", onward=onward, name=login.identity.name)
    visit.visitor.remember(response, session, lifetime=lifetime)
    visit.visitor.keep_ticket(response, "", lifetime=0)
    return response


def _logins(visit: Visit) -> BrowserLogins:
    """Raises ApiError: nobody logs in at an issuer of that name here."""
    logins = visit.registry.authorizer.browser_logins
    if logins is None or visit.target.issuer not in logins or visit.visitor.rights is None:
        raise ApiError("UNSUPPORTED", status=404, message="There is no such login here.")
    return logins


async def _refused(visit: Visit, error: TokenError, onward: str) -> web.Response:
    """A page that says why, and from where one may try again."""
    name = visit.target.issuer
    refusal = ApiError("UNAUTHORIZED", status=403, message=f"login at {name}: {error}")
    visit.registry.auditor.not_granted(
        visit.caller,
        "unproven",
        refusal,
        asked=(),
        request_id=visit.request.get(REQUEST_ID, ""),
    )
    following = "" if onward == "/" else onward
    response = await visit.page(
        "login_refused.html",
        status=403,
        issuer=name,
        problem=clean(str(error), limit=_WORDS),
        again=login_path(name, next=following),
        others=page_path(Page.LOGIN, next=following),
    )
    visit.visitor.keep_ticket(response, "", lifetime=0)
    return response


def _purpose(issuer: str) -> str:
    return f"a login at {issuer}"
