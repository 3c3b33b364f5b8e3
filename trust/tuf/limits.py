"""How much of each role is read (notary's own limits)."""

from __future__ import annotations

from typing import Final

from trust.tuf import roles

TIMESTAMP: Final = 1 << 20
KEY: Final = 256 << 10
OTHER: Final = 100 << 20
ROOT: Final = 4 << 20
"""A root holds a handful of certificates; notary would read 100 MiB of it before any signature."""


def of(role: str) -> int:
    """Most bytes of a role's metadata where no signed parent says less."""
    return {roles.TIMESTAMP: TIMESTAMP, roles.ROOT: ROOT}.get(role, OTHER)
