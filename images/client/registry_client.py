"""``RegistryClient``: everything lading asks of a registry, behind one object.

One client serves one event loop; it holds connections, tokens and what it learned of each registry,
and is closed by ``async with``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, BinaryIO, Self

from images.client import limits, manifests
from images.client.auth import scope
from images.client.download import BlobRequest, into_store, verified
from images.client.errors import ManifestUnknownError, Target
from images.client.options import ClientOptions
from images.client.progress import ProgressSink, ignore
from images.client.push import PushRequest, PushStore, push, unknown
from images.client.request import Repository, Request
from images.client.retry import Effects
from images.client.transport import CredentialSource, Transport
from images.client.upload import Upload, exists, send, unheard
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import SizeLimitError
from images.mediatype import OCTET_STREAM

if TYPE_CHECKING:
    from types import TracebackType

    from images.blobs import BlobStore
    from images.client.progress import LayerState
    from images.client.pull import PullStore, Verify
    from images.client.request import Unchanged
    from images.client.wire import Wire
    from images.credentials import Credentials
    from images.platform import Platform
    from images.reference import Reference


class RegistryClient:
    """An asynchronous client of any number of registries.

    ``credentials`` is usually a ``CredentialStore``; None stays anonymous. All methods raise
    ``images.client.errors.RegistryError`` subclasses for what registries do, after the retries.

    With a ``PlainWire`` as its ``wire`` it needs no event loop: ``scope.run`` carries its methods
    out, in as many threads as one likes.
    """

    def __init__(
        self,
        credentials: CredentialSource | None = None,
        options: ClientOptions | None = None,
        *,
        effects: Effects | None = None,
        wire: Wire | None = None,
    ) -> None:
        self._transport = Transport(
            credentials, options or ClientOptions(), effects or Effects(), wire=wire
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def login(self, registry: str, credentials: Credentials) -> Credentials:
        """Prove ``credentials`` to ``registry``; returns what to store, perhaps an identity token.

        Raises:
            UnauthorizedError: they are refused.
        """
        from images.client.login import login

        return await login(self._transport, registry, credentials)

    async def get(self, repository: Repository, path: str, *, what: str, limit: int) -> bytes:
        """A small document beside the specification's own, at ``path`` of the registry.

        ``what`` names it in errors; with a repository's name, the right to pull it is asked for.
        """
        scopes = frozenset({scope(repository.name, "pull")}) if repository.name else frozenset()
        target = Target(repository.registry, what)
        request = Request("GET", repository, path, target, scopes=scopes)
        return (await self._transport.fetch(request, limit)).body

    async def put(self, repository: Repository, path: str, document: bytes, *, what: str) -> None:
        """Send a small JSON document to ``path``, for which the right to push is asked for."""
        request = Request(
            "PUT",
            repository,
            path,
            Target(repository.registry, what),
            scopes=frozenset({scope(repository.name, "pull", "push")}),
            expected=frozenset({200, 201, 204}),
            headers={"Content-Type": "application/json"},
            body=lambda: document,
            length=len(document),
        )
        async with self._transport.send(request):
            return

    async def resolve(self, reference: Reference) -> Descriptor:
        """What a name points to, without fetching it."""
        return await manifests.resolve(self._transport, reference)

    async def manifest(self, reference: Reference) -> tuple[bytes, str]:
        """A manifest's verified raw bytes and its media type."""
        fetched = await manifests.fetch(self._transport, reference)
        return fetched.raw, fetched.document.media_type

    async def read_manifest(self, reference: Reference) -> manifests.Fetched:
        """A manifest, parsed, with the condition to replace it under."""
        return await manifests.fetch(self._transport, reference)

    async def manifest_exists(self, reference: Reference) -> bool:
        """Whether the registry has it and lets us see it."""
        try:
            await manifests.resolve(self._transport, reference)
        except ManifestUnknownError:
            return False
        return True

    async def blob(self, reference: Reference, descriptor: Descriptor) -> AsyncIterator[bytes]:
        """A blob's bytes; only when the iteration ends without an error are they verified."""
        wanted = BlobRequest(manifests.repository_of(reference), descriptor)
        async for chunk in verified(self._transport, wanted):
            yield chunk

    async def read_blob(
        self, reference: Reference, descriptor: Descriptor, *, limit: int = limits.CONFIG
    ) -> bytes:
        """A whole small blob, verified.

        Raises:
            SizeLimitError: the descriptor promises more than ``limit`` bytes.
        """
        if descriptor.size > limit:
            raise SizeLimitError(
                f"{descriptor.size} bytes are over the limit of {limit}",
                where=f"{reference.name}@{descriptor.digest}",
            )
        return b"".join([chunk async for chunk in self.blob(reference, descriptor)])

    async def blob_exists(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Whether the reference's repository has the blob."""
        return await exists(self._transport, manifests.repository_of(reference), descriptor)

    async def pull(
        self,
        reference: Reference,
        store: PullStore,
        *,
        platform: Platform | None = None,
        all_platforms: bool = False,
        verify: Verify | None = None,
        progress: ProgressSink = ignore,
    ) -> Descriptor:
        """Bring an image into ``store``; returns what the name points to.

        Of an index only ``platform`` (this machine's when None) is fetched, or all of them, and the
        index is kept. ``verify`` is called with the resolved digest before any layer is fetched and
        raises to refuse; it may block, or be a coroutine function.
        """
        from images.client.pull import PullRequest, pull

        request = PullRequest(reference, platform, all_platforms, verify)
        return await pull(self._transport, request, store, progress)

    async def push(
        self,
        reference: Reference,
        store: PushStore,
        descriptor: Descriptor,
        *,
        platform: Platform | None = None,
        there: Callable[[Digest], bool] = unknown,
        whole: bool = True,
        progress: ProgressSink = ignore,
    ) -> Descriptor:
        """Send what ``descriptor`` points to under ``reference``; returns what is there now.

        ``there`` knows blobs that the repository has, which it is not asked for. Without ``whole``
        its manifest is left to ``put_manifest``.
        """
        request = PushRequest(reference, descriptor, platform, there, whole)
        return await push(self._transport, request, store, progress)

    async def copy(
        self, source: Reference, target: Reference, *, progress: ProgressSink = ignore
    ) -> Descriptor:
        """Bring what ``source`` names to the repository of ``target``, and give it the tag of that.

        Blobs are mounted within a registry, and sent from one to another; what is there stays.
        """
        from images.client.copying import CopyJob

        return await CopyJob(self._transport, source, target, progress).run()

    async def put_manifest(
        self,
        reference: Reference,
        raw: bytes,
        media_type: str,
        *,
        condition: Unchanged | None = None,
    ) -> Descriptor:
        """Upload a manifest whose content is there; one with a subject becomes a referrer.

        Raises:
            TagMovedError: the ``condition`` does not hold; nothing was written.
        """
        return await manifests.put(self._transport, reference, raw, media_type, condition=condition)

    async def delete_manifest(self, reference: Reference, *, subject: Digest | None = None) -> None:
        """Delete a manifest by digest, or a tag; with its ``subject``, also as a referrer.

        Raises:
            DeletionRefusedError: the registry does not allow it.
        """
        await manifests.delete(self._transport, reference, subject=subject)

    async def put_blob(
        self, reference: Reference, data: bytes, media_type: str = OCTET_STREAM
    ) -> Descriptor:
        """Upload a small blob from memory, unless it is there."""
        import io

        descriptor = Descriptor(media_type, Digest.of(data), len(data))
        repository = manifests.repository_of(reference)
        await send(self._transport, Upload(repository, descriptor, open=lambda: io.BytesIO(data)))
        return descriptor

    async def fetch_blob(
        self, reference: Reference, descriptor: Descriptor, blobs: BlobStore
    ) -> None:
        """Bring one blob of the reference's repository into a store, verified."""
        wanted = BlobRequest(manifests.repository_of(reference), descriptor)
        await into_store(self._transport, wanted, blobs)

    async def send_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open: Callable[[], BinaryIO],
        *,
        mount_from: str | None = None,
        report: Callable[[int], None] = unheard,
    ) -> LayerState:
        """Bring one blob to the reference's repository: EXISTS, MOUNTED or DONE says how.

        ``open`` is called when its bytes are needed, in a thread. ``mount_from`` is a repository of
        the same registry that may have it. ``report`` hears the bytes that were sent so far.
        """
        repository = manifests.repository_of(reference)
        upload = Upload(repository, descriptor, open=open, mount_from=mount_from, report=report)
        return await send(self._transport, upload)

    async def tags(self, reference: Reference) -> list[str]:
        """All tags of the reference's repository."""
        return await manifests.tags(self._transport, reference)

    async def referrers(
        self, reference: Reference, subject: Digest, *, artifact_type: str = ""
    ) -> list[Descriptor]:
        """What points to ``subject`` in the reference's repository, by API or by fallback tag."""
        return await manifests.referrers(
            self._transport, reference, subject, artifact_type=artifact_type
        )
