"""TLS of the main address: one context for the life of the service, its certificate replaced.

Session tickets are sealed with keys that belong to the context. It is made before workers are
forked and never replaced, so a client resumes its session with any worker, and after a reload.
"""

from __future__ import annotations

import ssl
from typing import Final

from registry.errors import RegistryStartError
from registry.settings import TlsSettings, TlsVersion

_VERSIONS: Final = {
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
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
