"""Manifests, tags and referrers: the small documents of a registry.

OCI distribution specification 1.1: "Pulling manifests", "Pushing manifests with subject", "Listing
referrers" and the referrers tag schema that serves registries without that API.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from images import manifest, strictjson
from images.client import limits
from images.client.auth import scope
from images.client.errors import (
    DeletionRefusedError,
    ManifestUnknownError,
    ProtocolError,
    TagMovedError,
    Target,
)
from images.client.hosts import given_url
from images.client.request import Repository, Request, Unchanged
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import DigestMismatchError, ImagesError, InvalidManifestError
from images.mediatype import ACCEPT_MANIFESTS, OCI_INDEX
from records import Record, replace

if TYPE_CHECKING:
    from images.client.transport import Transport
    from images.client.url import Url
    from images.client.wire import Headers
    from images.reference import Reference

_ACCEPT: Mapping[str, str] = {"Accept": ", ".join(ACCEPT_MANIFESTS)}
_UNTYPED = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
"""Content types of servers that do not know what they serve; the document speaks for itself."""

FALLBACK_ATTEMPTS = 50
"""How often an entry is added to a referrers tag while others win the race for it."""

FALLBACK_PAUSE = 0.05
"""Seconds that the pause before the next attempt may grow by."""

_NEXT = re.compile(r'<([^>]{1,4096})>\s*;\s*rel="?next"?')


class Fetched(Record):
    """A manifest as it came: verified raw bytes, their parsed form, and what points to them.

    ``unchanged`` is the condition to replace it under, None where the registry gives no ETag.
    """

    document: manifest.Manifest | manifest.Index
    descriptor: Descriptor
    unchanged: Unchanged | None = None

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
    digest = promised[0] if promised else Digest.of(raw)
    fetched = parsed(reference, raw, media_type, digest)
    return replace(fetched, unchanged=_unchanged(answer.headers))


def parsed(reference: Reference, raw: bytes, media_type: str | None, digest: Digest) -> Fetched:
    """Parse bytes whose digest was checked; errors name the reference."""
    try:
        document = manifest.parse(raw, media_type)
    except ImagesError as error:
        error.where = error.where or str(reference)
        raise
    return Fetched(document, Descriptor(document.media_type, digest, len(raw)))


async def put(
    transport: Transport,
    reference: Reference,
    raw: bytes,
    media_type: str,
    *,
    condition: Unchanged | None = None,
) -> Descriptor:
    """Upload a manifest under the reference's tag or digest; its blobs must be there already.

    When it has a subject that the registry does not index itself, the fallback tag is updated.

    Raises:
        TagMovedError: the ``condition`` does not hold; nothing was written.
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
        headers={"Content-Type": media_type, **(condition.headers if condition else {})},
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


async def delete(
    transport: Transport, reference: Reference, *, subject: Digest | None = None
) -> None:
    """Delete a manifest by its digest, or a tag; nothing there is no error.

    With a ``subject`` it is taken from the referrers tag as well, where there is one.

    Raises:
        DeletionRefusedError: the registry does not allow it.
    """
    request = replace(
        _request(reference, "DELETE"),
        scopes=frozenset({scope(reference.repository, "delete", "pull", "push")}),
        expected=frozenset({200, 202, 204}),
        headers={},
    )
    try:
        async with transport.send(request):
            pass
    except ManifestUnknownError:
        pass
    except ProtocolError as error:
        if error.status not in (400, 405):
            raise
        raise DeletionRefusedError(
            f"{reference.registry} does not let its clients delete ({error.status})",
            where=str(reference),
            fix="ask its operator to allow deletion, or to delete this",
            status=error.status,
            remote_code=error.remote_code,
        ) from error
    if subject is not None and reference.digest is not None:
        gone = reference.digest
        await _change_fallback(
            transport,
            reference.with_tag(fallback_tag(subject)),
            lambda present: tuple(item for item in present if item.digest != gone),
        )


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
    present, _ = await _fallback_state(transport, reference.with_tag(fallback_tag(subject)))
    return present


async def _fallback_state(
    transport: Transport, tag: Reference
) -> tuple[tuple[Descriptor, ...], Unchanged | None]:
    """What a referrers tag lists, and the condition to replace it under."""
    try:
        fetched = await fetch(transport, tag)
    except ManifestUnknownError:
        return (), Unchanged()
    document = fetched.document
    if not isinstance(document, manifest.Index):
        raise InvalidManifestError(
            "the referrers tag points to something that is not an index", where=str(tag)
        )
    return document.manifests, fetched.unchanged


async def _add_to_fallback(
    transport: Transport,
    reference: Reference,
    document: manifest.Manifest | manifest.Index,
    descriptor: Descriptor,
) -> None:
    """Append to the referrers tag what refers to the document's subject."""
    assert document.subject is not None
    tag = reference.with_tag(fallback_tag(document.subject.digest))

    def grown(present: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
        if any(item.digest == descriptor.digest for item in present):
            return present
        return (*present, _entry(document, descriptor))

    await _change_fallback(transport, tag, grown)


async def _change_fallback(
    transport: Transport,
    tag: Reference,
    change: Callable[[tuple[Descriptor, ...]], tuple[Descriptor, ...]],
) -> None:
    """Read a referrers tag, change and write it, again when somebody wrote in between.

    Registries without conditional requests may lose one of two changes made at once.
    """
    for attempt in range(FALLBACK_ATTEMPTS):
        present, condition = await _fallback_state(transport, tag)
        wanted = change(present)
        if wanted == present:
            return
        index = manifest.Index.build(wanted, media_type=OCI_INDEX)
        try:
            await put(transport, tag, index.raw, OCI_INDEX, condition=condition)
        except TagMovedError:
            if attempt + 1 == FALLBACK_ATTEMPTS:
                raise
            effects = transport.effects
            await effects.sleep(FALLBACK_PAUSE * effects.jitter() * (attempt + 1))
        else:
            return


def _entry(document: manifest.Manifest | manifest.Index, descriptor: Descriptor) -> Descriptor:
    """A referrer as a referrers list names it."""
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, manifest.Manifest):
        artifact_type = document.config.media_type
    return Descriptor(
        descriptor.media_type,
        descriptor.digest,
        descriptor.size,
        annotations=document.annotations,
        artifact_type=artifact_type,
    )


async def _pages(
    transport: Transport, reference: Reference, path: str
) -> AsyncIterator[dict[str, Any]]:
    """Follow ``Link: <url>; rel="next"`` within the registry, a bounded number of times."""
    where: str | Url = path
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


def _media_type(headers: Headers) -> str | None:
    """What the server says it is, or None when it does not know."""
    stated = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return None if stated in _UNTYPED else stated


def _unchanged(headers: Headers) -> Unchanged | None:
    etag = headers.get("ETag", "")
    # Only a strong one can be matched on a write (RFC 9110, section 13.1.1).
    return Unchanged(etag) if etag.startswith('"') else None


def _stated_digest(headers: Headers, reference: Reference) -> Digest | None:
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
