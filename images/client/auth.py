"""Who we are, to one registry: Basic, or Bearer tokens fetched from the realm it names.

Docker registry v2 token and OAuth2 specifications. Credentials go to the registry's own origin, or
to the realm that it named over a channel nobody could have altered (``_check_realm``), and nowhere
else.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from images.client.errors import (
    ProtocolError,
    RegistryError,
    Target,
    UnauthorizedError,
    UnsafeHopError,
    error_from_response,
)
from images.client.hosts import check_hop, given_url, is_private_channel, same_origin
from records import Record, field

if TYPE_CHECKING:
    from images.client.challenge import Challenge
    from images.client.retry import Effects
    from images.client.threads import Lock
    from images.client.url import Url
    from images.credentials import Credentials

CLIENT_ID = "lading"
DEFAULT_LIFETIME = 60.0
"""Seconds a token lives when its server does not say."""
LEEWAY = 10.0
"""Seconds before its end from which a token is no longer used."""


class TokenTransport(Protocol):
    """One HTTP exchange with a token server, bounded and not authenticated any further."""

    async def exchange(
        self, method: str, url: Url, *, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        """Send, follow no redirect, and return status and body."""


class Token(Record):
    """A bearer token with its end on the monotonic clock."""

    value: str = field(repr=False)
    expires: float


class Authenticator:
    """Authorization for one repository; learns from 401 answers, shared by parallel requests.

    ``offline`` asks the token server for a refresh token to be stored in place of the password.
    ``realms`` lists the only hosts beside the registry's own that may get the credentials.
    """

    def __init__(
        self,
        registry: str,
        credentials: Credentials | None,
        transport: TokenTransport,
        effects: Effects,
        lock: Lock,
        *,
        offline: bool = False,
        realms: frozenset[str] | None = None,
    ) -> None:
        self.registry = registry
        self.credentials = credentials
        self.transport = transport
        self.effects = effects
        self.offline = offline
        self.realms = realms
        self.refresh_token: str | None = None
        self._lock = lock
        self._basic = False
        self._realm: Challenge | None = None
        self._origin: Url | None = None
        self._extra: dict[frozenset[str], frozenset[str]] = {}
        self._tokens: dict[frozenset[str], Token] = {}

    async def header(self, scopes: frozenset[str]) -> str | None:
        """The Authorization value for a request with these ``scopes``; None if none is wanted."""
        if self.credentials is not None and self.credentials.registry_token:
            return f"Bearer {self.credentials.registry_token}"
        if self._realm is not None:
            return f"Bearer {await self._token(scopes)}"
        if self._basic and self.credentials is not None:
            return basic(self.credentials)
        return None

    def challenged(
        self,
        url: Url,
        challenges: Iterable[Challenge],
        scopes: frozenset[str],
        *,
        sent: str | None,
        round_: int,
    ) -> bool:
        """Learn from the ``round_``-th 401 to one request, at ``url``; True when to try again.

        ``sent`` is the Authorization value that was refused. A cached token may have ended early,
        so the first refusal fetches a new one; after that only a demand for more scopes does
        (error="insufficient_scope").
        """
        if self.credentials is not None and self.credentials.registry_token:
            return False
        offered = {challenge.scheme: challenge for challenge in challenges}
        if "bearer" in offered:
            grown = self._learn_bearer(url, offered["bearer"], scopes)
            token = self._tokens.get(scopes)
            if token is not None and sent == f"Bearer {token.value}":
                del self._tokens[scopes]
            return round_ == 1 or grown
        if "basic" in offered and self.credentials is not None:
            self._basic = bool(self.credentials.username)
            return self._basic and sent is None
        return False

    def _learn_bearer(self, url: Url, challenge: Challenge, scopes: frozenset[str]) -> bool:
        """Note realm and scopes; True when scopes are asked for that were not requested before."""
        if "realm" not in challenge.parameters:
            raise ProtocolError(
                "the registry's Bearer challenge names no realm", where=self.registry
            )
        asked = frozenset(challenge.parameters.get("scope", "").split())
        known = scopes | self._extra.get(scopes, frozenset())
        self._extra[scopes] = known | asked
        self._realm, self._origin = challenge, url
        return not asked <= known

    async def _token(self, scopes: frozenset[str]) -> str:
        async with self._lock:
            token = self._tokens.get(scopes)
            if token is None or token.expires - LEEWAY <= self.effects.monotonic():
                token = await self._fetch(scopes)
                self._tokens[scopes] = token
            return token.value

    async def _fetch(self, scopes: frozenset[str]) -> Token:
        assert self._realm is not None
        assert self._origin is not None
        realm = given_url(self._origin, self._realm.parameters["realm"], what="the token realm")
        self._check_realm(realm)
        wanted = sorted(scopes | self._extra.get(scopes, frozenset()))
        service = self._realm.parameters.get("service", "")
        began = self.effects.monotonic()
        if self.credentials is not None and self.credentials.identity_token:
            status, body = await self._post(realm, service, wanted, self._refresh_form())
        else:
            status, body = await self._get(realm, service, wanted)
            if status == 405 and self.credentials is not None:
                status, body = await self._post(realm, service, wanted, self._password_form())
        if status != 200:
            raise self._refusal(realm, status, body)
        return self._parse(realm, body, began)

    def _check_realm(self, realm: Url) -> None:
        """Refuse a realm that must not see a request of ours, or not our credentials."""
        assert self._origin is not None
        check_hop(self._origin, realm, what="the token realm")
        if self.credentials is None or same_origin(self._origin, realm):
            return
        if self.realms is not None and realm.host not in {self._origin.host, *self.realms}:
            raise UnsafeHopError(
                f"the token realm {realm.host} is not one that may get the credentials",
                where=self.registry,
                fix="name it among the realms, if it is the registry's own; nothing was sent",
            )
        if not (is_private_channel(realm) and is_private_channel(self._origin)):
            raise UnsafeHopError(
                f"the token realm {realm.host} is another host, and the way is not encrypted",
                where=self.registry,
                fix="use TLS on registry and token server; the credentials were not sent",
            )

    async def _get(self, realm: Url, service: str, scopes: list[str]) -> tuple[int, bytes]:
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        headers: dict[str, str] = {}
        if self.credentials is not None:
            headers["Authorization"] = basic(self.credentials)
            query += [("account", self.credentials.username), ("client_id", CLIENT_ID)]
            if self.offline:
                query.append(("offline_token", "true"))
        return await self.transport.exchange(
            "GET", realm.with_query(query), headers=headers, form=None
        )

    async def _post(
        self, realm: Url, service: str, scopes: list[str], form: dict[str, str]
    ) -> tuple[int, bytes]:
        form = {**form, "service": service, "client_id": CLIENT_ID, "scope": " ".join(scopes)}
        return await self.transport.exchange("POST", realm, headers={}, form=form)

    def _refresh_form(self) -> dict[str, str]:
        assert self.credentials is not None
        return {
            "grant_type": "refresh_token",
            "refresh_token": self.refresh_token or self.credentials.identity_token,
        }

    def _password_form(self) -> dict[str, str]:
        assert self.credentials is not None
        return {
            "grant_type": "password",
            "username": self.credentials.username,
            "password": self.credentials.password,
            "access_type": "offline",
        }

    def _refusal(self, realm: Url, status: int, body: bytes) -> RegistryError:
        target = Target(self.registry, f"token server {realm.host}")
        # RFC 6749 section 5.2: a bad refresh token or password is a 400 with invalid_grant.
        refused = self.credentials is not None and status in (400, 401, 403)
        if refused:
            error = error_from_response(target, 401, body, credentials_sent=True)
            return UnauthorizedError(error.what, where=error.where, fix=error.fix, status=status)
        return error_from_response(target, status, body, credentials_sent=False)

    def _parse(self, realm: Url, body: bytes, began: float) -> Token:
        try:
            data: Any = json.loads(body)
            value = data.get("token") or data.get("access_token")
            lifetime = float(data.get("expires_in") or DEFAULT_LIFETIME)
            refresh = data.get("refresh_token")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ProtocolError(
                "the token server's answer is not understood", where=str(realm.host)
            ) from error
        if not isinstance(value, str) or not value or not (value.isascii() and value.isprintable()):
            raise ProtocolError("the token server's answer holds no token", where=str(realm.host))
        if isinstance(refresh, str) and refresh:
            self.refresh_token = refresh
        # The local clock from before the request: issued_at is another machine's opinion.
        return Token(value, began + max(lifetime, DEFAULT_LIFETIME))


def basic(credentials: Credentials) -> str:
    """The Authorization value of RFC 7617."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def scope(repository: str, *actions: str) -> str:
    """``repository:NAME:ACTIONS`` of the token specification."""
    return f"repository:{repository}:{','.join(actions)}"
