"""The rows that travel between the index and the handlers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BlobLink:
    """That a repository has a blob of ``size`` bytes; ``leased`` is when its lease last began."""

    digest: str
    size: int
    leased: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A stored manifest: its type exactly as pushed, its size in bytes, when its lease began."""

    digest: str
    media_type: str
    size: int
    leased: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class NewManifest:
    """All that a manifest PUT writes, decided before the transaction begins.

    ``blobs`` and ``children`` are (digest, size) pairs that this repository must have unless the
    push is sparse; ``optional`` digests are recorded as references but need not be here.
    ``referrer`` is the descriptor to list under ``subject``.
    """

    digest: str
    media_type: str
    size: int
    blobs: tuple[tuple[str, int], ...] = ()
    children: tuple[tuple[str, int], ...] = ()
    optional: tuple[str, ...] = ()
    subject: str | None = None
    artifact_type: str = ""
    referrer: bytes = b""


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload session: where it belongs and what it hashes with."""

    id: str
    repository: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class TagEvent:
    """One move of a tag at ``moment`` (seconds since the epoch); no digest means it was deleted.

    ``media_type`` is that of the manifest it pointed to before, if it was there. ``actor`` is who
    moved it, "" for nobody in particular.
    """

    digest: str | None
    moment: int
    previous: str | None = None
    media_type: str | None = None
    actor: str = ""
