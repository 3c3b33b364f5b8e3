"""Is it signed as a policy asks? Judged before anything of an image is visible here.

The signatures are staged in a store of their own that nobody serves, and read as the pull gate
reads them: cosign's tags, sigstore bundles and notation's envelopes. OpenPGP signatures and Notary
data are not fetched, so what a policy wants them for is refused. A policy judges the name that the
other registry has for the image, since that is what was signed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

from images.client import manifests as upstream_manifests
from images.client.download import BlobRequest, verified
from images.client.errors import ManifestUnknownError
from images.client.threads import in_thread
from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCTET_STREAM
from registry.gate.policies import LoadedPolicy
from registry.gate.signatures import StoredSignatures
from registry.index import SqliteIndex
from registry.manifests import examine
from registry.proxy.upstream import Upstream
from registry.storage import FileStorage
from trust import bundle, cosign
from trust.notation import referrer
from trust.signature import MAX_SIGNATURES
from trust.verify import verify

_BLOB_LIMIT: Final = 4 << 20
"""Larger content of a signature's manifest is not fetched, which makes it damaged."""

_TYPES: Final = frozenset({bundle.BUNDLE, referrer.ARTIFACT})


class SignatureJudge:
    """Judges images of one upstream by one policy."""

    def __init__(
        self,
        loaded: LoadedPolicy,
        upstream: Upstream,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._loaded = loaded
        self._upstream = upstream
        self._clock = clock

    async def check(self, name: str, tag: str, digest: Digest) -> None:
        """Return if the repository called ``name`` may have ``digest`` as ``tag``.

        Raises:
            VerificationError: it may not. RegistryError of the client: nobody could tell.
        """
        folder = await in_thread(partial(mkdtemp, prefix="lading-mirror-"), undo=rmtree)
        try:
            index, storage = await in_thread(partial(_open, Path(folder)))
            try:
                await self._stage(index, storage, name, digest)
                await in_thread(partial(self._judge, index, storage, name, tag, digest))
            finally:
                await in_thread(index.close)
        finally:
            await in_thread(partial(rmtree, folder))

    async def _stage(
        self, index: SqliteIndex, storage: FileStorage, name: str, digest: Digest
    ) -> None:
        transport = self._upstream.transport
        place = self._upstream.reference(name, digest)
        attached = [
            item
            for item in await upstream_manifests.referrers(transport, place, digest)
            if item.artifact_type in _TYPES
        ]
        # One more than counts is enough to find that there are too many.
        for item in attached[: MAX_SIGNATURES + 1]:
            await self._take(index, storage, name, item.digest)
        if digest.algorithm == "sha256":
            try:
                await self._take(index, storage, name, cosign.signature_tag(digest))
            except ManifestUnknownError:
                return

    async def _take(
        self, index: SqliteIndex, storage: FileStorage, name: str, reference: Digest | str
    ) -> None:
        transport = self._upstream.transport
        fetched = await upstream_manifests.fetch(
            transport, self._upstream.reference(name, reference)
        )
        digest = fetched.descriptor.digest
        row = examine(fetched.raw, fetched.descriptor.media_type, digest)
        await in_thread(partial(storage.put, fetched.raw, digest))
        for text, size in row.blobs[: MAX_SIGNATURES + 1]:
            if size <= _BLOB_LIMIT:
                data = await self._read(name, Descriptor(OCTET_STREAM, Digest.parse(text), size))
                await in_thread(partial(storage.put, data, Digest.parse(text)))
                link = partial(index.link_blob, name, text, size)
                await in_thread(partial(index.write, name, link))
        tags = (reference,) if isinstance(reference, str) else ()
        put = partial(index.put_manifest, name, row, tags, sparse=True)
        await in_thread(partial(index.write, name, put))

    async def _read(self, name: str, descriptor: Descriptor) -> bytes:
        wanted = BlobRequest(self._upstream.repository(name), descriptor)
        async with aclosing(verified(self._upstream.transport, wanted)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def _judge(
        self, index: SqliteIndex, storage: FileStorage, name: str, tag: str, digest: Digest
    ) -> None:
        reference = self._upstream.reference(name, tag)
        decision = self._loaded.policy.decide(reference)
        verify(
            reference,
            digest,
            self._loaded.policy,
            StoredSignatures(decision, name, index, storage),
            now=self._clock(),
            read_key=self._loaded.read_key,
        )


def _open(folder: Path) -> tuple[SqliteIndex, FileStorage]:
    return SqliteIndex(folder), FileStorage(folder)
