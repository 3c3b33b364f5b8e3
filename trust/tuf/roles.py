"""Role names of a Notary repository: the five base roles and the delegations below ``targets``.

Notary's rule for a delegation: ``targets/`` and then ``[-a-z0-9_/]``, a clean path, shorter than
256. Dots are excluded, so ``targets/alice.<hash>`` never reads as a role.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Final

ROOT: Final = "root"
TARGETS: Final = "targets"
SNAPSHOT: Final = "snapshot"
TIMESTAMP: Final = "timestamp"
BASE_ROLES: Final = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
RELEASES: Final = "targets/releases"
"""The delegation whose tags docker pulls, before those of ``targets`` itself."""

RELEASED: Final = (RELEASES, TARGETS)
"""Where docker looks for a tag, in this order."""

MAX_ROLE: Final = 255
MAX_DEPTH: Final = 16
"""Deepest delegation that is followed; notary users have one level, rarely two."""

_DELEGATION: Final = re.compile(r"targets/[-a-z0-9_/]+\Z")
_SIGNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")


def is_delegation(name: str) -> bool:
    """Whether ``name`` is a delegated targets role."""
    return (
        len(name) <= MAX_ROLE
        and _DELEGATION.match(name) is not None
        and posixpath.normpath(name) == name
        and name.count("/") <= MAX_DEPTH
    )


def is_role(name: str) -> bool:
    """Whether ``name`` is any role of a repository."""
    return name in BASE_ROLES or is_delegation(name)


def is_targets(name: str) -> bool:
    """Whether metadata of this role lists targets."""
    return name == TARGETS or is_delegation(name)


def is_signer(name: str) -> bool:
    """Whether docker accepts ``name`` for a signer (``docker trust signer add``)."""
    return (
        _SIGNER.match(name) is not None and name != "releases" and is_delegation(signer_role(name))
    )


def parent(delegation: str) -> str:
    """The role that delegates to this one."""
    return posixpath.dirname(delegation)


def ancestors(delegation: str) -> tuple[str, ...]:
    """``targets`` down to the parent."""
    parts = delegation.split("/")
    return tuple("/".join(parts[:length]) for length in range(1, len(parts)))


def signer_role(name: str) -> str:
    """The delegation of the signer called ``name``."""
    return f"{TARGETS}/{name}"


def signer_name(role: str) -> str:
    """The signer that a delegation stands for."""
    return role.removeprefix(f"{TARGETS}/")


def allows(paths: Iterable[str], target: str) -> bool:
    """Whether a delegation for ``paths`` (prefixes; ``""`` is everything) covers ``target``."""
    return any(target.startswith(path) for path in paths)
