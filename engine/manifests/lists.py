"""What ``docker manifest`` does: a list begun here, annotated, and pushed with what it needs.

docker takes the images of a list from one registry alone; here they may come from several. What the
list's repository lacks is mounted within a registry and copied from another.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from engine.manifests.drafts import Draft, DraftEntry, Drafts
from engine.manifests.entries import as_docker_prints, build_list, list_text
from engine.manifests.errors import ManifestListError
from engine.manifests.layouts import WithLayouts
from engine.manifests.sources import describe_manifest, entries_of
from engine.registries import call
from images.client.errors import ManifestUnknownError
from images.manifest import Index
from images.mediatype import OCI_MANIFEST
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.access import Access
    from engine.manifests.library import Library
    from images.client.manifests import Fetched
    from images.descriptor import Descriptor
    from images.reference import Reference

SYSTEMS: Final = {
    "aix": "ppc64",
    "android": "386 amd64 arm arm64",
    "darwin": "386 amd64 arm arm64",
    "dragonfly": "amd64",
    "freebsd": "386 amd64 arm arm64 riscv64",
    "illumos": "amd64",
    "ios": "arm64",
    "js": "wasm",
    "linux": "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x",
    "netbsd": "386 amd64 arm arm64",
    "openbsd": "386 amd64 arm arm64",
    "plan9": "386 amd64 arm",
    "solaris": "amd64",
    "wasip1": "wasm",
    "windows": "386 amd64 arm arm64",
}
"""Architectures by system that programs exist for: Go's list of ports."""


class Annotations(Record):
    """What ``annotate`` changes; empty fields stay as they are."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()


def create(
    access: Access,
    drafts: Drafts,
    name: Reference,
    images: Sequence[Reference],
    *,
    amend: bool,
) -> None:
    """Begin a list, or add to it with ``amend``.

    Raises:
        ManifestListError: it was begun already; an image is a list itself.
        ManifestUnknownError: an image is not at its registry.
    """
    with drafts.locked(name):
        draft = drafts.load(name)
        if draft is not None and not amend:
            raise ManifestListError(
                "refusing to amend an existing manifest list with no --amend flag",
                where=str(name),
                fix=f"add --amend, or forget it with `lading manifest rm {name.familiar}`",
            )
        draft = draft or Draft(name)
        # One that is in the list already keeps what it was annotated with.
        new = [image for image in dict.fromkeys(images) if draft.find(image) is None]
        for item in call(access, lambda client: _fetch_all(WithLayouts(client), new)):
            draft = draft.with_entry(item)
        drafts.save(draft)


def annotate(drafts: Drafts, name: Reference, image: Reference, changes: Annotations) -> None:
    """Change what a list says of one of its images.

    Raises:
        ListUnknownError, ManifestListError: no such list, or the image is not in it; a system
            without this architecture.
    """
    with drafts.locked(name):
        draft = drafts.get(name)
        item = draft.find(image)
        if item is None:
            raise ManifestListError(
                f"manifest for image {image} does not exist in {name}",
                fix=f"`lading manifest inspect {name.familiar}` shows what does",
            )
        given = {
            "os": changes.os,
            "architecture": changes.architecture,
            "variant": changes.variant,
            "os.version": changes.os_version,
            "os.features": list(changes.os_features),
        }
        platform = {**item.entry.platform, **{key: it for key, it in given.items() if it}}
        _check_ported(platform.get("os", ""), platform.get("architecture", ""))
        entry = replace(item.entry, descriptor={**item.entry.descriptor, "platform": platform})
        drafts.save(draft.with_entry(replace(item, entry=entry)))


async def push(
    client: Library,
    draft: Draft,
    *,
    told: Callable[[Reference, Descriptor], None] = lambda _target, _pushed: None,
) -> Descriptor:
    """Bring a list to its registry, and before it those images that its repository lacks.

    ``told`` hears of each of them.

    Raises:
        ManifestListError: an image has no platform.
        RegistryError: after the retries.
    """
    for item in draft.entries:
        platform = item.entry.platform
        if not platform.get("os") or not platform.get("architecture"):
            raise ManifestListError(
                f"manifest {item.name} must have an OS and Architecture to be pushed to a registry",
                fix=f"lading manifest annotate --os OS --arch ARCH {draft.name.familiar} "
                f"{item.name.familiar}",
            )
    for item in draft.entries:
        if item.entry.reference.name != draft.name.name:
            target = replace(draft.name, tag=None, digest=item.entry.digest)
            told(target, await client.copy(item.entry.reference, replace(target, digest=None)))
    index = build_list([item.entry for item in draft.entries])
    return await client.put_manifest(draft.name, index.raw, index.media_type)


def draft_text(draft: Draft, *, verbose: bool) -> str:
    """A list that was begun here, as docker prints it."""
    if verbose:
        return _indented([_verbose(item) for item in draft.entries])
    return list_text(build_list([item.entry for item in draft.entries]))


async def remote_text(client: Library, name: Reference, *, verbose: bool) -> str:
    """What a registry has under a name, as docker prints it.

    Raises:
        ManifestUnknownError: nothing.
    """
    fetched = await _read(client, name)
    if not isinstance(fetched.document, Index):
        if not verbose:
            return json.dumps(json.loads(fetched.raw), indent="\t", ensure_ascii=False)
        return _indented(_verbose(await _fetch(client, name)))
    if not verbose:
        return list_text(fetched.document)
    items = []
    for entry in entries_of(name, fetched.document):
        child = await client.read_manifest(entry.reference)
        shown = name.with_digest(entry.digest)
        items.append(DraftEntry(shown, entry, child.raw))
    return _indented([_verbose(item) for item in items])


def find_image(drafts: Drafts, listed: Reference, image: Reference) -> DraftEntry:
    """One image of a list that was begun here.

    Raises:
        ListUnknownError, ManifestListError: there is no such list, or it has no such image.
    """
    found = drafts.get(listed).find(image)
    if found is None:
        raise ManifestListError(f"No such manifest: {image}", where=str(listed))
    return found


def entry_text(item: DraftEntry, *, verbose: bool) -> str:
    """One image of a list, as docker prints it."""
    if verbose:
        return _indented(_verbose(item))
    return json.dumps(json.loads(item.raw), indent="\t", ensure_ascii=False)


async def _fetch_all(client: Library, images: Sequence[Reference]) -> list[DraftEntry]:
    return [await _fetch(client, image) for image in images]


async def _fetch(client: Library, image: Reference) -> DraftEntry:
    fetched = await _read(client, image)
    if isinstance(fetched.document, Index):
        raise ManifestListError(
            f"{image} is a manifest list",
            fix="name one of its manifests by digest, or put lists together with "
            "`lading imagetools create`",
        )
    entry = await describe_manifest(client, image, fetched, normalise=False)
    return DraftEntry(image, entry, fetched.raw)


async def _read(client: Library, image: Reference) -> Fetched:
    try:
        return await client.read_manifest(image)
    except ManifestUnknownError as error:
        error.what, error.where = f"no such manifest: {image.familiar}", None
        error.fix = "push it first: what is only in the local store is no manifest of a registry"
        raise


def _verbose(item: DraftEntry) -> dict[str, Any]:
    kind = "OCIManifest" if item.entry.media_type == OCI_MANIFEST else "SchemaV2Manifest"
    order = ("mediaType", "digest", "size")
    return {
        "Ref": str(item.name),
        "Descriptor": as_docker_prints(item.entry.descriptor, order),
        "Raw": base64.b64encode(item.raw).decode(),
        kind: json.loads(item.raw),
    }


def _indented(value: object) -> str:
    return json.dumps(value, indent="\t", ensure_ascii=False)


def _check_ported(system: str, architecture: str) -> None:
    if architecture not in SYSTEMS.get(system, "").split():
        raise ManifestListError(
            f"manifest entry for image has unsupported os/arch combination: "
            f"{system}/{architecture}",
            fix="use Go's names, for example --os linux --arch arm64 --variant v8",
        )
