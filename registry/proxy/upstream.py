"""One other registry: what names mean there, who we are to it, and how far we follow it.

Credentials are for the upstream's own host, and for token servers that the configuration names.
Names that a redirect or a realm brings up must not resolve into this machine or to link-local
addresses (``_OutsideResolver``); addresses written as such are judged by ``images.client.hosts``.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from images.client.auth import scope
from images.client.errors import ProtocolError, Target
from images.client.hosts import bare_host, is_loopback
from images.client.options import ClientOptions
from images.client.request import Repository, Request
from images.client.retry import Effects, RetryPolicy
from images.client.transport import CredentialSource, Transport
from images.credentials import Credentials, CredentialStore
from images.digest import Digest
from images.reference import DEFAULT_REGISTRY, Reference
from registry.errors import RegistryConfigError
from registry.proxy.settings import Remote

USER_AGENT: Final = "lading-registry"
_PASSWORD_LIMIT: Final = 64 << 10
_SIZE_DIGITS: Final = 18
_CONNECT_SECONDS: Final = 10.0
_HUB_REALMS: Final = frozenset({"auth.docker.io"})


class Upstream:
    """A registry, or a part of one; made from its settings, which reads files and blocks.

    Raises:
        RegistryConfigError: the password cannot be read.
    """

    def __init__(
        self,
        remote: Remote,
        effects: Effects | None = None,
        *,
        resolver: Callable[[], AbstractResolver] = ThreadedResolver,
    ) -> None:
        self.name = remote.upstream
        self.registry, _, self.path = remote.upstream.partition("/")
        options = ClientOptions(
            insecure=frozenset({self.registry}) if remote.insecure else frozenset(),
            retry=RetryPolicy(attempts=2, first=0.2, ceiling=1.0, patience=2.0),
            connect_timeout=min(_CONNECT_SECONDS, remote.timeout),
            read_timeout=remote.timeout,
            user_agent=USER_AGENT,
            resolver=_OutsideResolver(bare_host(self.registry), resolver),
            realms=frozenset(remote.realms)
            | (_HUB_REALMS if self.registry == DEFAULT_REGISTRY else frozenset()),
        )
        self.transport = Transport(credentials_of(remote), options, effects or Effects())

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    def repository(self, name: str) -> Repository:
        """Where the repository called ``name`` below this place is."""
        whole = f"{self.path}/{name}" if self.path else name
        if self.registry == DEFAULT_REGISTRY and "/" not in whole:
            whole = f"library/{whole}"
        return Repository(self.registry, whole)

    def reference(self, name: str, reference: Digest | str) -> Reference:
        """The manifest of a tag or digest in the repository called ``name``."""
        place = self.repository(name)
        if isinstance(reference, Digest):
            return Reference(place.registry, place.name, None, reference)
        return Reference(place.registry, place.name, reference)

    def ask(self, method: str, name: str, path: str, *, kind: str) -> Request:
        """A request for ``path`` of a repository, such as ``tags/list``."""
        place = self.repository(name)
        return Request(
            method,
            place,
            f"/v2/{place.name}/{path}",
            Target(place.registry, f"{place} {path}", kind),
            scopes=frozenset({scope(place.name, "pull")}),
        )

    def stated_size(self, length: str | None, digest: Digest) -> int:
        """The size that the upstream states of a blob.

        Raises:
            ProtocolError: it states none.
        """
        if length is None or not length.isascii() or not length.isdigit():
            raise ProtocolError(f"{self.registry} states no size of {digest}")
        return int(length[:_SIZE_DIGITS])


class _Own:
    """The credentials of one registry, which no other gets."""

    def __init__(self, registry: str, source: Credentials | CredentialStore) -> None:
        self._registry = registry
        self._source = source

    def get(self, registry: str, repository: str = "") -> Credentials | None:
        """The credentials, for their registry."""
        if registry != self._registry:
            return None
        if isinstance(self._source, Credentials):
            return self._source
        return self._source.get(registry, repository)


class _OutsideResolver(AbstractResolver):
    """Resolves names; those of hosts beside ``own`` must not mean this machine or its link."""

    def __init__(self, own: str, make: Callable[[], AbstractResolver]) -> None:
        self._own = own
        self._make = make
        self._inner: AbstractResolver | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of ``host``; raises OSError for one that is not followed."""
        if self._inner is None:
            self._inner = self._make()
        found = await self._inner.resolve(host, port, family)
        if host != self._own and not is_loopback(host):
            for result in found:
                address = ipaddress.ip_address(result["host"].partition("%")[0])
                if address.is_loopback or address.is_link_local or address.is_unspecified:
                    raise OSError(f"{host} resolves into this machine or its link")
        return found

    async def close(self) -> None:
        """Release nothing; the threads are the loop's."""


def credentials_of(remote: Remote) -> CredentialSource | None:
    """Who we are there, None for nobody; reads the password, so it blocks.

    Raises:
        RegistryConfigError: it cannot be read.
    """
    registry = remote.upstream.partition("/")[0]
    if remote.auth_file is not None:
        return _Own(registry, CredentialStore(remote.auth_file, remote.auth_file))
    if remote.password_file is None:
        return None
    return _Own(registry, Credentials(remote.username, _password(remote.password_file)))


def _password(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > _PASSWORD_LIMIT:
                raise RegistryConfigError("no password is that long", where=str(path))
            text = file.read(_PASSWORD_LIMIT).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryConfigError(f"cannot read the password: {error}", where=str(path)) from error
    return text.removesuffix("\n").removesuffix("\r")
