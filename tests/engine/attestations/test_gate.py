"""The registry's pull gate serves statements of both forms, for nobody can run them."""

from __future__ import annotations

from pathlib import Path

from engine.attestations import manifests
from engine.attestations.statement import make
from images.digest import Digest
from images.manifest import Manifest
from images.store import ImageStore
from registry.gate.attachments import BLOCK, is_attachment
from tests.images.packages.imagekit import file, image_of


def test_a_referrer_passes_unjudged(tmp_path: Path) -> None:
    store = ImageStore.open(tmp_path)
    image = image_of(store, {"base": [file("a", b"a")]})
    statement = make("https://example.org/x", {}, image.descriptor.digest)
    [referrer] = manifests.put_referrers([statement], image.descriptor, store)

    def head(digest: Digest) -> bytes:
        return store.blobs.read(digest)[:BLOCK]

    parsed = Manifest.parse(store.blobs.read(referrer.digest))
    assert is_attachment(parsed, [], head)
    assert not is_attachment(image.manifest, [], head)
