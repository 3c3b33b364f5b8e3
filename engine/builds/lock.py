"""The lock file of a build: what each name meant, so that it means the same the next time.

JSON, sorted, one entry a line, for version control::

    {
      "version": 1,
      "images": {"docker.io/library/debian:12": {"linux/amd64": "sha256:..."}},
      "urls": {"https://example.com/file": "sha256:..."}
    }

An image's digest is that of what its name points to, which is an index where there is one. Names
that say their digest, and files with a checksum, are pinned where they are written and stay out.
One lock may serve several Dockerfiles, targets and platforms: entries that a build has no use for
stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from images.digest import Digest
from images.durable import write_durably
from images.errors import EnvironmentFault, ImagesError, InputError
from images.platform import Platform
from images.reference import Reference

VERSION: Final = 1
SIZE_LIMIT: Final = 4 << 20


class LockFileError(InputError):
    """The lock file is malformed, or says nothing where it has to, or something else."""

    code = "build-lock"


class LockFileFault(EnvironmentFault):
    """The lock file cannot be read or written."""

    code = "build-lock-io"


class BuildLock:
    """The lock file of one build.

    ``refresh`` forgets what it says of everything that the build uses; ``frozen`` lets nothing be
    added.
    """

    def __init__(self, path: Path, *, refresh: bool = False, frozen: bool = False) -> None:
        """Read the file, which need not be there yet unless ``frozen``.

        Raises:
            LockFileError, LockFileFault: it is not one, or cannot be read.
        """
        self._path = path
        self._refresh = refresh
        self._frozen = frozen
        known = _Entries.read(path)
        if known is None and frozen:
            raise LockFileError(
                "there is no lock file", where=str(path), fix="build without --locked to make it"
            )
        self._known = known or _Entries()
        self._added = _Entries()

    def image(self, reference: Reference, platform: Platform) -> Digest | None:
        """The digest that a name is held to; None if it has to be looked up.

        Raises:
            LockFileError: the lock is frozen and does not know it.
        """
        if reference.digest is not None:
            return None
        name, key = str(reference), str(platform)
        return self._held(self._known.images.get(name, {}).get(key), f"{name} for {key}")

    def url(self, url: str) -> Digest | None:
        """The digest that a file is held to; as ``image``."""
        return self._held(self._known.urls.get(url), url)

    def check_loose(self, repository: str) -> None:
        """Whether a branch or tag may stand for its commit; it stays out of the lock.

        Raises:
            LockFileError: the lock is frozen.
        """
        if self._frozen:
            raise LockFileError(
                f"{repository} is used without a commit",
                where=str(self._path),
                fix=f"state the whole commit, which no lock has to hold: {repository}#COMMIT",
            )

    def note_image(self, reference: Reference, platform: Platform, digest: Digest) -> None:
        """Remember what a name meant."""
        if reference.digest is None:
            self._added.images.setdefault(str(reference), {})[str(platform)] = digest

    def note_url(self, url: str, digest: Digest) -> None:
        """Remember what was at a URL."""
        self._added.urls[url] = digest

    @classmethod
    def carried(cls, label: str, entries: bytes, *, refresh: bool, frozen: bool) -> Self:
        """The lock of a build that is ordered from another machine, by what ``entries`` gave there.

        Raises:
            LockFileError: these are none.
        """
        made = cls.__new__(cls)
        made._path = Path(label)
        made._refresh, made._frozen = refresh, frozen
        made._known, made._added = _Entries.parse(entries, label), _Entries()
        return made

    @property
    def label(self) -> str:
        """How messages call it."""
        return str(self._path)

    @property
    def refresh(self) -> bool:
        """Whether what it says of what the build uses is forgotten."""
        return self._refresh

    @property
    def frozen(self) -> bool:
        """Whether nothing may be added."""
        return self._frozen

    def entries(self) -> bytes:
        """What it says, as in its file."""
        return self._known.encode()

    def added(self) -> bytes:
        """What was noted, as in its file."""
        return self._added.encode()

    def note_all(self, entries: bytes) -> None:
        """Remember what was noted elsewhere, as ``added`` gave it.

        Raises:
            LockFileError: it is malformed.
        """
        self._added = self._added.merged(_Entries.parse(entries, self.label))

    def write(self) -> None:
        """Add what was noted to the file as it is now; nothing is written if nothing changed.

        Raises:
            LockFileError, LockFileFault: see ``__init__``.
        """
        if self._frozen:
            return
        # Another build may have added its own entries since.
        before = _Entries.read(self._path)
        after = (before or _Entries()).merged(self._added)
        if before is not None and after.encode() == before.encode():
            return
        try:
            write_durably(self._path, after.encode(), mode=0o644)
        except OSError as error:
            raise LockFileFault(
                f"cannot write the lock file: {error.strerror}", where=str(self._path)
            ) from error

    def _held(self, digest: Digest | None, what: str) -> Digest | None:
        if digest is None and self._frozen:
            raise LockFileError(
                f"{what} is not in the lock",
                where=str(self._path),
                fix="build without --locked to add it",
            )
        return None if self._refresh else digest


class _Entries:
    """What a lock file says."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Digest]] = {}
        self.urls: dict[str, Digest] = {}

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The entries of a file; None where there is none."""
        try:
            with path.open("rb") as file:
                data = file.read(SIZE_LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LockFileFault(
                f"cannot read the lock file: {error.strerror}", where=str(path)
            ) from error
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """The entries in bytes.

        Raises:
            LockFileError: there is something else in them.
        """
        try:
            if len(data) > SIZE_LIMIT:
                raise ValueError(f"longer than {SIZE_LIMIT} bytes")
            return cls._parse(json.loads(data, object_pairs_hook=_once))
        except (ValueError, ImagesError, RecursionError) as error:
            reason = error.what if isinstance(error, ImagesError) else str(error)
            raise LockFileError(
                f"not a lock file: {reason}",
                where=where,
                fix="restore it from version control, or remove it and lock anew",
            ) from error

    @classmethod
    def _parse(cls, document: Any) -> Self:
        top = _mapping(document)
        if set(top) != {"version", "images", "urls"} or top["version"] != VERSION:
            raise ValueError(f"it must have version {VERSION}, images and urls")
        made = cls()
        for name, platforms in _mapping(top["images"]).items():
            made.images[name] = {
                str(Platform.parse(key)): _digest(value)
                for key, value in _mapping(platforms).items()
            }
        made.urls = {url: _digest(value) for url, value in _mapping(top["urls"]).items()}
        return made

    def merged(self, other: _Entries) -> _Entries:
        """These entries with those of ``other``, which win."""
        made = _Entries()
        for name in {*self.images, *other.images}:
            made.images[name] = {**self.images.get(name, {}), **other.images.get(name, {})}
        made.urls = {**self.urls, **other.urls}
        return made

    def encode(self) -> bytes:
        """The bytes of the file."""
        document = {
            "version": VERSION,
            "images": {
                name: {key: str(digest) for key, digest in sorted(platforms.items())}
                for name, platforms in sorted(self.images.items())
            },
            "urls": {url: str(digest) for url, digest in sorted(self.urls.items())},
        }
        return json.dumps(document, indent=2).encode() + b"\n"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("it says something twice")
    return made


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a table is missing")
    return value


def _digest(value: object) -> Digest:
    if not isinstance(value, str):
        raise ValueError("a digest is missing")
    return Digest.parse(value)
