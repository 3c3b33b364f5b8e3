"""Public keys of others: from a JWK Set to what verifies (RFC 7517, RFC 7518, RFC 8037).

Only signatures by public keys exist here; a shared secret (``oct``) in a set is passed over, and so
are keys that are too short, for encryption, or of a kind that nobody knows. One damaged key does
not take the others with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from registry.access.jwt import TokenError, decode_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

_MOST_KEYS: Final = 64
_RSA_BITS: Final = (2048, 8192)
_EXPONENT_BITS: Final = 33
_CURVES: Final = MappingProxyType(
    {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
)
"""The algorithm of each curve and the width of a coordinate in bytes (RFC 7518, section 3.4)."""

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


@dataclass(frozen=True, slots=True)
class OutsideKey:
    """A public key, and every algorithm that it may be used with."""

    public: PublicKey
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class OutsideVerifier:
    """``jwt.Verifier``: a public key under the one algorithm that a token names and we allow."""

    public: PublicKey
    algorithm: str

    def verify(self, signature: bytes, message: bytes) -> bool:
        """See ``jwt.Verifier``."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def _verify(self, signature: bytes, message: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        if self.algorithm == "EdDSA":
            cast("Ed25519PublicKey", self.public).verify(signature, message)
            return
        sizes: Mapping[str, hashes.HashAlgorithm] = {
            "256": hashes.SHA256(),
            "384": hashes.SHA384(),
            "512": hashes.SHA512(),
        }
        digest = sizes[self.algorithm[2:]]
        if self.algorithm.startswith("ES"):
            curve = cast("EllipticCurvePublicKey", self.public)
            width = (curve.key_size + 7) // 8
            if len(signature) != 2 * width:
                raise InvalidSignature
            halves = (signature[:width], signature[width:])
            der = encode_dss_signature(*(int.from_bytes(half, "big") for half in halves))
            curve.verify(der, message, ec.ECDSA(digest))
        elif self.algorithm.startswith("PS"):
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            cast("RSAPublicKey", self.public).verify(signature, message, pss, digest)
        else:
            pkcs = padding.PKCS1v15()
            cast("RSAPublicKey", self.public).verify(signature, message, pkcs, digest)


def parse_jwks(data: bytes) -> dict[str, OutsideKey]:
    """The usable keys of a JWK Set by ``kid``; a name that is there twice belongs to neither.

    Raises:
        ValueError: it is no JWK Set, or one with more keys than anybody has.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no JWK Set")
    if len(entries) > _MOST_KEYS:
        raise ValueError(f"more than {_MOST_KEYS} keys")
    keys: dict[str, OutsideKey] = {}
    ambiguous: set[str] = set()
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if not isinstance(kid, str) or (key := _key(entry)) is None:
            continue
        if kid in keys:
            ambiguous.add(kid)
        keys[kid] = key
    return {kid: key for kid, key in keys.items() if kid not in ambiguous}


def _key(jwk: Mapping[str, Any]) -> OutsideKey | None:
    """A JWK's key; None where it cannot sign tokens for us."""
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or "verify" not in (operations or ()):
        return None
    try:
        match jwk.get("kty"):
            case "RSA":
                public, algorithms = _rsa(jwk), _RSA
            case "EC":
                public, algorithms = _curve(jwk)
            case "OKP" if jwk.get("crv") == "Ed25519":
                public, algorithms = _edwards(jwk), frozenset({"EdDSA"})
            case _:
                return None
    except (TokenError, ValueError, TypeError, KeyError):
        return None
    stated = jwk.get("alg")
    algorithms = algorithms if stated is None else algorithms & {stated}
    return OutsideKey(public, algorithms) if algorithms else None


def _rsa(jwk: Mapping[str, Any]) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    modulus, exponent = _integer(jwk["n"]), _integer(jwk["e"])
    least, most = _RSA_BITS
    if not least <= modulus.bit_length() <= most or exponent.bit_length() > _EXPONENT_BITS:
        raise ValueError("a length that nobody should use")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _curve(jwk: Mapping[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    from cryptography.hazmat.primitives.asymmetric import ec

    algorithm, width = _CURVES[jwk["crv"]]
    curves: Mapping[str, ec.EllipticCurve] = {
        "ES256": ec.SECP256R1(),
        "ES384": ec.SECP384R1(),
        "ES512": ec.SECP521R1(),
    }
    curve = curves[algorithm]
    x, y = decode_bytes(jwk["x"]), decode_bytes(jwk["y"])
    if len(x) != width or len(y) != width:
        raise ValueError("a coordinate of another curve")
    # Raises ValueError for a point that is not on the curve.
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)
    return public, frozenset({algorithm})


def _edwards(jwk: Mapping[str, Any]) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(decode_bytes(jwk["x"]))


def _integer(text: str) -> int:
    return int.from_bytes(decode_bytes(text), "big")
