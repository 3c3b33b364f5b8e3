"""Which requests are for an upstream: those for repositories below the prefix of a rule.

The dispatcher asks after rights are checked, and only in a registry that has rules. Everything else
that concerns such a repository (deletion, extensions) is as with any other, except that nothing can
be pushed there: what clients find below a prefix is what its upstream has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias

from aiohttp import web

from registry.errors import ApiError
from registry.proxy.flights import Locks
from registry.proxy.listing import Lister
from registry.proxy.puller import Counted, Puller
from registry.proxy.settings import ProxyRule
from registry.proxy.upstream import Upstream
from registry.routing import Kind, Target
from registry.service import Registry

Handler: TypeAlias = Callable[[Registry, web.BaseRequest, Target], Awaitable[web.StreamResponse]]

_NAMES: Final = 8192


@dataclass(frozen=True, slots=True)
class _Served:
    """One rule at work."""

    rule: ProxyRule
    puller: Puller
    reads: dict[Kind, Handler]


class ProxyFront:
    """All rules of a registry; made from its settings, which blocks. ``offline`` asks nobody.

    Raises:
        RegistryConfigError: the credentials of an upstream are unusable.
    """

    def __init__(
        self,
        rules: Iterable[ProxyRule],
        root: Path,
        *,
        offline: bool = False,
        before: ProxyFront | None = None,
    ) -> None:
        locks = Locks(root / "proxy.lock")
        self._locks = locks
        # The longest prefix that fits decides.
        ordered = sorted(rules, key=lambda rule: -len(rule.start))
        if offline:
            ordered = [replace(rule, offline=True) for rule in ordered]
        self._served = [_serve(rule, locks) for rule in ordered]
        self._find = lru_cache(_NAMES)(self._look_up)
        self._before = before
        self._retiring: asyncio.Task[None] | None = None

    def counted_by(self, counted: Counted) -> None:
        """Tell what happens from now on to who counts it."""
        for served in self._served:
            served.puller.counted = counted

    def replaced(self) -> None:
        """Another one serves from now on; what is under way here comes to its end first."""
        if self._before is not None and self._before.is_settled:
            self._before = None
        self._retiring = asyncio.create_task(self._retire())

    def handler(self, ordinary: Handler, target: Target, action: str) -> Handler:
        """What handles a request in place of ``ordinary``, which is what the store alone does."""
        served = self._find(target.name) if target.name else None
        if served is None:
            return ordinary
        if action == "push":
            raise ApiError("DENIED", message=_no_push(served.rule))
        return served.reads.get(target.kind, ordinary)

    @property
    def is_settled(self) -> bool:
        """Whether it was replaced and has let go of all."""
        return self._retiring is not None and self._retiring.done() and self._before is None

    async def close(self) -> None:
        """Call off what is under way, here and in what this one replaced, and let go of all."""
        if self._retiring is not None:
            self._retiring.cancel()
            await asyncio.wait([self._retiring])
        if self._before is not None:
            await self._before.close()
        await self._release()

    async def _retire(self) -> None:
        for served in self._served:
            await served.puller.flights.settle()
        await self._release()

    async def _release(self) -> None:
        for served in self._served:
            await served.puller.close()
        self._locks.close()

    def _look_up(self, name: str) -> _Served | None:
        return next((it for it in self._served if name.startswith(it.rule.start)), None)


def _serve(rule: ProxyRule, locks: Locks) -> _Served:
    puller = Puller(rule, Upstream(rule), locks)
    lister = Lister(puller)
    reads: dict[Kind, Handler] = {
        Kind.MANIFEST: puller.manifest,
        Kind.BLOB: puller.blob,
        Kind.TAGS: lister.tags,
        Kind.REFERRERS: lister.referrers,
    }
    return _Served(rule, puller, reads)


def _no_push(rule: ProxyRule) -> str:
    below = f"{rule.start} is" if rule.start else "this registry is"
    return f"{below} a cache of {rule.upstream}: push there, or under another prefix here"
