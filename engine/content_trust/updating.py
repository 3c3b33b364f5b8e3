"""From a trust server and docker's cache to a set that is believed (TUF, "client workflow").

One pass: timestamp, snapshot, targets, the delegations asked for; what the cache has in the
promised bytes is not fetched. When the pass fails or the snapshot names another root, roots are
brought up to date one after the other, and there is one more pass. A first root is trusted on first
use unless it is pinned. The cache is written when all is believed, and not before.

Requests: warm 1 (timestamp); cold 2 at a server of lading's (root, and the set of what it leads
to), elsewhere root, timestamp, snapshot, targets, and one for each delegation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Self

from engine.content_trust.source import Prefetched, Source
from images.client.threads import to_thread
from trust.tuf import roles
from trust.tuf.cache import MetadataCache
from trust.tuf.errors import (
    ExpiredError,
    NoTrustDataError,
    RootRotationError,
    RootSkipError,
    ThresholdError,
    TufError,
    WrongHashError,
)
from trust.tuf.metadata import Envelope
from trust.tuf.pinning import Pins
from trust.tuf.trusted import TRUST_ON_FIRST_USE, TrustedSet

MAX_ROOTS: Final = 1024
"""Most root versions that are walked through in one update."""

MAX_DELEGATIONS: Final = 256


def utc_now() -> datetime:
    """The reference time of an update."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Updater:
    """Brings the trust data of one collection up to date."""

    server: Source
    cache: MetadataCache
    pins: Pins = TRUST_ON_FIRST_USE
    now: Callable[[], datetime] = utc_now

    async def update(self, *, everything: bool = False) -> TrustedSet:
        """What is to be believed now: for tags, or with ``everything`` every delegation as well.

        Raises:
            NoTrustDataError: the server has nothing.
            TufError: of the class that says what is wrong; nothing was kept.
            RegistryError: the server's side.
        """
        trusted = await self._anchor()
        try:
            found = await (await self._first()).passed(trusted, everything=everything)
        except TufError as error:
            found = await self._again(trusted, everything=everything, error=error)
        else:
            if found is None:
                found = await self._again(trusted, everything=everything, error=None)
        await to_thread(self.cache.put, found.raw)
        return found

    async def _anchor(self) -> TrustedSet:
        now = self.now()
        cached = await to_thread(self.cache.get, roles.ROOT)
        if cached is not None:
            return await to_thread(
                TrustedSet.resume, self.server.gun, cached, now=now, pins=self.pins
            )
        raw = await self.server.current(roles.ROOT)
        return await to_thread(TrustedSet.begin, self.server.gun, raw, now=now, pins=self.pins)

    async def _first(self) -> Self:
        """This updater, with answers at hand where nothing is cached and the server has them."""
        cached = await to_thread(self.cache.get, roles.TIMESTAMP)
        if not self.server.offers_set or cached is not None:
            return self
        return replace(self, server=Prefetched(self.server, await self.server.current_set()))

    async def passed(self, trusted: TrustedSet, *, everything: bool) -> TrustedSet | None:
        """One pass below the root; None when the snapshot names a newer root."""
        if trusted.root.expires <= trusted.now:
            raise ExpiredError(f"root of {trusted.gun} expired")
        raw = await self.server.current(roles.TIMESTAMP)
        trusted = await self._remembered(trusted, roles.TIMESTAMP, raw)
        trusted = await to_thread(trusted.with_timestamp, raw)
        trusted, raw = await self._promised(trusted, roles.SNAPSHOT)
        trusted = await to_thread(trusted.with_snapshot, raw)
        if not trusted.root_agrees():
            return None
        trusted, raw = await self._promised(trusted, roles.TARGETS)
        trusted = await to_thread(trusted.with_targets, roles.TARGETS, raw)
        return await self._delegations(trusted, everything=everything)

    async def _delegations(self, trusted: TrustedSet, *, everything: bool) -> TrustedSet:
        waiting = list(trusted.targets[roles.TARGETS].delegations)
        for count, delegation in enumerate(waiting, start=1):
            role = delegation.name
            if count > MAX_DELEGATIONS:
                raise TufError(f"{trusted.gun} has more than {MAX_DELEGATIONS} delegations")
            if not trusted.names(role) or not (everything or role == roles.RELEASES):
                continue
            trusted, raw = await self._promised(trusted, role)
            try:
                trusted = await to_thread(trusted.with_targets, role, raw)
            except (ThresholdError, ExpiredError):
                # To be read, what releases tags may not have lapsed; to be signed anew, it may.
                if role == roles.RELEASES and not everything:
                    raise
                trusted = await to_thread(trusted.with_lapsed, role, raw)
                continue
            waiting.extend(trusted.targets[role].delegations)
        return trusted

    async def _promised(self, trusted: TrustedSet, role: str) -> tuple[TrustedSet, bytes]:
        """The bytes that the signed parent names, from the cache where it has them; what the cache
        has instead is remembered.
        """
        promise = trusted.promise(role)
        cached = await to_thread(self.cache.get, role)
        if cached is not None:
            try:
                promise.check(cached, what=role)
            except WrongHashError:
                pass
            else:
                return trusted, cached
        try:
            raw = await self.server.hashed(role, promise.sha256, promise.length)
        except NoTrustDataError as error:
            raise WrongHashError(f"{role} as its signed parent names it is not served") from error
        return await self._remembered(trusted, role, raw), raw

    async def _remembered(self, trusted: TrustedSet, role: str, raw: bytes) -> TrustedSet:
        """Take the cached copy's version as the least to come, unless it is what came."""
        cached = await to_thread(self.cache.get, role)
        if cached is None or cached == raw:
            return trusted
        return await to_thread(trusted.remember, role, cached)

    async def _again(
        self, trusted: TrustedSet, *, everything: bool, error: TufError | None
    ) -> TrustedSet:
        """Bring the root up to date and make one more pass, whose error is final."""
        newest = await self._newest_root(trusted)
        if newest.raw == trusted.raw and error is not None:
            raise error
        found = await self.passed(newest, everything=everything)
        if found is None:
            raise WrongHashError(f"the snapshot of {trusted.gun} names another root than is served")
        return found

    async def _newest_root(self, trusted: TrustedSet) -> TrustedSet:
        raw = await self.server.current(roles.ROOT)
        try:
            return await to_thread(trusted.with_root, raw, pins=self.pins)
        except (RootRotationError, RootSkipError):
            newest = Envelope.parse(raw, role=roles.ROOT).root().version
            ahead = newest - trusted.root.version
            if not 1 < ahead <= MAX_ROOTS:
                raise
        for version in range(trusted.root.version + 1, newest):
            between = await self.server.root(version)
            trusted = await to_thread(trusted.with_root, between, final=False)
        return await to_thread(trusted.with_root, raw, pins=self.pins)
