"""The guard of a served store: immutable tags, quotas, and bytes that are really there."""

from __future__ import annotations

from typing import Protocol

from images.digest import Digest
from registry.errors import ContentVanishedError, ImmutableTagError
from registry.guard import Usage, Usages
from registry.quotas import Quotas
from registry.retention import Immutability


class Holder(Protocol):
    """Storage, as far as it says what it has."""

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there; renews nothing."""
        ...


class Admission:
    """Judges every write of the index; see ``registry.guard.Guard``."""

    def __init__(self, storage: Holder, quotas: Quotas, immutability: Immutability) -> None:
        self._storage = storage
        self._quotas = quotas
        self._immutability = immutability

    @property
    def limits(self) -> bool:
        """Whether there are quotas."""
        return self._quotas.any

    def content(self, digest: str) -> None:
        """Refuse a row without bytes.

        Collections remove a file under the same lock, so this settles the race between them and an
        upload that took longer than the lease.

        Raises:
            ContentVanishedError: the bytes are gone.
        """
        if not self._storage.has(Digest.parse(digest)):
            raise ContentVanishedError(
                "the content was collected before it was recorded",
                where=digest,
                fix="push it again",
            )

    def growth(self, repository: str, before: Usage, after: Usage, others: Usages) -> None:
        """Judge growth by the quotas.

        Raises:
            QuotaError: there is no room left.
        """
        self._quotas.check(repository, before, after, others)

    def room(self, repository: str, usage: Usage, others: Usages) -> int | None:
        """How many bytes the quotas leave; None for any number."""
        return self._quotas.room(repository, usage, others)

    def tag(self, repository: str, tag: str, before: str | None, after: str | None) -> None:
        """Let a new tag be made; let an immutable one neither move nor go.

        Raises:
            ImmutableTagError: a rule keeps the tag where it is.
        """
        if before is None or before == after:
            return
        rule = self._immutability.rule(repository, tag)
        if rule is not None:
            raise ImmutableTagError(tag, str(rule))
