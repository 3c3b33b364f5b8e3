"""Docker's key store: ``<trust>/private/<key id>.key``, shared with docker and notary.

Older layouts (``private/root_keys``, ``private/tuf_keys/<gun>``, the role behind the id in the
name) are read. A file is staged, fsynced and renamed; modes are 0700 and 0600. A key is never
overwritten by another one, since the name is the key's id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from images.durable import write_durably
from trust.disk import key_store, read_key_file
from trust.errors import KeyFileError, KeyUnknownError, PassphraseError
from trust.tuf import keyfile
from trust.tuf.keys import Key, Signer

ATTEMPTS = 3
"""How often a wrong passphrase is asked for again."""


class Locked(NamedTuple):
    """What a passphrase is asked for: a key that is opened, or one that is ``new``."""

    role: str
    key_id: str
    new: bool


AskPassphrase = Callable[[Locked], bytes]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key in the store. ``role`` is a base role or a signer's name; ``gun`` may be empty."""

    id: str
    role: str
    gun: str
    path: Path


class TrustKeys:
    """The private keys below ``folder`` (``~/.docker/trust``). Opened keys are kept in memory."""

    def __init__(self, folder: Path, ask: AskPassphrase) -> None:
        self._folder = folder / "private"
        self._ask = ask
        self._open: dict[str, Signer] = {}

    def list(self) -> tuple[StoredKey, ...]:
        """All keys, by role and id; files that are no keys are left out.

        Raises:
            KeyStoreFault: the folder cannot be read.
        """
        with key_store(self._folder):
            paths = sorted(self._folder.rglob("*.key")) if self._folder.is_dir() else []
        found = [stored for path in paths if (stored := self._stored(path)) is not None]
        return tuple(sorted(found, key=lambda key: (key.role, key.id)))

    def find(self, role: str, *, gun: str = "") -> StoredKey | None:
        """The first key of a role (by id, as docker chooses), or None."""
        return next((k for k in self.list() if k.role == role and k.gun in ("", gun)), None)

    def create(
        self, role: str, *, gun: str = "", make: Callable[[], Signer] = Signer.generate
    ) -> Signer:
        """Make a key and keep it; root and signers' keys have no ``gun``.

        Raises:
            KeyStoreFault: the disk refused.
        """
        return self.add(make(), role, gun=gun)

    def add(self, signer: Signer, role: str, *, gun: str = "") -> Signer:
        """Keep a key under a passphrase that is asked for; raises ``KeyStoreFault``."""
        secret = self._ask(Locked(role, signer.key.id, new=True))
        self._write(signer.key.id, keyfile.write(signer, secret, role=role, gun=gun))
        self._open[signer.key.id] = signer
        return signer

    def signer(self, key: Key) -> Signer | None:
        """The private key behind ``key``, signing in its name; None when it is not here.

        A ``draft.KeyRing``. A wrong passphrase is asked for again a few times.

        Raises:
            PassphraseError: it stayed wrong. KeyFileError: the file is damaged.
        """
        bare = key.bare().id
        if bare not in self._open:
            path = self._find(bare)
            if path is None:
                return None
            self._open[bare] = self._unlock(bare, path)
        return self._open[bare].as_key(key)

    def open(self, key_id: str) -> Signer:
        """The private key of this id, as a plain key; raises ``KeyUnknownError`` as well."""
        path = self._find(key_id)
        if path is None:
            raise KeyUnknownError(f"no key {key_id}", where=str(self._folder))
        if key_id not in self._open:
            self._open[key_id] = self._unlock(key_id, path)
        return self._open[key_id]

    def holds(self, key_id: str) -> bool:
        """Whether the private key of this (bare) id is here."""
        return self._find(key_id) is not None

    def remove(self, key_id: str) -> None:
        """Remove a key; raises ``KeyUnknownError``."""
        path = self._find(key_id)
        if path is None:
            raise KeyUnknownError(f"no key {key_id}", where=str(self._folder))
        with key_store(path):
            path.unlink()
        self._open.pop(key_id, None)

    def _unlock(self, key_id: str, path: Path) -> Signer:
        file = keyfile.parse(read_key_file(path), where=str(path))
        if not file.encrypted:
            return keyfile.load(file, None, where=str(path))
        role = file.role or _role_in_name(path)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return keyfile.load(
                    file, self._ask(Locked(role, key_id, new=False)), where=str(path)
                )
            except PassphraseError:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _find(self, key_id: str) -> Path | None:
        if not key_id.isalnum():
            return None
        usual = self._folder / f"{key_id}.key"
        if usual.is_file():
            return usual
        if not self._folder.is_dir():
            return None
        return next(iter(sorted(self._folder.rglob(f"{key_id}*.key"))), None)

    def _stored(self, path: Path) -> StoredKey | None:
        try:
            file = keyfile.parse(read_key_file(path), where=str(path))
        except KeyFileError:
            return None
        key_id = path.name.removesuffix(".key").partition("_")[0]
        return StoredKey(key_id, file.role or _role_in_name(path), file.gun, path)

    def _write(self, key_id: str, pem: bytes) -> None:
        with key_store(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._folder / f"{key_id}.key", pem)


def _role_in_name(path: Path) -> str:
    """The role in the file names of notary before 0.3: ``<id>_<role>.key``."""
    return path.name.removesuffix(".key").partition("_")[2]
