"""The token server's requests: GET with Basic or nothing, OAuth2 POST, and the public keys.

Docker registry token authentication and its OAuth2 variant; RFC 6749, sections 4.3 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from registry import body
from registry.access.grants import NO_LOGIN, Issued
from registry.access.passwords import NOBODY, parse_basic
from registry.access.refresh import Login
from registry.access.scopes import Scope, parse_scopes
from registry.answers import API_VERSION
from registry.attributes import REQUEST_ID
from registry.errors import ApiError
from registry.protocols import Caller
from registry.routing import Target
from registry.service import Registry

_FORM_LIMIT: Final = 64 << 10
_FIELDS: Final = 100
_KEYS_AGE: Final = timedelta(minutes=1)

Parameters = Mapping[str, Sequence[str]]


async def get_token(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """A token for Basic credentials, or an anonymous one without."""
    query = {name: request.query.getall(name) for name in request.query}
    caller = registry.callers.of(request)
    scopes = parse_scopes(query.get("scope", ()))
    claimed = parse_basic(caller.authorization or "")
    try:
        registry.grants.check_service(_first(query, "service"))
        login = await _login(registry, caller)
        issued = _issue(registry, request, caller, login, scopes)
    except ApiError as error:
        _record_refusal(registry, request, caller, claimed[0] if claimed else "", error, scopes)
        raise
    answer = {"token": issued.token, **_described(issued)}
    if _first(query, "offline_token") == "true" and login.lasting:
        client = _first(query, "client_id") or ""
        answer["refresh_token"] = await registry.grants.remember(login, client=client)
    return _answer(answer)


async def post_token(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """A token for a password or a refresh token in a form."""
    form = await _form(registry, request)
    caller = registry.callers.of(request)
    scopes = parse_scopes(form.get("scope", ()))
    claimed = _first(form, "username") or ""
    refresh = _first(form, "refresh_token")
    try:
        registry.grants.check_service(_first(form, "service"))
        login = await _oauth_login(registry, caller, form)
        issued = _issue(registry, request, caller, login, scopes)
    except ApiError as error:
        _record_refusal(registry, request, caller, claimed, error, scopes)
        raise
    answer = {"scope": issued.scope, **_described(issued)}
    if _first(form, "grant_type") == "refresh_token":
        answer["refresh_token"] = refresh
    elif _first(form, "access_type") == "offline" and login.lasting:
        client = _first(form, "client_id") or ""
        answer["refresh_token"] = await registry.grants.remember(login, client=client)
    return _answer(answer)


async def get_keys(registry: Registry, request: web.BaseRequest, target: Target) -> web.Response:
    """The public keys that tokens can be verified with, as a JWK Set (RFC 7517)."""
    headers = {
        "Content-Type": "application/jwk-set+json",
        "Cache-Control": f"public, max-age={int(_KEYS_AGE.total_seconds())}",
    }
    return web.Response(body=registry.grants.jwks(), headers={**API_VERSION, **headers})


async def _login(registry: Registry, caller: Caller) -> Login:
    authorization = caller.authorization
    # First: one that does not count is refused, whatever comes with it.
    certified = await registry.authorizer.certified(caller)
    if authorization is None or authorization in NOBODY:
        return certified or NO_LOGIN
    credentials = parse_basic(authorization)
    if credentials is None:
        raise ApiError("UNAUTHORIZED", message="the token server takes Basic credentials")
    return await registry.authorizer.login(caller, *credentials)


async def _oauth_login(registry: Registry, caller: Caller, form: Parameters) -> Login:
    await registry.authorizer.certified(caller)
    match _first(form, "grant_type"):
        case "password":
            user, password = _first(form, "username"), _first(form, "password")
            if not user or password is None:
                raise ApiError("UNAUTHORIZED", status=400, message="username or password missing")
            secret = password.encode("utf-8", "surrogateescape")
            return await registry.authorizer.login(caller, user, secret)
        case "refresh_token":
            login = await registry.grants.recall(_first(form, "refresh_token") or "")
            if login is None:
                raise ApiError("UNAUTHORIZED", message="the refresh token is not good any more")
            return login
    raise ApiError("UNSUPPORTED", status=400, message="grant_type is password or refresh_token")


def _issue(
    registry: Registry,
    request: web.BaseRequest,
    caller: Caller,
    login: Login,
    scopes: Sequence[Scope],
) -> Issued:
    registry.authorizer.admit(caller, login.identity)
    issued = registry.grants.issue(login, scopes, caller.hosts)
    registry.auditor.granted(
        caller,
        login.identity,
        asked=scopes,
        scope=issued.scope,
        request_id=request.get(REQUEST_ID, ""),
    )
    return issued


def _record_refusal(
    registry: Registry,
    request: web.BaseRequest,
    caller: Caller,
    claimed: str,
    error: ApiError,
    scopes: Sequence[Scope],
) -> None:
    registry.auditor.not_granted(
        caller,
        f"unproven:{claimed[:100]}" if claimed else "unproven",
        error,
        asked=scopes,
        request_id=request.get(REQUEST_ID, ""),
    )


async def _form(registry: Registry, request: web.BaseRequest) -> Parameters:
    idle = registry.config.limits.idle_timeout
    raw = await body.read(request, limit=_FORM_LIMIT, idle=idle)
    try:
        return parse_qs(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError as error:
        raise ApiError("UNSUPPORTED", status=400, message="the body is no form") from error


def _first(parameters: Parameters, name: str) -> str | None:
    values = parameters.get(name)
    return values[0] if values else None


def _described(issued: Issued) -> dict[str, Any]:
    return {
        "access_token": issued.token,
        "expires_in": issued.lifetime,
        "issued_at": issued.issued_at,
    }


def _answer(value: Mapping[str, Any]) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=orjson.dumps(value), headers={**API_VERSION, **headers})
