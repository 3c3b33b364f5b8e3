"""What the wire raises, in the user's words."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from images.client.errors import (
    HostUnknownError,
    RegistryConnectionError,
    RegistryError,
    TlsError,
    tame,
)
from images.client.wire import (
    AddressError,
    CertificateError,
    ConnectError,
    HandshakeError,
    UnknownHostError,
)

if TYPE_CHECKING:
    from images.client.wire import WireError

_ABSENT = frozenset({errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH})


def is_final(error: WireError, *, reached: bool) -> bool:
    """Whether trying again cannot help: a bad certificate or a bad address stays bad.

    A server that was ``reached`` before may be restarting; one that never answered is not there.
    """
    if isinstance(error, UnknownHostError):
        return error.errno != socket.EAI_AGAIN
    if isinstance(error, CertificateError | AddressError):
        return True
    return isinstance(error, ConnectError) and not reached and error.errno in _ABSENT


def connection_error(error: WireError, registry: str, subject: str) -> RegistryError:
    """Say in the user's words why there is no answer."""
    reason = getattr(error.error, "strerror", None) or str(error.error)
    if isinstance(error, UnknownHostError):
        return HostUnknownError(
            f"the host of {registry} is unknown: {reason}",
            where=subject,
            fix="check the spelling, the network and the DNS server",
        )
    if isinstance(error, CertificateError):
        what = f"the certificate of {registry} is not trusted: {error.error}"
        fix = f"put the CA's certificate into /etc/docker/certs.d/{registry}/ca.crt"
        return TlsError(what, where=subject, fix=fix)
    if isinstance(error, HandshakeError):
        what = f"no TLS with {registry}: {reason}"
        fix = (
            f"if it speaks plain HTTP and you accept that, name it: --insecure-registry {registry}"
        )
        return TlsError(what, where=subject, fix=fix)
    number = error.errno
    said = os.strerror(number) if number else tame(str(error.error)) or type(error.error).__name__
    return RegistryConnectionError(
        f"no answer from {registry}: {said}",
        where=subject,
        fix="check that it runs and that the network reaches it",
    )
