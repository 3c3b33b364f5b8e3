"""Which roots pins accept: ids, authorities, names and their beginnings; and the file of pins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from trust.tuf.keys import Key
from trust.tuf.pinfile import NAME, PinFile, PinFileError
from trust.tuf.pinning import Pins

GUN = "registry.example.com/team/web"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "ab" * 32


def issue(name: str, key: ec.EllipticCurvePrivateKey, by: str, signer, *, ca: bool) -> bytes:
    """A certificate that is valid for a year from ``NOW``, in PEM."""

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    certificate = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(by))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def pki() -> dict[str, bytes]:
    """``root`` issues ``middle``, which issues ``leaf``; ``false`` is issued by a leaf."""
    top, middle, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    return {
        "root": issue("root", top, "root", top, ca=True),
        "middle": issue("middle", middle, "root", top, ca=True),
        "leaf": issue(GUN, leaf, "middle", middle, ca=False),
        "other": issue("root", leaf, "root", leaf, ca=True),
        "fake": issue("middle", middle, "root", top, ca=False),
    }


@pytest.mark.parametrize(
    ("chain", "authority", "accepted"),
    [
        (("leaf", "middle"), "root", True),
        (("leaf", "middle", "root"), "root", True),
        (("leaf",), "middle", True),
        (("leaf",), "root", False),
        (("leaf", "middle"), "other", False),
        (("leaf", "fake"), "root", False),
    ],
)
def test_an_authority_vouches_for_what_it_issued(pki, chain, authority, accepted) -> None:
    pins = Pins(authorities={"registry.example.com/": pki[authority]})
    key = Key("ecdsa-x509", b"".join(pki[name] for name in chain))
    for first in (True, False):
        assert pins.accepts(GUN, key, first=first, now=NOW + timedelta(days=1)) is accepted
    assert not pins.accepts(GUN, key, first=True, now=NOW + timedelta(days=999))
    assert pins.accepts("elsewhere.example.com/web", key, first=True)


def test_an_unreadable_authority_vouches_for_nothing(pki) -> None:
    pins = Pins(authorities={"": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"})
    assert not pins.accepts(GUN, Key("ecdsa-x509", pki["leaf"]), first=True, now=NOW)


def test_ids_go_before_authorities_and_names_before_prefixes(pki) -> None:
    key = Key("ecdsa-x509", pki["leaf"] + pki["middle"])
    authorities = {"registry.example.com/": pki["root"]}
    assert not Pins({GUN: (ID,)}, authorities=authorities).accepts(GUN, key, first=True)
    assert Pins({GUN: (key.id,), "registry.example.com/*": (ID,)}).accepts(GUN, key, first=True)
    longest = Pins({"reg*": (ID,), "registry.example.com/team/*": (key.bare().id,)})
    assert longest.accepts(GUN, key, first=True)


def test_the_file_is_what_was_written(tmp_path: Path, pki) -> None:
    assert PinFile.load(tmp_path) == PinFile()
    (tmp_path / "ca.pem").write_bytes(pki["root"])
    made = PinFile(disable_tofu=True).with_ids(GUN, (ID, ID)).with_authority("r.io/*", "ca.pem")
    made.save(tmp_path / "trust")
    assert (tmp_path / "trust" / NAME).stat().st_mode & 0o777 == 0o600
    made.save(tmp_path)
    assert PinFile.load(tmp_path) == made
    pins = made.pins(tmp_path)
    assert (pins.keys, pins.first_use) == ({GUN: (ID,)}, False)
    assert pins.authorities == {"r.io/": pki["root"]}
    assert made.without("elsewhere") is None
    left = made.without(GUN)
    assert left is not None
    assert left.without("r.io/*") == PinFile(disable_tofu=True)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(PinFileError, match="cannot be read"):
        made.pins(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"cert": {}}',
        b'{"certs": {"a": []}}',
        b'{"certs": {"a": ["xyz"]}}',
        b'{"certs": {}, "certs": {}}',
        b'{"disable_tofu": 1}',
        b'{"ca": {"a": 1}}',
    ],
)
def test_what_is_not_understood_refuses(data: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(PinFileError):
        PinFile.load(tmp_path)
