"""What the network library raises, in the user's words."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp

from images.client.errors import (
    HostUnknownError,
    RegistryConnectionError,
    RegistryError,
    TlsError,
    tame,
)

_ABSENT = frozenset({errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH})


def is_final(error: BaseException, *, reached: bool) -> bool:
    """Whether trying again cannot help: a bad certificate or a bad address stays bad.

    A server that was ``reached`` before may be restarting; one that never answered is not there.
    """
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return error.os_error.errno != socket.EAI_AGAIN
    if isinstance(
        error,
        aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL | ssl.SSLCertVerificationError,
    ):
        return True
    return isinstance(error, aiohttp.ClientConnectorError) and (
        not reached and error.os_error.errno in _ABSENT
    )


def connection_error(error: BaseException, registry: str, subject: str) -> RegistryError:
    """Say in the user's words why there is no answer."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        what = f"the host of {registry} is unknown: {error.os_error.strerror or error.os_error}"
        return HostUnknownError(
            what, where=subject, fix="check the spelling, the network and the DNS server"
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        what = f"the certificate of {registry} is not trusted: {error.certificate_error}"
        fix = f"put the CA's certificate into /etc/docker/certs.d/{registry}/ca.crt"
        return TlsError(what, where=subject, fix=fix)
    if isinstance(error, aiohttp.ClientSSLError):
        what = f"no TLS with {registry}: {error.os_error.strerror or error}"
        fix = (
            f"if it speaks plain HTTP and you accept that, name it: --insecure-registry {registry}"
        )
        return TlsError(what, where=subject, fix=fix)
    number = getattr(getattr(error, "os_error", None), "errno", None)
    reason = os.strerror(number) if number else tame(str(error)) or type(error).__name__
    return RegistryConnectionError(
        f"no answer from {registry}: {reason}",
        where=subject,
        fix="check that it runs and that the network reaches it",
    )
