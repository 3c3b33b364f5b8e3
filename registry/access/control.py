"""Every request's question: may this caller do that? And where the answer is kept true.

A request passes: did anything change on disk -> address rate -> token, password or nothing -> the
session's decision -> user rate. With users there is always a challenge at ``/v2/``, because clients
decide there whether to send credentials at all. A refusal never depends on what the registry holds.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from registry.access.denials import TOKEN
from registry.access.grants import Grants, bearer_of, bound_by
from registry.access.identity import (
    ANONYMOUS,
    EVERYBODY,
    Decision,
    DeniedError,
    Grant,
    Identity,
    Kind,
)
from registry.access.jwt import LEEWAY, Expected, TokenError, decode_token, key_of
from registry.access.logins import Logins
from registry.access.passwords import NOBODY, parse_basic
from registry.access.personal import LOOK_SECONDS, ORIGIN, PERSONAL_PREFIX
from registry.access.policy import Rights
from registry.access.refresh import Login
from registry.access.robots import SECRET_PREFIX
from registry.access.sessions import Session, granted_by
from registry.access.settings import AccessSettings, Challenge
from registry.access.snapshot import Snapshot, take_snapshot
from registry.access.throttle import Patience, RateLimits, retry_after
from registry.errors import ApiError
from registry.protocols import Access, Caller
from registry.sql.errors import DatabaseError
from registry.workers import Workers

if TYPE_CHECKING:
    from registry.access.certificates.clients import ClientCertificate, ClientCertificates
    from registry.access.oidc.browser import BrowserLogins, Ticket
    from registry.access.outside import OutsideIdentities

_SESSIONS: Final = 2048
_LOOK_SECONDS: Final = 1.0
"""How long a token may outlive what it was granted by; passwords are looked at each time."""

_OPEN: Final = Grant(EVERYBODY, "the registry has no users")
TOKEN_PATH: Final = "/auth/token"  # noqa: S105 -- a path


class AccessControl:
    """The authorizer of one process; used from the event loop only."""

    def __init__(
        self,
        snapshot: Snapshot,
        workers: Workers,
        patience: Patience,
        *,
        certificates: ClientCertificates | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._certificates = certificates
        self._monotonic = monotonic
        self._workers = workers
        self._patience = patience
        self._logins = Logins(workers, patience, monotonic=monotonic)
        self._reading = asyncio.Lock()
        self._next_look = 0.0
        self._tokens: OrderedDict[bytes, Session] = OrderedDict()
        self._sessions: OrderedDict[Identity, Session] = OrderedDict()
        places = snapshot.places
        self.grants = Grants(
            self, workers, places.refresh_tokens, stores=places.stores, clock=clock
        )
        self._snapshot = snapshot
        self._limits = RateLimits(snapshot.places.settings.rate, patience, clock=monotonic)
        self._outside = open_outside(snapshot.places.settings, patience, monotonic=monotonic)

    @property
    def snapshot(self) -> Snapshot:
        """What decides now."""
        return self._snapshot

    async def reload(
        self, settings: AccessSettings, certificates: ClientCertificates | None = None
    ) -> None:
        """Take new settings and read every file again; what cannot be used stays as it was."""
        async with self._reading:
            places = replace(self._snapshot.places, settings=settings)
            outside, former = self._outside, self._outside
            known = self._snapshot.places.settings
            if (settings.issuer, settings.ldap) != (known.issuer, known.ldap):
                renew = partial(open_outside, settings, self._patience, monotonic=self._monotonic)
                outside = await self._workers.io(renew)
            await self._read(replace(self._snapshot, places=places))
            self._outside, self._certificates = outside, certificates
            if former is not None and former is not outside:
                former.close()

    async def authorize(self, caller: Caller, access: Access) -> Grant:
        """See ``protocols.Authorizer``."""
        if self._monotonic() >= self._next_look:
            await self.look()
        if self._limits.by_address:
            self._charge(self._limits.of_address(caller.address))
        shown = None if self._certificates is None else self._shown(caller)
        if not self._snapshot.required:
            return _OPEN
        session = await self._standing(caller, access, shown)
        if session is None:
            if self._limits.by_identity:
                self._charge(self._limits.of_anonymous(caller.address))
            return self._without_credentials(caller, access)
        if self._limits.by_identity and session.identity.named:
            self._charge(self._limits.of_user(str(session.identity)))
        decided = session.decide(access)
        if isinstance(decided, Decision):
            raise self._denied(session, decided, caller, access)
        return decided

    async def permits(self, caller: Caller, access: Access) -> bool:
        """Whether ``authorize`` would let it pass; for what is optional, and counted nowhere."""
        if not self._snapshot.required:
            return True
        try:
            session = await self._standing(caller, access, self._shown(caller))
        except ApiError:
            return False
        return isinstance((session or self._session(ANONYMOUS)).decide(access), Grant)

    def challenge(self, caller: Caller, access: Access) -> dict[str, str] | None:
        """See ``protocols.Authorizer``."""
        authorization = caller.authorization
        if not self._snapshot.required or not (authorization is None or authorization in NOBODY):
            return None
        if self._certified(caller) is not None:
            return None
        return self._challenge(caller, access)

    def rights(self, identity: Identity) -> Rights | None:
        """What the rules say about a caller; None in a registry without users: everything."""
        return self._session(identity).rights if self._snapshot.required else None

    async def login(self, caller: Caller, user: str, secret: bytes) -> Login:
        """Check a password, a robot's secret, or an outside token shown as a password.

        Raises:
            ApiError: UNAUTHORIZED with a Basic challenge, or TOOMANYREQUESTS.
        """
        # A changed password ends at once, so this does not wait for the next look.
        await self.look()
        if secret.startswith(PERSONAL_PREFIX):
            return await self._by_personal_token(secret)
        if self._outside is not None and self._outside.takes(secret):
            return await self._exchanged(self._outside, secret)
        elsewhere = self._outside is not None and self._outside.has_people
        if elsewhere and user not in self._snapshot.users and not secret.startswith(SECRET_PREFIX):
            login = await self._of_directory(caller, user, secret)
        else:
            login = await self._logins.check(
                self._snapshot, user, secret, address=caller.address, now=self._clock()
            )
        if login is None:
            raise ApiError(
                "UNAUTHORIZED",
                message="user and password do not fit",
                headers={"WWW-Authenticate": self._basic_challenge()},
            )
        return login

    async def _exchanged(self, outside: OutsideIdentities, secret: bytes) -> Login:
        try:
            return await outside.exchange(self._snapshot, secret, now=self._clock())
        except TokenError as error:
            raise ApiError(
                "UNAUTHORIZED",
                message=f"the token that was shown as a password is not good: {error}",
                headers={"WWW-Authenticate": self._basic_challenge()},
            ) from error

    async def _by_personal_token(self, secret: bytes) -> Login:
        try:
            return await self.grants.personal_login(secret)
        except TokenError as error:
            raise ApiError(
                "UNAUTHORIZED",
                message=str(error),
                headers={"WWW-Authenticate": self._basic_challenge()},
            ) from error

    async def _of_directory(self, caller: Caller, user: str, secret: bytes) -> Login | None:
        assert self._outside is not None
        try:
            return await self._outside.login(
                self._snapshot, user, secret, address=caller.address, now=self._clock()
            )
        except TokenError as error:
            raise ApiError(
                "UNAUTHORIZED",
                message=f"{user} cannot log in: {error}",
                headers={"WWW-Authenticate": self._basic_challenge()},
            ) from error

    async def current(self, identity: Identity) -> tuple[Identity, float]:
        """Whom a directory vouched for, as it does now, and until when that counts.

        Raises:
            TokenError: it does no more.
        """
        if self._outside is None or identity.kind is not Kind.OUTSIDE:
            return identity, float("inf")
        return await self._outside.current(identity, now=self._clock())

    @property
    def browser_logins(self) -> BrowserLogins | None:
        """The issuers at which people log in with browsers; None where there are none."""
        return None if self._outside is None else self._outside.browser_logins

    async def browser_login(
        self, name: str, ticket: Ticket, answer: Mapping[str, Sequence[str]]
    ) -> Login:
        """Who came back from an issuer; see ``BrowserLogins.finish``.

        Raises:
            TokenError: why nobody did. ApiError: TOOMANYREQUESTS.
        """
        await self.look()
        assert self._outside is not None, "asked only where an issuer offers logins"
        login = await self._outside.came_back(
            self._snapshot, name, ticket, answer, now=self._clock()
        )
        tokens = await self.grants.personal()
        await self._workers.io(partial(tokens.regroup, login.identity))
        return login

    def vouches_on(self, identity: Identity) -> bool:
        """Whether it can be known later, too, that somebody is still who logged in now."""
        if identity.kind is not Kind.OUTSIDE:
            return identity.kind is Kind.USER
        return self._outside is not None and self._outside.vouches_on(identity)

    async def certified(self, caller: Caller) -> Login | None:
        """Who a client certificate names, for tokens and pages; None for nobody.

        Raises:
            ApiError: DENIED, the certificate does not count.
        """
        if self._certificates is not None and self._monotonic() >= self._next_look:
            await self.look()
        return self._certified(caller)

    def _certified(self, caller: Caller) -> Login | None:
        shown = self._shown(caller)
        if shown is None or shown.identity is None:
            return None
        credential = self._snapshot.credential(shown.identity, self._clock())
        if credential is None:
            return None
        return Login(shown.identity, credential, shown.ends, bound=shown.thumbprint)

    def _shown(self, caller: Caller) -> ClientCertificate | None:
        if self._certificates is None:
            return None
        from registry.access.certificates.clients import presented

        return presented(self._certificates, caller, self._snapshot.denials, now=self._clock())

    def admit(self, caller: Caller, identity: Identity) -> None:
        """Count a request to the token server.

        Raises:
            ApiError: TOOMANYREQUESTS.
        """
        if identity.named:
            self._charge(self._limits.of_user(str(identity)))
        else:
            self._charge(self._limits.of_anonymous(caller.address))

    async def look(self) -> None:
        """Read again what changed since the last look.

        Raises:
            DatabaseError: it is shared and cannot be looked at; so nobody is let in.
        """
        self._next_look = self._monotonic() + _LOOK_SECONDS
        try:
            if self._certificates is not None and self._certificates.stale:
                await self._workers.io(self._certificates.read_again)
            if await self._stale():
                async with self._reading:
                    if await self._stale():
                        await self._read(self._snapshot)
        except DatabaseError:
            self._next_look = 0.0
            raise

    async def _stale(self) -> bool:
        stale = partial(self._snapshot.stale, self._clock())
        return await self._workers.io(stale) if self._snapshot.places.shared else stale()

    def close(self) -> None:
        """Release what is held open; blocks."""
        self.grants.close()
        if self._outside is not None:
            self._outside.close()

    async def _read(self, previous: Snapshot) -> None:
        take = partial(take_snapshot, previous.places, now=self._clock(), previous=previous)
        self._adopt(await self._workers.io(take))

    def _adopt(self, snapshot: Snapshot) -> None:
        rate = snapshot.places.settings.rate
        if rate != self._snapshot.places.settings.rate:
            self._limits = RateLimits(rate, self._patience, clock=self._monotonic)
        self._snapshot = snapshot
        self._tokens.clear()
        self._sessions.clear()

    def _without_credentials(self, caller: Caller, access: Access) -> Grant:
        if access.action not in ("base", "catalog"):
            decided = self._session(ANONYMOUS).decide(access)
            if isinstance(decided, Grant):
                return decided
        raise ApiError("UNAUTHORIZED", headers=self._challenge(caller, access))

    async def _standing(
        self, caller: Caller, access: Access, shown: ClientCertificate | None
    ) -> Session | None:
        """The session of a request's credentials; None when it shows none."""
        authorization = caller.authorization
        if authorization is None or authorization in NOBODY:
            named = None if shown is None else shown.identity
            return None if named is None else self._session(named)
        if authorization[:7].lower() == "bearer ":
            session = await self._token(authorization[7:], caller, access)
            if session.bound and (shown is None or shown.thumbprint != session.bound):
                raise ApiError(
                    "UNAUTHORIZED",
                    message="the token goes with another client certificate",
                    headers=self._challenge(caller, access, error="invalid_token"),
                )
            return session
        return await self._basic(authorization, caller, access)

    async def _token(self, token: str, caller: Caller, access: Access) -> Session:
        name = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        session = self._tokens.get(name)
        now = self._clock()
        if session is None or now >= session.ends:
            try:
                session = await self._verified(token, now)
            except TokenError as error:
                raise ApiError(
                    "UNAUTHORIZED",
                    message=f"the token is not good: {error}",
                    headers=self._challenge(caller, access, error="invalid_token"),
                ) from error
            self._tokens[name] = session
            if len(self._tokens) > _SESSIONS:
                self._tokens.popitem(last=False)
        else:
            self._tokens.move_to_end(name)
        return session

    async def _verified(self, token: str, now: float) -> Session:
        """Raises TokenError."""
        ring = self._snapshot.ring
        assert ring is not None, "asked only while credentials are required"
        if key_of(token) not in ring.keys:
            # Another process may have made its key since the last look, which is not long ago.
            await self.look()
            ring = self._snapshot.ring or ring
            if self._outside is not None and key_of(token) not in ring.keys:
                return await self._outside.bearer(self._snapshot, token, now=now)
        tokens = self._snapshot.places.settings.tokens
        claims = decode_token(token, ring.keys, Expected(tokens.issuer, tokens.service), now=now)
        try:
            identity = bearer_of(claims)
        except ValueError as error:
            raise TokenError("of nobody") from error
        origin = str(claims.get("origin", ""))
        if TOKEN + origin in self._snapshot.denials:
            raise TokenError("the deny list names the token that it was given for")
        if self._snapshot.credential(identity, now) != claims.get("cred"):
            raise TokenError("its user is gone, or has another password")
        identity, until = await self.current(identity)
        if origin.startswith(ORIGIN):
            await self.grants.personal_stands(origin.removeprefix(ORIGIN))
            until = min(until, now + LOOK_SECONDS)
        granted, catalog = granted_by(claims)
        ends = min(float(claims["exp"]) + LEEWAY, self._snapshot.ends(identity), until)
        rights = self._session(identity).rights
        return Session(rights, ends, granted, catalog, bound_by(claims))

    async def _basic(self, authorization: str, caller: Caller, access: Access) -> Session:
        credentials = parse_basic(authorization)
        if credentials is None:
            raise ApiError("UNAUTHORIZED", headers=self._challenge(caller, access))
        try:
            login = await self.login(caller, *credentials)
        except ApiError as error:
            if error.code != "UNAUTHORIZED":
                raise
            headers = self._challenge(caller, access)
            raise ApiError("UNAUTHORIZED", message=error.message, headers=headers) from error
        return self._session(login.identity)

    def _session(self, identity: Identity) -> Session:
        session = self._sessions.get(identity)
        if session is None:
            session = self._sessions[identity] = Session(self._snapshot.rights(identity))
            if len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)
        return session

    def _denied(
        self, session: Session, decision: Decision, caller: Caller, access: Access
    ) -> ApiError:
        detail = {"action": access.action, "name": access.repository, "reason": decision.rule}
        if session.granted is None:
            return DeniedError("DENIED", session.identity, detail=detail, headers=None)
        headers = self._challenge(caller, access, error="insufficient_scope")
        return DeniedError("UNAUTHORIZED", session.identity, detail=detail, headers=headers)

    def _challenge(self, caller: Caller, access: Access, *, error: str = "") -> dict[str, str]:
        settings = self._snapshot.places.settings
        if settings.challenge is Challenge.BASIC and not error:
            return {"WWW-Authenticate": self._basic_challenge()}
        elsewhere = settings.token_server
        realm, service = elsewhere or (f"{caller.origin}{TOKEN_PATH}", settings.tokens.service)
        parts = [f'realm="{realm}"', f'service="{service}"']
        scope = _scope_of(access)
        if scope:
            parts.append(f'scope="{scope}"')
        if error:
            parts.append(f'error="{error}"')
        return {"WWW-Authenticate": f"Bearer {','.join(parts)}"}

    def _basic_challenge(self) -> str:
        return f'Basic realm="{self._snapshot.places.settings.realm}"'

    def _charge(self, wait: float) -> None:
        if wait > 0:
            raise ApiError("TOOMANYREQUESTS", headers=retry_after(wait))


def open_outside(
    settings: AccessSettings, patience: Patience, *, monotonic: Callable[[], float]
) -> OutsideIdentities | None:
    """The outside sources; None, and nothing of them is loaded, where there are none. Blocks.

    Raises:
        RegistryConfigError: a library that a source needs is not installed.
    """
    if not (settings.issuer or settings.ldap):
        return None
    from registry.access.outside import OutsideIdentities

    return OutsideIdentities(settings, patience, monotonic=monotonic)


def _scope_of(access: Access) -> str:
    if access.action == "base":
        return ""
    if access.action == "catalog":
        return "registry:catalog:*"
    actions = "pull,push" if access.action == "push" else access.action
    return f"repository:{access.repository}:{actions}"
