"""One HTTP exchange with a registry: scheme, TLS, proxy, authorization, redirects and retries.

Nothing above this module sees a 401, a redirect or a broken connection that passed by itself, and
nothing in it reads a body beyond the limit it is given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from images.client import limits
from images.client.auth import Authenticator
from images.client.errors import (
    HostUnknownError,
    ProtocolError,
    RegistryConnectionError,
    RegistryError,
    TlsError,
    error_from_response,
)
from images.client.faults import connection_error, is_final
from images.client.hosts import Endpoint, check_hop, endpoint, given_url, same_origin
from images.client.proxy import proxy_for
from images.client.request import Answer, Repository, Request, read_limited
from images.client.retry import RETRYABLE, Effects, retry_after
from images.client.threads import to_thread
from images.client.tls import certificate_directory, context, has_roots
from images.client.url import Url
from images.client.wire import WireError
from records import replace

if TYPE_CHECKING:
    import ssl

    from images.client.options import ClientOptions
    from images.client.threads import Lock
    from images.client.wire import Data, Response, Wire
    from images.credentials import Credentials

    Body = Callable[[], bytes | AsyncIterator[bytes]]

_T = TypeVar("_T")

AUTH_ROUNDS = 3
"""Most 401 answers to one request."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODY_KEEPING = frozenset({307, 308})


class CredentialSource(Protocol):
    """Where credentials come from; may run a helper program, so it is called in a thread."""

    def get(self, registry: str, repository: str = "") -> Credentials | None:
        """The credentials for one registry, or None."""


class _Origin:
    """What is known of one registry: how to reach it, and who we are to its repositories."""

    def __init__(self, endpoint: Endpoint, lock: Lock) -> None:
        self.endpoint = endpoint
        self.lock = lock
        self.authenticators: dict[tuple[str, bool], Authenticator] = {}
        self.scheme: str | None = None


class Transport:
    """Sends requests; one per client, used by parallel tasks of one event loop.

    With a ``wire`` of its own kind, by parallel threads without one.
    """

    def __init__(
        self,
        credentials: CredentialSource | None,
        options: ClientOptions,
        effects: Effects,
        *,
        offline: bool = False,
        wire: Wire | None = None,
    ) -> None:
        """``wire`` is for whom has no event loop; it is closed with the transport."""
        if wire is None:
            from images.client.aiohttp_wire import AiohttpWire

            wire = AiohttpWire(options)
        self._offline = offline
        self._wire = wire
        self.options = options
        self.effects = effects
        self._credentials = credentials
        self._origins: dict[str, _Origin] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._reached: set[str] = set()
        self._absent: set[str] = set()
        self._lock = wire.lock()

    def with_credentials(self, credentials: CredentialSource) -> Transport:
        """One on the same connections that asks token servers for a refresh token to be kept."""
        return Transport(credentials, self.options, self.effects, offline=True, wire=self._wire)

    async def close(self) -> None:
        """Close all connections."""
        await self._wire.close()

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Send until an expected status arrives; the response is open inside the block.

        Raises:
            RegistryError: of the class that says what went wrong, after the retries.
        """
        response = await self._persist(request, _as_it_is)
        try:
            yield response
        finally:
            response.release()

    async def fetch(self, request: Request, limit: int) -> Answer:
        """Send and read at most ``limit`` bytes of body, again if it breaks; raises as ``send``."""

        async def read(response: Response) -> Answer:
            async with response:
                return Answer(response.url, response.headers, await read_limited(response, limit))

        return await self._persist(request, read)

    async def exchange(
        self, method: str, url: Url, *, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        """Talk to a token server (``auth.TokenTransport``); transient failures are retried."""
        attempt = 1
        while True:
            asked = None
            try:
                async with await self._open(method, url, headers, data=form) as response:
                    if response.status not in RETRYABLE:
                        return response.status, await read_limited(response, limits.TOKEN)
                    asked = retry_after(response.headers.get("Retry-After"), self.effects.wall())
                    answer = response.status, await read_limited(response, limits.ERROR_BODY)
            except WireError as error:
                pause = self._pause(attempt, asked)
                if pause is None or is_final(error, reached=True):
                    raise connection_error(error, url.host, "token server") from error
            else:
                pause = self._pause(attempt, asked)
                if pause is None:
                    return answer
            await self.effects.sleep(pause)
            attempt += 1

    def _pause(self, attempt: int, asked: float | None) -> float | None:
        return self.options.retry.wait(attempt, self.effects.jitter(), asked)

    async def _persist(self, request: Request, read: Callable[[Response], Awaitable[_T]]) -> _T:
        """Send and ``read``: by each mirror once, at the registry itself with patience."""
        if request.method not in ("GET", "HEAD"):
            return await self._repeat(request, read)
        *mirrored, own = self.options.registries.ways(request)
        tried: list[str] = []
        for way in mirrored:
            if way.repository.registry in self._absent:
                continue
            try:
                return await self._repeat(way, read, patient=False)
            except RegistryError as error:
                tried.append(f"{way.repository}: {error.what}")
                if isinstance(error, HostUnknownError | RegistryConnectionError | TlsError):
                    # It is not waited for again, at each of the many requests of a pull.
                    self._absent.add(way.repository.registry)
        try:
            return await self._repeat(own, read)
        except RegistryError as error:
            if tried:
                error.fix = "; ".join(
                    [*filter(None, [error.fix]), *(f"mirror {it}" for it in tried)]
                )
            raise

    async def _repeat(
        self,
        request: Request,
        read: Callable[[Response], Awaitable[_T]],
        *,
        patient: bool = True,
    ) -> _T:
        """Send and ``read``; ``patient`` repeats it over failures that pass by themselves."""
        attempt = 1
        while True:
            asked: float | None = None
            try:
                response = await self._authorized(request)
                self._reached.add(request.repository.registry)
                if response.status in request.expected:
                    return await read(response)
            except WireError as error:
                failure: RegistryError = connection_error(
                    error, request.repository.registry, request.target.subject
                )
                cause: BaseException | None = error
                transient = not is_final(
                    error, reached=request.repository.registry in self._reached
                )
            else:
                asked = retry_after(response.headers.get("Retry-After"), self.effects.wall())
                transient, cause = response.status in RETRYABLE, None
                failure = await self._failure(request, response, asked)
            again = transient and patient and request.replay
            pause = self._pause(attempt, asked) if again else None
            if pause is None:
                raise failure from cause
            await self.effects.sleep(pause)
            attempt += 1

    async def _failure(
        self, request: Request, response: Response, asked: float | None
    ) -> RegistryError:
        try:
            body = await read_limited(response, limits.ERROR_BODY)
        except (WireError, ProtocolError):
            body = b""  # the status alone says enough
        finally:
            response.release()
        origin = await self._origin(request.repository.registry)
        known = (await self._authenticator(origin, request)).credentials is not None
        return error_from_response(
            request.target, response.status, body, credentials_sent=known, retry_after=asked
        )

    async def _authorized(self, request: Request) -> Response:
        """Send once per authorization that seems worth trying."""
        origin = await self._origin(request.repository.registry)
        authenticator = await self._authenticator(origin, request)
        for round_ in range(1, AUTH_ROUNDS + 1):
            sent = await authenticator.header(request.scopes)
            response = await self._hops(origin, request, sent)
            # Only the registry itself may ask for its credentials, not a host it redirects to.
            if response.status != 401 or not same_origin(response.url, _base(origin)):
                return response
            from images.client.challenge import parse_challenges

            challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            try:
                again = authenticator.challenged(
                    response.url, challenges, request.scopes, sent=sent, round_=round_
                )
            except BaseException:
                response.release()
                raise
            if not again or round_ == AUTH_ROUNDS:
                return response
            response.release()
        raise AssertionError("the last round returns")

    async def _probe(self, where: Endpoint) -> str:
        """The first scheme that is answered in kind; plain HTTP when none of several is."""
        if len(where.schemes) == 1:
            return where.schemes[0]
        for scheme in where.schemes:
            try:
                url = Url.read(f"{scheme}://{where.host}/v2/")
                async with await self._open("GET", url, {}) as response:
                    if scheme == "https" or not _asks_for_tls(response.status):
                        return scheme
            except WireError:
                continue
        return "http"

    async def _hops(self, origin: _Origin, request: Request, authorization: str | None) -> Response:
        """Send along redirects; authorization and registry headers stay with the first origin."""
        base = _base(origin)
        url = self._locate(base, request)
        method, body = request.method, request.body
        for _ in range(limits.REDIRECTS):
            headers = dict(request.headers)
            at_home = same_origin(url, base)
            if authorization is not None and at_home:
                headers["Authorization"] = authorization
            data = body() if body is not None else None
            if body is not None:
                headers["Content-Length"] = str(request.length)
            response = await self._open(method, url, headers, data=data)
            location = response.headers.get("Location")
            if (
                response.status not in _REDIRECTS
                or location is None
                or response.status in request.expected
            ):
                return response
            response.release()
            if method not in ("GET", "HEAD") and response.status not in _BODY_KEEPING:
                raise ProtocolError(
                    f"{method} was answered by a redirect", where=request.target.subject
                )
            target = given_url(url, location, what="a redirect")
            check_hop(url, target, what="a redirect")
            url = target
        raise ProtocolError(f"more than {limits.REDIRECTS} redirects", where=request.target.subject)

    def _locate(self, base: Url, request: Request) -> Url:
        if isinstance(request.path, str):
            return replace(base, target=request.path)
        url = request.path
        if url.scheme == "http" and base.scheme == "https" and url.host == base.host:
            # A registry behind a TLS proxy often does not know that it is.
            return replace(url, scheme="https", port=base.port)
        check_hop(base, url, what="an address given by the registry")
        return url

    async def _origin(self, registry: str) -> _Origin:
        """The registry's origin, with the scheme it turned out to speak."""
        async with self._lock:
            origin = self._origins.get(registry)
            if origin is None:
                directories = self.options.directories()
                directory = await to_thread(certificate_directory, registry, directories)
                own_ca = await to_thread(has_roots, directory)
                where = endpoint(registry, insecure=self.options.insecure, has_own_ca=own_ca)
                origin = self._origins[registry] = _Origin(where, self._wire.lock())
        async with origin.lock:
            if origin.scheme is None:
                origin.scheme = await self._probe(origin.endpoint)
        return origin

    async def _authenticator(self, origin: _Origin, request: Request) -> Authenticator:
        repository = request.repository
        key = (repository.name, request.anonymous)
        async with origin.lock:
            if key not in origin.authenticators:
                credentials = None
                if self._credentials is not None and not request.anonymous:
                    credentials = await to_thread(
                        self._credentials.get, repository.registry, repository.name
                    )
                origin.authenticators[key] = Authenticator(
                    repository.registry,
                    credentials,
                    self,
                    self.effects,
                    self._wire.lock(),
                    offline=self._offline,
                    realms=self.options.realms,
                )
            return origin.authenticators[key]

    async def refresh_token(self, repository: Repository) -> str | None:
        """The refresh token that a token server handed out for ``repository``, if one did."""
        origin = await self._origin(repository.registry)
        authenticator = origin.authenticators.get((repository.name, False))
        return authenticator.refresh_token if authenticator is not None else None

    async def base_url(self, registry: str) -> Url:
        """The root URL under which the registry answers."""
        return _base(await self._origin(registry))

    async def _open(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        *,
        data: Data = None,
    ) -> Response:
        """One request on the wire, no redirect followed, body not read."""
        proxy = proxy_for(url.scheme, url.host, url.port, self.options.environ)
        return await self._wire.open(
            method,
            url,
            {"Accept-Encoding": "identity", **headers},
            data=data,
            tls=await self._tls(url) if url.scheme == "https" else None,
            proxy=proxy,
        )

    async def _tls(self, url: Url) -> ssl.SSLContext:
        host = url.authority
        if host not in self._contexts:
            self._contexts[host] = await to_thread(self._make_context, host)
        return self._contexts[host]

    def _make_context(self, host: str) -> ssl.SSLContext:
        """The TLS settings of one host, be it a registry, a token server or a storage node."""
        directory = certificate_directory(host, self.options.directories())
        own_ca = has_roots(directory)
        lenient = endpoint(host, insecure=self.options.insecure, has_own_ca=own_ca)
        return context(directory, verify=lenient.verify)


def _base(origin: _Origin) -> Url:
    return Url.read(f"{origin.scheme}://{origin.endpoint.host}/")


def _asks_for_tls(status: int) -> bool:
    """Whether a server of TLS may say that to plain HTTP: Go's and nginx's do."""
    return status == 400 or status in _REDIRECTS


async def _as_it_is(response: Response) -> Response:
    return response
