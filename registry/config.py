"""How one registry is configured: a frozen value of nested settings, checked when it is made.

Each room keeps its settings in a record of its own (``registry.configuration.declare`` says how)
and hangs it here. ``registry.configuration.sources`` makes the value from a file, the environment
and flags; ``docs/registry.schema.json`` and the reference in ``docs/registry.md`` come from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from records import Record, field
from registry.access.settings import AccessSettings
from registry.collection.settings import CollectionSettings
from registry.configuration.declare import file_problems, refuse
from registry.countersign.settings import CountersignSettings
from registry.errors import RegistryConfigError
from registry.events.settings import EventSettings, WebhookSettings, webhook_problems
from registry.gate.settings import GateRule
from registry.mirroring.settings import MirrorRule, mirror_problems
from registry.notary.settings import TrustSettings
from registry.proxy.settings import ProxyRule, prefix_problems
from registry.quotas import QuotaRule
from registry.retention import ImmutableRule, RetentionRule
from registry.s3.settings import StorageSettings, StorageType
from registry.settings import (
    MANIFEST_LIMIT,
    MAX_PORT,
    ClientAuth,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    TlsSettings,
    wrong_port,
)
from registry.sql.settings import IndexSettings, IndexType
from registry.tracing.settings import TracingSettings
from registry.transparency.settings import TransparencySettings
from registry.web.settings import WebSettings

__all__ = ["DEFAULT_PORT", "MANIFEST_LIMIT", "AccessSettings", "RegistryConfig"]

DEFAULT_PORT = 5000


class RegistryConfig(Record):
    """Where the registry keeps its state, where it listens and what it allows.

    Raises:
        RegistryConfigError: a field, named in ``where``, makes no sense.
    """

    root: Annotated[Path, "Folder of the registry's state"]
    host: Annotated[str, "Address to listen on"] = "127.0.0.1"
    port: Annotated[int, "Port to listen on; 0 takes a free one"] = DEFAULT_PORT
    workers: Annotated[int, "Processes that serve; 0 takes one for each processor"] = 0
    read_only: Annotated[bool, "Refuse every change"] = False
    allow_delete: Annotated[bool, "Whether clients may delete"] = True
    allow_missing: Annotated[bool, "Accept manifests whose content is not here (sparse)"] = False
    storage: StorageSettings = field(default_factory=StorageSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    collection: CollectionSettings = field(default_factory=CollectionSettings)
    transparency: TransparencySettings = field(default_factory=TransparencySettings)
    countersign: CountersignSettings = field(default_factory=CountersignSettings)
    trust: TrustSettings = field(default_factory=TrustSettings)
    web: WebSettings = field(default_factory=WebSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    events: EventSettings = field(default_factory=EventSettings)
    webhook: Annotated[tuple[WebhookSettings, ...], "Receivers of events"] = ()
    gate: Annotated[tuple[GateRule, ...], "Repositories that serve only what is signed"] = ()
    retention: Annotated[tuple[RetentionRule, ...], "Which tags stay; all without a rule"] = ()
    immutable: Annotated[tuple[ImmutableRule, ...], "Tags that neither move nor go"] = ()
    proxy: Annotated[tuple[ProxyRule, ...], "Other registries that are cached here"] = ()
    mirror: Annotated[tuple[MirrorRule, ...], "What is copied from or to other registries"] = ()
    quotas: Annotated[tuple[QuotaRule, ...], "How much repositories may take"] = ()

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not 0 <= self.port <= MAX_PORT:
            yield wrong_port(self.port)
        yield from prefix_problems(self.proxy)
        yield from mirror_problems(self.mirror, self.proxy)
        if self.index.type is IndexType.POSTGRESQL and self.storage.type is StorageType.FILES:
            yield RegistryConfigError(
                "an index that several machines may share needs blobs that they share",
                where="storage.type",
                fix='set storage.type = "s3", or leave index.type at sqlite',
            )
        if self.workers < 0:
            yield RegistryConfigError("workers must not be negative", where="workers")
        for name, path in (
            ("tls.cert", self.tls.cert),
            ("tls.key", self.tls.key),
            ("tls.client_ca", self.tls.client_ca),
            ("tls.client_crl", self.tls.client_crl),
            *(
                (f"access.issuer[{place}].login.client_secret_file", one.login.client_secret_file)
                for place, one in enumerate(self.access.issuer)
            ),
            ("access.htpasswd", self.access.htpasswd),
            ("access.tokens.key", self.access.tokens.key),
            *((f"gate.{place}.policy", rule.policy) for place, rule in enumerate(self.gate)),
        ):
            yield from file_problems(name, path)
        yield from webhook_problems(self.webhook)
        if self.access.certificate and self.tls.client_auth is ClientAuth.OFF:
            yield RegistryConfigError(
                "no client is asked for a certificate",
                where="access.certificate",
                fix='set tls.client_auth to "optional" or "required"',
            )

    @property
    def scheme(self) -> str:
        """``https`` with a certificate, else ``http``."""
        return "http" if self.tls.cert is None else "https"
