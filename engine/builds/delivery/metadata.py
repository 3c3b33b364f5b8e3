"""``--metadata-file``: what a build ended in, under the keys that buildx writes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from builder.progress.rawjson import LANGUAGE
from engine.builds.attesting.options import MAX
from images.errors import BlobUnknownError
from images.mediatype import is_index
from records import replace

if TYPE_CHECKING:
    from engine.builds.order import BuildOutcome
    from images.descriptor import Descriptor
    from images.store import ImageStore

WARNINGS_VARIABLE = "BUILDX_METADATA_WARNINGS"
"""Warnings are left out unless it is set, as buildx does."""
PROVENANCE_VARIABLE = "BUILDX_METADATA_PROVENANCE"
"""``min`` (the default) or ``max`` of the provenance that a build states; none of it with
``disabled`` or ``false``."""
_OFF = ("disabled", "false", "0", "f")


def describe(
    outcome: BuildOutcome, environment: Mapping[str, str], store: ImageStore
) -> dict[str, Any]:
    """The document, but for warnings. An index has no config, so that has no digest for it.

    ``store`` has the images, and the statements about them, if there are any.
    """
    root = outcome.root
    document: dict[str, Any] = {
        "containerimage.descriptor": _listed(outcome, store).to_json(),
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
    wanted = environment.get(PROVENANCE_VARIABLE, "").lower()
    if wanted not in _OFF:
        document |= _provenance(outcome, store, full=wanted == MAX)
    return document


def _listed(outcome: BuildOutcome, store: ImageStore) -> Descriptor:
    from engine.builds.delivery.listing import listed

    try:
        configs = [store.image(image.descriptor).config for image in outcome.images]
    except BlobUnknownError:
        # Nothing holds what was only written elsewhere, and another process may collect it.
        return outcome.root
    return listed(outcome.root, configs)


def _provenance(outcome: BuildOutcome, store: ImageStore, *, full: bool) -> dict[str, Any]:
    """What is stated of how each image was made, by platform where there are several."""
    from engine.attestations.finding import find_stored, read_stored
    from engine.builds.attesting.provenance import PREDICATE_TYPE

    found = {}
    if not store.blobs.has(outcome.root.digest):
        return {}
    several = len(outcome.images) > 1
    for attached in find_stored(store, outcome.root).attached:
        if attached.predicate_type == PREDICATE_TYPE:
            place = f"/{attached.platform}" if several else ""
            predicate = read_stored(store, attached).predicate
            found[f"buildx.build.provenance{place}"] = predicate if full else _shortened(predicate)
    return found


def _shortened(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Without the steps and the dates: what buildx' ``min`` leaves of a statement."""

    def without(value: object, name: str) -> object:
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if key != name}

    definition = without(predicate.get("buildDefinition"), "")
    if isinstance(definition, dict):
        internal = definition.get("internalParameters")
        definition["internalParameters"] = without(internal, "buildConfig")
    details = without(predicate.get("runDetails"), "metadata")
    return {**predicate, "buildDefinition": definition, "runDetails": details}


def encode(document: Mapping[str, Any]) -> bytes:
    """As the bytes of the file: sorted and indented."""
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def warnings_of(outcomes: Iterable[BuildOutcome], environment: Mapping[str, str]) -> dict[str, Any]:
    """The field with what was warned of, each once; nothing unless it is asked for."""
    if environment.get(WARNINGS_VARIABLE, "").lower() not in ("1", "t", "true"):
        return {}
    every = dict.fromkeys(pair for outcome in outcomes for pair in outcome.warnings)
    return {"buildx.build.warnings": [_warning(*pair) for pair in every]} if every else {}


def _warning(text: str, where: str) -> dict[str, Any]:
    """BuildKit's VertexWarning: texts are bytes there, which JSON has in base64."""
    from builder.lint.selection import CATALOG

    found: dict[str, Any] = {"level": 1, "short": _base64(text)}
    rule = CATALOG.get(text.partition(":")[0])
    if rule is not None:
        found |= {"detail": [_base64(rule.description)], "url": rule.url}
    name, _, line = where.rpartition(":")
    if name and line.isdecimal():
        place = {"line": int(line)}
        found["sourceInfo"] = {"filename": name, "language": LANGUAGE}
        found["range"] = [{"start": place, "end": place}]
    return found


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()
