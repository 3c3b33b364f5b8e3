"""Manifests, tags and referrers: the small documents of a registry.

OCI distribution specification 1.1: "Pulling manifests", "Pushing manifests with subject", "Listing
referrers" and the referrers tag schema that serves registries without that API.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from yarl import URL

from images import manifest, strictjson
from images.client import limits
from images.client.auth import scope
from images.client.errors import ManifestUnknownError, ProtocolError, Target
from images.client.hosts import given_url
from images.client.request import Repository, Request
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, ImagesError, InvalidManifestError
from images.mediatype import ACCEPT_MANIFESTS, OCI_INDEX

if TYPE_CHECKING:
    from images.client.transport import Transport
    from images.reference import Reference

_ACCEPT: Mapping[str, str] = {"Accept": ", ".join(ACCEPT_MANIFESTS)}
_UNTYPED = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
"""Content types of servers that do not know what they serve; the document speaks for itself."""

_NEXT = re.compile(r'<([^>]{1,4096})>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest as it came: verified raw bytes, their parsed form, and what points to them."""

    document: manifest.Manifest | manifest.Index
    descriptor: Descriptor

    @property
    def raw(self) -> bytes:
        """The bytes that the digest is of."""
        return self.document.raw


def repository_of(reference: Reference) -> Repository:
    """Where a reference's repository is."""
    return Repository(reference.registry, reference.repository)


async def resolve(transport: Transport, reference: Reference) -> Descriptor:
    """Ask what a name points to, without fetching it."""
    async with transport.send(_request(reference, "HEAD")) as response:
        stated = _stated_digest(response.headers, reference)
        size = response.headers.get("Content-Length", "")
        media_type = _media_type(response.headers)
    if stated is None or not size.isdigit() or media_type is None or int(size) > limits.MANIFEST:
        return (await fetch(transport, reference)).descriptor
    _check_pin(reference, stated)
    return Descriptor(media_type, stated, int(size))


async def fetch(transport: Transport, reference: Reference) -> Fetched:
    """Fetch a manifest or index and check it against its digest.

    Raises:
        ManifestUnknownError: there is none. DigestMismatchError: these are not the bytes promised.
        InvalidManifestError: the bytes are no manifest of the type they were served as.
    """
    answer = await transport.fetch(_request(reference, "GET"), limits.MANIFEST)
    raw, media_type = answer.body, _media_type(answer.headers)
    stated = _stated_digest(answer.headers, reference)
    promised = [digest for digest in (reference.digest, stated) if digest is not None]
    for expected in promised:
        digest = Digest.of(raw, expected.algorithm)
        if expected != digest:
            raise DigestMismatchError(
                f"the manifest hashes to {digest}, not to {expected}",
                where=str(reference),
                fix="the registry or something before it is damaged or lying; nothing was kept",
            )
    return parsed(reference, raw, media_type, promised[0] if promised else Digest.of(raw))


def parsed(reference: Reference, raw: bytes, media_type: str | None, digest: Digest) -> Fetched:
    """Parse bytes whose digest was checked; errors name the reference."""
    try:
        document = manifest.parse(raw, media_type)
    except ImagesError as error:
        error.where = error.where or str(reference)
        raise
    return Fetched(document, Descriptor(document.media_type, digest, len(raw)))


async def put(
    transport: Transport, reference: Reference, raw: bytes, media_type: str
) -> Descriptor:
    """Upload a manifest under the reference's tag or digest; its blobs must be there already.

    When it has a subject that the registry does not index itself, the fallback tag is updated.
    """
    document = manifest.parse(raw, media_type)
    digest = reference.digest or Digest.of(raw)
    where = reference.tag or str(digest)
    request = Request(
        "PUT",
        repository_of(reference),
        f"/v2/{reference.repository}/manifests/{where}",
        Target(reference.registry, str(reference), "manifest upload"),
        scopes=frozenset({scope(reference.repository, "pull", "push")}),
        expected=frozenset({200, 201, 202}),
        headers={"Content-Type": media_type},
        body=lambda: raw,
        length=len(raw),
    )
    async with transport.send(request) as response:
        stated = _stated_digest(response.headers, reference)
        indexed = "OCI-Subject" in response.headers
    if stated is not None and stated.algorithm == digest.algorithm and stated != digest:
        raise DigestMismatchError(
            f"the registry stored {stated} instead of {digest}",
            where=str(reference),
            fix="something between here and the registry changes what is uploaded",
        )
    descriptor = Descriptor(media_type, digest, len(raw))
    if document.subject is not None and not indexed:
        await _add_to_fallback(transport, reference, document, descriptor)
    return descriptor


async def tags(transport: Transport, reference: Reference) -> list[str]:
    """All tags of the reference's repository, in the registry's order."""
    path = f"/v2/{reference.repository}/tags/list"
    found: list[str] = []
    async for page in _pages(transport, reference, path):
        found += [str(tag) for tag in strictjson.sequence(page.get("tags"), what="tags")]
    return found


async def referrers(
    transport: Transport, reference: Reference, subject: Digest, *, artifact_type: str = ""
) -> list[Descriptor]:
    """What points to ``subject`` (signatures, attestations), filtered by type when one is given."""
    path = f"/v2/{reference.repository}/referrers/{subject}"
    if artifact_type:
        path += "?" + urlencode({"artifactType": artifact_type})
    found: list[Descriptor] = []
    try:
        async for page in _pages(transport, reference, path):
            items = strictjson.sequence(page.get("manifests"), what="manifests")
            found += [Descriptor.from_json(item) for item in items]
            if len(found) > limits.REFERRERS:
                raise ProtocolError(f"more than {limits.REFERRERS} referrers", where=str(subject))
    except ManifestUnknownError:
        found = list(await _fallback(transport, reference, subject))
    except ProtocolError as error:
        # Registries of before 1.1 route the path elsewhere and call it malformed.
        if error.status not in (400, 405):
            raise
        found = list(await _fallback(transport, reference, subject))
    return [item for item in found if not artifact_type or item.artifact_type == artifact_type]


def fallback_tag(subject: Digest) -> str:
    """The referrers tag schema's tag: ``sha256-<hex>``."""
    return f"{subject.algorithm}-{subject.hex}"[:128]


async def _fallback(
    transport: Transport, reference: Reference, subject: Digest
) -> tuple[Descriptor, ...]:
    try:
        fetched = await fetch(transport, reference.with_tag(fallback_tag(subject)))
    except ManifestUnknownError:
        return ()
    document = fetched.document
    if not isinstance(document, manifest.Index):
        raise InvalidManifestError(
            "the referrers tag points to something that is not an index",
            where=f"{reference.name}:{fallback_tag(subject)}",
        )
    return document.manifests


async def _add_to_fallback(
    transport: Transport,
    reference: Reference,
    document: manifest.Manifest | manifest.Index,
    descriptor: Descriptor,
) -> None:
    """Append to the referrers tag: read, change, write; two writers at once may lose one entry."""
    assert document.subject is not None
    subject = document.subject.digest
    present = await _fallback(transport, reference, subject)
    if any(item.digest == descriptor.digest for item in present):
        return
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, manifest.Manifest):
        artifact_type = document.config.media_type
    entry = Descriptor(
        descriptor.media_type,
        descriptor.digest,
        descriptor.size,
        annotations=document.annotations,
        artifact_type=artifact_type,
    )
    index = manifest.Index.build([*present, entry], media_type=OCI_INDEX)
    await put(transport, reference.with_tag(fallback_tag(subject)), index.raw, OCI_INDEX)


async def _pages(
    transport: Transport, reference: Reference, path: str
) -> AsyncIterator[dict[str, Any]]:
    """Follow ``Link: <url>; rel="next"`` within the registry, a bounded number of times."""
    where: str | URL = path
    for _ in range(limits.PAGES):
        request = Request(
            "GET",
            repository_of(reference),
            where,
            Target(reference.registry, reference.name, "manifest"),
            scopes=frozenset({scope(reference.repository, "pull")}),
        )
        answer = await transport.fetch(request, limits.LISTING)
        yield strictjson.loads(answer.body, what="listing")
        following = _NEXT.search(answer.headers.get("Link", ""))
        if following is None:
            return
        where = given_url(answer.url, following.group(1), what="the next page")
    raise ProtocolError(f"a listing of more than {limits.PAGES} pages", where=reference.name)


def _request(reference: Reference, method: str) -> Request:
    return Request(
        method,
        repository_of(reference),
        f"/v2/{reference.repository}/manifests/{reference.wire_reference}",
        Target(reference.registry, str(reference), "manifest"),
        scopes=frozenset({scope(reference.repository, "pull")}),
        headers=_ACCEPT,
    )


def _media_type(headers: Mapping[str, str]) -> str | None:
    """What the server says it is, or None when it does not know."""
    stated = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return None if stated in _UNTYPED else stated


def _stated_digest(headers: Mapping[str, str], reference: Reference) -> Digest | None:
    stated = headers.get("Docker-Content-Digest")
    if stated is None:
        return None
    try:
        return Digest.parse(stated)
    except ImagesError as error:
        raise ProtocolError(
            f"the registry states a malformed digest: {error.what}", where=str(reference)
        ) from error


def _check_pin(reference: Reference, stated: Digest) -> None:
    if reference.digest is not None and reference.digest != stated:
        raise DigestMismatchError(
            f"the registry answers with {stated}",
            where=str(reference),
            fix="ask the registry's operator",
        )
