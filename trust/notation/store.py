"""Trust stores: the folders of certificates that signatures may lead to.

``<config>/truststore/x509/<kind>/<name>/*.{pem,crt,cer}``, as notation keeps them. Symbolic links
are refused, so that a store holds what its folder shows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trust.errors import CertificateError, KeyFileError
from trust.notation.certificates import common_name
from trust.notation.policy import StoreKind, StoreName

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_FILE: Final = 1 << 20
MAX_FILES: Final = 1024
SUFFIXES: Final = frozenset({".pem", ".crt", ".cer"})


def config_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where notation keeps its settings: ``$NOTATION_CONFIG``, else the user's configuration."""
    if environ.get("NOTATION_CONFIG"):
        return Path(environ["NOTATION_CONFIG"])
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    return Path(home) / "notation"


def read_store(config: Path, store: StoreName) -> tuple[Certificate, ...]:
    """The certificates of one trust store.

    Raises:
        KeyFileError: the store is missing, empty, unreadable or holds what is no trust anchor.
    """
    folder = config / "truststore" / "x509" / store.kind / store.name
    found: list[Certificate] = []
    try:
        if folder.is_symlink():
            raise _unusable(folder, "is a symbolic link")
        for path in sorted(folder.iterdir())[: MAX_FILES + 1]:
            if path.suffix in SUFFIXES:
                found += read_certificates(path)
    except OSError as error:
        raise _unusable(folder, f"cannot be read: {error.strerror}") from error
    if not found:
        raise _unusable(folder, "holds no certificate")
    for certificate in found:
        _check_anchor(certificate, store, folder)
    return tuple(found)


def read_store_at(config: str, store: StoreName) -> tuple[Certificate, ...]:
    """``read_store`` for a policy, which knows its folder as text."""
    return read_store(Path(config), store)


def read_certificates(path: Path) -> tuple[Certificate, ...]:
    """The certificates of one file, PEM (several) or DER (one); raises ``KeyFileError``."""
    from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise _unusable(path, f"is longer than {MAX_FILE} bytes")
        if b"-----BEGIN" in data:
            return tuple(load_pem_x509_certificates(data))
        return (load_der_x509_certificate(data),)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _unusable(path, "is no certificate") from error


def _check_anchor(certificate: Certificate, store: StoreName, folder: Path) -> None:
    from cryptography import x509

    self_signed = certificate.issuer == certificate.subject
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        authority = basic.ca
    except x509.ExtensionNotFound:
        authority = False
    except ValueError as error:
        raise CertificateError("a certificate has broken extensions", where=str(folder)) from error
    if not authority and not (self_signed and store.kind is StoreKind.CA):
        raise _unusable(
            folder, f"holds {common_name(certificate)!r}, which is neither root nor authority"
        )


def _unusable(path: Path, why: str) -> KeyFileError:
    return KeyFileError(
        f"the trust store {why}",
        where=str(path),
        fix="put the publisher's root certificate there, or correct trustStores in the policy",
    )
