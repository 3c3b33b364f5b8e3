"""The repositories that ADD names: each is resolved once, and checked out until the build ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuildInputError
from builder.request import Material
from builder.sources.public import public_url
from records import Record, replace

if TYPE_CHECKING:
    from builder.downloads import DownloadJudge
    from builder.sources.git import Commit, GitRepositories
    from builder.sources.git_url import GitUrl


class Checkout(Record):
    """The files of a commit in a directory; ``name`` is that of the repository."""

    path: Path
    commit: str
    name: str


class AddedRepositories:
    """Those of one build; safe to use from several threads. ``close`` lets the files go."""

    def __init__(
        self, reach: Callable[[], GitRepositories], *, judge: DownloadJudge | None = None
    ) -> None:
        """``reach`` is called when the first repository is asked for."""
        self._reach = reach
        self._judge = judge
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str | None, bool], Checkout] = {}
        self._materials: dict[Material, None] = {}

    def fetch(self, source: str, checksum: str | None, *, keep_git_dir: bool) -> Checkout:
        """The files that a source of ADD means; ``checksum`` is how the commit begins.

        Raises:
            BuildInputError: the URL or the checksum is malformed, or there is no such directory.
            DownloadError: no such repository or ref, or another commit.
            ImagesError: the judge refuses.
        """
        key = (source, checksum, keep_git_dir)
        with self._lock:
            if key not in self._done:
                self._done[key] = self._fetch(source, checksum, keep_git_dir=keep_git_dir)
            return self._done[key]

    def materials(self) -> tuple[Material, ...]:
        """The repositories and their commits."""
        with self._lock:
            return tuple(self._materials)

    def close(self) -> None:
        """The directories may go."""
        self._stack.close()

    def _fetch(self, source: str, checksum: str | None, *, keep_git_dir: bool) -> Checkout:
        from builder.sources.git_url import parse_git_url

        url = parse_git_url(source)
        assert url is not None
        if checksum is not None:
            url = _held(url, checksum.lower())
        if self._judge is not None:
            self._judge.admit_repository(public_url(url.remote), url.pin)
        repositories = self._reach()
        commit = repositories.resolve(url)
        keep = keep_git_dir if url.keep_git_dir is None else url.keep_git_dir
        held = repositories.checkout(url, commit, keep_git_dir=keep)
        path = self._stack.enter_context(held)
        self._materials[material(url, commit)] = None
        name = url.remote.rstrip("/").rpartition("/")[2].removesuffix(".git")
        return Checkout(path, commit.id, name)


def material(url: GitUrl, commit: Commit, name: str = "") -> Material:
    """How a repository is recorded; ``name`` is the context that it is."""
    algorithm = "sha1" if len(commit.id) == 40 else "sha256"
    ref = f"#{url.ref}" if url.ref else ""
    uri = public_url(url.remote) + ref
    return Material("git", uri, f"{algorithm}:{commit.id}", name=name)


def _held(url: GitUrl, checksum: str) -> GitUrl:
    if not checksum or len(checksum) > 64 or not set(checksum) <= set("0123456789abcdef"):
        raise BuildInputError(
            f'invalid checksum "{checksum}" for a git repository',
            fix="write the commit, or how it begins, in hex digits",
        )
    if url.checksum and url.checksum != checksum:
        raise BuildInputError(
            f'checksum conflicts: "{checksum}" vs "{url.checksum}"', fix="state it once"
        )
    return replace(url, checksum=checksum)
