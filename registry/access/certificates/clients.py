"""Which client certificates count now, whatever was true when their connections began.

The handshake has checked the chain and that the client has the key. Here every request asks again:
issued by a certificate of the file of authorities as it is now, within its time, and not revoked.
So a resumed session and a connection of yesterday are worth no more than a new one. Intermediate
authorities have to be in the file themselves.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from registry.access.certificates.naming import identity_of
from registry.access.certificates.settings import CertificateSettings
from registry.access.identity import Identity
from registry.access.jwt import TokenError, encode_bytes
from registry.errors import ApiError, RegistryConfigError
from registry.smallfiles import Signature, signature

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

    from registry.protocols import Caller

log = logging.getLogger("registry")

_REMEMBERED: Final = 4096
_LIMIT: Final = 64 << 20
_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that counts; ``identity`` is None where no rule makes somebody of it.

    ``thumbprint`` is what tokens are bound to (RFC 8705, section 3.1), ``ends`` in seconds since
    the epoch.
    """

    identity: Identity | None
    thumbprint: str
    ends: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What never changes about a certificate: by which authority it is, and whose."""

    shown: ClientCertificate
    begins: float
    authority: int
    serial: int


@dataclass(frozen=True, slots=True)
class _Revoked:
    """Serial numbers that an authority took back; ``until`` is when its list is out of date."""

    serials: frozenset[int]
    until: float


@dataclass(slots=True)
class ClientCertificates:
    """The authorities, lists and rules of one configuration; used from one event loop only."""

    rules: Sequence[CertificateSettings]
    required: bool
    authorities: Sequence[Certificate]
    crl: Path | None
    _state: Signature
    _revoked: Mapping[int, _Revoked]
    _known: OrderedDict[bytes, _Known | str] = field(default_factory=OrderedDict)

    @classmethod
    def load(
        cls,
        rules: Sequence[CertificateSettings],
        *,
        authorities: Path,
        crl: Path | None,
        required: bool,
    ) -> Self:
        """Read the files; blocks.

        Raises:
            RegistryConfigError: one of them is unusable.
        """
        found = load_authorities(authorities)
        state = signature(crl) if crl is not None else (0, 0, 0, 0)
        return cls(rules, required, found, crl, state, _load_revoked(crl, found))

    @property
    def stale(self) -> bool:
        """Whether the list of revoked certificates changed on disk."""
        return self.crl is not None and signature(self.crl) != self._state

    def read_again(self) -> None:
        """Take the list as it is now; one that is unusable leaves what was. Blocks."""
        assert self.crl is not None, "only a file changes"
        self._state = signature(self.crl)
        try:
            self._revoked = _load_revoked(self.crl, self.authorities)
        except RegistryConfigError as error:
            log.error("kept what was in force before: %s", error)  # noqa: TRY400 -- the sentence is enough

    def judge(self, der: bytes, *, now: float) -> ClientCertificate:
        """A certificate whose key the client of this connection has.

        Raises:
            TokenError: it does not count, and why.
        """
        key = hashlib.sha256(der).digest()
        known = self._known.get(key)
        if known is None:
            try:
                known = self._examine(der, key)
            except TokenError as error:
                known = str(error)
            self._known[key] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if isinstance(known, str):
            raise TokenError(known)
        if not known.begins <= now < known.shown.ends:
            raise TokenError("it is not of this time")
        revoked = self._revoked.get(known.authority)
        if revoked is not None and known.serial in revoked.serials:
            raise TokenError("it was revoked")
        if revoked is not None and now >= revoked.until:
            raise TokenError("the list of what its issuer revoked is out of date")
        return known.shown

    def _examine(self, der: bytes, key: bytes) -> _Known:
        from cryptography import x509

        try:
            certificate = x509.load_der_x509_certificate(der)
            authority = _issuer_of(certificate, self.authorities)
            identity = identity_of(self.rules, certificate)
            begins = certificate.not_valid_before_utc.timestamp()
            ends = certificate.not_valid_after_utc.timestamp()
        except (ValueError, TypeError) as error:
            raise TokenError("it cannot be read") from error
        shown = ClientCertificate(identity, encode_bytes(key), ends)
        return _Known(shown, begins, authority, certificate.serial_number)


def load_authorities(path: Path) -> list[Certificate]:
    """The certificates (PEM) of a file; blocks.

    Raises:
        RegistryConfigError: it holds none, or something else.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise RegistryConfigError(
            f"not a file of certificates: {error}",
            where=str(path),
            fix="tls.client_ca holds the authorities (PEM) that issue client certificates",
        ) from error
    now = datetime.now(UTC)
    for certificate in found:
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            name = certificate.subject.rfc4514_string()
            log.warning("tls.client_ca: %s is not of this time; nobody comes in by it", name)
    return found


def _issuer_of(certificate: Certificate, authorities: Sequence[Certificate]) -> int:
    """Which authority signed a certificate, by its place.

    Raises:
        TokenError: none.
    """
    from cryptography.exceptions import InvalidSignature

    for place, authority in enumerate(authorities):
        if authority.subject != certificate.issuer:
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return place
    raise TokenError("its issuer is not among tls.client_ca; intermediate ones have to be, too")


def _load_revoked(path: Path | None, authorities: Sequence[Certificate]) -> dict[int, _Revoked]:
    """What each authority revoked, by its place.

    Raises:
        RegistryConfigError: the file is unusable, or a list in it is signed by nobody we know.
    """
    if path is None:
        return {}
    from cryptography import x509

    blocks = _CRL.findall(_read(path))
    if not blocks:
        raise RegistryConfigError("no list of revoked certificates (PEM)", where=str(path))
    found: dict[int, _Revoked] = {}
    for block in blocks:
        try:
            crl = x509.load_pem_x509_crl(block)
            place = _signer_of(crl, authorities, path)
            serials = frozenset(entry.serial_number for entry in crl)
        except (ValueError, TypeError) as error:
            raise RegistryConfigError(
                f"not a list of revoked certificates: {error}", where=str(path)
            ) from error
        ends = crl.next_update_utc
        until = float("inf") if ends is None else ends.timestamp()
        if until <= datetime.now(UTC).timestamp():
            log.warning("tls.client_crl: the list of %s is out of date", crl.issuer)
        found[place] = _Revoked(serials, until)
    return found


def _signer_of(
    crl: CertificateRevocationList, authorities: Sequence[Certificate], path: Path
) -> int:
    """Whose list this is, when it is a plain and complete one (RFC 5280, section 5.2)."""
    critical = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
    if critical:
        raise RegistryConfigError(
            f"a list with parts that are not understood here: {', '.join(critical)}",
            where=str(path),
            fix="write a complete list of each authority",
        )
    for place, authority in enumerate(authorities):
        key = authority.public_key()
        if authority.subject == crl.issuer and crl.is_signature_valid(key):  # type: ignore[arg-type]
            return place
    raise RegistryConfigError(
        "a list of an authority that is not in tls.client_ca", where=str(path)
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise RegistryConfigError(
            f"cannot read: {error.strerror or error}", where=str(path)
        ) from error
    if len(data) > _LIMIT:
        raise RegistryConfigError("longer than 64 MiB", where=str(path))
    return data


def presented(
    certificates: ClientCertificates, caller: Caller, denials: Container[str], *, now: float
) -> ClientCertificate | None:
    """The certificate of the connection that a request came by; None for none.

    Raises:
        ApiError: DENIED, it does not count, whatever else the request shows; or there has to be
            one.
    """
    der = caller.certificate
    if der is None:
        if certificates.required:
            raise ApiError("DENIED", message="a client certificate is needed")
        return None
    try:
        shown = certificates.judge(der, now=now)
    except TokenError as error:
        raise ApiError("DENIED", message=f"the client certificate is not good: {error}") from error
    if str(shown.identity) in denials:
        raise ApiError("DENIED", message=f"the deny list names {shown.identity}")
    if caller.led_here and shown.identity is not None:
        # Browsers show certificates to whoever leads them here; scripts and forms of others do.
        return replace(shown, identity=None)
    return shown
