"""A certificate authority for tests: servers, clients with names of every kind, and revocation."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)
DAY = 24 * HOUR
"""What a certificate lives; ``NOW`` is when the tests were read, long before the last one runs."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files; ``folder`` is what docker calls a certificate folder."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def cert_file(self) -> Path:
        return self.folder / "client.cert"

    @property
    def key_file(self) -> Path:
        return self.folder / "client.key"


class Authority:
    """Issues certificates below ``folder``."""

    def __init__(self, folder: Path, name: str = "Test Authority", by: Authority | None = None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        signer = self if by is None else by
        self.certificate = (
            _builder(self.name, signer.name, self.key, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(_pem(self.certificate))

    def server(self, *addresses: str) -> Pair:
        """For localhost, 127.0.0.1, and further addresses."""
        every = map(ipaddress.ip_address, ("127.0.0.1", *addresses))
        names = [x509.DNSName("localhost"), *map(x509.IPAddress, every)]
        return self.issue("server", names=names, server=True)

    def issue(
        self,
        common_name: str,
        *,
        names: Sequence[x509.GeneralName] = (),
        units: Sequence[str] = (),
        ends: datetime.timedelta = DAY,
        server: bool = False,
        also: Sequence[str] = (),
    ) -> Pair:
        """A certificate in a folder of its own beside its issuer's; "" is no common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, name)
            for name in (common_name, *also)
            if name
        ]
        attributes += [
            x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units
        ]
        use = x509.ExtendedKeyUsageOID
        builder = _builder(x509.Name(attributes), self.name, key, ends).add_extension(
            x509.ExtendedKeyUsage([use.SERVER_AUTH if server else use.CLIENT_AUTH]), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        folder = self.folder / f"pair-{certificate.serial_number}"
        folder.mkdir()
        pair = Pair(folder, certificate, key)
        pair.cert_file.write_bytes(_pem(certificate))
        pair.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "ca.crt").write_bytes(self.file.read_bytes())
        return pair

    def revoke(self, file: Path, *pairs: Pair, ends: datetime.timedelta = DAY) -> None:
        """Write the list of what is revoked."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(NOW - 10 * HOUR)
            .next_update(NOW + ends)
        )
        for pair in pairs:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(pair.certificate.serial_number)
                .revocation_date(NOW - HOUR)
                .build()
            )
            builder = builder.add_revoked_certificate(entry)
        crl = builder.sign(self.key, hashes.SHA256())
        file.write_bytes(crl.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    ends: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 20 * HOUR)
        .not_valid_after(NOW + ends)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
