"""What an upstream did wrong, as an answer of ours: its reason in a sentence, nothing of our own.

404 stays 404. What may pass by itself is 503, all else 502; both are ``UNAVAILABLE`` on the wire.
"""

from __future__ import annotations

from typing import Final

from images.client.errors import (
    DeniedError,
    HostUnknownError,
    ManifestUnknownError,
    RegistryConnectionError,
    RegistryUnavailableError,
    RemoteBlobUnknownError,
    TlsError,
    TooManyRequestsError,
    UnauthorizedError,
    UnsafeHopError,
)
from images.credentials import CredentialsError
from images.errors import EnvironmentFault, ImagesError
from registry.errors import ApiError, RegistryError

ABSENT: Final = (ManifestUnknownError, RemoteBlobUnknownError)
"""There is none, says the upstream."""

WITHDRAWN: Final = (UnauthorizedError, DeniedError)
"""We may not read it, or not any more: no reason to go on serving a tag."""

PASSING: Final = (
    TooManyRequestsError,
    RegistryUnavailableError,
    RegistryConnectionError,
    HostUnknownError,
)
"""Faults of the upstream as a whole, during which it is left alone for a moment."""


def is_ours(error: ImagesError) -> bool:
    """Whether it is a fault or a rule of this side, which the upstream is not blamed for."""
    if isinstance(error, CredentialsError):
        return False
    return isinstance(error, (RegistryError, EnvironmentFault))


def refusal(error: ImagesError, upstream: str) -> ApiError:
    """The answer for a client whose request could not be served from ``upstream``."""
    match error:
        case ManifestUnknownError():
            return ApiError("MANIFEST_UNKNOWN", message=f"{upstream} has no such image")
        case RemoteBlobUnknownError():
            return ApiError("BLOB_UNKNOWN", message=f"{upstream} has no such blob")
        case UnsafeHopError():
            # Where it wanted to lead us is for the log alone.
            message = f"{upstream} led to an address that is not followed"
        case CredentialsError():
            message = f"the credentials for {upstream} cannot be used"
        case TlsError():
            message = f"there is no trusted connection to {upstream}"
        case HostUnknownError() | RegistryConnectionError():
            return _unavailable(503, f"{upstream} cannot be reached")
        case _:
            message = error.what
    return _unavailable(503 if isinstance(error, PASSING) else 502, message)


def _unavailable(status: int, message: str) -> ApiError:
    return ApiError("UNAVAILABLE", status=status, message=message)
