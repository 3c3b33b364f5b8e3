"""What a gate lets pass unjudged: signatures, SBOMs and provenance, which nobody can run.

Whoever may push decides what a manifest says, so nothing that a client would unpack as a file
system may look like one of these: neither a subject nor a tag of cosign's makes an image pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from images.manifest import Manifest
from images.mediatype import DOCKER_CONFIG, OCI_CONFIG, is_layer
from trust.cosign import SIMPLE_SIGNING

_COSIGN_TAG: Final = re.compile(r"sha256-[0-9a-f]{64}\.(sig|att|sbom)\Z")
_IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
_UNPACKED: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_LAYERS: Final = {"sig": SIMPLE_SIGNING, "att": "application/vnd.dsse.envelope.v1+json"}
"""The only layers that cosign writes under these tags; SBOMs come in many types."""


def is_cosign_tag(tag: str) -> bool:
    """Whether cosign keeps a signature, an attestation or an SBOM under such a tag."""
    return _COSIGN_TAG.match(tag) is not None


def is_attachment(manifest: Manifest, tags: Iterable[str]) -> bool:
    """Whether ``manifest`` only says something about another one.

    ``tags`` are the tags it is asked for by: the one of the request, or those that point at the
    digest of the request. A manifest that has a subject is an attachment unless its config makes it
    an image. cosign's tags hold manifests with the config of an image; these are known by layers.
    """
    kinds = {layer.media_type for layer in manifest.layers}
    if any(is_layer(kind) or kind.startswith(_UNPACKED) for kind in kinds):
        return False
    if manifest.subject is not None and manifest.config.media_type not in _IMAGE_CONFIGS:
        return True
    for match in filter(None, map(_COSIGN_TAG.match, tags)):
        only = _LAYERS.get(match[1])
        if kinds and (only is None or kinds == {only}):
            return True
    return False
