"""From a trusted set to signed tags: what docker pulls, and who vouches for it.

A tag is released if ``targets/releases`` or ``targets`` signs it, in this order (docker's rule);
other delegations are signers, whose word is shown but does not release.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from images.digest import Digest
from trust.tuf import roles
from trust.tuf.errors import UnsignedTagError
from trust.tuf.metadata import Delegation, FileMeta
from trust.tuf.trusted import TrustedSet


@dataclass(frozen=True, slots=True)
class SignedTag:
    """A released tag: the digest it means, and the signers beside the releasing role."""

    name: str
    digest: Digest
    length: int
    role: str
    signers: tuple[str, ...] = ()


def resolve(trusted: TrustedSet, tag: str) -> SignedTag:
    """What ``tag`` means by the roles that release.

    Raises:
        UnsignedTagError: none of them has it.
    """
    for role in roles.RELEASED:
        meta = _target(trusted, role, tag)
        if meta is not None:
            return _released(trusted, tag, meta, role)
    raise UnsignedTagError(f"no valid trust data for {tag}", where=trusted.gun)


def released(trusted: TrustedSet) -> tuple[SignedTag, ...]:
    """Every released tag, by name."""
    names = {name for role in roles.RELEASED for name in listed(trusted, role)}
    return tuple(resolve(trusted, name) for name in sorted(names))


def listed(trusted: TrustedSet, role: str) -> tuple[str, ...]:
    """The names that ``role`` signs and may sign."""
    loaded = trusted.targets.get(role)
    return () if loaded is None else tuple(n for n in loaded.targets if permitted(trusted, role, n))


def permitted(trusted: TrustedSet, role: str, target: str) -> bool:
    """Whether every delegation on the way down to ``role`` covers the name."""
    below = role
    while below != roles.TARGETS:
        found = _delegation(trusted, below)
        if found is None or not roles.allows(found.paths, target):
            return False
        below = roles.parent(below)
    return True


def signers(trusted: TrustedSet) -> Iterator[Delegation]:
    """The delegations of ``targets`` that stand for people: all but ``targets/releases``."""
    top = trusted.targets.get(roles.TARGETS)
    for delegation in () if top is None else top.delegations:
        if delegation.name != roles.RELEASES:
            yield delegation


def _target(trusted: TrustedSet, role: str, name: str) -> FileMeta | None:
    loaded = trusted.targets.get(role)
    if loaded is None or name not in loaded.targets or not permitted(trusted, role, name):
        return None
    return loaded.targets[name]


def _released(trusted: TrustedSet, tag: str, meta: FileMeta, role: str) -> SignedTag:
    names = []
    for delegation in signers(trusted):
        other = _target(trusted, delegation.name, tag)
        if other is not None and other.sha256 == meta.sha256:
            names.append(roles.signer_name(delegation.name))
    return SignedTag(tag, Digest("sha256", meta.sha256), meta.length, role, tuple(sorted(names)))


def _delegation(trusted: TrustedSet, role: str) -> Delegation | None:
    parent = trusted.targets.get(roles.parent(role))
    return None if parent is None else parent.delegation(role)
