"""The one entry of all requests: route, check rights, call a handler, answer, log.

A request passes: path -> ``routing.Target`` -> rights -> handler -> answer. Refusals come out as
``ApiError`` and are rendered here, and only here. aiohttp's own router sees a single route: names
with slashes are matched by their last marker segment, which its patterns cannot express.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, web

from registry import routing
from registry.access.identity import Identity
from registry.answers import API_VERSION, digest_of
from registry.attributes import GRANT, REQUEST_ID
from registry.config import RegistryConfig
from registry.drain import Drain
from registry.errors import ApiError, PolicyError
from registry.faults import is_outage, refusal_of
from registry.handlers import (
    base,
    blobs,
    countersigning,
    extensions,
    listings,
    manifests,
    pages,
    simple_signatures,
    tokens,
    transparency,
    uploads,
)
from registry.notary import paths as trust_paths
from registry.protocols import Access, Caller
from registry.routing import Kind, Target
from registry.service import Registry

if TYPE_CHECKING:
    from registry.events.pulls import Pulls

log = logging.getLogger("registry")

Handler = Callable[[Registry, web.BaseRequest, Target], Awaitable[web.StreamResponse]]

ROUTES: Final[Mapping[tuple[Kind, str], tuple[Handler, str]]] = MappingProxyType(
    {
        (Kind.BASE, "GET"): (base.get_base, "base"),
        (Kind.BASE, "HEAD"): (base.get_base, "base"),
        (Kind.EXTENSIONS, "GET"): (extensions.get_extensions, "base"),
        (Kind.EXTENSIONS, "HEAD"): (extensions.get_extensions, "base"),
        (Kind.REPOSITORY_EXTENSIONS, "GET"): (extensions.get_extensions, "pull"),
        (Kind.REPOSITORY_EXTENSIONS, "HEAD"): (extensions.get_extensions, "pull"),
        (Kind.CATALOG, "GET"): (listings.get_catalog, "catalog"),
        (Kind.CATALOG, "HEAD"): (listings.get_catalog, "catalog"),
        (Kind.TAGS, "GET"): (listings.get_tags, "pull"),
        (Kind.TAGS, "HEAD"): (listings.get_tags, "pull"),
        (Kind.REFERRERS, "GET"): (listings.get_referrers, "pull"),
        (Kind.REFERRERS, "HEAD"): (listings.get_referrers, "pull"),
        (Kind.MANIFEST, "GET"): (manifests.get_manifest, "pull"),
        (Kind.MANIFEST, "HEAD"): (manifests.get_manifest, "pull"),
        (Kind.MANIFEST, "PUT"): (manifests.put_manifest, "push"),
        (Kind.MANIFEST, "DELETE"): (manifests.delete_manifest, "delete"),
        (Kind.BLOB, "GET"): (blobs.get_blob, "pull"),
        (Kind.BLOB, "HEAD"): (blobs.get_blob, "pull"),
        (Kind.BLOB, "DELETE"): (blobs.delete_blob, "delete"),
        (Kind.UPLOADS, "POST"): (uploads.post_upload, "push"),
        (Kind.UPLOAD, "GET"): (uploads.get_upload, "push"),
        (Kind.UPLOAD, "HEAD"): (uploads.get_upload, "push"),
        (Kind.UPLOAD, "PATCH"): (uploads.patch_upload, "push"),
        (Kind.UPLOAD, "PUT"): (uploads.put_upload, "push"),
        (Kind.UPLOAD, "DELETE"): (uploads.delete_upload, "push"),
        (Kind.SIMPLE_SIGNATURES, "GET"): (simple_signatures.get_signatures, "pull"),
        (Kind.SIMPLE_SIGNATURES, "PUT"): (simple_signatures.put_signature, "push"),
        (Kind.COUNTERSIGN_KEYS, "GET"): (countersigning.get_keys, "base"),
        (Kind.COUNTERSIGN_CERTIFICATES, "GET"): (countersigning.get_certificates, "base"),
        (Kind.LOG_CHECKPOINT, "GET"): (transparency.get_checkpoint, "base"),
        (Kind.LOG_KEY, "GET"): (transparency.get_key, "base"),
        (Kind.LOG_CONSISTENCY, "GET"): (transparency.get_consistency, "base"),
        (Kind.LOG_INCLUSION, "GET"): (transparency.get_inclusion, "base"),
        (Kind.LOG_ENTRIES, "GET"): (transparency.get_entries, "catalog"),
        (Kind.LOG_OF_TAG, "GET"): (transparency.get_tag_entry, "pull"),
        (Kind.PAGE, "GET"): (pages.serve_page, "open"),
        (Kind.PAGE, "HEAD"): (pages.serve_page, "open"),
        (Kind.PAGE, "POST"): (pages.serve_page, "open"),
        (Kind.TOKEN, "GET"): (tokens.get_token, "open"),
        (Kind.TOKEN, "POST"): (tokens.post_token, "open"),
        (Kind.TOKEN_KEYS, "GET"): (tokens.get_keys, "open"),
    }
)
"""Every verb of the specification, with the right it needs."""

_CACHED_PATH: Final = 512
_CLIENT_GONE: Final = 499


class Dispatcher:
    """Where every request to ``registry`` comes in."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self.drain = Drain()

    async def dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; whatever goes wrong becomes an answer of the specification."""
        self.drain.enter()
        try:
            response = await self._answer(request)
        finally:
            self.drain.leave()
        if self.drain.draining:
            response.force_close()
        return response

    def user_of(self, request: web.BaseRequest) -> str:
        """Who sent a request that was answered, "" for nobody in particular."""
        identity = _identity_of(request)
        return str(identity) if identity is not None and identity.named else ""

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except ApiError as error:
            return _refusal(error)
        except web.RequestPayloadError as error:
            return _refusal(ApiError("BLOB_UPLOAD_INVALID", message=f"malformed body: {error}"))
        except ConnectionError:
            # Nobody is left to read this; the status is for the log.
            return web.Response(status=_CLIENT_GONE)
        except Exception as error:  # noqa: BLE001 -- the last wall: a bug must not leak its text
            self._report(request, error)
            unknown = ApiError("UNKNOWN", detail={"request": request[REQUEST_ID]})
            refusal = refusal_of(error) or unknown
            _forget_frames(error)
            return _refusal(refusal)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        registry = self.registry
        path = request.raw_path.partition("?")[0]
        if trust_paths.concerns(path):
            return await self._trust(request)
        route = _route_often if len(path) < _CACHED_PATH else _route
        handler, target, access = route(path, request.method)
        if registry.barrier is not None and (access.action == "pull" or target.kind is Kind.PAGE):
            # These may be answered from memory, which others' writes make untrue.
            await registry.barrier.passed()
        if access.action == "open":
            self._identify(request)
            return await handler(registry, request, target)
        caller = registry.callers.of(request)
        auditor = registry.auditor
        try:
            grant = request[GRANT] = await registry.authorizer.authorize(caller, access)
            if access.action in ("push", "delete"):
                _check_writable(registry.config, access.action)
            if "Expect" in request.headers:
                await _invite_body(request)
            if registry.proxy is not None:
                handler = registry.proxy.handler(handler, target, access.action)
            response = await handler(registry, request, target)
        except (ApiError, PolicyError) as error:
            refusal = _denial(error) if isinstance(error, PolicyError) else error
            self._identify(request)
            request_id, known = request[REQUEST_ID], _identity_of(request)
            auditor.refused(caller, target, access, refusal, identity=known, request_id=request_id)
            raise refusal from (None if refusal is error else error)
        if registry.events.pulls is not None:
            _note_pull(registry.events.pulls, request, target, response)
        if access.action in auditor.recorded:
            self._identify(request)
            request_id = request[REQUEST_ID]
            auditor.done(caller, target, access, grant, response, request_id=request_id)
        return response

    async def _trust(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to the trust service, whose names begin with a host."""
        registry = self.registry
        if not registry.config.trust.enabled:
            raise ApiError("UNSUPPORTED", status=404, message="trust data is not served here")
        caller = registry.callers.of(request)
        asked: list[Access] = []

        async def authorize(access: Access) -> None:
            asked.append(access)
            request[GRANT] = await registry.authorizer.authorize(caller, access)
            if access.action in ("push", "delete"):
                _check_writable(registry.config, access.action)
            if "Expect" in request.headers:
                await _invite_body(request)

        try:
            response = await registry.trust.handle(request, authorize, hosts=caller.hosts)
        except (ApiError, PolicyError) as error:
            refusal = _denial(error) if isinstance(error, PolicyError) else error
            if asked:
                self._audit_trust(request, caller, asked[0], refusal)
            raise refusal from (None if refusal is error else error)
        if asked and request.method in ("POST", "DELETE"):
            self._audit_trust(request, caller, asked[0], response)
        return response

    def _audit_trust(
        self,
        request: web.BaseRequest,
        caller: Caller,
        access: Access,
        outcome: web.Response | ApiError,
    ) -> None:
        """Write down a change of trust data, one that was not taken, or a refusal."""
        auditor = self.registry.auditor
        self._identify(request)
        request_id = request[REQUEST_ID]
        tail = request.path.rpartition(trust_paths.MARKER)[2].removeprefix("tuf").lstrip("/")
        target = Target(Kind.TRUST, access.repository, tail)
        if isinstance(outcome, ApiError):
            known = _identity_of(request)
            auditor.refused(caller, target, access, outcome, identity=known, request_id=request_id)
        elif access.action in auditor.recorded:
            tell = auditor.done if outcome.status == web.HTTPOk.status_code else auditor.rejected
            tell(caller, target, access, request[GRANT], outcome, request_id=request_id)

    def _identify(self, request: web.BaseRequest) -> None:
        if REQUEST_ID not in request:
            request[REQUEST_ID] = f"{self._prefix}-{next(self._numbers)}"

    def _report(self, request: web.BaseRequest, error: Exception) -> None:
        self._identify(request)
        outage = is_outage(error)
        log.error(
            "%s %s failed: %s",
            request.method,
            request.raw_path,
            _one_line(error) if outage else error,
            # It fails at every request then, and a traceback each would fill the next disk.
            exc_info=None if outage else error,
            extra={"request_id": request[REQUEST_ID]},
        )


def _one_line(error: Exception) -> str:
    """What happened, and what its cause says at first."""
    cause = str(error.__cause__ or "").partition("\n")[0]
    return f"{error}: {cause}" if cause else str(error)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the failed calls held.

    A future keeps the error that it brought, the error its frames, and one of these the future: a
    circle that holds the body of an upload until the collector of cycles finds it, which may be
    hundreds of failures later.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _denial(error: PolicyError) -> ApiError:
    return ApiError("DENIED", message=error.what, detail=error.fix)


def _identity_of(request: web.BaseRequest) -> Identity | None:
    grant = request.get(GRANT)
    return None if grant is None else grant.identity


def _note_pull(
    pulls: Pulls, request: web.BaseRequest, target: Target, response: web.StreamResponse
) -> None:
    """Tell of a manifest that was sent; nothing else is a pull."""
    if target.kind is not Kind.MANIFEST or request.method != "GET" or response.status != 200:
        return
    digest = digest_of(response)
    if digest is not None:
        tag = "" if ":" in target.tail else target.tail
        pulls.note(target.name, tag, digest, manifests.actor_of(request))


def _route(path: str, method: str) -> tuple[Handler, Target, Access]:
    """What a request means, from its first line alone."""
    target = routing.parse(path)
    if target is None:
        raise ApiError("UNSUPPORTED", status=404, message="no such endpoint")
    route = ROUTES.get((target.kind, method))
    if route is None:
        allowed = ", ".join(verb for kind, verb in ROUTES if kind is target.kind)
        raise ApiError("UNSUPPORTED", headers={"Allow": allowed})
    handler, action = route
    return handler, target, Access(action, target.name)


_route_often: Final = lru_cache(maxsize=8192)(_route)


async def _invite_body(request: web.BaseRequest) -> None:
    """Answer ``Expect: 100-continue``, only now that the client may send (RFC 9110, 10.1.1).

    Raises:
        ApiError: 417 for an expectation that nobody knows.
    """
    if request.version < HttpVersion11:
        return  # these clients would take the invitation for the answer
    if request.headers["Expect"].lower() != "100-continue":
        raise ApiError("UNSUPPORTED", status=417, message="only 100-continue may be expected")
    if request.can_read_body:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _check_writable(config: RegistryConfig, action: str) -> None:
    if config.read_only:
        raise ApiError("UNSUPPORTED", message="this registry is read-only")
    if action == "delete" and not config.allow_delete:
        raise ApiError("UNSUPPORTED", message="deletion is switched off")


def _refusal(error: ApiError) -> web.Response:
    headers = {**API_VERSION, "Content-Type": "application/json", **error.headers}
    return web.Response(status=error.status, body=error.body(), headers=headers)
