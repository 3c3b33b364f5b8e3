"""The registry's own signing keys: one signs, the older ones are kept for who verifies.

``<root>/countersign/<n>.key`` (sealed in the vault), ``<n>.pub`` and ``<n>.crt`` (PEM). The highest
number signs. A key is complete once its ``.key`` is there, which is written last; none is ever
overwritten or removed, so what was signed stays verifiable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from registry.errors import RegistryStartError
from registry.smallfiles import SmallFile, locked, replace
from registry.vault import Vault
from trust.keys import PrivateKey
from trust.notation.signing import CertifiedKey, self_signed

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

VALIDITY: Final = timedelta(days=3650)
"""How long a countersigning certificate lasts."""


class Keyring:
    """The keys in one folder. Methods block."""

    def __init__(self, folder: SmallFile, vault: Vault, *, subject: str) -> None:
        self._folder = folder
        self._vault = vault
        self._subject = subject

    def current(self) -> CertifiedKey:
        """The key that signs now; made on first use.

        Raises:
            RegistryStartError: it does not open, or the folder cannot be used.
        """
        numbers = self._numbers()
        if not numbers:
            with self._changing():
                # Looked at again under the lock: another process may have made it meanwhile.
                numbers = self._numbers() or [self._make(1, datetime.now(UTC))]
        return self._open(numbers[-1])

    def rotate(self, *, now: datetime | None = None) -> CertifiedKey:
        """Make a new key, which signs from now on; the older ones stay known."""
        with self._changing():
            number = self._make((self._numbers() or [0])[-1] + 1, now or datetime.now(UTC))
        return self._open(number)

    def public_keys(self) -> bytes:
        """All public keys, the newest first: PEM one after the other."""
        return b"".join(self._path(number, "pub").read_bytes() for number in self._numbers()[::-1])

    def certificates(self) -> bytes:
        """All certificates, the newest first: what a notation trust store should hold."""
        return b"".join(self._path(number, "crt").read_bytes() for number in self._numbers()[::-1])

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time."""
        try:
            with locked(self._folder / "keys"):
                yield
        except OSError as error:
            raise RegistryStartError(
                f"cannot write a countersigning key: {error.strerror}", where=str(self._folder)
            ) from error

    def _make(self, number: int, now: datetime) -> int:
        key = PrivateKey.generate()
        moment = now.replace(microsecond=0)
        certificate = self_signed(key, self._subject, now=moment, validity=VALIDITY)
        replace(self._path(number, "pub"), key.public.pem, mode=0o644)
        replace(self._path(number, "crt"), _pem(certificate), mode=0o644)
        sealed = self._vault.seal_bytes(key.to_der(), _place(number))
        replace(self._path(number, "key"), sealed)
        return number

    def _open(self, number: int) -> CertifiedKey:
        from cryptography.x509 import load_pem_x509_certificates

        path = self._path(number, "key")
        try:
            der = self._vault.unseal_bytes(path.read_bytes(), _place(number))
            key = PrivateKey.from_der(der, where=str(path))
            chain = load_pem_x509_certificates(self._path(number, "crt").read_bytes())
        except (OSError, ValueError) as error:
            raise RegistryStartError(
                "the countersigning key does not open",
                where=str(path),
                fix="put the master key back that was there when it was made",
            ) from error
        return CertifiedKey.join(key, tuple(chain), where=str(path))

    def _numbers(self) -> list[int]:
        try:
            return sorted(int(it.stem) for it in self._folder.iterdir() if it.suffix == ".key")
        except FileNotFoundError:
            return []

    def _path(self, number: int, suffix: str) -> SmallFile:
        return self._folder / f"{number}.{suffix}"


def _place(number: int) -> str:
    return f"countersign {number}"


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)
