"""The six signature algorithms of the Notary Project, each fixed by the signer's key.

Signature specification, "Signature Algorithm Requirements", with the JWS names of RFC 7518 section
3. A header that names another algorithm than the key's is refused, so an attacker cannot choose a
weaker one. RSA is PSS with a salt as long as the hash; ECDSA is raw r||s of fixed width, unlike the
DER of cosign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from trust.errors import KeyFileError, WrongKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm


@dataclass(frozen=True, slots=True)
class JwsAlgorithm:
    """``name`` as in a JWS header, ``bits`` of the hash, ``width`` of r and of s (0: RSA)."""

    name: str
    bits: int
    width: int = 0

    @property
    def hash(self) -> HashAlgorithm:
        """The hash function, for the cryptography library."""
        from cryptography.hazmat.primitives import hashes

        functions: dict[int, HashAlgorithm] = {
            256: hashes.SHA256(),
            384: hashes.SHA384(),
            512: hashes.SHA512(),
        }
        return functions[self.bits]


_RSA: Final = {
    2048: JwsAlgorithm("PS256", 256),
    3072: JwsAlgorithm("PS384", 384),
    4096: JwsAlgorithm("PS512", 512),
}
_CURVES: Final = {
    "secp256r1": JwsAlgorithm("ES256", 256, 32),
    "secp384r1": JwsAlgorithm("ES384", 384, 48),
    "secp521r1": JwsAlgorithm("ES512", 512, 66),
}


def algorithm_of(public_key: object) -> JwsAlgorithm:
    """The algorithm that a public key of the cryptography library signs with.

    Raises:
        KeyFileError: RSA of another size than 2048, 3072 or 4096 bits, or not RSA or NIST ECDSA.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public_key, rsa.RSAPublicKey) and public_key.key_size in _RSA:
        return _RSA[public_key.key_size]
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return _CURVES[public_key.curve.name]
    raise KeyFileError(
        "keys of this kind do not make Notary Project signatures",
        fix="use RSA with 2048, 3072 or 4096 bits, or ECDSA P-256, P-384 or P-521",
    )


def sign(private_key: Any, message: bytes) -> bytes:
    """Sign with a private key of the cryptography library; raises ``KeyFileError``."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    algorithm = algorithm_of(private_key.public_key())
    if not algorithm.width:
        pss = padding.PSS(padding.MGF1(algorithm.hash), algorithm.bits // 8)
        return bytes(private_key.sign(message, pss, algorithm.hash))
    r, s = utils.decode_dss_signature(private_key.sign(message, ec.ECDSA(algorithm.hash)))
    return r.to_bytes(algorithm.width, "big") + s.to_bytes(algorithm.width, "big")


def verify(public_key: Any, signature: bytes, message: bytes) -> None:
    """Return if ``public_key`` made ``signature`` over ``message``.

    Raises:
        WrongKeyError: it did not.
        KeyFileError: see ``algorithm_of``.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    algorithm = algorithm_of(public_key)
    try:
        if not algorithm.width:
            pss = padding.PSS(padding.MGF1(algorithm.hash), algorithm.bits // 8)
            public_key.verify(signature, message, pss, algorithm.hash)
            return
        if len(signature) != 2 * algorithm.width:
            raise InvalidSignature
        r, s = (
            int.from_bytes(part, "big")
            for part in (signature[: algorithm.width], signature[algorithm.width :])
        )
        public_key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(algorithm.hash))
    except InvalidSignature as error:
        raise WrongKeyError(
            "the envelope was changed after signing, or another key than the certificate's made it",
            fix="do not use the image; ask the publisher",
        ) from error
