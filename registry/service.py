"""Everything a handler needs, made once per application from its configuration."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from functools import partial

from registry.admission import Admission
from registry.answers import HttpDate, ReadyContent
from registry.auth import Everybody, HtpasswdUsers, load_htpasswd
from registry.cache import AnswerCache
from registry.collection.leases import Leases, note_boot
from registry.committer import Committer
from registry.config import RegistryConfig
from registry.errors import RegistryStartError
from registry.index import SqliteIndex
from registry.protocols import Authorizer, Index, IndexWriter, Storage
from registry.quotas import Quotas
from registry.retention import Immutability
from registry.storage import FileStorage
from registry.uploads import Uploads
from registry.workers import Workers


@dataclass(frozen=True, slots=True)
class Registry:
    """The parts of one registry, as handlers see them."""

    config: RegistryConfig
    index: Index
    storage: Storage
    writer: IndexWriter
    workers: Workers
    uploads: Uploads
    leases: Leases
    authorizer: Authorizer
    manifests: AnswerCache[ReadyContent]
    blobs: AnswerCache[ReadyContent]
    blob_sizes: AnswerCache[int]
    date: HttpDate

    def close(self) -> None:
        """Finish writes and release files; blocks."""
        self.writer.close()
        self.workers.close()
        self.index.close()


def open_index(config: RegistryConfig, storage: FileStorage) -> SqliteIndex:
    """The index under the rules of ``config``.

    Raises:
        IndexFormatError: a newer release wrote it. OSError, sqlite3.Error: it cannot be used.
    """
    guard = Admission(storage, Quotas(config.quotas), Immutability(config.immutable))
    return SqliteIndex(config.root, guard=guard)


def open_registry(config: RegistryConfig) -> Registry:
    """Open the store under ``config.root``; blocks, and creates what is missing.

    Raises:
        RegistryConfigError: the users file is unusable.
        RegistryStartError: the folder is not writable, or its index is damaged.
        IndexFormatError: a newer release wrote the index.
    """
    users = None if config.access.htpasswd is None else load_htpasswd(config.access.htpasswd)
    try:
        storage = FileStorage(config.root)
        index = open_index(config, storage)
        note_boot(index, time.time())
    except (OSError, sqlite3.Error) as error:
        raise RegistryStartError(
            f"cannot open the store: {error}",
            where=str(config.root),
            fix="choose a folder that this user may write to, and that holds a registry or nothing",
        ) from error
    committer = Committer(index)
    workers = Workers()
    cache = partial(AnswerCache, index.generations)
    return Registry(
        config=config,
        index=index,
        storage=storage,
        writer=committer,
        workers=workers,
        uploads=Uploads(storage, index, committer, workers),
        leases=Leases(index, committer, config.collection.lease),
        authorizer=Everybody()
        if users is None
        else HtpasswdUsers(
            users,
            workers,
            realm=config.access.realm,
            anonymous_pull=config.access.anonymous_pull,
        ),
        manifests=cache(limit=config.limits.cache // 2),
        blobs=cache(limit=config.limits.cache // 4),
        blob_sizes=cache(limit=config.limits.cache // 4),
        date=HttpDate(),
    )
