"""Notary's endpoints: rights, then the service, then an answer that its clients understand.

Rights are the image repository's: the collection's own host is taken off its name. Success is 200
and nothing else. 404 means "no trust data yet" to a client, so it is never answered in place of a
refusal, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import Final, Self

import orjson
from aiohttp import web

from registry import body
from registry.access.scopes import gun_repository
from registry.answers import API_VERSION
from registry.backing import Backing
from registry.errors import ApiError
from registry.notary import multipart, paths
from registry.notary.errors import NotaryError
from registry.notary.paths import Kind, TrustTarget
from registry.notary.service import Notary
from registry.notary.store import DEFAULT_PAGE, Change, Stored
from registry.protocols import Access
from registry.vault import FOLDER
from registry.workers import Workers
from trust.tuf import limits

Authorize = Callable[[Access], Awaitable[object]]
"""Raises ``ApiError`` unless the caller may do it."""

OFFERS_SET: Final = "Lading-Trust-Set"
"""Tells lading's own client that it need not ask for each role by itself."""

_JSON: Final = "application/json"
_IMMUTABLE: Final = "public, max-age=2592000, immutable"
_FRESH: Final = "no-cache"


class TrustHandler:
    """Answers the requests of one registry's trust service."""

    def __init__(self, notary: Notary, workers: Workers, *, idle: float) -> None:
        self._notary = notary
        self._workers = workers
        self._idle = idle

    @classmethod
    def open(cls, backing: Backing, workers: Workers, *, idle: float) -> Self:
        """The service with its state in ``backing``; blocks, raises as ``Notary.open``.

        ``idle`` is how many seconds a client may stall.
        """
        folder = backing.root / FOLDER
        notary = Notary.open(folder, files=backing.files / FOLDER, stores=backing.stores)
        return cls(notary, workers, idle=idle)

    def close(self) -> None:
        """Release what is held open; blocks."""
        self._notary.close()

    async def sweep(self) -> int:
        """See ``Notary.sweep``."""
        return await self._workers.io(self._notary.sweep)

    async def handle(
        self, request: web.BaseRequest, authorize: Authorize, *, hosts: Iterable[str]
    ) -> web.Response:
        """Answer a request whose path ``paths.concerns`` the service.

        ``hosts`` are the names of this registry.

        Raises:
            ApiError: the caller may not.
        """
        try:
            target = paths.parse(request.raw_path.partition("?")[0])
            if target.kind is Kind.HEALTH:
                return _answer(b"{}", cache=_FRESH)
            await _admit(request.method, target, authorize, hosts)
            return await self._respond(request, target)
        except NotaryError as error:
            return web.Response(
                status=error.status,
                body=error.body(),
                headers={**API_VERSION, "Content-Type": _JSON},
            )

    async def _respond(self, request: web.BaseRequest, target: TrustTarget) -> web.Response:
        gun, role, notary = target.gun, target.role, self._notary
        match target.kind, request.method:
            case Kind.CURRENT, "GET" | "HEAD":
                found = await self._workers.io(partial(notary.current, gun, role))
                return _metadata(found, cache=_FRESH)
            case Kind.HASHED, "GET" | "HEAD":
                found = await self._workers.io(partial(notary.by_hash, gun, role, target.hash))
                return _metadata(found, cache=_IMMUTABLE)
            case Kind.VERSIONED, "GET" | "HEAD":
                version = target.version
                found = await self._workers.io(partial(notary.by_version, gun, role, version))
                return _metadata(found, cache=_IMMUTABLE)
            case Kind.SET, "GET":
                found_set = await self._workers.io(partial(notary.current_set, gun))
                texts = {name: data.decode() for name, data in found_set.items()}
                return _answer(orjson.dumps(texts), cache=_FRESH)
            case Kind.KEY, "GET":
                return _answer(await self._workers.io(partial(notary.key, gun, role)))
            case Kind.KEY, "POST":
                return _answer(await self._workers.io(partial(notary.rotate_key, gun, role)))
            case Kind.COLLECTION, "POST":
                uploads = await self._uploads(request)
                await self._workers.io(partial(notary.publish, gun, uploads))
                return _answer(b"")
            case Kind.COLLECTION, "DELETE":
                await self._workers.io(partial(notary.delete, gun))
                return _answer(b"")
            case Kind.CHANGES, "GET":
                return await self._changes(request, gun)
        raise NotaryError("GENERIC_NOT_FOUND")

    async def _uploads(self, request: web.BaseRequest) -> dict[str, bytes]:
        boundary = multipart.boundary_of(request.headers.get("Content-Type", ""))
        try:
            data = await body.read(request, limit=limits.OTHER, idle=self._idle)
        except ApiError as error:
            raise NotaryError("MALFORMED_UPLOAD", detail=error.message) from error
        return await self._workers.io(partial(multipart.parse, data, boundary))

    async def _changes(self, request: web.BaseRequest, gun: str) -> web.Response:
        try:
            count = int(request.query["records"]) or DEFAULT_PAGE
            after = int(request.query.get("change_id") or 0)
            if not -(1 << 31) <= count < 1 << 31 or not -1 <= after < 1 << 62:
                raise ValueError("out of range")
        except (KeyError, ValueError) as error:
            raise NotaryError(
                "INVALID_PARAMETERS", detail="records and change_id are integers"
            ) from error
        found = await self._workers.io(partial(self._notary.changes, gun, after, count))
        records = [_record(change) for change in found]
        return _answer(orjson.dumps({"count": len(records), "records": records}))


async def _admit(
    method: str, target: TrustTarget, authorize: Authorize, hosts: Iterable[str]
) -> None:
    if target.kind is Kind.CHANGES and not target.gun:
        await authorize(Access("catalog"))
        return
    repository = gun_repository(target.gun, hosts)
    await authorize(Access(_action(method, target.kind), repository))


def _action(method: str, kind: Kind) -> str:
    """The right a request needs. Keys are made for who may publish; what others rely on may be
    dropped or replaced by who may delete.
    """
    if method == "DELETE" or (kind is Kind.KEY and method == "POST"):
        return "delete"
    return "push" if method == "POST" or kind is Kind.KEY else "pull"


def _metadata(stored: Stored, *, cache: str) -> web.Response:
    response = _answer(stored.data, cache=cache)
    response.headers[OFFERS_SET] = "1"
    response.headers["Last-Modified"] = formatdate(stored.created, usegmt=True)
    return response


def _answer(data: bytes, *, cache: str = "no-store") -> web.Response:
    return web.Response(
        body=data, headers={**API_VERSION, "Content-Type": _JSON, "Cache-Control": cache}
    )


def _record(change: Change) -> dict[str, object]:
    created = datetime.fromtimestamp(change.created, UTC)
    return {
        "ID": str(change.id),
        "CreatedAt": created.isoformat().replace("+00:00", "Z"),
        "GUN": change.gun,
        "Version": change.version,
        "SHA256": change.sha256,
        "Category": change.category,
    }
