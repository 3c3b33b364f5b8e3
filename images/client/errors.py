"""What a registry, a token server or the way to them can do wrong.

Each error says which host answered, with which status and in which words, and what to do next.
"""

from __future__ import annotations

import json
from typing import Any

from images.errors import RemoteError
from records import Record

_MESSAGE_LIMIT = 500
"""Characters of a remote message that are repeated to the user."""


class RegistryError(RemoteError):
    """Base of this package's errors; ``status`` is the HTTP status when there was an answer.

    ``retry_after`` is how many seconds the answer asks to wait.
    """

    code = "registry"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        status: int | None = None,
        remote_code: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status
        self.remote_code = remote_code
        self.retry_after = retry_after


class UnauthorizedError(RegistryError):
    """401: no credentials, or the ones given were refused."""

    code = "registry-unauthorized"


class DeniedError(RegistryError):
    """403: who we are is known, but this is not allowed."""

    code = "registry-denied"


class ManifestUnknownError(RegistryError):
    """404 on a manifest: no such repository, tag or digest."""

    code = "manifest-unknown"


class TagMovedError(RegistryError):
    """412: somebody else wrote the tag since it was read."""

    code = "registry-tag-moved"


class DeletionRefusedError(RegistryError):
    """405 on a DELETE: the registry does not let its clients delete."""

    code = "registry-delete-refused"


class RemoteBlobUnknownError(RegistryError):
    """404 on a blob that a manifest promises."""

    code = "remote-blob-unknown"


class TooManyRequestsError(RegistryError):
    """429: the registry limits the rate, and went on doing so."""

    code = "registry-rate-limit"


class RegistryUnavailableError(RegistryError):
    """5xx, for longer than the retries lasted."""

    code = "registry-unavailable"


class HostUnknownError(RegistryError):
    """The name of the host does not resolve."""

    code = "registry-host-unknown"


class RegistryConnectionError(RegistryError):
    """No connection, or one that keeps breaking."""

    code = "registry-connection"


class TlsError(RegistryError):
    """The TLS handshake failed or the certificate is not trusted."""

    code = "registry-tls"


class ProtocolError(RegistryError):
    """The answer breaks the distribution specification or one of our limits."""

    code = "registry-protocol"


class UnsafeHopError(RegistryError):
    """A redirect or token realm leads where we will not follow."""

    code = "registry-unsafe-hop"


class BlockedError(RegistryError):
    """The machine's owner does not want this repository to be read."""

    code = "registry-blocked"


class ForeignLayerError(RegistryError):
    """The layer lives outside the registry and following such URLs was not allowed."""

    code = "foreign-layer"


class PushContentMissingError(RegistryError):
    """Content to be pushed is neither in the local store nor at the registry."""

    code = "push-content-missing"


class Target(Record):
    """What a request was about, in the user's words."""

    registry: str
    subject: str
    kind: str = "resource"


def error_from_response(
    target: Target,
    status: int,
    body: bytes,
    *,
    credentials_sent: bool,
    retry_after: float | None = None,
) -> RegistryError:
    """Turn a failed answer into the error that fits it; ``body`` may be anything."""
    remote_code, message = _remote_message(body)
    said = (
        f"{status}"
        + (f" {remote_code}" if remote_code else "")
        + (f": {message}" if message else "")
    )
    details: dict[str, Any] = {
        "where": target.subject,
        "status": status,
        "remote_code": remote_code,
        "retry_after": retry_after,
    }
    match status:
        case 401 if credentials_sent:
            what = f"{target.registry} refused the stored credentials ({said})"
            return UnauthorizedError(
                what, fix=f"log in again: lading login {target.registry}", **details
            )
        case 401:
            what = f"{target.registry} wants a login ({said})"
            return UnauthorizedError(what, fix=f"lading login {target.registry}", **details)
        case 403:
            what = f"{target.registry} denies access ({said})"
            fix = "ask the repository's owner for the right to do this, or log in as somebody else"
            return DeniedError(what, fix=fix, **details)
        case 404 if target.kind == "manifest":
            what = f"{target.registry} has no such image ({said})"
            fix = "check the spelling of name and tag; a private image also needs a login"
            return ManifestUnknownError(what, fix=fix, **details)
        case 404 if target.kind == "blob":
            what = f"{target.registry} lacks content that the image needs ({said})"
            return RemoteBlobUnknownError(what, fix="push the image again", **details)
        case 412:
            what = f"somebody else wrote the tag at {target.registry} meanwhile ({said})"
            return TagMovedError(what, fix="read the tag again and repeat the change", **details)
        case 429:
            wait = f"; it asks to wait {retry_after:.0f} s" if retry_after else ""
            what = f"{target.registry} limits the rate of requests ({said}){wait}"
            return TooManyRequestsError(what, fix="wait, or log in for a higher limit", **details)
        case _ if status >= 500:
            what = f"{target.registry} is failing ({said})"
            return RegistryUnavailableError(what, fix="try again later", **details)
    return ProtocolError(f"unexpected answer of {target.registry} ({said})", **details)


def _remote_message(body: bytes) -> tuple[str, str]:
    """The first error's code and message of a distribution error body, or of what stands there."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
        return "", "" if "<" in text else tame(text)
    errors = data.get("errors") if isinstance(data, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else data
    if not isinstance(first, dict):
        return "", ""
    # Token servers use RFC 6749 names, some registries "details" or "error".
    message = next(
        (
            first[key]
            for key in ("message", "details", "error_description", "error")
            if first.get(key)
        ),
        "",
    )
    return tame(str(first.get("code") or ""))[:64], tame(str(message))


def tame(text: str) -> str:
    """A remote text as one printable line, so that it cannot drive the reader's terminal."""
    line = " ".join(text.split())[:_MESSAGE_LIMIT]
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )
