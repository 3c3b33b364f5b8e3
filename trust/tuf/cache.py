"""Docker's cache of trust data: ``<trust>/tuf/<repository>/metadata/<role>.json``.

The root there is the trust anchor: it is what trust on first use remembers. Everything is judged
again when it is read, so that a damaged cache can refuse but not deceive. ``changelist/`` holds
what ``notary`` staged; docker clears it before it signs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from images.durable import write_durably
from trust.errors import TrustError
from trust.tuf import limits, roles


class CacheFault(TrustError):
    """This machine cannot read or write the cache of trust data."""

    code = "tuf-cache"


class MetadataCache:
    """The cached trust data of one repository; ``folder`` is ``~/.docker/trust``."""

    def __init__(self, folder: Path, gun: str) -> None:
        self._base = folder / "tuf" / gun
        self._metadata = self._base / "metadata"

    def get(self, role: str) -> bytes | None:
        """The cached bytes of a role; None when there are none, or too many."""
        if not roles.is_role(role):
            return None
        path = self._metadata / f"{role}.json"
        with _disk(path):
            try:
                with path.open("rb") as file:
                    data = file.read(limits.of(role) + 1)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return data if len(data) <= limits.of(role) else None

    def put(self, raw: Mapping[str, bytes]) -> None:
        """Keep verified bytes, the root last: what is new must not outlive an old anchor.

        Raises:
            CacheFault: the disk refused.
        """
        for role in sorted(raw, key=lambda role: role == roles.ROOT):
            path = self._metadata / f"{role}.json"
            with _disk(path):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not path.is_file() or path.read_bytes() != raw[role]:
                    write_durably(path, raw[role])

    def discard_changes(self) -> None:
        """Drop what was staged and never published, as docker does before it signs."""
        shutil.rmtree(self._base / "changelist", ignore_errors=True)

    def forget(self) -> None:
        """Drop everything, the anchor included; the next use is a first use."""
        shutil.rmtree(self._base, ignore_errors=True)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheFault(
            f"cannot use docker's cache of trust data: {error.strerror}",
            where=str(path),
            fix="check the owner, the mode and the free space of this folder",
        ) from error
