"""Files for other programs, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace ``path`` in one step (rename(2)): a reader sees the old or the new file.

    ``mode`` are the permission bits, None for those that the umask leaves.
    """
    stage = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        stage.write_bytes(data)
        if mode is not None:
            stage.chmod(mode)
        stage.replace(path)
    finally:
        stage.unlink(missing_ok=True)
