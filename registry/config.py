"""How one registry is configured: a frozen value, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.errors import RegistryConfigError

DEFAULT_PORT = 5000
MANIFEST_LIMIT = 4 << 20
"""Longest manifest in bytes: what the specification recommends, and what ``images`` parses."""


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """Where the registry keeps its state, where it listens and what it allows.

    ``port`` 0 takes a free one. ``upload_expiry`` and ``idle_timeout`` are in seconds: how long an
    upload session may rest, and how long a client may stall inside one request. ``blob_limit`` is
    in bytes, None for no limit. ``allow_missing`` accepts manifests whose content is not here
    (sparse images). ``cache_bytes`` bounds the hot manifests and small blobs held in memory.

    Raises:
        RegistryConfigError: a field, named in ``where``, makes no sense.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    htpasswd: Path | None = None
    anonymous_pull: bool = False
    realm: str = "lading registry"
    read_only: bool = False
    allow_delete: bool = True
    allow_missing: bool = False
    manifest_limit: int = MANIFEST_LIMIT
    blob_limit: int | None = None
    upload_expiry: float = 24 * 3600.0
    idle_timeout: float = 60.0
    drain_timeout: float = 30.0
    cache_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise RegistryConfigError(
                f"port {self.port} is out of range",
                where="port",
                fix="use 0 to 65535; 0 takes a free one",
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_cert"
            raise RegistryConfigError(
                "a certificate and its key go together", where=missing, fix=f"set {missing} as well"
            )
        if self.anonymous_pull and self.htpasswd is None:
            raise RegistryConfigError(
                "anonymous pull means nothing without users: everybody may already pull and push",
                where="anonymous_pull",
                fix="set htpasswd as well, or leave anonymous_pull out",
            )
        if '"' in self.realm or not self.realm.isprintable():
            raise RegistryConfigError("the realm cannot be quoted in a header", where="realm")
        self._check_limits()
        self._check_files()

    @property
    def scheme(self) -> str:
        """``https`` with a certificate, else ``http``."""
        return "http" if self.tls_cert is None else "https"

    def _check_limits(self) -> None:
        for field in ("manifest_limit", "upload_expiry", "idle_timeout", "drain_timeout"):
            if getattr(self, field) <= 0:
                raise RegistryConfigError(f"{field} must be positive", where=field)
        if self.manifest_limit > MANIFEST_LIMIT:
            raise RegistryConfigError(
                f"manifests are read up to {MANIFEST_LIMIT} bytes", where="manifest_limit"
            )
        if self.blob_limit is not None and self.blob_limit <= 0:
            raise RegistryConfigError(
                "blob_limit must be positive", where="blob_limit", fix="leave it out for no limit"
            )
        if self.cache_bytes < 0:
            raise RegistryConfigError("cache_bytes must not be negative", where="cache_bytes")

    def _check_files(self) -> None:
        for field in ("tls_cert", "tls_key", "htpasswd"):
            path: Path | None = getattr(self, field)
            if path is not None and not path.is_file():
                raise RegistryConfigError(f"no such file: {path}", where=field)
