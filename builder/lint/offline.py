"""Base images for a look at a file alone: what is stored, and a stand-in for what is not.

No network is used. A rule that depends on the config of a base which is not here must not guess, so
the resolver remembers for which names it could only pretend.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from builder.bases import ResolvedBase, StoreResolver
from images.config import ImageConfig
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import ImagesError
from images.mediatype import OCI_MANIFEST
from images.reference import Reference

if TYPE_CHECKING:
    from images.platform import Platform
    from images.store import ImageStore

_NOTHING: Final = b"nothing is known of this image"


class OfflineBases:
    """A ``BaseResolver`` that always answers; ``unknown`` tells when the answer is made up."""

    def __init__(self, store: ImageStore | None) -> None:
        """``store`` is None where there is none."""
        self._stored = None if store is None else StoreResolver(store)
        self._absent: set[Reference] = set()

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The stored image, or one of this platform without layers and without any setting."""
        try:
            if self._stored is not None:
                return self._stored.resolve(reference, platform)
        except ImagesError:
            pass
        self._absent.add(reference)
        config = {
            "os": platform.os,
            "architecture": platform.architecture,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        descriptor = Descriptor(OCI_MANIFEST, Digest.of(_NOTHING), len(_NOTHING))
        return ResolvedBase(descriptor, ImageConfig.parse(json.dumps(config).encode()), ())

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """Never: a look keeps no record."""
        return None

    def unknown(self, name: str) -> bool:
        """Whether the answer for this name, written as in FROM, was made up."""
        try:
            return Reference.parse(name) in self._absent
        except ImagesError:
            return True
