"""The server's private keys at rest: AES-256-GCM under one master key, each bound to its place.

The trust service, the transparency log and countersigning keep their keys so.

The master key is 32 random bytes in ``master.key`` (0600), or is derived by scrypt from a
passphrase, with the salt in ``master.salt``. Replicas have a passphrase: in the database that they
share, a key beside what it seals would protect nothing. What a key is sealed for (collection, role,
id) is authenticated with it, so a row that is copied to another collection does not open there. A
canary tells a wrong passphrase at start, not at the first signature.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from registry.errors import RegistryStartError
from registry.smallfiles import SmallFile, create

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from trust.tuf.keys import Signer

FOLDER: Final = "notary"
"""Where it is among the files of a registry, beside the trust service's data."""

VARIABLE: Final = "LADING_NOTARY_PASSPHRASE"
"""Environment variable with the passphrase; without it a key file is made."""

_NONCE: Final = 12
_SCRYPT_N: Final = 1 << 16
_CANARY: Final = b"lading notary vault 1"


class Vault:
    """Seals and opens keys."""

    def __init__(self, master: bytes) -> None:
        self._master = master

    @classmethod
    def open(cls, folder: SmallFile, passphrase: str | None) -> Vault:
        """The vault of the service in ``folder``; made on first use. Blocks.

        Raises:
            RegistryStartError: the passphrase is wrong or missing, or the key file cannot be used.
        """
        try:
            if isinstance(folder, Path):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if passphrase:
                salt = _kept(folder / "master.salt", 32)
                master = hashlib.scrypt(
                    passphrase.encode(), salt=salt, n=_SCRYPT_N, r=8, p=1, maxmem=1 << 28, dklen=32
                )
            elif not isinstance(folder, Path):
                raise RegistryStartError(
                    "keys that replicas share are sealed with a passphrase, and there is none",
                    where=f"${VARIABLE}",
                    fix="give every replica the same one, such as `openssl rand -base64 32` makes",
                )
            else:
                master = _kept(folder / "master.key", 32)
            vault = cls(master)
            vault._check(folder / "master.canary")
        except OSError as error:
            raise RegistryStartError(
                f"cannot use the trust service's master key: {error.strerror}", where=str(folder)
            ) from error
        return vault

    def seal(self, signer: Signer, place: str) -> bytes:
        """The private key of ``signer``, for storage at ``place``."""
        from cryptography.hazmat.primitives import serialization as ser

        secret = signer.private.private_bytes(
            ser.Encoding.DER, ser.PrivateFormat.PKCS8, ser.NoEncryption()
        )
        return self._encrypt(secret, place.encode())

    def unseal(self, sealed: bytes, place: str) -> Signer:
        """The key that was sealed for ``place``; raises ``ValueError`` for any other."""
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        from trust.tuf.keys import Signer

        return Signer.of(load_der_private_key(self._decrypt(sealed, place.encode()), None))

    def seal_bytes(self, secret: bytes, place: str) -> bytes:
        """Any other secret, for storage at ``place``."""
        return self._encrypt(secret, place.encode())

    def unseal_bytes(self, sealed: bytes, place: str) -> bytes:
        """What was sealed for ``place``; raises ``ValueError`` for any other."""
        return self._decrypt(sealed, place.encode())

    def _check(self, path: SmallFile) -> None:
        try:
            sealed = path.read_bytes()
        except FileNotFoundError:
            sealed = _kept(path, 0, fresh=self._encrypt(_CANARY, b"canary"))
        try:
            self._decrypt(sealed, b"canary")
        except ValueError as error:
            raise RegistryStartError(
                "this is not the key or passphrase that the trust service's keys are sealed with",
                where=str(path),
                fix=f"set ${VARIABLE} as it was at the first start, or put master.key back",
            ) from error

    def _encrypt(self, secret: bytes, place: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher().encrypt(nonce, secret, place)

    def _decrypt(self, sealed: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher().decrypt(sealed[:_NONCE], sealed[_NONCE:], place)
        except InvalidTag as error:
            raise ValueError("a sealed key does not open") from error

    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._master)


def _kept(path: SmallFile, size: int, *, fresh: bytes | None = None) -> bytes:
    """A file's bytes; random ones (or ``fresh``) are put there first, by one process only."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = create(path, os.urandom(size) if fresh is None else fresh)
    if size and len(found) != size:
        raise RegistryStartError(f"{path.name} does not hold {size} bytes", where=str(path))
    return found
