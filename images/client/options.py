"""What a user may set about the client; immutable, checked when made."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from images.client.mirrors import Registries
from images.client.retry import RetryPolicy
from images.client.tls import default_directories
from images.errors import InputError
from records import Record, field

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver


def _environ() -> Mapping[str, str]:
    return dict(os.environ)


class ClientOptions(Record):
    """Settings of a ``RegistryClient``. Times are in seconds, sizes in bytes.

    ``insecure`` lists hosts, host:port pairs or CIDR networks that may speak plain HTTP or show any
    certificate. ``certificate_dirs`` of None means Docker's and Podman's folders. ``chunk_size``
    set means that larger blobs are uploaded in pieces of it; else each goes up in one request.
    ``resolver`` replaces the system's name resolution. ``realms`` lists the hosts beside a
    registry's own that may get its credentials as token servers; None is any, by a private channel.
    ``registries`` sends reads to mirrors; a
    client that writes has none, lest it take what a mirror has for what is there.
    """

    insecure: frozenset[str] = frozenset()
    certificate_dirs: tuple[Path, ...] | None = None
    environ: Mapping[str, str] = field(default_factory=_environ)
    parallel: int = 4
    follow_foreign_urls: bool = False
    chunk_size: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    connect_timeout: float = 15.0
    read_timeout: float = 60.0
    user_agent: str = "lading"
    resolver: AbstractResolver | None = None
    realms: frozenset[str] | None = None
    registries: Registries = field(default_factory=Registries)

    def __post_init__(self) -> None:
        for entry in self.insecure:
            if "/" in entry:
                try:
                    ipaddress.ip_network(entry, strict=False)
                except ValueError as error:
                    raise InputError(
                        f"insecure registry {entry!r} is neither a host nor a CIDR network",
                        fix="write host, host:port or 10.0.0.0/8",
                    ) from error

    def directories(self) -> tuple[Path, ...]:
        """The certificate folders in effect."""
        if self.certificate_dirs is not None:
            return self.certificate_dirs
        return default_directories(self.environ, superuser=os.geteuid() == 0)
