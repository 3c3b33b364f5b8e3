"""Logging in with the registry's own users, and out.

The password goes the way that a client's goes, so what makes guesses wait holds here, too. After a
login the browser goes on to a page of ours, whatever the address asks for.
"""

from __future__ import annotations

from aiohttp import web

from registry.access.personal import ORIGIN
from registry.attributes import REQUEST_ID
from registry.errors import ApiError
from registry.web.paths import Page, local_path, page_path
from registry.web.site import Visit
from registry.web.visitors import read_form


async def show_login(visit: Visit) -> web.Response:
    """The form; who is logged in goes on."""
    onward = local_path(visit.query("next", limit=2048))
    if visit.visitor.rights is None or visit.visitor.named:
        return visit.see_other(onward)
    return await _form(visit, onward)


async def log_in(visit: Visit) -> web.Response:
    """Check a password and remember the login in the browser."""
    registry, caller = visit.registry, visit.caller
    form = await read_form(registry, visit.request, visit.visitor, caller)
    onward = local_path(form.get("next", ""))
    user = form.get("user", "").strip()
    secret = form.get("password", "").encode("utf-8", "surrogateescape")
    request_id = visit.request.get(REQUEST_ID, "")
    try:
        if not user or not secret:
            raise ApiError("UNAUTHORIZED", message="both a name and a password are needed")
        login = await registry.authorizer.login(caller, user, secret)
        if login.origin.startswith(ORIGIN):
            raise ApiError(
                "UNAUTHORIZED", message="an access token is for clients; log in by yourself here"
            )
    except ApiError as error:
        who = f"unproven:{user[:100]}" if user else "unproven"
        registry.auditor.not_granted(caller, who, error, asked=(), request_id=request_id)
        return await _refused(visit, onward, user, error)
    lifetime = registry.config.web.session
    session = registry.grants.open_session(login, lifetime=lifetime)
    registry.auditor.granted(caller, login.identity, asked=(), scope="", request_id=request_id)
    response = visit.see_other(onward)
    visit.visitor.remember(response, session, lifetime=lifetime)
    return response


async def log_out(visit: Visit) -> web.Response:
    """Forget the login."""
    await read_form(visit.registry, visit.request, visit.visitor, visit.caller)
    logins, source = visit.registry.authorizer.browser_logins, visit.visitor.identity.source
    further = logins.logout(source, f"{visit.caller.origin}/") if logins else ""
    if further:
        response = await visit.page("logged_out.html", issuer=source, further=further)
    else:
        response = visit.see_other(page_path(Page.HOME))
    visit.visitor.forget(response)
    return response


async def _refused(visit: Visit, onward: str, user: str, error: ApiError) -> web.Response:
    # 401 would ask for a header that makes browsers show a dialogue of their own.
    status = 403 if error.code == "UNAUTHORIZED" else error.status
    response = await _form(visit, onward, user=user, problem=error.message, status=status)
    if "Retry-After" in error.headers:
        response.headers["Retry-After"] = error.headers["Retry-After"]
    return response


async def _form(
    visit: Visit, onward: str, *, user: str = "", problem: str = "", status: int = 200
) -> web.Response:
    logins = visit.registry.authorizer.browser_logins
    view = {
        "onward": onward,
        "user": user,
        "problem": problem,
        "issuers": logins.offered if logins else (),
        "next": "" if onward == "/" else onward,
    }
    return await visit.page("login.html", status=status, **view)
