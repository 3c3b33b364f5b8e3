"""Whom others vouch for: tokens of outside issuers, and people of directories.

Loaded only where an outside source is configured. What it finds is an identity with groups; rights
come from the rules, as everybody's do. A token that is shown as a password is exchanged for ours;
one that carries an ``access`` claim may be shown itself (distribution token specification).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from registry.access.denials import TOKEN
from registry.access.identity import Identity
from registry.access.jwt import TokenError, parse_token
from registry.access.ldap.logins import Directories
from registry.access.oidc.issuers import Issuers, OutsideToken
from registry.access.policy import Rights
from registry.access.refresh import Login
from registry.access.sessions import Session, granted_by
from registry.access.settings import AccessSettings, Right, RuleSettings
from registry.access.snapshot import Snapshot
from registry.access.throttle import GuessDelay, Patience

if TYPE_CHECKING:
    from registry.access.ldap.directory import Directory
    from registry.access.oidc.browser import BrowserLogins, Ticket

_TOKEN: Final = re.compile(rb"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_UNSEEN_SECONDS: Final = 60.0
"""How long a login counts that cannot be looked at again without the password."""

_THREADS: Final = 4
"""Others may hang; the threads that read our own disks are not theirs to hold."""


class OutsideIdentities:
    """The outside sources of one configuration; used from one event loop only."""

    def __init__(
        self, settings: AccessSettings, patience: Patience, *, monotonic: Callable[[], float]
    ) -> None:
        """Raises RegistryConfigError: a library that a source needs is not installed."""
        self._threads = ThreadPoolExecutor(_THREADS, "registry-outside")
        self._issuers = Issuers(settings.issuer, self._threads, monotonic=monotonic)
        self.browser_logins = _browser_logins(settings, self._issuers, monotonic)
        self._directories = Directories(
            _directories(settings),
            self._threads,
            GuessDelay(patience.failures, clock=monotonic),
            monotonic=monotonic,
        )

    def takes(self, secret: bytes) -> bool:
        """Whether a password is a token that somebody signed."""
        return bool(self._issuers) and _TOKEN.match(secret) is not None

    @property
    def has_people(self) -> bool:
        """Whether there are directories, which know passwords."""
        return bool(self._directories)

    async def login(
        self, snapshot: Snapshot, user: str, secret: bytes, *, address: str, now: float
    ) -> Login | None:
        """Who a directory knows by this password; None when none does.

        Raises:
            TokenError: the deny list names them.
            ApiError: see ``Directories.login``.
        """
        identity = await self._directories.login(user, secret, address=address)
        if identity is None:
            return None
        again = self._directories.looks_again(identity.source)
        ends = float("inf") if again else now + _UNSEEN_SECONDS
        return Login(identity, standing(snapshot, identity, "", now=now), ends)

    async def current(self, identity: Identity, *, now: float) -> tuple[Identity, float]:
        """An identity with its groups of today, and until when that counts (epoch seconds).

        Raises:
            TokenError: its directory has nobody of that name any more, or does not answer.
        """
        source = identity.source
        if source not in self._directories or not self._directories.looks_again(source):
            return identity, float("inf")
        fresh, seconds = await self._directories.current(identity)
        return fresh, now + seconds

    async def came_back(
        self,
        snapshot: Snapshot,
        name: str,
        ticket: Ticket,
        answer: Mapping[str, Sequence[str]],
        *,
        now: float,
    ) -> Login:
        """Who logged in at an issuer with a browser; it is asked no more until the next login.

        Raises:
            TokenError: why nobody did. ApiError: TOOMANYREQUESTS.
        """
        assert self.browser_logins is not None, "a page of a login is found where there are some"
        token = await self.browser_logins.finish(name, ticket, answer, now=now)
        return Login(token.identity, standing(snapshot, token.identity, token.origin, now=now))

    def vouches_on(self, identity: Identity) -> bool:
        """Whether it can be known later, too, that somebody is still who logged in now."""
        if identity.source in self._directories:
            return self._directories.looks_again(identity.source)
        return self.browser_logins is not None and identity.source in self.browser_logins

    async def exchange(self, snapshot: Snapshot, secret: bytes, *, now: float) -> Login:
        """Who showed an outside token as a password.

        Raises:
            TokenError: why it is not taken.
        """
        token = await self._issuers.verified(parse_token(secret.decode("ascii")), now=now)
        if not token.identity.named:
            raise TokenError("it has no subject")
        credential = standing(snapshot, token.identity, token.origin, now=now)
        return Login(token.identity, credential, token.ends, token.origin)

    async def bearer(self, snapshot: Snapshot, token: str, *, now: float) -> Session:
        """What an outside token that is shown as ours may do.

        Raises:
            TokenError: why it is not taken.
        """
        verified = await self._issuers.verified(parse_token(token), now=now)
        if not isinstance(verified.claims.get("access"), list):
            raise TokenError(
                "it has no access claim; show it as a password, and the token server makes one"
            )
        standing(snapshot, verified.identity, verified.origin, now=now)
        granted, catalog = granted_by(verified.claims)
        # Looked at again by then: its issuer may have taken the key back.
        ends = min(verified.ends, now + verified.settings.keys_refresh)
        return Session(_rights(snapshot, verified), ends, granted, catalog)

    def close(self) -> None:
        """Begin nothing new; what is asked for is waited for by those who asked."""
        self._threads.shutdown(wait=False)
        if self.browser_logins is not None:
            self.browser_logins.close()


def _browser_logins(
    settings: AccessSettings, issuers: Issuers, monotonic: Callable[[], float]
) -> BrowserLogins | None:
    if all(one.login.client_id is None for one in settings.issuer):
        return None
    from registry.access.oidc.browser import BrowserLogins

    return BrowserLogins(settings.issuer, issuers, monotonic=monotonic)


def _directories(settings: AccessSettings) -> list[Directory]:
    if not settings.ldap:
        return []
    from registry.access.ldap.directory import Directory

    return [Directory(one) for one in settings.ldap]


def standing(snapshot: Snapshot, identity: Identity, origin: str, *, now: float) -> str:
    """The credential of an identity that its source vouches for.

    Raises:
        TokenError: the deny list names it or the token, or the source is not configured any more.
    """
    if origin and TOKEN + origin in snapshot.denials:
        raise TokenError("the deny list names this token")
    if str(identity) in snapshot.denials:
        raise TokenError(f"the deny list names {identity}")
    credential = snapshot.credential(identity, now)
    if credential is None:
        raise TokenError(f"there is no source {identity.source} any more")
    return credential


def _rights(snapshot: Snapshot, token: OutsideToken) -> Rights:
    """Rules decide as well, unless the settings leave it to the access claim; denials always do."""
    if not token.settings.grants:
        return snapshot.rights(token.identity)
    everything = RuleSettings(
        repositories=("**",),
        actions=(Right.ALL,),
        anonymous=True,
        name=f"the access claim of issuer {token.settings.name}",
    )
    return snapshot.policy.rights(token.identity, own=(everything,))
