"""Where the policy and the keys it names lie on disk.

One file decides, the first of: the one named on the command line, ``$LADING_TRUST_POLICY``,
``<root>/trust/policy.toml`` or ``policy.json``, ``/etc/containers/policy.json``. The last is the
machine owner's word to every container tool, so it is obeyed here too. Without any of them,
anything is accepted, as docker does. A file in lading's own syntax may import others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trust.errors import KeyFileError, PolicyFileError
from trust.policy import MAX_POLICY, Decider, NotationPolicy, Policy, is_notation_policy

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
    own = (root / "trust" / name for name in ("policy.toml", "policy.json"))
    return next((path for path in (*own, system) if path.exists()), None)


def load_policy(path: Path) -> Policy:
    """Read and parse one policy file, and what it imports.

    Raises:
        PolicyFileError: one of them cannot be read, or not be understood completely.
    """
    return Policy.parse(_read(path), source=str(path), folder=str(path.parent), imported=_imported)


def _imported(path: str) -> Decider:
    data = _read(Path(path))
    if is_notation_policy(data):
        from trust.notation.policy import TrustPolicy

        return NotationPolicy(TrustPolicy.parse(data, source=path), str(Path(path).parent))
    return Policy.parse(data, source=path, folder=str(Path(path).parent))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_POLICY + 1)
    except OSError as error:
        raise PolicyFileError(
            f"cannot read the trust policy: {error.strerror}",
            where=str(path),
            fix="name a readable file, or remove the setting that names this one",
        ) from error


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
    from trust.keyfile import MAX_KEY_FILE

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
