"""Where the policy and the keys it names lie on disk.

One file decides, the first of: the one named on the command line, ``$LADING_TRUST_POLICY``,
``<root>/trust/policy.json``, ``/etc/containers/policy.json``. The last is the machine owner's word
to every container tool, so it is obeyed here too. Without any of them, anything is accepted, as
docker does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trust.errors import KeyFileError, PolicyFileError
from trust.keyfile import MAX_KEY_FILE
from trust.policy import MAX_POLICY, Policy

VARIABLE: Final = "LADING_TRUST_POLICY"
SYSTEM: Final = Path("/etc/containers/policy.json")


def find_policy(
    root: Path,
    *,
    explicit: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    system: Path = SYSTEM,
) -> Path | None:
    """The policy file that decides, or None. A file that was named need not exist: reading it will
    tell.
    """
    if explicit is not None:
        return explicit
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    return next((path for path in (root / "trust" / "policy.json", system) if path.exists()), None)


def load_policy(path: Path) -> Policy:
    """Read and parse one policy file.

    Raises:
        PolicyFileError: it cannot be read, or not be understood completely.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY + 1)
    except OSError as error:
        raise PolicyFileError(
            f"cannot read the trust policy: {error.strerror}",
            where=str(path),
            fix="name a readable file, or remove the setting that names this one",
        ) from error
    return Policy.parse(data, source=str(path))


def current_policy(
    root: Path,
    *,
    explicit: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    system: Path = SYSTEM,
) -> Policy:
    """The policy in force for the store at ``root``; raises ``PolicyFileError``."""
    path = find_policy(root, explicit=explicit, environ=environ, system=system)
    return Policy.accept_anything() if path is None else load_policy(path)


def read_key(path: str) -> bytes:
    """Read a key file that a policy names.

    Raises:
        KeyFileError: it cannot be read, or is too long for a key.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise KeyFileError(
            f"cannot read a key that the trust policy names: {error.strerror}",
            where=path,
            fix="put the public key there, or correct keyPath in the policy",
        ) from error
    if len(data) > MAX_KEY_FILE:
        raise KeyFileError(f"key file is longer than {MAX_KEY_FILE} bytes", where=path)
    return data
