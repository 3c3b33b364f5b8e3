"""Files for other programs, written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from images.errors import EnvironmentFault


def write_whole(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace ``path`` in one step (rename(2)): a reader sees the old or the new file.

    ``mode`` are the permission bits, None for those that the umask leaves.

    Raises:
        EnvironmentFault: it cannot be written; nothing has changed.
    """
    stage = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        stage.write_bytes(data)
        if mode is not None:
            stage.chmod(mode)
        stage.replace(path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot be written: {error.strerror}",
            where=str(path),
            fix="check the folder and its permissions",
        ) from error
    finally:
        with suppress(OSError):
            stage.unlink()
