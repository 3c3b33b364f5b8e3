"""File operations of a plan carried out by ``builder.copying``: a context, stages, and entries.

Nothing is scanned before a step asks for it, and the context is scanned once for a whole build.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import ItemsView, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from builder.context import ContextTree
from builder.copying.plan import plan_copy, plan_workdir
from builder.copying.request import CopyRequest, InlineSource
from builder.copying.tree import SourceTree, StageTree
from builder.digests import FileDigests, Seen, node_digest, selection_digest
from builder.downloads import Download, Downloads
from builder.errors import BuildInputError
from builder.hostfiles import HostFiles
from builder.keys import frame
from builder.plan.sources import is_git, is_url
from builder.runner import Cancellation
from builder.solver.files import Directories, FilesOf, LazyTree, Selection
from builder.sources.added import AddedRepositories, Checkout
from builder.storage import CacheTable, state_directory
from images.layers.entry import FILE, Entry
from images.layers.merged import MergedTree, Node, open_node
from records import replace

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from builder.downloads import DownloadJudge
    from builder.fastpath import ContextScans
    from builder.inputs import BuildInputs, LocalInputs
    from builder.plan.ops import ContextKey, Copy, Workdir
    from builder.request import BuildRequest, Material
    from builder.solver.common import CommonWork
    from builder.sources.git import GitRepositories
    from images.store import ImageStore

DOWNLOAD_MODE: Final = 0o600
SHOWN_DIGITS: Final = 16
"""Hex digits of a file's digest that an explanation compares."""
_WILDCARD: Final = re.compile(r"[*?\[\\]")


class PlacedFiles:
    """The ``FilePlanner`` of real builds; one per build."""

    def __init__(
        self,
        inputs: BuildInputs,
        downloads: Downloads,
        digests: Path,
        now_ns: int,
        scans: ContextScans | None = None,
        *,
        repositories: AddedRepositories | None = None,
        common: CommonWork | None = None,
    ) -> None:
        """``digests`` is a directory for remembered digests, ``now_ns`` the time of the build.

        ``scans`` have the walks of the contexts that were made already. Without ``repositories``
        no ADD may name one. ``common`` may have the contexts' files.
        """
        self._downloads = downloads
        self._repositories = repositories
        contexts: dict[ContextKey | None, LocalInputs | None] = {None: inputs.main}
        contexts.update(inputs.named)

        def host(key: ContextKey | None, local: LocalInputs) -> HostFiles:
            scan = None if scans is None else scans.of(key).latest
            return HostFiles(local, digests, now_ns, scan)

        self._contexts = {
            key: host(key, local)
            if common is None
            else common.hosts.get(local, partial(host, key, local))
            for key, local in contexts.items()
            if local is not None
        }
        self._stages: dict[tuple[Path, ...], _KeptTree] = {}
        self._stage_digests = FileDigests(now_ns, owners=True)

    def _host(self, context: ContextKey | None) -> HostFiles:
        """The files of a context.

        Raises:
            BuildInputError: there is no build context.
        """
        host = self._contexts.get(context)
        if host is None:
            raise BuildInputError(
                "the Dockerfile reads files, but there is no build context",
                fix="give a context directory",
            )
        return host

    def copy(self, op: Copy, source: FilesOf, base: LazyTree, *, created_ns: int) -> list[Entry]:
        """As ``FilePlanner.copy``."""
        request = _request(op, created_ns)
        below_it = None if op.link else base()
        remote = self._remote(op)
        if not remote:
            tree = self._tree(source) if op.sources else StageTree(())
            return plan_copy(request, tree, below_it)
        local = tuple(name for name in op.sources if name not in remote)
        planned = []
        if local or op.heredocs:
            planned = plan_copy(replace(request, sources=local), self._tree(None), below_it)
        for found in remote.values():
            if isinstance(found, Checkout):
                whole = replace(request, sources=("/",), inline=(), unpack=False, parents=False)
                planned += plan_copy(whole, ContextTree(found.path), below_it)
            else:
                planned += self._place_download(found, request, op, below_it)
        return sorted(
            {entry.path: entry for entry in planned}.values(),
            key=lambda entry: os.fsencode(entry.path).split(b"/"),
        )

    def workdir(self, op: Workdir, base: LazyTree, *, created_ns: int) -> list[Entry]:
        """As ``FilePlanner.workdir``."""
        return plan_workdir(op.path, op.user, base(), created=created_ns)

    def selection(self, op: Copy, source: FilesOf) -> Selection:
        """As ``FilePlanner.selection``."""
        remote = self._remote(op)
        local = tuple(name for name in op.sources if name not in remote)
        request = replace(_request(op, 0), sources=local)
        if remote and not local:
            return _downloaded(remote, b"")
        seen: Seen = []
        with self._looking(source):
            digest = selection_digest(request, self._tree(source), self._digests(source), seen)
        if remote:
            return _downloaded(remote, digest)
        return Selection(digest, _Listing(seen))

    def content(self, path: str, source: FilesOf) -> Selection:
        """As ``FilePlanner.content``."""
        seen: Seen = []
        with self._looking(source):
            tree = self._tree(source)
            digest = node_digest(tree, _find(tree, path), self._digests(source), seen)
        return Selection(digest, _Listing(seen))

    def tree(self, path: str, source: FilesOf) -> list[Entry]:
        """As ``FilePlanner.tree``."""
        tree = self._tree(source)
        top = _find(tree, path)
        if not top.is_dir:
            return [tree.entry(top, "")]
        strip = len(top.path) + 1 if top.path else 0
        return [tree.entry(node, node.path[strip:]) for node in _walk(tree, top)]

    def fetched(self) -> tuple[Material, ...]:
        """As ``FilePlanner.fetched``."""
        found = self._repositories.materials() if self._repositories is not None else ()
        return (*self._downloads.materials(), *found)

    def remember(self) -> None:
        """Keep the digests of the contexts' files for the next build."""
        for host in self._contexts.values():
            host.remember()

    def _looking(self, source: FilesOf) -> AbstractContextManager[object]:
        """For the block nobody else looks at the files of a context."""
        if source is None or isinstance(source, str):
            return self._host(source).lock
        return nullcontext()

    def _digests(self, source: FilesOf) -> FileDigests:
        if source is None or isinstance(source, str):
            return self._host(source).digests
        # Unpacked layers come and go under new names, so their digests are not worth keeping.
        return self._stage_digests

    def _remote(self, op: Copy) -> dict[str, Download | Checkout]:
        """The sources of an ADD that come from elsewhere, fetched.

        Raises:
            DownloadError: one of them cannot be had.
            BuildInputError: the URL of a repository is malformed.
        """
        found: dict[str, Download | Checkout] = {}
        for source in op.sources if op.archives else ():
            if is_git(source):
                assert self._repositories is not None
                found[source] = self._repositories.fetch(
                    source, op.checksum, keep_git_dir=op.keep_git_dir
                )
            elif is_url(source):
                found[source] = self._downloads.fetch(source, op.checksum)
        return found

    def _place_download(
        self, download: Download, request: CopyRequest, op: Copy, base: MergedTree | None
    ) -> list[Entry]:
        """The entries of one downloaded file, which is unpacked only when that was asked for."""
        alone = replace(
            request,
            sources=(_WILDCARD.sub(r"\\\g<0>", download.name),),
            inline=(),
            unpack=op.unpack is True,
        )
        blob = self._downloads.path(download)
        return plan_copy(alone, _DownloadTree(download, blob), base)

    def _tree(self, source: FilesOf) -> SourceTree:
        if source is None or isinstance(source, str):
            return self._host(source).tree
        # Layers do not change, so what a directory holds is asked of the disk once per build.
        return self._stages.setdefault(tuple(source), _KeptTree(source))


@contextmanager
def placed_files(
    request: BuildRequest,
    inputs: BuildInputs,
    store: ImageStore,
    *,
    now_ns: int,
    scans: ContextScans | None = None,
    judge: DownloadJudge | None = None,
    cancellation: Cancellation | None = None,
    common: CommonWork | None = None,
) -> Iterator[PlacedFiles]:
    """The files of one build, with the secrets of the request; what was learned of them is kept
    when the block ends well.
    """
    from builder.secrets import by_id
    from builder.sources.credentials import Credentials

    state = state_directory(store)
    credentials = Credentials(by_id(request.secrets))

    def reach() -> GitRepositories:
        from builder.sources.git import GitRepositories

        stopped = cancellation or Cancellation()
        return GitRepositories(
            state, credentials, ssh=request.ssh, cancelled=lambda: stopped.cancelled
        )

    downloads = Downloads(CacheTable(store), store.blobs, judge=judge, credentials=credentials)
    repositories = AddedRepositories(reach, judge=judge)
    files = PlacedFiles(
        inputs,
        downloads,
        state / "digests",
        now_ns,
        scans,
        repositories=repositories,
        common=common,
    )
    with closing(repositories):
        yield files
    files.remember()


class _KeptTree(StageTree):
    """A stage's tree that remembers its listings."""

    def __init__(self, lowers: Directories) -> None:
        super().__init__(lowers)
        self._listings: dict[str, Sequence[Node]] = {}

    def children(self, path: str) -> Sequence[Node]:
        """As ``SourceTree.children``."""
        known = self._listings.get(path)
        if known is None:
            known = self._listings[path] = super().children(path)
        return known


class _DownloadTree:
    """One downloaded file as a tree to copy from: private to root, dated by its server."""

    def __init__(self, download: Download, blob: Path) -> None:
        self._download = download
        self._blob = blob

    def lookup(self, path: str, *, follow: bool = True) -> Node | None:
        """The file, by its own name."""
        if path != self._download.name:
            return None
        return Node(self._blob.name, self._blob.stat(), str(self._blob.parent))

    def children(self, path: str) -> Sequence[Node]:
        """A file holds nothing."""
        return ()

    def entry(self, node: Node, path: str) -> Entry:
        """As ``SourceTree.entry``."""
        modified = self._download.modified * 1_000_000_000
        size = node.status.st_size
        return Entry(path, FILE, DOWNLOAD_MODE, size=size, mtime=modified, source=node.real)

    def open(self, node: Node) -> BinaryIO:
        """As ``SourceTree.open``."""
        return open_node(node)

    def absence(self, path: str) -> tuple[str, str | None]:
        """As ``SourceTree.absence``; never asked, since the file is there."""
        return "", None


def _downloaded(remote: Mapping[str, Download | Checkout], digest: bytes) -> Selection:
    """A selection of local files, whose digest is given, and of what was fetched."""
    files = {
        url: found.commit if isinstance(found, Checkout) else str(found.digest)
        for url, found in remote.items()
    }
    rows = [(url, files[url], found.name) for url, found in remote.items()]
    return Selection(hashlib.sha256(frame((digest, rows))).digest(), files)


def _request(op: Copy, created_ns: int) -> CopyRequest:
    return CopyRequest(
        sources=op.sources,
        destination=op.destination,
        workdir=op.workdir,
        inline=tuple(InlineSource(doc.name, doc.content) for doc in op.heredocs),
        chown=op.chown,
        chmod=op.chmod,
        exclude=op.exclude,
        parents=op.parents,
        link=op.link,
        unpack=op.archives and op.unpack is not False,
        created=created_ns,
        instruction="ADD" if op.archives else "COPY",
    )


class _Listing(Mapping[str, str]):
    """The paths of a selection for explanations, which most builds never ask for."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def __getitem__(self, path: str) -> str:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def items(self) -> ItemsView[str, str]:
        """As the mapping's own, but at once."""
        return self._files.items()

    @cached_property
    def _files(self) -> dict[str, str]:
        shown = SHOWN_DIGITS // 2
        return {
            node.path: _metadata(node) if digest is None else digest[:shown].hex()
            for node, digest in self._seen
        }


def _metadata(node: Node) -> str:
    """What tells one state of an object without content from another."""
    return os.readlink(node.real) if node.is_symlink else f"{node.status.st_mode:o}"


def _find(tree: SourceTree, path: str) -> Node:
    clean = posixpath.normpath("/" + path).lstrip("/")
    node = tree.lookup(clean)
    if node is None:
        why, fix = tree.absence(clean)
        raise BuildInputError(f'"/{clean}": not found{why}', fix=fix)
    return node


def _walk(tree: SourceTree, directory: Node) -> Iterator[Node]:
    if not directory.is_dir:
        return
    for node in tree.children(directory.path):
        yield node
        yield from _walk(tree, node)
