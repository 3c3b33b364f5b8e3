"""Contexts brought in: what a request reads from elsewhere becomes directories and stored images.

They stay in the builder's state under names of their content, held while the build lasts. No ignore
file counts for them, and no path inside them leads out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from builder.context import ContextTree
from builder.contexts import LayoutContext, LocalContext, RemoteContext, stored_image
from builder.downloads import Downloads
from builder.errors import BuildInputError
from builder.inputs import NAMES, SIZE_LIMIT
from builder.request import Material
from builder.secrets import by_id
from builder.sources.added import material
from builder.sources.archives import is_archive, spool, unpacked
from builder.sources.credentials import Credentials
from builder.sources.git import GitRepositories
from builder.sources.git_url import parse_git_url
from builder.sources.public import public_url
from builder.storage import CacheTable, state_directory
from engine.builds.sources.layouts import bring_layout
from engine.builds.sources.wanted import STDIN
from images.reference import is_repository
from records import Record, replace

if TYPE_CHECKING:
    from builder.contexts import NamedContext
    from builder.downloads import DownloadJudge
    from builder.progress.tracker import Tracker
    from builder.request import BuildRequest
    from builder.runner import Cancellation
    from builder.sources.git_url import GitUrl
    from engine.builds.order import BuildOrder
    from engine.builds.sources.wanted import Sources
    from images.store import ImageStore

KEEP_GIT_DIR: Final = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
STDIN_LIMIT: Final = 64 << 30
"""Bytes of a context on standard input."""


class _Brought(Record):
    """A context that is here now: a directory, or the text of a lone Dockerfile."""

    path: Path | None
    material: Material | None = None
    text: bytes = b""


@contextmanager
def bring_in(
    request: BuildRequest,
    sources: Sources,
    store: ImageStore,
    tracker: Tracker,
    *,
    judge: DownloadJudge | None = None,
    cancellation: Cancellation | None = None,
) -> Iterator[BuildRequest]:
    """The request with everything on this machine, which stays for the block.

    Raises:
        BuildInputError: a source is not what it should be.
        DownloadError: it cannot be had.
        ImagesError: an archive or layout is hostile or damaged, or ``judge`` refuses.
    """
    with ExitStack() as stack:
        porter = _Porter(request, sources, store, tracker, judge, cancellation, stack)
        yield porter.settled()


@contextmanager
def sourced_order(
    order: BuildOrder,
    store: ImageStore,
    tracker: Tracker,
    *,
    judge: DownloadJudge | None = None,
    cancellation: Cancellation | None = None,
) -> Iterator[BuildOrder]:
    """The order whose request has everything on this machine; raises as ``bring_in``."""
    assert order.sources is not None
    with bring_in(
        order.request, order.sources, store, tracker, judge=judge, cancellation=cancellation
    ) as request:
        yield replace(order, request=request, sources=None)


class _Porter:
    """Brings in the sources of one request; ``stack`` holds them."""

    def __init__(
        self,
        request: BuildRequest,
        sources: Sources,
        store: ImageStore,
        tracker: Tracker,
        judge: DownloadJudge | None,
        cancellation: Cancellation | None,
        stack: ExitStack,
    ) -> None:
        self._request = request
        self._sources = sources
        self._store = store
        self._tracker = tracker
        self._judge = judge
        self._cancellation = cancellation
        self._stack = stack
        self._state = state_directory(store)
        credentials = Credentials(by_id(request.secrets))
        self._repositories = GitRepositories(
            self._state, credentials, ssh=request.ssh, cancelled=self._cancelled
        )
        values = CacheTable(store)
        self._downloads = Downloads(values, store.blobs, judge=judge, credentials=credentials)

    def settled(self) -> BuildRequest:
        """The request as the builder takes it."""
        request, sources = self._request, self._sources
        if sources.context == STDIN == sources.dockerfile:
            raise BuildInputError(
                "standard input cannot be both the build context and the Dockerfile",
                fix="give one of them as a file",
            )
        changes: dict[str, object] = {}
        if sources.context is not None:
            changes |= self._main(sources.context)
        elif sources.dockerfile is not None:
            changes |= self._dockerfile(sources.dockerfile)
        contexts, materials = self._named()
        before = changes.get("materials", ())
        assert isinstance(before, tuple)
        changes |= {"contexts": contexts, "materials": (*request.materials, *before, *materials)}
        return replace(request, **changes)

    def _main(self, text: str) -> dict[str, object]:
        """What the build context changes in the request."""
        name = "standard input" if text == STDIN else public_url(text)
        brought = self._shown(f"[internal] load build context from {name}", text)
        found: dict[str, object] = {
            "origin": text if text == STDIN else name,
            "materials": (brought.material,) if brought.material is not None else (),
        }
        dockerfile = self._sources.dockerfile
        if brought.path is None:
            if self._request.dockerfile is not None or dockerfile is not None:
                raise BuildInputError(
                    f"ambiguous Dockerfile: {name} is one, and -f names another",
                    fix="leave out -f, or send the context as a tar archive",
                )
            return found | {"dockerfile": brought.text, "context": None}
        found["context"] = str(brought.path)
        if dockerfile is not None and (dockerfile == STDIN or "://" in dockerfile):
            return found | self._dockerfile(dockerfile)
        if self._request.dockerfile is None:
            found |= _inside(brought.path, dockerfile, name)
        return found

    def _dockerfile(self, text: str) -> dict[str, object]:
        """A Dockerfile on standard input or on a web server."""
        if text == STDIN:
            content = self._stdin().read(SIZE_LIMIT + 1)
            name = "Dockerfile"
        else:
            url = public_url(text)
            with self._tracker.start(f"[internal] load remote Dockerfile {url}"):
                download = self._downloads.fetch(text)
            with self._downloads.path(download).open("rb") as file:
                content = file.read(SIZE_LIMIT + 1)
            name = download.name
        if len(content) > SIZE_LIMIT:
            raise BuildInputError(f"the Dockerfile is longer than {SIZE_LIMIT} bytes", where=text)
        return {"dockerfile": content, "dockerfile_name": name}

    def _named(self) -> tuple[dict[str, NamedContext], list[Material]]:
        contexts: dict[str, NamedContext] = {}
        materials: list[Material] = []
        for key, context in self._request.contexts.items():
            contexts[key] = context
            if isinstance(context, LayoutContext):
                with self._tracker.start(f"[context {key}] load oci-layout://{context.path}"):
                    descriptor = bring_layout(context, self._store)
                name = key.partition("::")[0]
                contexts[key] = stored_image(name if is_repository(name) else "layout", descriptor)
            elif isinstance(context, RemoteContext):
                url = public_url(context.url)
                brought = self._shown(f"[context {key}] load {url}", context.url)
                if brought.path is None:
                    raise BuildInputError(
                        f"the named context {key} is no archive",
                        where=url,
                        fix="name a git repository, or a tar archive",
                    )
                contexts[key] = LocalContext(str(brought.path), origin=url)
                if brought.material is not None:
                    materials.append(replace(brought.material, name=key))
        return contexts, materials

    def _shown(self, title: str, text: str) -> _Brought:
        with self._tracker.start(title):
            if text == STDIN:
                return self._from_stdin()
            url = parse_git_url(text, local=True)
            return self._from_git(url) if url is not None else self._from_web(text)

    def _from_stdin(self) -> _Brought:
        self._state.mkdir(parents=True, exist_ok=True)
        # Without a name, so that a build that is killed leaves nothing.
        file = self._stack.enter_context(tempfile.TemporaryFile(dir=self._state))
        path = Path(f"/proc/self/fd/{file.fileno()}")
        digest = spool(self._stdin(), path, limit=STDIN_LIMIT)
        if path.stat().st_size == 0:
            raise BuildInputError(
                "standard input is empty",
                fix="send a Dockerfile or a tar archive, or name a directory",
            )
        return self._opened(path, digest, "standard input")

    def _from_web(self, url: str) -> _Brought:
        if not url.lower().startswith(("http://", "https://")):
            raise BuildInputError(
                f"{public_url(url)} is no context", fix="use a directory, -, or an http or git URL"
            )
        download = self._downloads.fetch(url)
        name = public_url(url)
        brought = self._opened(self._downloads.path(download), download.digest.hex, name)
        return replace(brought, material=Material("http", name, str(download.digest)))

    def _opened(self, path: Path, digest: str, name: str) -> _Brought:
        if is_archive(path):
            tree = unpacked(path, digest, self._state, name=name, cancelled=self._cancelled)
            return _Brought(self._stack.enter_context(tree))
        if path.stat().st_size > SIZE_LIMIT:
            raise BuildInputError(
                f"{name} is neither an archive nor a Dockerfile",
                fix="send a tar archive, plain or compressed with gzip, bzip2, xz or zstd",
            )
        return _Brought(None, text=path.read_bytes())

    def _from_git(self, url: GitUrl) -> _Brought:
        if self._judge is not None:
            self._judge.admit_repository(public_url(url.remote), url.pin)
        commit = self._repositories.resolve(url)
        keep = url.keep_git_dir
        if keep is None:
            keep = self._request.build_args.get(KEEP_GIT_DIR, "").lower() in ("1", "t", "true")
        tree = self._repositories.checkout(url, commit, keep_git_dir=keep)
        return _Brought(self._stack.enter_context(tree), material(url, commit))

    def _stdin(self) -> BinaryIO:
        assert self._sources.stdin is not None
        return self._sources.stdin

    def _cancelled(self) -> bool:
        return self._cancellation is not None and self._cancellation.cancelled


def _inside(root: Path, name: str | None, origin: str) -> dict[str, object]:
    """The Dockerfile of a context from elsewhere: found in it, whatever its links say."""
    tree = ContextTree(root)
    for candidate in NAMES if name is None else (name,):
        node = tree.lookup(candidate)
        if node is None or not node.is_file:
            continue
        with tree.open(node) as file:
            content = file.read(SIZE_LIMIT + 1)
        if len(content) > SIZE_LIMIT:
            raise BuildInputError(f"{candidate} is longer than {SIZE_LIMIT} bytes", where=origin)
        return {"dockerfile": content, "dockerfile_name": os.path.basename(candidate)}
    raise BuildInputError(
        f"there is no {name or 'Dockerfile'} in {origin}",
        fix="name the file with -f, or the directory that holds it after #ref:",
    )
