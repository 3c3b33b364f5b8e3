"""What is attached to a manifest, named for people; signatures with a verdict. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from images.digest import Digest
from registry.web.text import clean
from registry.web.verdicts import Judging, Verdict

if TYPE_CHECKING:
    from registry.web.site import Visit

PAGE: Final = 25
_BUNDLE: Final = "application/vnd.dev.sigstore.bundle"
_PREDICATE: Final = "dev.sigstore.bundle.predicateType"
_SIGSTORE: Final = "Signature (sigstore)"
_NOTATION: Final = "Signature (notation)"
_TAGS: Final = 4
_COSIGN_TAGS: Final = (("sig", "Signature"), ("att", "Attestation"), ("sbom", "SBOM"))


@dataclass(frozen=True, slots=True)
class Attachment:
    """One thing that is attached; ``reference`` is where to look at it."""

    kind: str
    type: str
    reference: str
    size: int | None
    annotations: tuple[tuple[str, str], ...]
    verdict: Verdict | None


def attachments_of(visit: Visit, digest: str, *, last: str) -> tuple[list[Attachment], str]:
    """A page of what is attached to ``digest``, and after which the next begins ("": no next)."""
    name, index = visit.target.name, visit.registry.index
    rows = index.referrers(name, digest, artifact_type=None, last=last, limit=PAGE + 1)
    judging = Judging(visit, Digest.parse(digest), _tags(visit, digest))
    found = [] if last else [*_tagged(visit, digest, judging), *_openpgp(visit, digest, judging)]
    found += [_attachment(where, orjson.loads(raw), judging) for where, raw in rows[:PAGE]]
    return found, rows[PAGE - 1][0] if len(rows) > PAGE else ""


def kind_of(artifact_type: str, predicate: str = "") -> str:
    """What an artifact type means to people."""
    text = f"{artifact_type} {predicate}".lower()
    if artifact_type.startswith(_BUNDLE) and (not predicate or "cosign/sign" in predicate):
        return _SIGSTORE
    for word, kind in (
        ("notary.signature", _NOTATION),
        ("spdx", "SBOM (SPDX)"),
        ("cyclonedx", "SBOM (CycloneDX)"),
        ("slsa", "Provenance (SLSA)"),
        ("openvex", "Vulnerability statement (VEX)"),
        ("in-toto", "Attestation (in-toto)"),
        ("simplesigning", "Signature (cosign)"),
    ):
        if word in text:
            return kind
    return "Attestation (sigstore)" if artifact_type.startswith(_BUNDLE) else "Artifact"


def _tags(visit: Visit, digest: str) -> tuple[str, ...]:
    """The tags by which somebody may ask for the image, that of the page first."""
    shown = visit.target.reference
    key = visit.site.queries.key(visit.target.name)
    tags = [] if key is None else visit.site.queries.tags_of(key, digest, limit=_TAGS)
    return tuple(dict.fromkeys([*([] if ":" in shown else [shown]), *tags]))


def _attachment(where: str, descriptor: dict[str, Any], judging: Judging) -> Attachment:
    notes = descriptor.get("annotations") or {}
    artifact_type = str(descriptor.get("artifactType", ""))
    kind = kind_of(artifact_type, str(notes.get(_PREDICATE, "")))
    verdict = None
    if kind == _SIGSTORE:
        verdict = judging.bundle(where)
    elif kind == _NOTATION:
        verdict = judging.notation(where)
    elif kind.startswith("Signature"):
        verdict = Verdict("", "present; of a kind that is not verified here")
    shown = tuple((clean(key), clean(value, limit=300)) for key, value in sorted(notes.items()))
    return Attachment(
        kind, clean(artifact_type), where, descriptor.get("size"), shown[:16], verdict
    )


def _tagged(visit: Visit, digest: str, judging: Judging) -> Iterator[Attachment]:
    """What cosign keeps under tags made of the digest."""
    for suffix, kind in _COSIGN_TAGS:
        tag = f"{digest.replace(':', '-')}.{suffix}"
        row = visit.registry.index.tagged_manifest(visit.target.name, tag)
        if row is not None:
            verdict = judging.tagged(row.digest) if suffix == "sig" else None
            yield Attachment(f"{kind} (cosign)", row.media_type, tag, row.size, (), verdict)


def _openpgp(visit: Visit, digest: str, judging: Judging) -> Iterator[Attachment]:
    """What podman keeps beside the image."""
    rows = visit.registry.index.simple_signatures(visit.target.name, digest)
    count = len(rows)
    if count:
        verdict = judging.openpgp(row.content for row in rows)
        noun = "signature" if count == 1 else "signatures"
        yield Attachment("Signature (OpenPGP)", f"{count} {noun}", "", None, (), verdict)
