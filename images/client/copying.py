"""Copying from repository to repository: what is there stays, some is mounted, the rest is sent.

OCI distribution specification 1.1, "Mounting a blob from another repository". Nothing of it passes
through a store; a blob that has to be sent waits in a temporary file until it has been verified.
"""

from __future__ import annotations

import os
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from images.client import manifests
from images.client.download import BlobRequest, verified
from images.client.errors import ManifestUnknownError
from images.client.progress import LayerEvent, LayerState, ProgressSink
from images.client.threads import in_thread, run_bounded, to_thread
from images.client.upload import Upload, send
from images.errors import InvalidManifestError
from images.manifest import Index, Manifest
from images.mediatype import FOREIGN_LAYERS
from records import Record, replace

if TYPE_CHECKING:
    from images.client.transport import Transport
    from images.descriptor import Descriptor
    from images.reference import Reference

INDEX_DEPTH = 4
"""Indexes within indexes, at most."""


class CopyJob(Record):
    """One copy under way, between the repositories of two references."""

    transport: Transport
    source: Reference
    target: Reference
    progress: ProgressSink

    async def run(self) -> Descriptor:
        """Copy the manifest or index that ``source`` names, with all that hangs on it.

        It arrives under its digest, and under the target's tag where that has one.

        Raises:
            RegistryError: after the retries; what has arrived by then stays.
        """
        fetched = await manifests.fetch(self.transport, self.source)
        await self._content(fetched.document, depth=0)
        document, target = fetched.document, self.target
        if target.tag is None:
            target = replace(target, digest=fetched.descriptor.digest)
        return await manifests.put(self.transport, target, document.raw, document.media_type)

    async def _content(self, document: Manifest | Index, *, depth: int) -> None:
        if isinstance(document, Index):
            if depth == INDEX_DEPTH:
                raise InvalidManifestError(
                    f"indexes are nested more than {INDEX_DEPTH} deep", where=str(self.source)
                )
            for child in document.manifests:
                await self._child(child, depth=depth + 1)
            return
        unique = {item.digest: item for item in (*document.layers, document.config)}
        jobs = [
            partial(self._blob, item, show=item is not document.config) for item in unique.values()
        ]
        await run_bounded(jobs, self.transport.options.parallel)

    async def _child(self, child: Descriptor, *, depth: int) -> None:
        target = replace(self.target, tag=None, digest=child.digest)
        try:
            await manifests.resolve(self.transport, target)
        except ManifestUnknownError:
            pass
        else:
            return
        source = self.source.with_digest(child.digest)
        fetched = await manifests.fetch(self.transport, source)
        await self._content(fetched.document, depth=depth)
        document = fetched.document
        await manifests.put(self.transport, target, document.raw, document.media_type)

    async def _blob(self, descriptor: Descriptor, *, show: bool) -> None:
        def tell(state: LayerState, current: int) -> None:
            if show:
                self.progress(LayerEvent(descriptor.digest, state, current, descriptor.size))

        if descriptor.media_type in FOREIGN_LAYERS and descriptor.urls:
            tell(LayerState.SKIPPED, 0)
            return
        source = manifests.repository_of(self.source)
        target = manifests.repository_of(self.target)
        neighbour = source.name if source.registry == target.registry else None
        wanted = BlobRequest(source, descriptor, retrying=partial(tell, LayerState.RETRYING))
        from shutil import rmtree
        from tempfile import mkdtemp

        folder = await in_thread(partial(mkdtemp, prefix="lading-copy-"), undo=rmtree)
        try:
            path = os.path.join(folder, "blob")
            upload = Upload(
                target,
                descriptor,
                open=partial(_open, path),
                mount_from=neighbour,
                report=partial(tell, LayerState.UPLOADING),
                prepare=partial(_download, self.transport, wanted, path),
            )
            tell(await send(self.transport, upload), descriptor.size)
        finally:
            await in_thread(partial(rmtree, folder))


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


async def _download(transport: Transport, wanted: BlobRequest, path: str) -> None:
    """Bring the blob to ``path``, once."""
    if await to_thread(os.path.exists, path):
        return
    part = f"{path}.part"
    file: BinaryIO = await in_thread(lambda: open(part, "wb"), undo=lambda file: file.close())
    try:
        async with aclosing(verified(transport, wanted)) as chunks:
            async for chunk in chunks:
                await in_thread(partial(file.write, chunk))
    finally:
        await in_thread(file.close)
    await in_thread(partial(os.rename, part, path))
