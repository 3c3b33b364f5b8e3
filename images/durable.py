"""Small files that are there whole or not at all, also after a power loss.

Stage in the same folder, fsync, rename(2) over the name, fsync the folder. Blobs have a writer of
their own (``images.blobs``), which hashes while it writes.
"""

from __future__ import annotations

import os
import secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put ``data`` at ``path`` in one step; what was there before is replaced.

    Raises:
        OSError: the disk refused; nothing of it is visible.
    """
    stage = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(stage, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        stage.replace(path)
    except BaseException:
        stage.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed or removed in ``folder`` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
