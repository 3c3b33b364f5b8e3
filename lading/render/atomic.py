"""Files for other programs, written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from images.errors import EnvironmentFault


def write_whole(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace ``path`` in one step (rename(2)): a reader sees the old or the new file.

    ``mode`` are the permission bits, None for those that the umask leaves. Pipes and devices, such
    as /dev/stdout may be, are written to.

    Raises:
        EnvironmentFault: it cannot be written; nothing has changed.
    """
    if _is_special(path):
        path.write_bytes(data)
        return
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


def check_writable(path: Path) -> None:
    """See beforehand that ``write_whole`` could write; nothing is written.

    Raises:
        EnvironmentFault: it could not.
    """
    folder = path.parent
    why = ""
    if _is_special(path):
        why = "" if os.access(path, os.W_OK, effective_ids=True) else "permission denied"
    elif path.is_dir():
        why = "it is a directory"
    elif not folder.is_dir():
        why = f"{folder} is {'not a directory' if folder.exists() else 'not there'}"
    elif not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        why = "permission denied, or a read-only file system"
    if why:
        raise EnvironmentFault(
            f"cannot be written: {why}",
            where=str(path),
            fix="check the folder and its permissions; nothing was done yet",
        )


def _is_special(path: Path) -> bool:
    return path.exists() and not (path.is_file() or path.is_dir())
