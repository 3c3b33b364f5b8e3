"""The image store: blobs, unpacked layers and names under one root, shared by all lading processes.

    blobs/       content by digest (``images.blobs``)
    snapshots/   unpacked layers (``images.snapshots``)
    lading.db    names, images, leases, the build cache (``images.database``)

A name is written last, in a durable transaction, after everything it leads to is in place. An
image's id is the digest of its config, as in Docker; an index has the id of the image it holds for
this machine.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from functools import cached_property

from images.blobs import HEX_DIGITS, RENEW_AFTER, BlobStore
from images.database import IMAGES_MIGRATIONS, Database
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import (
    BlobUnknownError,
    EnvironmentFault,
    ImageInUseError,
    ImagesError,
    ImageUnknownError,
    InvalidManifestError,
    PlatformUnknownError,
)
from images.platform import Platform
from images.reference import Reference
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Final, Self

    from images.cache_rows import CacheRows
    from images.check import Problem
    from images.config import ImageConfig
    from images.gc import GcReport
    from images.layers.pack import PackedLayer
    from images.leases import Lease
    from images.manifest import Index, Manifest
    from images.snapshots import Snapshots

_MAX_NESTING: Final = 4
"""Indexes inside indexes."""


class Image(Record):
    """An image for one platform; ``descriptor`` is its manifest's."""

    manifest: Manifest
    config: ImageConfig
    descriptor: Descriptor

    @property
    def id(self) -> Digest:
        """Docker's IMAGE ID: the digest of the config."""
        return self.manifest.config.digest


class StoredImage(Record):
    """A manifest or index that the store keeps; ``added`` in seconds since the epoch."""

    descriptor: Descriptor
    image_id: Digest
    names: tuple[Reference, ...]
    added: float


class Removal(Record):
    """What ``ImageStore.remove`` did, for ``Untagged:`` and ``Deleted:`` lines."""

    untagged: tuple[Reference, ...]
    deleted: tuple[Digest, ...]


class ImageStore:
    """The facade; ``open`` makes one. Threads may share it, and processes open their own."""

    def __init__(self, root: str | Path, db: Database) -> None:
        self.directory = os.fspath(root)
        self.db = db
        self.blobs = BlobStore(self.directory)

    @classmethod
    def open(cls, root: str | Path | None = None) -> Self:
        """Open the store at ``root`` (default: ``default_root()``), making it if need be.

        Raises:
            EnvironmentFault: no permission, or the store was written by a newer lading.
        """
        directory = os.path.abspath(root if root is not None else default_root())
        try:
            if not os.path.isdir(directory):
                os.makedirs(directory, mode=0o711, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot make the store: {error.strerror}",
                where=directory,
                fix="choose another folder with --root or LADING_ROOT",
            ) from error
        migrations = {"images": IMAGES_MIGRATIONS}
        return cls(directory, Database(os.path.join(directory, "lading.db"), migrations))

    @cached_property
    def root(self) -> Path:
        """The directory of all this."""
        from pathlib import Path

        return Path(self.directory)

    @cached_property
    def snapshots(self) -> Snapshots:
        """The unpacked layers."""
        from images.snapshots import Snapshots

        return Snapshots(self.root)

    def sweep_leftovers(self) -> None:
        """Remove what killed processes left of blobs and unpacked layers."""
        self.blobs.sweep_stages()
        # An empty machine has none, nor needs what looks for them.
        if os.path.isdir(os.path.join(self.directory, "snapshots")):
            self.snapshots.sweep_leftovers()

    def close(self) -> None:
        """Close the database; the store may still be used, which opens it again."""
        self.db.close()

    # names

    def resolve(self, ref: Reference) -> Descriptor | None:
        """What a name stands for; None when the store does not know it.

        A reference with a digest is answered when the store has an image of that digest.
        """
        if ref.digest is not None:
            sql, key = "SELECT descriptor FROM images WHERE digest = ?", str(ref.digest)
        else:
            sql, key = "SELECT descriptor FROM names WHERE name = ?", str(ref)
        row = self.db.one(sql, (key,))
        return None if row is None else _descriptor(row[0])

    def tag(self, ref: Reference, descriptor: Descriptor) -> None:
        """Let a name stand for a stored manifest or index, instead of what it stood for before.

        Raises:
            BlobUnknownError: the manifest is not in the blob store.
            InvalidManifestError: the bytes are not a manifest or index.
            ImageUnknownError: the reference has no tag.
        """
        if ref.tag is None:
            raise ImageUnknownError("a name needs a tag", where=str(ref), fix=f"{ref.name}:latest")
        name = str(Reference(ref.registry, ref.repository, ref.tag))
        with self.db.transaction(durable=True):
            self.add_image(descriptor)
            self.db.execute(
                "INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)",
                (name, str(descriptor.digest), _text(descriptor), time.time()),
            )

    def untag(self, ref: Reference) -> bool:
        """Forget a name; returns whether it was known. The image stays, perhaps without a name."""
        with self.db.transaction(durable=True):
            return self.db.changed("DELETE FROM names WHERE name = ?", (str(ref),)) > 0

    def names(self) -> list[tuple[Reference, Descriptor]]:
        """Every name and what it stands for, sorted by name."""
        rows = self.db.execute("SELECT name, descriptor FROM names ORDER BY name")
        return [(Reference.parse(name), _descriptor(text)) for name, text in rows]

    # images

    def add_image(self, descriptor: Descriptor) -> Digest:
        """Register a manifest or index whose bytes are in the blob store; returns its image id.

        Its content is renewed, so a garbage collection that runs right now leaves it alone.

        Raises:
            BlobUnknownError: the manifest is not in the blob store.
            InvalidManifestError: the bytes are not a manifest or index.
        """
        image_id = self._image_id(descriptor)
        plain = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size)
        with self.db.transaction(durable=True):
            self._renew(plain.digest)
            self.db.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET image_id = excluded.image_id",
                (str(plain.digest), str(image_id), _text(plain), time.time()),
            )
        return image_id

    def images(self) -> list[StoredImage]:
        """Every stored image, newest first; those without a name too."""
        named: dict[str, list[Reference]] = {}
        for name, digest in self.db.execute("SELECT name, digest FROM names ORDER BY name"):
            named.setdefault(digest, []).append(Reference.parse(name))
        rows = self.db.execute(
            "SELECT digest, image_id, descriptor, added FROM images ORDER BY added DESC, digest"
        )
        return [
            StoredImage(_descriptor(text), Digest.parse(iid), tuple(named.get(digest, ())), added)
            for digest, iid, text, added in rows
        ]

    def lookup(self, text: str) -> StoredImage:
        """Find an image as Docker does: by full id, then by name, then by the start of its id.

        Raises:
            ImageUnknownError: none, or several images whose ids start like that.
        """
        bare = text.removeprefix("sha256:")
        if len(bare) == 64 and HEX_DIGITS.issuperset(bare):
            found = self._by_id(bare)
            if found:
                return found[0]
        try:
            descriptor = self.resolve(Reference.parse(text))
        except ImagesError:
            descriptor = None
        if descriptor is not None:
            return self._stored(descriptor)
        found = self._by_id(bare) if HEX_DIGITS.issuperset(bare) and bare else []
        ids = {image.image_id for image in found}
        if len(ids) == 1:
            return found[0]
        if ids:
            raise ImageUnknownError(
                f"several image ids start with {bare}",
                where=text,
                fix="write more of it: " + ", ".join(sorted(d.hex[: len(bare) + 6] for d in ids)),
            )
        raise ImageUnknownError("no such image", where=text, fix="see `lading images`")

    def image(self, descriptor: Descriptor, platform: Platform | None = None) -> Image:
        """Read an image; an index is followed to ``platform`` (default: this machine's).

        Raises:
            BlobUnknownError: the manifest or config is not in the blob store.
            PlatformUnknownError: the index has nothing for the platform.
            InvalidManifestError: malformed, or an artifact that is not an image.
        """
        from images.config import ImageConfig
        from images.manifest import Manifest

        document = self._document(descriptor)
        for _ in range(_MAX_NESTING):
            if isinstance(document, Manifest):
                config = ImageConfig.parse(self.blobs.read(document.config.digest))
                return Image(document, config, descriptor)
            descriptor = document.select(platform or Platform.host())
            document = self._document(descriptor)
        raise InvalidManifestError("index is nested too deeply", where=str(descriptor.digest))

    def shown_image(self, descriptor: Descriptor) -> Image:
        """The image that stands for what is stored when no platform is named: this machine's, else
        the first one that an index has here.

        Raises:
            ImagesError: as ``image``; nothing of it is here.
        """
        from images.config import ImageConfig

        try:
            return self.image(descriptor)
        except (PlatformUnknownError, BlobUnknownError):
            for manifest in self._local_manifests(descriptor, set()):
                if self.blobs.has(manifest.config.digest):
                    config = ImageConfig.parse(self.blobs.read(manifest.config.digest))
                    return Image(manifest, config, manifest.descriptor)
            raise

    def lowerdirs(self, image: Image) -> list[Path]:
        """The unpacked layers of an image for overlayfs, topmost first; unpacks what is missing.

        Raises:
            InvalidManifestError: the numbers of layers in manifest and config differ.
            ImagesError: as ``Snapshots.ensure``.
        """
        return self.snapshots.ensure(_layers(image), self.blobs)

    def lower_names(self, image: Image) -> list[str]:
        """As ``lowerdirs``, by name, and quicker where nothing is missing."""
        from images.config import chain_ids
        from images.unpacked import Unpacked

        layers = _layers(image)
        diff_ids = [diff_id for diff_id, _ in layers]
        unpacked = Unpacked(os.path.join(self.directory, "snapshots"))
        found = unpacked.find_all(zip(diff_ids, chain_ids(diff_ids), strict=True))
        if found is not None:
            return found
        return [os.fspath(path) for path in self.snapshots.ensure(layers, self.blobs)]

    def remove(self, text: str, *, force: bool = False) -> Removal:
        """Remove a name, or an image by id, in Docker's way; ``gc`` frees the space.

        A name goes; with the last name of an image the image goes. An id takes all names along if
        there is one repository only, or with ``force``.

        Raises:
            ImageUnknownError: no such image.
            ImageInUseError: an id with names in several repositories, without ``force``.
        """
        with self.db.transaction(durable=True):
            stored = self.lookup(text)
            name = self._name_meant(text, stored)
            going = stored.names if name is None else (name,)
            if name is None and len({ref.name for ref in going}) > 1 and not force:
                raise ImageInUseError(
                    "image is referenced in multiple repositories",
                    where=text,
                    fix="remove its names one by one, or use --force",
                )
            for ref in going:
                self.untag(ref)
            if len(going) < len(stored.names):
                return Removal(going, ())
            digest = stored.descriptor.digest
            self.db.execute("DELETE FROM images WHERE digest = ?", (str(digest),))
            return Removal(going, (stored.image_id,))

    # layers

    def record_layer(self, layer: PackedLayer) -> None:
        """Remember which blob holds a layer, so that it need not be packed again."""
        blob = layer.descriptor
        self.db.execute(
            "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)",
            (
                str(layer.diff_id),
                str(blob.digest),
                blob.media_type,
                blob.size,
                layer.uncompressed_size,
            ),
        )

    def layer_blob(self, diff_id: Digest, *, media_type: str | None = None) -> Descriptor | None:
        """A blob in the store that holds this layer, of ``media_type`` if one is given."""
        rows = self.db.execute(
            "SELECT digest, media_type, size FROM layers WHERE diff_id = ?", (str(diff_id),)
        )
        for digest, found_type, size in rows:
            descriptor = Descriptor(found_type, Digest.parse(digest), size)
            if media_type in (None, found_type) and self.blobs.has(descriptor.digest):
                return descriptor
        return None

    @property
    def cache(self) -> CacheRows:
        """The build cache's rows."""
        from images.cache_rows import CacheRows

        return CacheRows(self.db)

    # referrers

    def refer(self, subject: Digest, referrer: Descriptor) -> None:
        """Remember a stored manifest that is about another one; ``gc`` keeps it as long as that.

        The descriptor has the artifact type and annotations by which it will be listed.
        """
        with self.db.transaction(durable=True):
            self._renew(referrer.digest)
            self.db.execute(
                "INSERT OR REPLACE INTO referrers VALUES (?, ?, ?)",
                (str(subject), str(referrer.digest), _text(referrer)),
            )

    def unrefer(self, subject: Digest, referrer: Digest) -> None:
        """Forget that a manifest is about ``subject``; ``gc`` frees its space."""
        self.db.execute(
            "DELETE FROM referrers WHERE subject = ? AND digest = ?", (str(subject), str(referrer))
        )

    def referrers(self, subject: Digest) -> list[Descriptor]:
        """The manifests in the store that are about ``subject``, sorted by digest."""
        rows = self.db.execute(
            "SELECT descriptor FROM referrers WHERE subject = ? ORDER BY digest", (str(subject),)
        )
        return [_descriptor(text) for (text,) in rows]

    # keeping and sweeping

    def lease(self, description: str, ttl: float | None = None) -> Lease:
        """A context manager: what is written, or found with ``blobs.has``, inside it survives
        ``gc``.

        ``ttl`` in seconds, a day by default; the lease also ends with this process.
        """
        from images.leases import DEFAULT_TTL, Lease

        return Lease(self.db, description, ttl=DEFAULT_TTL if ttl is None else ttl)

    def pin(self, owner: str, digests: Iterable[Digest]) -> None:
        """Keep content, and all it refers to, until ``unpin``; a container pins its image."""
        with self.db.transaction(durable=True):
            for digest in digests:
                self.db.execute("INSERT OR IGNORE INTO pins VALUES (?, ?)", (owner, str(digest)))

    def unpin(self, owner: str) -> None:
        """Drop all that ``owner`` pinned."""
        self.db.execute("DELETE FROM pins WHERE owner = ?", (owner,))

    def gc(self, *, grace: float = RENEW_AFTER, dry_run: bool = False) -> GcReport:
        """Remove content that nothing needs; safe beside running builds, pulls and containers.

        ``grace`` (seconds) spares what is younger even without a lease.
        """
        from images.gc import collect

        return collect(self.root, self.db, self.blobs, self.snapshots, grace=grace, dry_run=dry_run)

    def check(self, *, rehash: bool = False) -> list[Problem]:
        """Look for damage; ``rehash`` reads every blob. An empty list is a clean bill."""
        from images.check import check

        return check(self, rehash=rehash)

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        from images.manifest import parse

        return parse(self.blobs.read(descriptor.digest), descriptor.media_type)

    def _image_id(self, descriptor: Descriptor) -> Digest:
        """The config digest of the image that is meant; an index without one here has its own."""
        for manifest in self._local_manifests(descriptor, set()):
            return manifest.config.digest
        return descriptor.digest

    def _local_manifests(self, descriptor: Descriptor, seen: set[Digest]) -> Iterator[Manifest]:
        """Manifests whose bytes are here, this machine's platform first."""
        from images.manifest import Manifest

        document = self._document(descriptor)
        if isinstance(document, Manifest):
            yield document
            return
        choices = list(document.manifests)
        with suppress(PlatformUnknownError):
            choices.insert(0, document.select(Platform.host()))
        for choice in choices:
            if choice.digest not in seen and self.blobs.size(choice.digest) is not None:
                seen.add(choice.digest)
                yield from self._local_manifests(choice, seen)

    def _renew(self, digest: Digest) -> None:
        from images.gc import references

        seen: set[Digest] = set()
        stack = [digest]
        while stack:
            current = stack.pop()
            if current not in seen:
                seen.add(current)
                if self.blobs.has(current):
                    stack.extend(references(self.blobs, current))

    def _by_id(self, start: str) -> list[StoredImage]:
        pattern = f"sha256:{start}"
        rows = self.db.execute(
            "SELECT descriptor FROM images WHERE substr(image_id, 1, ?) = ? "
            "OR digest = ? ORDER BY added DESC",
            (len(pattern), pattern, pattern),
        )
        return [self._stored(_descriptor(text)) for (text,) in rows]

    def _stored(self, descriptor: Descriptor) -> StoredImage:
        digest = str(descriptor.digest)
        row = self.db.one("SELECT image_id, added FROM images WHERE digest = ?", (digest,))
        names = self.db.execute("SELECT name FROM names WHERE digest = ? ORDER BY name", (digest,))
        if row is None:
            raise ImageUnknownError("no such image", where=digest, fix="see `lading images`")
        references = tuple(Reference.parse(name) for (name,) in names)
        return StoredImage(descriptor, Digest.parse(row[0]), references, row[1])

    def _name_meant(self, text: str, stored: StoredImage) -> Reference | None:
        """The name if ``text`` is one of the image's names, None if it is an id."""
        try:
            ref = Reference.parse(text)
        except ImagesError:
            return None
        return ref if ref in stored.names else None


def _layers(image: Image) -> list[tuple[Digest, Descriptor]]:
    layers, diff_ids = image.manifest.layers, image.config.diff_ids
    if len(layers) != len(diff_ids):
        raise InvalidManifestError(
            f"manifest has {len(layers)} layers, config has {len(diff_ids)}",
            where=str(image.descriptor.digest),
        )
    return list(zip(diff_ids, layers, strict=True))


def default_root() -> Path:
    """``$LADING_ROOT``; else ``/var/lib/lading`` for root and ``$XDG_DATA_HOME/lading`` for
    others.
    """
    from pathlib import Path

    chosen = os.environ.get("LADING_ROOT")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/lading")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "lading"


def _text(descriptor: Descriptor) -> str:
    return json.dumps(descriptor.to_json(), sort_keys=True)


def _descriptor(text: str) -> Descriptor:
    return Descriptor.from_json(json.loads(text))
