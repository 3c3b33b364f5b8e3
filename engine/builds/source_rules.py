"""What builds may fetch: what a policy allows, files and repositories, as a lock file holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.urls import check_url

if TYPE_CHECKING:
    from engine.access import Judge
    from engine.builds.lock import BuildLock
    from images.digest import Digest
    from trust.policy import Policy


class SourceRules:
    """A ``builder.downloads.DownloadJudge``; without policy and lock it allows everything."""

    def __init__(
        self, policy: Policy | None, lock: BuildLock | None, judge: Judge | None = None
    ) -> None:
        self._policy = policy
        self._lock = lock
        self._judge = judge

    def admit(self, url: str, checksum: str | None) -> str | None:
        """The checksum that the file must have, the lock's where the build states none.

        Raises:
            VerificationError: the policy does not let it be added.
            LockFileError: the lock is frozen and does not know it.
        """
        if checksum is None and self._lock is not None:
            held = self._lock.url(url)
            checksum = None if held is None else str(held)
        self._check(url, pinned=checksum is not None)
        return checksum

    def admit_repository(self, url: str, commit: str | None) -> None:
        """As ``admit``; a lock has no repositories, so a frozen one wants the ``commit`` stated."""
        if commit is None and self._lock is not None:
            self._lock.check_loose(url)
        self._check(url, pinned=commit is not None)

    def _check(self, url: str, *, pinned: bool) -> None:
        if self._policy is not None:
            check_url(self._policy, url, pinned=pinned)
        if self._judge is not None:
            self._judge.url(url, pinned=pinned)

    def fetched(self, url: str, digest: Digest) -> None:
        """Put a file that the build states no checksum of into the lock."""
        if self._lock is not None:
            self._lock.note_url(url, digest)
