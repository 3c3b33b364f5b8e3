"""Everything a handler needs, made once per application from its configuration."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from records import Record
from registry.access.audit import AuditLog
from registry.access.caller import Callers
from registry.access.control import AccessControl
from registry.access.events import Auditor
from registry.access.grants import Grants
from registry.access.snapshot import take_snapshot
from registry.access.throttle import Patience
from registry.admission import Admission
from registry.answers import HttpDate, ReadyContent
from registry.backing import Backing, open_backing
from registry.cache import AnswerCache
from registry.collection.collector import Collector
from registry.collection.leases import Leases, note_boot
from registry.committer import Committer
from registry.config import RegistryConfig
from registry.database import Barrier
from registry.election import Offices
from registry.errors import RegistryConfigError, RegistryStartError
from registry.events.front import EventFront
from registry.followers import Followers, followed
from registry.gate.gate import Gate
from registry.guard import Guard
from registry.index import SqlIndex, SqliteIndex
from registry.moving.state import require_complete, require_here
from registry.notary.front import TrustFront
from registry.outbox import Outbox
from registry.protocols import Authorizer, Index, IndexWriter, Storage
from registry.quotas import Quotas
from registry.retention import Immutability
from registry.s3.settings import StorageType
from registry.sendfile import BlobSender
from registry.settings import ClientAuth
from registry.sql.errors import STORE_ERRORS, DatabaseError
from registry.sql.settings import IndexSettings, IndexType
from registry.storage import FileStorage
from registry.uploads import Uploads
from registry.web.front import WebFront
from registry.workers import Workers

if TYPE_CHECKING:
    from registry.access.certificates.clients import ClientCertificates
    from registry.mirroring.front import Mirrors
    from registry.proxy.front import ProxyFront
    from registry.tracing.tracer import Tracer


class Registry(Record):
    """The parts of one registry, as handlers see them."""

    config: RegistryConfig
    index: Index
    storage: Storage
    writer: IndexWriter
    offices: Offices
    barrier: Barrier | None
    backing: Backing
    workers: Workers
    uploads: Uploads
    leases: Leases
    collector: Collector
    authorizer: Authorizer
    grants: Grants
    callers: Callers
    auditor: Auditor
    manifests: AnswerCache[ReadyContent]
    blobs: AnswerCache[ReadyContent]
    blob_sizes: AnswerCache[int]
    date: HttpDate
    trust: TrustFront
    followers: Followers
    gate: Gate
    sender: BlobSender | None
    events: EventFront
    web: WebFront

    proxy: ProxyFront | None = None
    mirrors: Mirrors | None = None
    tracer: Tracer | None = None

    def close(self) -> None:
        """Finish writes and release files; blocks."""
        self.writer.close()
        self.workers.close()
        self.authorizer.close()
        self.auditor.close()
        self.trust.close()
        self.followers.close()
        self.events.close()
        if self.tracer is not None:
            self.tracer.close()
        self.index.close()
        self.backing.close()


def open_storage(config: RegistryConfig) -> Storage:
    """Where the bytes are by ``config``; the libraries of an object store load with their use.

    Raises:
        RegistryStartError: the bucket cannot be used, or its library is missing.
        OSError: the folder cannot be used.
    """
    if config.storage.type is StorageType.FILES:
        return FileStorage(config.root, free=config.limits.free_space)
    try:
        from registry.s3.opening import open_objects
    except ModuleNotFoundError as error:
        raise RegistryStartError(
            f"blobs in S3 need {error.name}, which is not installed",
            where="storage.type",
            fix="pip install 'lading[s3]'",
        ) from error
    return open_objects(config)


def open_sender(config: RegistryConfig, storage: Storage, workers: Workers) -> BlobSender | None:
    """How blobs reach clients that are not files; None when they are."""
    if config.storage.type is StorageType.FILES:
        return None
    from registry.s3.opening import sender_of

    return sender_of(config, storage, workers)


def open_index(config: RegistryConfig, storage: Storage, *, mover: str | None = None) -> SqlIndex:
    """The index under the rules of ``config``; ``mover`` is the move that it is opened for.

    Raises:
        RegistryStartError: a move to it is not complete.
        IndexFormatError: a newer release wrote it. STORE_ERRORS: it cannot be used.
    """
    outbox = Outbox(followed=followed(config))
    guard = guard_of(config, storage)
    index: SqlIndex
    if config.index.type is IndexType.SQLITE:
        index = SqliteIndex(config.root, guard=guard, outbox=outbox)
    else:
        index = _open_replicated(config.index, guard, outbox)
    try:
        if mover is None:
            require_complete(index)
        index.mover = mover
        storage.attach(index)
    except BaseException:
        index.close()
        raise
    return index


def _open_replicated(settings: IndexSettings, guard: Guard, outbox: Outbox) -> SqlIndex:
    """The index in PostgreSQL, whose driver is imported here alone."""
    try:
        from registry.sql.postgres.index import PostgresIndex
    except ImportError as error:
        raise RegistryStartError(
            "an index in PostgreSQL needs psycopg, which is not installed",
            where="index.type",
            fix="pip install 'lading[postgres]'",
        ) from error
    return PostgresIndex(settings, guard=guard, outbox=outbox)


def guard_of(config: RegistryConfig, storage: Storage) -> Guard:
    """What the rules of ``config`` refuse."""
    return Admission(storage.holder, Quotas(config.quotas), Immutability(config.immutable))


def callers_of(config: RegistryConfig) -> Callers:
    """Who a request comes from, as this configuration tells."""
    authority = f"{config.host}:{config.port}"
    return Callers(config.access, scheme=config.scheme, authority=authority)


def open_certificates(config: RegistryConfig) -> ClientCertificates | None:
    """Which client certificates count; None where no client is asked for one. Blocks.

    Raises:
        RegistryConfigError: the authorities or their lists are unusable.
    """
    tls = config.tls
    if tls.client_auth is ClientAuth.OFF:
        return None
    from registry.access.certificates.clients import ClientCertificates

    assert tls.client_ca is not None, "no configuration asks without one"
    return ClientCertificates.load(
        config.access.certificate,
        authorities=tls.client_ca,
        crl=tls.client_crl,
        required=tls.client_auth is ClientAuth.REQUIRED,
    )


def open_proxy(config: RegistryConfig, before: ProxyFront | None = None) -> ProxyFront | None:
    """The cache of other registries, which nothing of is imported without rules; blocks.

    Raises:
        RegistryConfigError: the credentials of one are unusable.
    """
    if not config.proxy and before is None:
        return None
    from registry.proxy.front import ProxyFront

    return ProxyFront(config.proxy, config.root, offline=config.read_only, before=before)


def open_mirrors(
    config: RegistryConfig, backing: Backing, offices: Offices, before: Mirrors | None = None
) -> Mirrors | None:
    """The mirrors of ``config``, which nothing of is imported without one; blocks."""
    if before is not None:
        before.replace(config.mirror)
        return before
    if not config.mirror:
        return None
    from registry.mirroring.front import Mirrors
    from registry.proxy.flights import Locks
    from registry.replicas.runs import OfficeLocks

    shared = backing.shared is not None
    locks = OfficeLocks(offices) if shared else Locks(config.root / "mirror.lock")
    return Mirrors(config.mirror, backing.files, locks)


def open_tracer(config: RegistryConfig) -> Tracer | None:
    """Who traces, which nothing of is imported without an endpoint.

    Raises:
        RegistryStartError: OpenTelemetry's library is not installed.
    """
    if config.tracing.endpoint is None:
        return None
    try:
        from registry.tracing.tracer import Tracer
    except ImportError as error:
        raise RegistryStartError(
            "traces need OpenTelemetry's library",
            where="tracing.endpoint",
            fix="install lading[tracing], or unset it",
        ) from error
    return Tracer(config.tracing)


def _open_backing(config: RegistryConfig) -> Backing:
    try:
        backing = open_backing(config)
        if backing.shared is not None:
            from registry.replicas.taking import take_over

            take_over(config.root, backing.shared.root)
        return backing
    except DatabaseError as error:
        raise RegistryStartError(
            f"cannot open the database: {error}",
            where="index.url",
            fix="start the server, or correct the URL; this user may need to make schemas",
        ) from error


def open_registry(config: RegistryConfig, patience: Patience | None = None) -> Registry:
    """Open the store under ``config.root``; blocks, and creates what is missing.

    ``patience`` is shared with other workers of the same registry.

    Raises:
        RegistryConfigError: users, robots, the token key, authorities of clients or the policy of
            a gate are unusable.
        RegistryStartError: a folder or the audit log is not writable, or the index is damaged.
        IndexFormatError: a newer release wrote the index.
    """
    access = config.access
    backing = _open_backing(config)
    snapshot = take_snapshot(backing.places(config), now=time.time())
    certificates = open_certificates(config)
    audit_log = None if access.audit.path is None else AuditLog(access.audit.path)
    try:
        storage = open_storage(config)
        index = open_index(config, storage)
        require_here(index)
        note_boot(index, time.time())
        tracer = open_tracer(config)
        events = EventFront(config, index, tracer, index.offices, backing.stores)
        followers = Followers.open(config, index, storage, events, backing)
    except STORE_ERRORS as error:
        raise RegistryStartError(
            f"cannot open the store: {error}",
            where=str(config.root),
            fix="choose a folder that this user may write to, and that holds a registry or nothing",
        ) from error
    committer = Committer(index)
    workers = Workers()
    control = AccessControl(snapshot, workers, patience or Patience(), certificates=certificates)
    try:
        proxy = open_proxy(config)
        gate = Gate(config.gate, index, storage, control, workers)
    except RegistryConfigError:
        committer.close()
        index.close()
        raise
    cache = partial(AnswerCache, index.generations)
    return Registry(
        config=config,
        index=index,
        storage=storage,
        writer=committer,
        offices=index.offices,
        barrier=index.barrier,
        backing=backing,
        workers=workers,
        uploads=Uploads(storage, index, committer, workers),
        collector=Collector.of(config, index, storage),
        leases=Leases(index, committer, config.collection.lease),
        authorizer=control,
        grants=control.grants,
        callers=callers_of(config),
        auditor=Auditor(audit_log, pulls=access.audit.pulls),
        manifests=cache(limit=config.limits.cache // 2),
        blobs=cache(limit=config.limits.cache // 4),
        blob_sizes=cache(limit=config.limits.cache // 4),
        date=HttpDate(),
        trust=TrustFront.open(backing, workers, idle=config.limits.idle_timeout),
        followers=followers,
        gate=gate,
        sender=open_sender(config, storage, workers),
        events=events,
        proxy=proxy,
        mirrors=open_mirrors(config, backing, index.offices),
        tracer=tracer,
        web=WebFront(index),
    )
