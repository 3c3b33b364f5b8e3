"""What one machine kept beside its index, when that index has gone to PostgreSQL.

Accounts and token keys are taken over by the first replica that finds them under its root while the
replicas share nothing: a registry that had users must not begin without them. What else is there
refuses the start then, so that nothing begins anew under a name that clients know; a migration
brings it along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from registry.errors import RegistryStartError
from registry.smallfiles import SharedFile, create, locked

_FOLDER: Final = "access"
_ACCOUNTS: Final = ("htpasswd", "robots.json", "denied", "checked.json")
_LEFT: Final = {
    "notary/notary.db": "trust data",
    "log.db": "a transparency log",
    "countersign": "countersigning keys",
    "events.db": "events for webhooks",
}


def take_over(root: Path, files: SharedFile) -> None:
    """Bring accounts of ``root`` to where replicas share them, if nobody did; blocks.

    Raises:
        RegistryStartError: there is something under ``root`` that replicas cannot have.
    """
    if files.is_dir():
        return
    for name, what in _LEFT.items():
        if (root / name).exists():
            raise RegistryStartError(
                f"this folder has {what} of a registry of one machine, which replicas do not share",
                where=str(root / name),
                fix="bring it with `lading registry migrate`, or move it away to begin anew",
            )
    source, target = root / _FOLDER, files / _FOLDER
    if not source.is_dir():
        return
    with locked(target):
        # Looked at again under the lock: another replica may have brought its own meanwhile.
        if files.is_dir():
            return
        for name in _ACCOUNTS:
            _copy(source / name, target / name)
        for key in sorted((source / "keys").glob("*.pem")):
            _copy(key, target / "keys" / key.name)


def _copy(source: Path, target: SharedFile) -> None:
    if source.is_file():
        create(target, source.read_bytes())
