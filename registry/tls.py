"""TLS of the main address: one context for the life of the service, its certificate replaced.

Session tickets are sealed with keys that belong to the context. It is made before workers are
forked and never replaced, so a client resumes its session with any worker, and after a reload.
Authorities cannot be taken out of a context: handshakes look for those of clients in one that is
made anew by each reload. What a resumed session is worth is ``registry.access.certificates``'s to
say, for each request.
"""

from __future__ import annotations

import ssl
from typing import Final

from registry.errors import RegistryStartError
from registry.settings import ClientAuth, TlsSettings, TlsVersion

_VERSIONS: Final = {
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}


_ASKING: Final = {
    ClientAuth.OFF: ssl.CERT_NONE,
    ClientAuth.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}


def server_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """The server side of TLS, None without a certificate.

    Raises:
        RegistryStartError: certificate and key do not load.
    """
    if settings.cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings)
    _ask_clients(context, settings)
    return context


def renew(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Give a context that is in use the certificate of today; connections stay as they are.

    Raises:
        RegistryStartError: certificate and key do not load; the context is as it was.
    """
    if settings.cert is None:
        raise RegistryStartError(
            "TLS cannot be switched off while serving", where="tls.cert", fix="restart instead"
        )
    # A chain without its key would leave the context with neither: tried on another one first.
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)
    _load(context, settings)
    _ask_clients(context, settings)


def _ask_clients(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Ask clients for certificates of the authorities of today, from the next handshake on.

    Raises:
        RegistryStartError: the authorities do not load; the context is as it was.
    """
    if settings.client_ca is None:
        context.sni_callback = None
        context.verify_mode = ssl.CERT_NONE
        return
    believed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(believed, settings)
    try:
        believed.load_verify_locations(settings.client_ca)
    except (ssl.SSLError, OSError) as error:
        raise RegistryStartError(
            f"cannot load the authorities of clients: {error}",
            where=str(settings.client_ca),
            fix="tls.client_ca holds certificates (PEM)",
        ) from error

    def choose(connection: ssl.SSLObject, name: str | None, original: ssl.SSLContext) -> None:
        """Called in every handshake, whether the client names a host or not."""
        connection.context = believed

    context.sni_callback = choose
    # These two a connection has from the context that it began with.
    context.verify_mode = _ASKING[settings.client_auth]
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load(context: ssl.SSLContext, settings: TlsSettings) -> None:
    context.minimum_version = _VERSIONS[settings.minimum]
    assert settings.cert is not None
    try:
        context.load_cert_chain(settings.cert, settings.key)
    except (ssl.SSLError, OSError) as error:
        raise RegistryStartError(
            f"cannot load the certificate: {error}",
            where=str(settings.cert),
            fix="tls.cert is a PEM chain, tls.key its unencrypted PEM key",
        ) from error
