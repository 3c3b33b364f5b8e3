"""One collection at a trust server: Notary v1's endpoints, nothing of it believed here."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from images.client import limits as client_limits
from images.client.auth import scope
from images.client.errors import RegistryError, Target
from images.client.request import Repository, Request, read_limited
from trust.tuf import canonical, limits, roles
from trust.tuf.errors import NoTrustDataError
from trust.tuf.keys import Key, parse_key

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from images.client.transport import Transport
    from images.credentials import Credentials, CredentialStore


OFFERS_SET: Final = "Lading-Trust-Set"
"""The header by which a server of lading's says that it answers with whole sets."""


class RejectedError(RegistryError):
    """The trust server refuses what was published; ``name`` is notary's word for the reason."""

    code = "trust-rejected"

    def __init__(self, what: str, *, name: str = "", **details: Any) -> None:
        super().__init__(what, **details)
        self.name = name


class BorrowedCredentials:
    """The credentials of a registry, shown to the trust server that belongs to it."""

    def __init__(self, store: CredentialStore, *, registry: str, server: str) -> None:
        self._store = store
        self._registry = registry
        self._server = server

    def get(self, registry: str, repository: str = "") -> Credentials | None:
        """The credentials for one host; see ``CredentialStore.get``."""
        return self._store.get(self._registry if registry == self._server else registry, repository)


class TrustServer:
    """The trust data of one collection (``gun``: registry and repository) at ``server``."""

    def __init__(self, transport: Transport, server: str, gun: str) -> None:
        self._transport = transport
        self._server = server
        self.gun = gun
        self.offers_set = False
        """Whether an answer said that ``current_set`` is there."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.close()

    @property
    def host(self) -> str:
        """host[:port] of the server."""
        return self._server

    async def available(self) -> bool:
        """Whether this is a Notary server that lets us read; others know no such path."""
        try:
            await self._transport.fetch(self._request("GET", "tuf/root.json", "pull"), limits.ROOT)
        except RegistryError as error:
            return error.remote_code == "METADATA_NOT_FOUND"
        return True

    async def current(self, role: str) -> bytes:
        """The newest bytes of a role.

        Raises:
            NoTrustDataError: there are none. RegistryError: the server's side.
        """
        return await self._read(f"{role}.json", limits.of(role))

    async def current_set(self) -> dict[str, bytes]:
        """What a first look needs after the root, by role, where the server ``offers_set``.

        Nothing of it is more trusted than what is fetched by role.
        """
        request = self._request("GET", "lading/set", "pull")
        answer = await self._transport.fetch(request, limits.OTHER)
        document = canonical.parse(answer.body, what="a set of trust data", limit=limits.OTHER)
        return {role: data.encode() for role, data in document.items() if isinstance(data, str)}

    async def hashed(self, role: str, sha256: str, length: int) -> bytes:
        """The bytes of a role that a signed parent names; raises likewise."""
        return await self._read(f"{role}.{sha256}.json", length)

    async def root(self, version: int) -> bytes:
        """One version of the root; raises likewise."""
        return await self._read(f"{version}.root.json", limits.ROOT)

    async def key(self, role: str) -> Key:
        """The server's public key for a role, made if need be; raises as ``current``."""
        return parse_key(await self._exchange("GET", f"{role}.key"), limit=limits.KEY)

    async def rotate_key(self, role: str) -> Key:
        """A new key of the server for a role; raises as ``current``."""
        return parse_key(await self._exchange("POST", f"{role}.key"), limit=limits.KEY)

    async def publish(self, files: Mapping[str, bytes]) -> None:
        """Upload signed metadata by role, all or nothing.

        Raises:
            RejectedError: the server's rules, or another publish that came first.
        """
        boundary = secrets.token_hex(16)
        body = multipart(files, boundary)
        await self._exchange("POST", "", body, f"multipart/form-data; boundary={boundary}")

    async def delete(self) -> None:
        """Drop the collection at the server; raises as ``current``."""
        await self._exchange("DELETE", "")

    async def _read(self, name: str, limit: int) -> bytes:
        try:
            request = self._request("GET", f"tuf/{name}", "pull")
            answer = await self._transport.fetch(request, limit)
        except RegistryError as error:
            if error.status != 404:
                raise
            raise NoTrustDataError(
                f"remote trust data does not exist for {self.gun}: {self._server} does not have "
                f"trust data for {self.gun}"
            ) from error
        self.offers_set = OFFERS_SET in answer.headers
        return answer.body

    async def _exchange(
        self, method: str, name: str, body: bytes = b"", content_type: str = ""
    ) -> bytes:
        actions = ("pull", "push") if method != "DELETE" else ("*",)
        request = self._request(
            method, f"tuf/{name}", *actions, body=body, content_type=content_type
        )
        async with self._transport.send(request) as response:
            limit = limits.KEY if response.status == 200 else client_limits.ERROR_BODY
            answer = await read_limited(response, limit)
            if response.status == 200:
                return answer
        raise self._rejection(answer)

    def _request(
        self, method: str, name: str, *actions: str, body: bytes = b"", content_type: str = ""
    ) -> Request:
        sends = method == "POST"
        return Request(
            method,
            Repository(self._server, self.gun),
            f"/v2/{self.gun}/_trust/{name}",
            Target(self._server, f"trust data of {self.gun}"),
            scopes=frozenset({scope(self.gun, *actions)}),
            expected=frozenset({200, 400}) if method != "GET" else frozenset({200}),
            headers={"Content-Type": content_type} if content_type else {},
            body=(lambda: body) if sends else None,
            length=len(body),
            replay=method == "GET",
        )

    def _rejection(self, body: bytes) -> RejectedError:
        try:
            (error,) = json.loads(body)["errors"]
            detail = error.get("detail")
            name, reason = str(error.get("code", "")), str(error.get("message", ""))
            if isinstance(detail, dict):
                name, reason = str(detail["Name"]), str(detail["Error"]["Msg"])
        except (ValueError, KeyError, TypeError, AttributeError):
            name, reason = "", "it does not say why"
        return RejectedError(
            f"trust server rejected operation: {reason[:300]}",
            where=self.gun,
            fix="another publish may have come first: sign again",
            status=400,
            name=name,
        )


def multipart(files: Mapping[str, bytes], boundary: str) -> bytes:
    """The body of a publish: one part for each role, its name as the file name."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n"
        % (boundary.encode(), role.encode(), data)
        for role, data in sorted(files.items(), key=lambda item: _order(item[0]))
    ]
    return b"".join(parts) + b"--%b--\r\n" % boundary.encode()


_ORDER: Final = (roles.ROOT, roles.TARGETS)


def _order(role: str) -> tuple[int, str]:
    return (_ORDER.index(role) if role in _ORDER else len(_ORDER), role)
