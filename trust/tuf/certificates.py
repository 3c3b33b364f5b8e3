"""The certificates in which Notary wraps root keys: which of them speak for a repository.

trustpinning of notary 0.7: the leaf comes first and is the only one that is no authority; its
common name is the repository's name, or a prefix of it with ``*``; no SHA-1; RSA from 2048 bits. A
day of clock skew is forgiven at the start of its time. Chains are pinned, not path-validated: the
certificate is a container for a key that is trusted on first use or by its id.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from trust.certificates import self_signed_for_code
from trust.errors import KeyFileError
from trust.tuf.keys import Key, narrowed

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SKEW: Final = timedelta(days=1)


def problem(key: Key, gun: str, *, now: datetime | None) -> str | None:
    """Why ``key`` does not speak for ``gun``, or None; without ``now`` dates do not count."""
    try:
        with narrowed("its certificate is damaged", key.id):
            return _problem(key, gun, now)
    except KeyFileError as error:
        return error.what


def _problem(key: Key, gun: str, now: datetime | None) -> str | None:
    chain = key.certificates()
    key.public_key()
    leaves = [certificate for certificate in chain if not _is_authority(certificate)]
    if len(leaves) != 1 or leaves[0] is not chain[0]:
        return "its chain does not begin with the one leaf"
    leaf = chain[0]
    name = common_name(leaf)
    if not matches(name, gun):
        return f"its certificate is for {name[:200]!r}"
    if leaf.signature_hash_algorithm is not None and leaf.signature_hash_algorithm.name == "sha1":
        return "its certificate is signed with SHA-1"
    if now is not None and not (
        leaf.not_valid_before_utc - SKEW <= now <= leaf.not_valid_after_utc
    ):
        return f"its certificate is valid until {leaf.not_valid_after_utc:%Y-%m-%d}"
    return None


def matches(name: str, gun: str) -> bool:
    """Whether a common name speaks for a repository."""
    if name.endswith("*"):
        return gun.startswith(name.rstrip("*"))
    return name == gun


def common_name(certificate: Certificate) -> str:
    """The subject's common name, empty if it has not exactly one."""
    from cryptography.x509.oid import NameOID

    with _long_names():
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def self_signed(private: Any, name: str, *, start: datetime, end: datetime) -> bytes:
    """A PEM certificate as notary makes it: code signing, the key's own signature, one name.

    Raises:
        KeyFileError: an Ed25519 key, or an empty name.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.x509.oid import NameOID

    if isinstance(private, ed25519.Ed25519PrivateKey):
        raise KeyFileError("a root key cannot be Ed25519", fix="use ecdsa-p256, ecdsa-p384 or rsa")
    with _long_names():
        attribute = x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)
    subject = x509.Name([attribute])
    certificate = self_signed_for_code(private, subject, start=start, end=end, encipherment=True)
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def _long_names() -> Iterator[None]:
    """Repository names may exceed RFC 5280's 64 characters, and notary's certificates then do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
