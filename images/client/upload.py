"""Blobs on their way out: skipped when there, mounted when a neighbour has them, else sent.

OCI distribution specification 1.1, "Pushing blobs": one POST for a session and one PUT with the
bytes, or PATCHes of a fixed size when the user asks for them. What broke off is gone on with where
the registry says that it is, by PATCHes; one that does not say, or kept nothing, gets it anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from images.client import limits
from images.client.auth import scope
from images.client.errors import (
    DeniedError,
    ProtocolError,
    RegistryConnectionError,
    RegistryError,
    RegistryUnavailableError,
    Target,
    TooManyRequestsError,
    UnauthorizedError,
)
from images.client.hosts import given_url
from images.client.progress import LayerState
from images.client.request import Repository, Request
from images.client.threads import in_thread
from records import Record

if TYPE_CHECKING:
    from images.client.transport import Transport
    from images.client.url import Url
    from images.client.wire import Response
    from images.descriptor import Descriptor

_PASSING = (RegistryConnectionError, RegistryUnavailableError, TooManyRequestsError)


def unheard(_current: int) -> None:
    """Nobody wants to know how far an upload is."""


class Upload(Record):
    """One blob to one repository; ``open`` opens its bytes, ``mount_from`` may have it already.

    ``prepare`` is awaited before the bytes are sent, if they have to be.
    """

    repository: Repository
    descriptor: Descriptor
    open: Callable[[], BinaryIO]
    mount_from: str | None = None
    report: Callable[[int], None] = unheard
    prepare: Callable[[], Awaitable[None]] | None = None

    @property
    def target(self) -> Target:
        """The words for errors."""
        subject = f"{self.repository}@{self.descriptor.digest}"
        return Target(self.repository.registry, subject, "upload")

    @property
    def scopes(self) -> frozenset[str]:
        """Rights needed for anything but a mount."""
        return frozenset({scope(self.repository.name, "pull", "push")})


class _Session(Record):
    """An upload session: where to send, the smallest chunk the registry takes, the bytes it has."""

    location: Url
    least_chunk: int = 0
    reached: int = 0


async def exists(transport: Transport, repository: Repository, descriptor: Descriptor) -> bool:
    """Whether the repository has the blob."""
    return await _head(transport, repository, descriptor, scope(repository.name, "pull"))


async def send(transport: Transport, upload: Upload) -> LayerState:
    """Bring the blob there: EXISTS, MOUNTED or DONE says how it was done.

    Raises:
        RegistryError: after the retries.
    """
    # The rights to push at once: one token serves the whole upload.
    (push_scope,) = upload.scopes
    attempt, tried = 1, False
    session: _Session | None = None
    while True:
        if await _head(transport, upload.repository, upload.descriptor, push_scope):
            return LayerState.DONE if tried else LayerState.EXISTS
        if session is None:
            session = await _begin(transport, upload)
            if session is None:
                return LayerState.MOUNTED
            if upload.prepare is not None:
                await upload.prepare()
        try:
            await _transfer(transport, upload, session)
        except RegistryError as error:
            if not isinstance(error, _PASSING) and not session.reached:
                raise
            attempt, tried = await _pause(transport, attempt, error), True
            if not isinstance(error, _PASSING):
                # What the registry said that it has was no good to go on with.
                session = None
                continue
            left = await _left_off(transport, upload, session)
            if left is not None and left.reached - session.reached >= limits.CHUNK:
                # Real progress renews our patience.
                attempt = 1
            session = left
        else:
            return LayerState.DONE


async def _pause(transport: Transport, attempt: int, error: RegistryError) -> int:
    """Wait before the next attempt, whose number is returned; raises ``error`` after the last."""
    effects = transport.effects
    pause = transport.options.retry.wait(attempt, effects.jitter(), error.retry_after)
    if pause is None:
        raise error
    await effects.sleep(pause)
    return attempt + 1


async def _left_off(transport: Transport, upload: Upload, session: _Session) -> _Session | None:
    """Where a session that broke off can be gone on with; None where it has to be begun anew."""
    try:
        location, reached = await _status(transport, upload, session.location)
    except RegistryError:
        return None
    if not 0 < reached <= upload.descriptor.size:
        return None
    return _Session(location, session.least_chunk, reached)


async def _head(
    transport: Transport, repository: Repository, descriptor: Descriptor, right: str
) -> bool:
    request = Request(
        "HEAD",
        repository,
        f"/v2/{repository.name}/blobs/{descriptor.digest}",
        Target(repository.registry, f"{repository}@{descriptor.digest}", "blob"),
        scopes=frozenset({right}),
        expected=frozenset({200, 404}),
    )
    async with transport.send(request) as response:
        length = response.headers.get("Content-Length", "")
        if response.status == 200 and length.isdigit() and int(length) != descriptor.size:
            raise ProtocolError(
                f"the registry holds {length} bytes as {descriptor.digest}, "
                f"which has {descriptor.size}",
                where=str(repository),
                fix="the registry's storage is damaged; ask its operator",
            )
        return response.status == 200


async def _begin(transport: Transport, upload: Upload) -> _Session | None:
    """A session, or None when a mount made it unnecessary."""
    if upload.mount_from is not None:
        try:
            return await _post(transport, upload, upload.mount_from)
        except (UnauthorizedError, DeniedError):
            pass  # no right to read the neighbour, which says nothing of the right to write here
    return await _post(transport, upload, None)


async def _post(transport: Transport, upload: Upload, neighbour: str | None) -> _Session | None:
    path, scopes = f"/v2/{upload.repository.name}/blobs/uploads/", upload.scopes
    expected = frozenset({202})
    if neighbour is not None:
        path += f"?mount={upload.descriptor.digest}&from={neighbour}"
        scopes |= {scope(neighbour, "pull")}
        expected = frozenset({201, 202})
    request = Request(
        "POST", upload.repository, path, upload.target, scopes=scopes, expected=expected
    )
    async with transport.send(request) as response:
        if response.status == 201:
            return None
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        return _Session(_location(response, upload), int(least[:12]) if least.isdigit() else 0)


async def _transfer(transport: Transport, upload: Upload, session: _Session) -> None:
    size = upload.descriptor.size
    chunk = transport.options.chunk_size or size
    if size <= chunk and not session.reached:
        await _finish(transport, upload, session.location, 0, size)
        return
    location = await _send_chunks(transport, upload, session, max(chunk, session.least_chunk))
    await _finish(transport, upload, location, size, 0)


async def _send_chunks(transport: Transport, upload: Upload, session: _Session, chunk: int) -> Url:
    location, offset, attempt = session.location, session.reached, 1
    while offset < upload.descriptor.size:
        length = min(chunk, upload.descriptor.size - offset)
        try:
            location, reached = await _patch(transport, upload, location, offset, length)
        except RegistryError as error:
            if not (isinstance(error, _PASSING) or error.status == 416):
                raise
            attempt = await _pause(transport, attempt, error)
            try:
                location, reached = await _status(transport, upload, location)
            except RegistryError:
                # It forgot the session, as distribution's does; the blob is begun anew.
                raise error from None
            if reached - offset >= limits.CHUNK:
                attempt = 1
        else:
            attempt = 1
            if reached <= offset:
                raise ProtocolError(
                    "the registry takes chunks and keeps nothing", where=upload.target.subject
                )
        if reached > upload.descriptor.size:
            raise ProtocolError(
                "the registry claims more than was sent", where=upload.target.subject
            )
        offset = reached
    return location


async def _patch(
    transport: Transport, upload: Upload, location: Url, offset: int, length: int
) -> tuple[Url, int]:
    request = Request(
        "PATCH",
        upload.repository,
        location,
        upload.target,
        scopes=upload.scopes,
        expected=frozenset({202}),
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + length - 1}",
        },
        body=lambda: _body(bodies, upload, offset, length),
        length=length,
        replay=False,
    )
    with ExitStack() as bodies:
        async with transport.send(request) as response:
            return _location(response, upload), _reached(response, offset + length)


async def _status(transport: Transport, upload: Upload, location: Url) -> tuple[Url, int]:
    """Where to go on, and from which byte.

    A registry may not know yet that the request which broke off has ended, and answer 409 as long
    as it holds the session; that is waited for.
    """
    request = Request(
        "GET", upload.repository, location, upload.target,
        scopes=upload.scopes, expected=frozenset({204}),
    )  # fmt: skip
    attempt = 1
    while True:
        try:
            async with transport.send(request) as response:
                return _location(response, upload, fallback=location), _reached(response, 0)
        except RegistryError as error:
            if error.status != 409:
                raise
            attempt = await _pause(transport, attempt, error)


async def _finish(
    transport: Transport, upload: Upload, location: Url, offset: int, length: int
) -> None:
    request = Request(
        "PUT",
        upload.repository,
        location.with_query([("digest", str(upload.descriptor.digest))]),
        upload.target,
        scopes=upload.scopes,
        expected=frozenset({201, 204}),
        headers={"Content-Type": "application/octet-stream"},
        body=(lambda: _body(bodies, upload, offset, length)) if length else lambda: b"",
        length=length,
        replay=False,
    )
    with ExitStack() as bodies:
        async with transport.send(request):
            pass


class _Body:
    """``length`` bytes of the blob from ``offset`` on, read in threads, for one attempt.

    A registry that answers early leaves the body half read, even in the middle of a read, so
    whoever made it closes it. A read under way then closes the file when it is done: waiting for it
    could be cancelled.
    """

    def __init__(self, upload: Upload, offset: int, length: int) -> None:
        self._upload = upload
        self._offset = offset
        self._end = offset + length
        self._file: BinaryIO | None = None
        self._reading = False
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        self._reading = True
        try:
            data = await in_thread(self._next)
        finally:
            self._reading = False
            self._release()
        if not data:
            raise StopAsyncIteration
        self._offset += len(data)
        self._upload.report(self._offset)
        return data

    def close(self) -> None:
        """Close the file; what is asked for afterwards is the end."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        if self._closed and self._file is not None and not self._reading:
            self._file.close()

    def _next(self) -> bytes:
        wanted = min(limits.CHUNK, self._end - self._offset)
        if wanted <= 0:
            return b""
        if self._file is None:
            self._file = self._upload.open()
            self._file.seek(self._offset)
        data = self._file.read(wanted)
        if self._closed:
            # An event loop that ends does not wait for this thread, so nobody else will.
            self._file.close()
        return data


def _body(stack: ExitStack, upload: Upload, offset: int, length: int) -> _Body:
    """A body that ``stack`` closes."""
    body = _Body(upload, offset, length)
    stack.callback(body.close)
    return body


def _location(response: Response, upload: Upload, *, fallback: Url | None = None) -> Url:
    location = response.headers.get("Location")
    if location is None and fallback is not None:
        return fallback
    if location is None:
        raise ProtocolError(
            "the registry opened an upload without a Location", where=upload.target.subject
        )
    # The query often holds a signed state, so not one byte of it may be normalised.
    return given_url(response.url, location, what="an upload location")


def _reached(response: Response, default: int) -> int:
    """The number of bytes the session holds, from ``Range: 0-<last>``; 0-0 is an empty session."""
    last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")[2]
    if not last.isdigit():
        return default
    return int(last) + 1 if int(last) else 0
