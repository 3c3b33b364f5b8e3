"""The settings of the service itself; rooms with rules of their own keep their settings there."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from records import Record
from registry.configuration.declare import Duration, Size, refuse
from registry.errors import RegistryConfigError

MANIFEST_LIMIT = 4 << 20
"""Longest manifest in bytes: what the specification recommends, and what ``images`` parses."""

MAX_PORT = 65535


class TlsVersion(enum.Enum):
    """Oldest protocol version that is spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class LogLevel(enum.Enum):
    """From how grave an event on it is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.Enum):
    """How a log line looks."""

    TEXT = "text"
    JSON = "json"


class ClientAuth(enum.Enum):
    """Whether clients show certificates."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class TlsSettings(Record):
    """TLS of the main address; without a certificate it speaks plain HTTP."""

    cert: Annotated[Path | None, "Certificate chain (PEM); read again on SIGHUP"] = None
    key: Annotated[Path | None, "Its private key (PEM, not encrypted)"] = None
    minimum: Annotated[TlsVersion, "Oldest TLS version that is spoken"] = TlsVersion.TLS_1_2
    client_auth: Annotated[
        ClientAuth, "Whether clients are asked for certificates: off, optional, or required"
    ] = ClientAuth.OFF
    client_ca: Annotated[
        Path | None,
        "Authorities (PEM) that issue client certificates, intermediate ones too; read on SIGHUP",
    ] = None
    client_crl: Annotated[
        Path | None, "What they revoked (CRLs, PEM); read again when it changes"
    ] = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            missing = "key" if self.key is None else "cert"
            raise RegistryConfigError(
                "a certificate and its key go together", where=missing, fix=f"set {missing} as well"
            )
        if self.client_auth is ClientAuth.OFF:
            for name in ("client_ca", "client_crl"):
                if getattr(self, name) is not None:
                    raise RegistryConfigError(
                        "no client is asked for a certificate",
                        where=name,
                        fix='set client_auth to "optional" or "required"',
                    )
        elif self.client_ca is None or self.cert is None:
            missing = "client_ca" if self.client_ca is None else "cert"
            raise RegistryConfigError(
                "client certificates need a certificate of our own, and whom to believe",
                where="client_auth",
                fix=f"set {missing} as well",
            )


class LimitSettings(Record):
    """What one client, one request and the whole server may take."""

    manifest_size: Annotated[Size, "Longest manifest"] = MANIFEST_LIMIT
    blob_size: Annotated[Size | None, "Longest blob; unset is no limit"] = None
    upload_expiry: Annotated[Duration, "How long an upload session may rest"] = 24 * 3600.0
    header_timeout: Annotated[Duration, "How long a head of a request may take"] = 20.0
    idle_timeout: Annotated[Duration, "How long a client may send or take nothing"] = 60.0
    body_rate: Annotated[Size, "Least bytes a second of a body, averaged; 0 is any"] = 1024
    keep_alive: Annotated[Duration, "How long an idle connection is kept"] = 75.0
    connections: Annotated[int, "Most connections at once of each worker"] = 4096
    drain_timeout: Annotated[Duration, "How long requests may go on after SIGTERM"] = 30.0
    cache: Annotated[Size, "Memory of each worker for hot manifests and small blobs"] = 64 << 20
    free_space: Annotated[
        Size,
        "Room that content leaves on the disk of root, so that a full one can be emptied; a 16th of"
        " it where that is less. Read at the start",
    ] = 64 << 20

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        positive = ("manifest_size", "upload_expiry", "header_timeout", "idle_timeout")
        for name in (*positive, "keep_alive", "connections", "drain_timeout"):
            if getattr(self, name) <= 0:
                yield RegistryConfigError(f"{name} must be positive", where=name)
        for name in ("body_rate", "cache", "free_space"):
            if getattr(self, name) < 0:
                yield RegistryConfigError(f"{name} must not be negative", where=name)
        if self.manifest_size > MANIFEST_LIMIT:
            yield RegistryConfigError(
                f"manifests are read up to {MANIFEST_LIMIT} bytes", where="manifest_size"
            )
        if self.blob_size is not None and self.blob_size <= 0:
            yield RegistryConfigError(
                "blob_size must be positive", where="blob_size", fix="leave it out for no limit"
            )


class LogSettings(Record):
    """Log records go to stderr, one a line."""

    level: Annotated[LogLevel, "From how grave an event on it is logged"] = LogLevel.INFO
    format: Annotated[LogFormat, "How a line looks"] = LogFormat.TEXT
    access: Annotated[bool, "Whether each request has a line"] = True


class MetricsSettings(Record):
    """Prometheus metrics and health, on an address of their own."""

    host: Annotated[str, "Address of /metrics, /healthz and /readyz"] = "127.0.0.1"
    port: Annotated[int | None, "Port of it; unset serves none, 0 takes a free one"] = None

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= MAX_PORT:
            raise wrong_port(self.port)


def wrong_port(port: int) -> RegistryConfigError:
    """What to say of a number that is no TCP port."""
    return RegistryConfigError(
        f"port {port} is out of range",
        where="port",
        fix="use 0 to 65535; 0 takes a free one",
    )
