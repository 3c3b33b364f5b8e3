"""From typed mounts to mounts a runner can make: directories found, secrets read, caches locked.

Cache mounts live under the builder's state, one directory per id, and are in no key and no layer.
``shared`` users hold a shared lock, ``locked`` ones an exclusive one, ``private`` ones take the
first directory that nobody holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError, SecretUnknownError
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    Run,
    SecretSpec,
    SshSpec,
    StepId,
    TmpfsSpec,
)
from builder.runner import (
    BindMount,
    OverlayMount,
    SecretMount,
    SshMount,
    StepMount,
    TmpfsMount,
)
from builder.solver.locks import POLL_SECONDS
from images.layers.entry import DIRECTORY
from images.layers.merged import MergedTree
from images.syscalls import openat2

if TYPE_CHECKING:
    from builder.plan.ops import ContextKey, InlineFile
    from builder.solver.files import FilesOf
    from builder.solver.results import Result
    from builder.solver.session import Session
    from images.layers.merged import Node

STRICTNESS: Final = ("shared", "private", "locked")
_BENEATH: Final = 0x08 | 0x02
"""RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS of openat2(2)."""

SINGLE_FILE: Final = "file"
"""Name of a selection that is one file."""


class PreparedMounts:
    """What a command gets besides its root: mounts, and variables that come with them."""

    def __init__(self) -> None:
        self.mounts: list[StepMount] = []
        """In the order written; a later one may lie inside an earlier one."""
        self.env: list[str] = []


@contextmanager
def prepare_mounts(
    session: Session,
    op: Run,
    inputs: Mapping[StepId, Result],
    workspace: Path,
    *,
    reset: bool = False,
) -> Iterator[PreparedMounts]:
    """Make ready everything ``op`` mounts; locks are let go at the end of the block.

    ``reset`` empties cache mounts first, once in a build.

    Raises:
        SecretUnknownError: a required secret or agent was not given to the build.
        BuildInputError: a source is not there, or leads out of its cache.
    """
    prepared = PreparedMounts()
    with ExitStack() as stack:
        caches = _lock_caches(session, op, stack, reset=reset)
        for number, mount in enumerate(op.mounts):
            match mount:
                case BindSpec():
                    scratch = workspace / f"mount-{number}"
                    prepared.mounts.append(_bind(session, mount, inputs, scratch, stack))
                case CacheSpec():
                    root = caches[_cache_name(mount)]
                    prepared.mounts.append(_cache(session, mount, inputs, root, reset=reset))
                case TmpfsSpec(target=target, size=size):
                    prepared.mounts.append(TmpfsMount(target, size))
                case SecretSpec():
                    _secret(session, mount, prepared)
                case SshSpec():
                    _ssh(session, mount, prepared)
        for script in op.scripts:
            prepared.mounts.append(_script(script, workspace / "pipes"))
        yield prepared


def _bind(
    session: Session,
    mount: BindSpec,
    inputs: Mapping[StepId, Result],
    scratch: Path,
    stack: ExitStack,
) -> StepMount:
    if isinstance(mount.from_, int):
        lower = stack.enter_context(inputs[mount.from_].directories(session.store))
        subpath = mount.source.lstrip("/")
    else:
        lower, subpath = _context_snapshot(session, mount.source, mount.from_)
    node = MergedTree(lower).lookup(subpath)
    if node is not None and not node.is_dir:
        return _bind_file(session, mount, node, scratch)
    if mount.read_only:
        return OverlayMount(mount.target, stackable(lower, scratch, least=2), subpath)
    lower = stackable(lower, scratch, least=1)
    upper, work = scratch / "upper", scratch / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    return OverlayMount(mount.target, lower, subpath, upper, work)


def _bind_file(session: Session, mount: BindSpec, node: Node, scratch: Path) -> BindMount:
    """A file is bound as it is: of an overlay's subtree the runtime could not see its kind.

    Writes go to a copy.
    """
    if mount.read_only or not node.is_file:
        return BindMount(mount.target, Path(node.real))
    scratch.mkdir(parents=True)
    copy = scratch / SINGLE_FILE
    import shutil

    shutil.copyfile(node.real, copy)
    if session.options.privileged:
        os.chown(copy, node.status.st_uid, node.status.st_gid)
    copy.chmod(stat.S_IMODE(node.status.st_mode))
    return BindMount(mount.target, copy, read_only=False)


def stackable(lower: tuple[Path, ...], scratch: Path, *, least: int) -> tuple[Path, ...]:
    """``lower`` with empty directories below until overlayfs takes it: it wants two directories,
    or one and an upper.
    """
    missing = range(least - len(lower))
    empty = [scratch / f"empty-{number}" for number in missing]
    for directory in empty:
        directory.mkdir(parents=True)
    return (*lower, *empty)


def _context_snapshot(
    session: Session, path: str, context: ContextKey | None
) -> tuple[tuple[Path, ...], str]:
    """The selected part of a context as a snapshot, and the place of the selection in it."""
    from images.layers.pack import pack_layer

    entries = session.files.tree(path, context)
    subpath = ""
    if len(entries) == 1 and entries[0].path == "" and entries[0].kind != DIRECTORY:
        subpath = SINGLE_FILE
        entries = [entries[0]._replace(path=subpath)]
    packed = pack_layer(entries, session.store.blobs, compression="none")
    pairs = [(packed.diff_id, packed.descriptor)]
    return tuple(session.store.snapshots.ensure(pairs, session.store.blobs)), subpath


def cache_directory(state: Path, mount: str) -> Path:
    """Where the cache mount of this id is; ``sharing=private`` may have made more beside it."""
    return state / "cache-mounts" / _hashed(mount) / "0"


def _cache_name(mount: CacheSpec) -> str:
    return _hashed(mount.id)


def _hashed(mount: str) -> str:
    return hashlib.sha256(mount.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _lock_caches(session: Session, op: Run, stack: ExitStack, *, reset: bool) -> dict[str, Path]:
    """Lock every cache of a step once, in one order for all steps, so that none wait in a circle.

    A cache mounted twice is locked for the stricter of its mounts.
    """
    caches = [mount for mount in op.mounts if isinstance(mount, CacheSpec)]
    caches.sort(key=lambda mount: STRICTNESS.index(mount.sharing))
    wanted = {_cache_name(mount): (mount.sharing, mount.id) for mount in caches}
    base = session.state / "cache-mounts"
    return {
        name: _lock_cache(session, base / name, sharing, stack, name=text, reset=reset)
        for name, (sharing, text) in sorted(wanted.items())
    }


def _cache(
    session: Session, mount: CacheSpec, inputs: Mapping[StepId, Result], root: Path, *, reset: bool
) -> StepMount:
    content = root / "fs"
    if not content.exists():
        _create_cache(session, mount, inputs, content, reset=reset)
    subpath = ""
    if mount.source and mount.from_ is None:
        subpath = mount.source.strip("/")
        _make_inside(content, subpath)
    return BindMount(mount.target, content, mount.read_only, subpath)


def _make_inside(cache: Path, subpath: str) -> None:
    """Make the directories of ``subpath`` that are missing; other steps may be changing the cache.

    Raises:
        BuildInputError: a link leads out of the cache, or something else is in the way.
    """
    flags = os.O_PATH | os.O_DIRECTORY
    parts = [part for part in subpath.split("/") if part]
    with ExitStack() as stack:
        root = parent = os.open(cache, flags | os.O_CLOEXEC)
        stack.callback(os.close, root)
        for end in range(1, len(parts) + 1):
            with suppress(FileExistsError):
                os.mkdir(parts[end - 1], dir_fd=parent)
            try:
                parent = openat2(root, "/".join(parts[:end]), flags, _BENEATH)
            except OSError as error:
                raise BuildInputError(
                    f"cache mount source /{subpath} leads out of the cache, or to no directory"
                ) from error
            stack.callback(os.close, parent)


def _create_cache(
    session: Session,
    mount: CacheSpec,
    inputs: Mapping[StepId, Result],
    content: Path,
    *,
    reset: bool,
) -> None:
    """Fill a new cache beside its place and move it there, so that it is never seen half full."""
    stage = content.with_name(f"stage-{os.getpid()}-{time.monotonic_ns()}")
    stage.mkdir(mode=0o700)
    # What was asked to be empty is not filled from elsewhere.
    sharing = None if reset else session.sharing
    filled = sharing is not None and sharing.fill_mount(mount.id, stage)
    if mount.from_ is not None and not filled:
        _seed_cache(session, mount, inputs, stage)
    if session.options.privileged:
        os.chown(stage, mount.uid, mount.gid)
    stage.chmod(mount.mode)
    try:
        stage.rename(content)
    except OSError:
        if not content.exists():
            raise
        import shutil

        shutil.rmtree(stage)


def _seed_cache(
    session: Session, mount: CacheSpec, inputs: Mapping[StepId, Result], stage: Path
) -> None:
    import tempfile

    from images.layers.tar_write import write_tar
    from images.layers.unpack import unpack

    with ExitStack() as stack:
        archive = stack.enter_context(tempfile.TemporaryFile(dir=stage.parent))
        seed: FilesOf = None
        if isinstance(mount.from_, int):
            seed = stack.enter_context(inputs[mount.from_].directories(session.store))
        else:
            seed = mount.from_
        entries = session.files.tree(mount.source or "/", seed)
        write_tar((entry for entry in entries if entry.path), archive.write)
        archive.seek(0)
        unpack(archive, stage)


def _lock_cache(
    session: Session, base: Path, sharing: str, stack: ExitStack, *, name: str, reset: bool
) -> Path:
    """Lock a directory of this cache as ``sharing`` asks, for the life of ``stack``.

    The lock file tells listings the cache's ``name``, and by its time when it was last used.
    """
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = fcntl.LOCK_SH if sharing == "shared" else fcntl.LOCK_EX
    number = 0
    while True:
        root = base / str(number)
        root.mkdir(exist_ok=True, mode=0o700)
        fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, wanted | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            session.check()
            if sharing == "private":
                number += 1
            else:
                time.sleep(POLL_SECONDS)
            continue
        stack.callback(os.close, fd)
        os.pwrite(fd, name.encode("utf-8", "surrogateescape"), 0)
        os.utime(fd)
        if reset and session.common.resets.take(str(root)):
            _reset_cache(root, fd, wanted)
        return root


def _reset_cache(root: Path, fd: int, wanted: int) -> None:
    """Empty a cache, as --no-cache asks, unless another build is working in it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # A failed conversion may have given the old lock away.
        fcntl.flock(fd, wanted)
        return
    import shutil

    shutil.rmtree(root / "fs", ignore_errors=True)
    fcntl.flock(fd, wanted)


def _secret(session: Session, mount: SecretSpec, prepared: PreparedMounts) -> None:
    content = session.options.secrets.get(mount.id)
    if content is None:
        if mount.required:
            raise SecretUnknownError(
                f"secret {mount.id}: not found",
                fix=f"pass --secret id={mount.id},src=path",
            )
        return
    if mount.target is not None:
        prepared.mounts.append(SecretMount(mount.target, content, mount.mode, mount.uid, mount.gid))
    if mount.env is not None:
        text = content.decode("utf-8", "surrogateescape")
        prepared.env.append(f"{mount.env}={text}")


def _ssh(session: Session, mount: SshSpec, prepared: PreparedMounts) -> None:
    socket = session.options.ssh.get(mount.id)
    if socket is None:
        if mount.required:
            raise SecretUnknownError(
                f"agent {mount.id}: not found", fix=f"pass --ssh {mount.id}=path-of-the-socket"
            )
        return
    prepared.mounts.append(SshMount(mount.target, socket, mount.mode, mount.uid, mount.gid))
    if mount.sets_variable:
        prepared.env.append(f"SSH_AUTH_SOCK={mount.target}")


def _script(script: InlineFile, directory: Path) -> StepMount:
    directory.mkdir(exist_ok=True)
    path = directory / script.name.replace("/", "_")
    path.write_bytes(script.content)
    path.chmod(0o755)
    return BindMount(f"/dev/pipes/{script.name}", path)
