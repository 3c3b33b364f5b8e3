"""Blobs on their way in: bounded by the promised size, resumed after interruptions, then verified.

What ``stream`` yields is not verified until it ends without an error; ``verified`` and the blob
writer do the hashing, across interruptions, so a resumed blob is hashed once like any other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from images.client import limits
from images.client.auth import scope
from images.client.errors import (
    ForeignLayerError,
    ProtocolError,
    RegistryConnectionError,
    RemoteBlobUnknownError,
    Target,
)
from images.client.hosts import check_hop, given_url
from images.client.request import Repository, Request
from images.client.threads import in_thread, to_thread
from images.client.wire import WireError
from images.digest import Digest
from images.errors import DigestMismatchError
from records import Record, replace

if TYPE_CHECKING:
    from images.blobs import BlobStore, BlobWriter
    from images.client.transport import Transport
    from images.client.wire import Response
    from images.descriptor import Descriptor


class BlobRequest(Record):
    """One blob of one repository.

    ``report`` hears the bytes so far, ``retrying`` the same at each interruption, ``verifying``
    that all bytes are here.
    """

    repository: Repository
    descriptor: Descriptor
    report: Callable[[int], None] = lambda _current: None
    retrying: Callable[[int], None] = lambda _current: None
    verifying: Callable[[], None] = lambda: None


async def stream(transport: Transport, wanted: BlobRequest) -> AsyncGenerator[bytes]:
    """Yield exactly ``descriptor.size`` bytes, continuing by Range where a connection broke.

    Raises:
        RemoteBlobUnknownError: the registry has no such blob. ForeignLayerError: it never had.
        ProtocolError: more bytes than promised, or a range that was not asked for.
        RegistryConnectionError: it kept breaking.
    """
    size, received, attempt, milestone = wanted.descriptor.size, 0, 1, 0
    source = _registry_request(wanted)
    while True:
        failure: BaseException | None = None
        try:
            async with aclosing(_body(transport, source, wanted.descriptor, received)) as chunks:
                async for chunk in chunks:
                    received += len(chunk)
                    yield chunk
        except RemoteBlobUnknownError as error:
            if source.anonymous or not wanted.descriptor.urls:
                raise
            source = await _foreign_request(transport, wanted, error)
            continue
        except WireError as error:
            failure = error
        if received == size:
            return
        if received - milestone >= limits.CHUNK:
            # Real progress renews our patience; a server that drips bytes does not.
            attempt, milestone = 1, received
        pause = transport.options.retry.wait(attempt, transport.effects.jitter(), None)
        if pause is None:
            raise RegistryConnectionError(
                f"{wanted.descriptor.digest} broke off after {received} of {size} bytes",
                where=str(wanted.repository),
                fix="try again",
            ) from failure
        wanted.retrying(received)
        await transport.effects.sleep(pause)
        attempt += 1


async def verified(transport: Transport, wanted: BlobRequest) -> AsyncGenerator[bytes]:
    """As ``stream``, but fails at the end with ``DigestMismatchError`` when the hash is another."""
    hasher = wanted.descriptor.digest.hasher()
    async with aclosing(stream(transport, wanted)) as chunks:
        async for chunk in chunks:
            if len(chunk) >= limits.CHUNK // 4:
                await to_thread(hasher.update, chunk)
            else:
                hasher.update(chunk)
            yield chunk
    digest = Digest.from_hash(hasher)
    if digest != wanted.descriptor.digest:
        raise DigestMismatchError(
            f"the blob hashes to {digest}",
            where=f"{wanted.repository}@{wanted.descriptor.digest}",
            fix="the registry or something before it is damaged or lying; do not use what was read",
        )


async def into_store(transport: Transport, wanted: BlobRequest, blobs: BlobStore) -> None:
    """Download into the blob store; nothing is visible there before all of it is verified."""
    descriptor = wanted.descriptor
    writer = await in_thread(
        lambda: blobs.writer(expected=descriptor.digest, size=descriptor.size),
        undo=lambda unused: unused.discard(),
    )
    try:
        await _fill(transport, wanted, writer)
        wanted.verifying()
        await _commit(wanted, writer)
    finally:
        await in_thread(writer.discard)


async def _commit(wanted: BlobRequest, writer: BlobWriter) -> None:
    try:
        await in_thread(writer.commit)
    except DigestMismatchError as error:
        raise DigestMismatchError(
            f"{wanted.descriptor.digest} was asked for and other content came: {error.what}",
            where=str(wanted.repository),
            fix="the registry or something before it is damaged or lying; nothing was kept",
        ) from error


async def _fill(transport: Transport, wanted: BlobRequest, writer: BlobWriter) -> None:
    """Write what arrives, in pieces worth a thread's while."""
    received, pending = 0, bytearray()
    async with aclosing(stream(transport, wanted)) as chunks:
        async for chunk in chunks:
            received += len(chunk)
            pending += chunk
            if len(pending) >= limits.CHUNK:
                await in_thread(partial(writer.write, pending))
                pending = bytearray()
                wanted.report(received)
    await in_thread(partial(writer.write, pending))


def _registry_request(wanted: BlobRequest) -> Request:
    repository = wanted.repository
    return Request(
        "GET",
        repository,
        f"/v2/{repository.name}/blobs/{wanted.descriptor.digest}",
        Target(repository.registry, f"{repository}@{wanted.descriptor.digest}", "blob"),
        scopes=frozenset({scope(repository.name, "pull")}),
        expected=frozenset({200, 206}),
    )


async def _foreign_request(
    transport: Transport, wanted: BlobRequest, missing: RemoteBlobUnknownError
) -> Request:
    """Ask the layer's first URL instead, without credentials (CVE-2020-15157)."""
    if not transport.options.follow_foreign_urls:
        raise ForeignLayerError(
            f"the layer {wanted.descriptor.digest} is kept outside the registry, "
            f"at {wanted.descriptor.urls[0]}",
            where=str(wanted.repository),
            fix="allow foreign layer URLs if you trust the author, or use another image",
        ) from missing
    base = await transport.base_url(wanted.repository.registry)
    url = given_url(base, wanted.descriptor.urls[0], what="a foreign layer's URL")
    check_hop(base, url, what="a foreign layer's URL")
    host = url.authority
    return Request(
        "GET",
        Repository(host),
        url,
        Target(host, str(wanted.descriptor.digest), "blob"),
        expected=frozenset({200, 206}),
        anonymous=True,
    )


async def _body(
    transport: Transport, source: Request, descriptor: Descriptor, start: int
) -> AsyncGenerator[bytes]:
    """The bytes from ``start`` on, of one connection; ends early when that one ends early."""
    request = replace(source, headers={"Range": f"bytes={start}-"} if start else {})
    async with transport.send(request) as response:
        skip = _offset_to_skip(response, descriptor, start)
        position = start - skip
        async for chunk in response.chunks():
            position += len(chunk)
            if position > descriptor.size:
                raise ProtocolError(
                    f"more than the promised {descriptor.size} bytes came for {descriptor.digest}",
                    where=request.target.registry,
                    fix="the registry or something before it is damaged or lying; nothing was kept",
                )
            dropped = min(skip, len(chunk))
            skip -= dropped
            if len(chunk) > dropped:
                yield chunk[dropped:]


def _offset_to_skip(response: Response, descriptor: Descriptor, start: int) -> int:
    """How many bytes come again, because the server ignored the range; checks what is announced."""
    if response.status == 200:
        length = response.content_length
        if length is not None and length != descriptor.size:
            raise DigestMismatchError(
                f"{length} bytes offered for {descriptor.digest}, {descriptor.size} promised",
                where=response.url.host,
                fix="the registry or something before it is damaged or lying; nothing was kept",
            )
        return start
    stated = response.headers.get("Content-Range", "")
    if start == 0 or stated.partition("-")[0] != f"bytes {start}":
        raise ProtocolError(
            f"asked for bytes from {start} on, got {stated or 'no range'}", where=response.url.host
        )
    return 0
