"""How a room of the registry states its settings: a record, one field a setting.

Each field has a default, and an annotation with its type and a sentence of help.
``__post_init__`` checks what the types cannot, and raises ``RegistryConfigError`` with the field's
name in ``where``::

    class QuotaSettings(Record):
        bytes: Annotated[Size | None, "Most bytes of one repository"] = None

The class hangs on ``registry.config.RegistryConfig`` with ``field(default_factory=...)``. Known
types are ``str``, ``int``, ``float``, ``bool``, ``Path``, ``Duration``, ``Size``, enums of strings,
other such records, ``tuple[..., ...]`` of all these, and each of them ``| None``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Annotated

from registry.configuration.units import Unit
from registry.errors import RegistryConfigError

Duration = Annotated[float, Unit.DURATION]
"""Seconds; written as a number or as ``"90s"``, ``"10m"``, ``"1h30m"``, ``"7d"``."""

Size = Annotated[int, Unit.SIZE]
"""Bytes; written as a number or as ``"64KiB"``, ``"5GiB"``, ``"1.5GB"``."""


def refuse(problems: Iterable[RegistryConfigError]) -> None:
    """Raise what was found wrong, all of it in one error; nothing found raises nothing."""
    found = tuple(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise RegistryConfigError(
            f"{len(found)} settings make no sense", where=found[0].where, problems=found
        )


def file_problems(where: str, path: Path | None) -> Iterator[RegistryConfigError]:
    """What keeps the file of setting ``where`` from being read; nothing when it is unset."""
    if path is None:
        return
    try:
        found = S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        found = False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield RegistryConfigError(
            f"{path} cannot be read: {reason}",
            where=where,
            fix="let the user that serves into its folders, or name another file",
        )
        return
    if not found:
        yield RegistryConfigError(f"no such file: {path}", where=where)
