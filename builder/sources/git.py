"""Git repositories as directories: a ref to a commit, the commit fetched once, checked out once.

Objects are kept in a bare repository per remote and checkouts on a shelf, both in the builder's
state, so that a second build of the same commit fetches nothing and one of the next commit fetches
what is new. One commit is fetched, without its history.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError, DownloadError
from builder.sources.git_program import FETCH_SECONDS, PROTOCOLS, Git, lines
from builder.sources.git_url import GitUrl
from builder.sources.public import public_url
from builder.sources.shelf import REPOSITORIES, TREES, Shelf
from records import Record

if TYPE_CHECKING:
    from builder.sources.credentials import Credentials

_LOCAL: Final = "file"
_QUIETLY: Final = ("--quiet", "--no-tags", "--no-write-fetch-head")
_HEADS, _TAGS, _PEELED = "refs/heads/", "refs/tags/", "^{}"


class Commit(Record):
    """What a URL led to. ``tagged`` is the id of the tag object where ``ref`` is one, else empty;
    ``ref`` is the whole name of the ref, empty for HEAD or a commit.
    """

    id: str
    ref: str = ""
    tagged: str = ""


class GitRepositories:
    """Reaches repositories for one build; safe to use from several threads."""

    def __init__(
        self,
        state: Path,
        credentials: Credentials,
        *,
        ssh: Mapping[str, Path] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """``state`` is the builder's directory, ``ssh`` the agents of the build by id."""
        self._trees = Shelf(state / TREES, cancelled)
        self._repositories = Shelf(state / REPOSITORIES, cancelled)
        self._credentials = credentials
        self._agent = (ssh or {}).get("default")
        self._cancelled = cancelled

    def resolve(self, url: GitUrl) -> Commit:
        """The commit that a URL means now; asks the server unless the URL settles it.

        Raises:
            DownloadError: no such repository or ref, or not the commit that was promised.
        """
        if url.commit:
            found = Commit(url.commit)
        else:
            wanted = url.ref or "HEAD"
            patterns = (wanted, wanted + _PEELED)
            words = ("ls-remote", "--", _address(url), *patterns)
            answer = self._git(url)(*words, protocols=_protocols(url))
            found = _choose(url, wanted, dict(map(_row, lines(answer))))
        if url.checksum and not (
            found.id.startswith(url.checksum) or found.tagged.startswith(url.checksum)
        ):
            raise DownloadError(
                f"{public_url(str(url))}: expected a commit that begins with {url.checksum}, got"
                f" {found.id}",
                fix="find out who moved the ref, then correct the checksum",
            )
        return found

    @contextmanager
    def checkout(self, url: GitUrl, commit: Commit, *, keep_git_dir: bool) -> Iterator[Path]:
        """The files of a commit, at the URL's directory; they stay for the block.

        Raises:
            DownloadError: it cannot be fetched.
            BuildInputError: there is no such directory in it.
        """
        remote = public_url(url.remote)
        parts = [remote, commit.id, url.mtime, "submodules" if url.submodules else ""]
        if keep_git_dir:
            parts += ["git", commit.ref]
        title = f"{remote} {commit.id}"
        with self._trees.item(
            "\0".join(parts),
            title,
            lambda tree: self._check_out(url, commit, tree, keep_git_dir=keep_git_dir),
        ) as tree:
            yield _inside(tree, url)

    def _check_out(self, url: GitUrl, commit: Commit, tree: Path, *, keep_git_dir: bool) -> None:
        git = self._git(url)
        key = public_url(url.remote)
        with self._repositories.changing(key, key, lambda path: _initialise(git, path)) as bare:
            where = {"GIT_DIR": bare}
            _fetch(git, url, commit, where)
            modules = url.submodules and _has_submodules(git, commit, where)
            if keep_git_dir or modules:
                _clone(git, url, commit, bare, tree)
            else:
                index = tree.with_name(f"{tree.name}-index")
                files = {**where, "GIT_WORK_TREE": tree, "GIT_INDEX_FILE": index}
                git("read-tree", commit.id, files=files, protocols=_LOCAL)
                words = ("checkout-index", "--all", "--force")
                git(*words, directory=tree, files=files, protocols=_LOCAL, seconds=FETCH_SECONDS)
                index.unlink()
            dated = git("log", "-1", "--format=%ct", commit.id, files=where, protocols=_LOCAL)
        if modules:
            update = ("submodule", "update", "--init", "--recursive", "--depth=1")
            git(*update, directory=tree, protocols=_protocols(url), seconds=FETCH_SECONDS)
        if not keep_git_dir:
            _drop_git(tree)
        if url.mtime == "commit":
            _date(tree, int(dated))

    def _git(self, url: GitUrl) -> Git:
        header = self._credentials.for_git(url.remote) if url.remote.startswith("http") else None
        return Git(_address(url), header=header, agent=self._agent, cancelled=self._cancelled)


def _address(url: GitUrl) -> str:
    """The remote as git gets it: passwords of http URLs travel in a header."""
    return public_url(url.remote) if url.remote.startswith("http") else url.remote


def _protocols(url: GitUrl) -> str:
    return _LOCAL if url.remote.startswith("file:") else PROTOCOLS


def _row(line: str) -> tuple[str, str]:
    """Name and object of a line of ls-remote."""
    commit, _, name = line.partition("\t")
    return name, commit


def _choose(url: GitUrl, wanted: str, refs: Mapping[str, str]) -> Commit:
    """The ref that is meant: by its whole name, else a branch, else a tag, as git checkout does."""
    for name in (wanted, _HEADS + wanted, _TAGS + wanted):
        found = refs.get(name)
        if found is None:
            continue
        peeled = refs.get(name + _PEELED)
        full = "" if wanted == "HEAD" else name
        return Commit(peeled or found, full, found if peeled else "")
    raise DownloadError(
        f"{public_url(url.remote)}: the repository has no ref {wanted}",
        fix="name a branch, a tag or a whole commit after #",
    )


def _initialise(git: Git, path: Path) -> None:
    git("init", "--quiet", "--bare", "--template=", "--", str(path), protocols=_LOCAL)


def _fetch(git: Git, url: GitUrl, commit: Commit, where: Mapping[str, Path]) -> None:
    """Bring a commit into the bare repository, if it is not there.

    Raises:
        DownloadError: the server does not have it, or does not give it away.
    """
    if _has(git, commit, where):
        return
    keep = f"refs/lading/{commit.id}"
    shallow = ("--depth=1", "--", _address(url))
    attempts: list[tuple[str, ...]] = [(*shallow, f"{commit.id}:{keep}")]
    if commit.ref:
        attempts.append((*shallow, f"{commit.ref}:{keep}"))
    # A server may give no commit by its id; its history has it all the same.
    everything = ("refs/heads/*:refs/all/heads/*", "refs/tags/*:refs/all/tags/*")
    attempts.append(("--update-shallow", "--", _address(url), *everything))
    for number, attempt in enumerate(attempts, start=1):
        try:
            words = ("fetch", *_QUIETLY, "--force", *attempt)
            git(*words, files=where, protocols=_protocols(url), seconds=FETCH_SECONDS)
        except DownloadError:
            if number == len(attempts):
                raise
        if _has(git, commit, where):
            return
    raise DownloadError(
        f"{public_url(url.remote)}: the repository has no commit {commit.id}",
        fix="push it, or name a ref",
    )


def _has(git: Git, commit: Commit, where: Mapping[str, Path]) -> bool:
    """Whether the commit is here; it is fetched whole or not at all."""
    try:
        git("cat-file", "-e", f"{commit.id}^{{commit}}", files=where, protocols=_LOCAL)
    except DownloadError:
        return False
    return True


def _has_submodules(git: Git, commit: Commit, where: Mapping[str, Path]) -> bool:
    words = ("ls-tree", "--name-only", commit.id, "--", ".gitmodules")
    return bool(git(*words, files=where, protocols=_LOCAL).strip())


def _clone(git: Git, url: GitUrl, commit: Commit, bare: Path, tree: Path) -> None:
    """A repository of its own with one commit, whose origin is the remote."""
    git("init", "--quiet", "--template=", "--", str(tree), protocols=_LOCAL)
    fetch = ("fetch", *_QUIETLY, "--depth=1", "--", str(bare), f"{commit.id}:refs/lading")
    git(*fetch, directory=tree, protocols=_LOCAL, seconds=FETCH_SECONDS)
    git("remote", "add", "--", "origin", _address(url), directory=tree, protocols=_LOCAL)
    branch: tuple[str, ...] = ()
    if commit.ref.startswith(_HEADS):
        branch = ("-B", commit.ref.removeprefix(_HEADS))
    words = ("checkout", "--quiet", "--force", *branch, commit.id, "--")
    git(*words, directory=tree, protocols=_LOCAL, seconds=FETCH_SECONDS)
    if commit.ref.startswith(_TAGS):
        git("update-ref", commit.ref, commit.id, directory=tree, protocols=_LOCAL)
    git("update-ref", "-d", "refs/lading", directory=tree, protocols=_LOCAL)


def _drop_git(tree: Path) -> None:
    """Remove the repository, and the files that stand for one in each submodule."""
    import shutil

    shutil.rmtree(tree / ".git", ignore_errors=True)
    for folder, directories, files in os.walk(tree):
        if ".git" in files:
            Path(folder, ".git").unlink()
        directories[:] = [name for name in directories if not Path(folder, name).is_symlink()]


def _date(tree: Path, seconds: int) -> None:
    for folder, _, files in os.walk(tree, topdown=False):
        for name in files:
            os.utime(os.path.join(folder, name), (seconds, seconds), follow_symlinks=False)
        os.utime(folder, (seconds, seconds))


def _inside(tree: Path, url: GitUrl) -> Path:
    """The URL's directory; no part of its path may be a link, which could lead anywhere."""
    path = tree
    for part in url.subdir.split("/") if url.subdir else ():
        path = path / part
        try:
            found = stat.S_ISDIR(path.lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            found = False
        if not found:
            raise BuildInputError(
                f"{public_url(str(url))}: {url.subdir} is not a directory of the repository",
                fix="correct what stands behind the colon",
            )
    return path
