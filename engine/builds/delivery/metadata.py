"""``--metadata-file``: what a build ended in, under the keys that buildx writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from images.mediatype import is_index
from records import replace

if TYPE_CHECKING:
    from engine.builds.order import BuildOutcome

WARNINGS_VARIABLE = "BUILDX_METADATA_WARNINGS"
"""Warnings are left out unless it is set, as buildx does."""


def describe(outcome: BuildOutcome, environment: Mapping[str, str]) -> dict[str, Any]:
    """The document. An index has no config, so the config's digest is missing for it."""
    root = outcome.root
    document: dict[str, Any] = {
        "containerimage.descriptor": root.to_json(),
        "containerimage.digest": str(root.digest),
    }
    if not is_index(root.media_type):
        document["containerimage.config.digest"] = str(outcome.images[0].image_id)
    names = dict.fromkeys((*outcome.named, *outcome.pushed, *outcome.titles))
    # Whoever joins a name and the digest above has to find the image.
    own = [name for name in names if name not in outcome.others]
    if own:
        # Who pushes by digest finds that under its own key.
        plain = (str(replace(name, digest=None)) for name in own)
        document["image.name"] = ",".join(plain)
    if outcome.ref:
        document["buildx.build.ref"] = outcome.ref
    if environment.get(WARNINGS_VARIABLE, "").lower() in ("1", "t", "true"):
        document["buildx.build.warnings"] = _warnings(outcome)
    return document


def encode(document: Mapping[str, Any]) -> bytes:
    """As the bytes of the file: sorted and indented."""
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def _warnings(outcome: BuildOutcome) -> list[dict[str, Any]]:
    """BuildKit's VertexWarning: texts are bytes there, which JSON has in base64."""
    texts = dict.fromkeys(text for image in outcome.images for text in image.warnings)
    return [{"level": 1, "short": base64.b64encode(text.encode()).decode()} for text in texts]
