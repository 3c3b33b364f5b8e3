"""The token server: credentials in, a signed token with what its bearer may do out.

Docker registry token and OAuth2 specifications. Scopes that the caller may not have are left out of
the token, never an error; a wrong password is one. A token is bound to the password it was given
for, so a new one ends it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from registry.access.denials import TOKEN
from registry.access.identity import ANONYMOUS, Identity, Kind
from registry.access.jwt import Expected, TokenError, decode_token, encode_token
from registry.access.personal import PERSONAL_FILE, PersonalToken, PersonalTokens
from registry.access.policy import Rights
from registry.access.refresh import Login, RefreshTokens
from registry.access.scopes import CATALOG, Scope, scope_repository
from registry.access.settings import TokenSettings
from registry.access.snapshot import Snapshot
from registry.errors import ApiError
from registry.sql.stores import Stores
from registry.workers import Workers

NO_LOGIN = Login(ANONYMOUS, "")
"""Who asks for a token without credentials."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as its answer describes it; ``lifetime`` is in seconds."""

    token: str
    scope: str
    lifetime: int
    issued_at: str


class Standing(Protocol):
    """What is in force now."""

    @property
    def snapshot(self) -> Snapshot:
        """All that decides."""
        ...

    def rights(self, identity: Identity) -> Rights | None:
        """What the rules say about a caller; None where everybody may everything."""
        ...

    async def look(self) -> None:
        """Take notice of what changed."""
        ...

    async def current(self, identity: Identity) -> tuple[Identity, float]:
        """Whom a directory vouched for, as it does now. Raises TokenError: it does no more."""
        ...


class Grants:
    """Makes tokens for one registry."""

    def __init__(
        self,
        control: Standing,
        workers: Workers,
        path: Path,
        *,
        stores: Stores | None = None,
        clock: Callable[[], float],
    ) -> None:
        """``path`` is the store of refresh tokens, in ``stores`` where replicas share it."""
        self._control = control
        self._opening = Lock()
        self._workers = workers
        self._path = path
        self._stores = stores
        self._clock = clock
        self._refresh: RefreshTokens | None = None
        self._personal: PersonalTokens | None = None

    @property
    def settings(self) -> TokenSettings:
        """As they are now."""
        return self._control.snapshot.places.settings.tokens

    def jwks(self) -> bytes:
        """The public keys, as a JWK Set."""
        ring = self._control.snapshot.ring
        return b'{"keys": []}' if ring is None else ring.jwks()

    def check_service(self, service: str | None) -> None:
        """Refuse to make tokens for someone else.

        Raises:
            ApiError: DENIED with 400.
        """
        if service not in (None, "", self.settings.service):
            raise ApiError(
                "DENIED", status=400, message="tokens for this service are not made here"
            )

    def issue(self, login: Login, scopes: Iterable[Scope], hosts: Iterable[str]) -> Issued:
        """A token for ``login`` with those of ``scopes`` that it may have.

        Raises:
            ApiError: UNSUPPORTED, the registry has no users.
        """
        snapshot = self._control.snapshot
        rights = self._control.rights(login.identity)
        if snapshot.ring is None or rights is None:
            raise ApiError("UNSUPPORTED", status=404, message="this registry asks for no tokens")
        granted = permitted_scopes(scopes, rights, tuple(hosts))
        now = int(self._clock())
        lifetime = int(min(self.settings.lifetime, max(0.0, login.ends - now)))
        claims = {
            "iss": self.settings.issuer,
            **_whose(login),
            "aud": self.settings.service,
            "exp": now + lifetime,
            "nbf": now,
            "iat": now,
            "jti": secrets.token_urlsafe(12),
            "access": [_entry(scope) for scope in granted],
        }
        token = encode_token(claims, snapshot.ring.signer)
        issued_at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Issued(token, " ".join(map(str, granted)), lifetime, issued_at)

    async def remember(self, login: Login, *, client: str) -> str:
        """A refresh token for ``login``."""
        tokens = await self._workers.io(self._open)
        issue = partial(
            tokens.issue,
            login,
            service=self.settings.service,
            client=client,
            now=self._clock(),
            lifetime=self.settings.refresh_lifetime,
        )
        return await self._workers.io(issue)

    async def recall(self, token: str) -> Login | None:
        """Who a refresh token stands for; None when it is no longer good."""
        now = self._clock()
        tokens = await self._workers.io(self._open)
        find = partial(tokens.find, token, service=self.settings.service, now=now)
        login = await self._workers.io(find)
        await self._control.look()
        if login is None or self._control.snapshot.credential(login.identity, now) != (
            login.credential
        ):
            return None
        return login

    def open_session(self, login: Login, *, lifetime: float) -> str:
        """A signed text that stands for ``login`` in a browser; no client can pull with it.

        Raises:
            ApiError: UNSUPPORTED, the registry has no users.
        """
        ring = self._control.snapshot.ring
        if ring is None:
            raise ApiError("UNSUPPORTED", status=404, message="this registry has no users")
        now = int(self._clock())
        claims = {
            "iss": self.settings.issuer,
            **_whose(login),
            "aud": self._browsers,
            "exp": int(min(now + lifetime, login.ends)),
            "nbf": now,
            "iat": now,
            "lasts": login.ends == float("inf"),
        }
        return encode_token(claims, ring.signer)

    async def session(self, token: str) -> Identity | None:
        """Whose session it is; None when it is over, or its password is another one now."""
        await self._control.look()
        snapshot = self._control.snapshot
        if snapshot.ring is None:
            return None
        now = self._clock()
        try:
            expected = Expected(self.settings.issuer, self._browsers)
            claims = decode_token(token, snapshot.ring.keys, expected, now=now)
            identity = bearer_of(claims)
        except (TokenError, ValueError):
            return None
        if snapshot.credential(identity, now) != claims.get("cred"):
            return None
        try:
            return (await self._control.current(identity))[0]
        except TokenError:
            return None

    def lasts(self, token: str) -> bool:
        """Whether a session was opened by a login that has no end of its own."""
        ring = self._control.snapshot.ring
        expected = Expected(self.settings.issuer, self._browsers)
        try:
            claims = decode_token(
                token, {} if ring is None else ring.keys, expected, now=self._clock()
            )
        except TokenError:
            return False
        return claims.get("lasts") is True

    async def issue_personal(self, identity: Identity, *, label: str, lifetime: float) -> str:
        """A personal token for who is logged in.

        Raises:
            TooManyTokensError: there is no room for one more.
            ApiError: UNAUTHORIZED, there is no such person any more.
        """
        now = self._clock()
        credential = self._control.snapshot.credential(identity, now)
        if credential is None:
            raise ApiError("UNAUTHORIZED")
        tokens = await self.personal()
        lifetime = min(lifetime, self.settings.personal_lifetime)
        issue = partial(tokens.issue, identity, credential, label=label, now=now, lifetime=lifetime)
        return await self._workers.io(issue)

    async def personal_login(self, secret: bytes) -> Login:
        """Who shows a personal token.

        Raises:
            TokenError: nobody, any more.
        """
        tokens = await self.personal()
        found = await self._workers.io(partial(tokens.find, secret, now=self._clock()))
        return (await self._personal_owner(found)).login

    async def personal_stands(self, name: str) -> None:
        """Return if the personal token of this id is still good.

        Raises:
            TokenError: it was revoked, or is over.
        """
        tokens = await self.personal()
        found = await self._workers.io(partial(tokens.get, name, now=self._clock()))
        await self._personal_owner(found)

    async def personal(self) -> PersonalTokens:
        """The store of personal tokens."""
        return await self._workers.io(self._open_personal)

    async def _personal_owner(self, found: PersonalToken | None) -> PersonalToken:
        snapshot = self._control.snapshot
        if found is None or not snapshot.places.settings.tokens.personal_lifetime:
            raise TokenError("the access token was revoked, is over, or never was")
        if TOKEN + found.origin in snapshot.denials:
            raise TokenError("the deny list names the access token")
        if snapshot.credential(found.identity, self._clock()) != found.credential:
            raise TokenError("the owner of the access token is gone, or has another password")
        identity, _ = await self._control.current(found.identity)
        return replace(found, identity=identity)

    def _open_personal(self) -> PersonalTokens:
        with self._opening:
            if self._personal is None:
                self._personal = PersonalTokens.at(
                    self._path.with_name(PERSONAL_FILE), self._stores
                )
            return self._personal

    def seal(self, purpose: str, claims: Mapping[str, Any], *, lifetime: float) -> str:
        """A signed text for one ``purpose`` of our own, which nobody else's counts for.

        Raises:
            ApiError: UNSUPPORTED, the registry has no users.
        """
        ring = self._control.snapshot.ring
        if ring is None:
            raise ApiError("UNSUPPORTED", status=404, message="this registry has no users")
        now = int(self._clock())
        fixed = {"iss": self.settings.issuer, "aud": self._sealed(purpose)}
        times = {"exp": int(now + lifetime), "nbf": now, "iat": now}
        return encode_token({**claims, **fixed, **times}, ring.signer)

    def unseal(self, purpose: str, text: str) -> dict[str, Any] | None:
        """What was sealed for ``purpose``; None when it is over, or was not."""
        ring = self._control.snapshot.ring
        expected = Expected(self.settings.issuer, self._sealed(purpose))
        try:
            keys = {} if ring is None else ring.keys
            return decode_token(text, keys, expected, now=self._clock())
        except TokenError:
            return None

    def _sealed(self, purpose: str) -> str:
        return f"{self.settings.service} for {purpose}"

    @property
    def _browsers(self) -> str:
        """The audience of sessions, which is none of tokens."""
        return f"{self.settings.service} in a browser"

    def close(self) -> None:
        """Close the database of refresh tokens; blocks."""
        for tokens in (self._refresh, self._personal):
            if tokens is not None:
                tokens.close()

    def _open(self) -> RefreshTokens:
        with self._opening:
            if self._refresh is None:
                self._refresh = RefreshTokens(self._path, self._stores)
            return self._refresh


def permitted_scopes(
    scopes: Iterable[Scope], rights: Rights, hosts: tuple[str, ...]
) -> tuple[Scope, ...]:
    """Those of ``scopes``, by repository name without host, that ``rights`` allow; pure."""
    actions: dict[str, set[str]] = {}
    catalog = False
    for scope in scopes:
        if scope.type == "repository":
            repository = scope_repository(scope.name, hosts)
            if repository is not None:
                actions.setdefault(repository, set()).update(scope.actions)
        elif scope.type == "registry" and scope.name == "catalog":
            catalog = catalog or (rights.identity.named and "*" in scope.actions)
    granted = [
        Scope("repository", repository, allowed)
        for repository, wanted in actions.items()
        if (allowed := rights.granted(wanted, repository))
    ]
    return (*granted, CATALOG) if catalog else tuple(granted)


def bearer_of(claims: Mapping[str, Any]) -> Identity:
    """Whose token of ours this is, with the groups that an outside source gave at the login.

    Raises:
        ValueError: it names nobody.
    """
    identity = Identity.parse(str(claims.get("sub")))
    groups = claims.get("groups")
    if identity.kind is Kind.OUTSIDE and isinstance(groups, list):
        return replace(identity, groups=tuple(str(group) for group in groups))
    return identity


def bound_by(claims: Mapping[str, Any]) -> str:
    """The thumbprint of the client certificate that a token of ours needs, "" for none."""
    confirmation = claims.get("cnf")
    return str(confirmation.get("x5t#S256")) if isinstance(confirmation, dict) else ""


def _whose(login: Login) -> dict[str, Any]:
    """What a token says of who logged in, and how."""
    claims: dict[str, Any] = {"sub": str(login.identity), "cred": login.credential}
    if login.identity.groups:
        claims["groups"] = list(login.identity.groups)
    if login.origin:
        claims["origin"] = login.origin
    if login.bound:
        claims["cnf"] = {"x5t#S256": login.bound}  # RFC 8705, section 3.1
    return claims


def _entry(scope: Scope) -> dict[str, Any]:
    return {"type": scope.type, "name": scope.name, "actions": sorted(scope.actions)}
