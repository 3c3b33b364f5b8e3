"""Key files on disk: read with a limit, and faults of the disk told as faults of the key store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trust.errors import KeyStoreFault
from trust.keyfile import MAX_KEY_FILE


def read_key_file(path: Path) -> bytes:
    """The bytes of a key file; one more than ``MAX_KEY_FILE`` where it is too long to be one.

    Raises:
        KeyStoreFault: it cannot be read.
    """
    with key_store(path), path.open("rb") as file:
        return file.read(MAX_KEY_FILE + 1)


@contextmanager
def key_store(path: Path) -> Iterator[None]:
    """What the disk refuses within is a ``KeyStoreFault`` at ``path``."""
    try:
        yield
    except OSError as error:
        raise KeyStoreFault(
            f"cannot use the key store: {error.strerror}",
            where=str(path),
            fix="check the owner, the mode and the free space of this folder",
        ) from error
