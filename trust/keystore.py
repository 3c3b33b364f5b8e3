"""Keys on disk: ``<root>/trust/keys/<name>.key`` (encrypted) with ``<name>.pub`` beside it.

A key may have a certificate, ``<name>.crt``, for the format that wants one.

    <root>/trust/          0700
        keys/              0700
            .lock          flock; held exclusively while a key is added, rotated or removed
            <name>.key     0600, cosign's encrypted form; what makes the key exist
            <name>.pub     0600, written first, so that a key never lacks it
        <name>.crt     0600, certificates of the key as PEM, its own first
        <name>.<n>.*   what the name was before its nth rotation

Rules: files are staged, fsynced and renamed, and the directory is fsynced, so a key is there whole
or not at all; a key is never overwritten. A ``.pub`` alone is the trace of an interrupted
``generate`` or ``rotate`` and does not count; a key and another key's ``.pub`` or ``.crt`` never
stand together. Unencrypted private keys are never written.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.durable import sync_folder, write_durably
from trust.disk import key_store, read_key_file
from trust.errors import KeyExistsError, KeyNameError, KeyUnknownError
from trust.keys import Algorithm, Passphrase, PrivateKey, PublicKey

_PARTS: Final = ("pub", "crt", "key")
"""The files of a key; what makes it exist comes last."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key of the store; its certificate need not be there."""

    name: str
    public: PublicKey
    private_path: Path
    public_path: Path
    certificate_path: Path


class KeyStore:
    """The keys under ``root`` (the store root, which holds ``trust/``). Opening touches no disk."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "trust" / "keys"

    def generate(
        self, name: str, passphrase: Passphrase, *, algorithm: Algorithm = Algorithm.ECDSA_P256
    ) -> StoredKey:
        """Make a key, store it encrypted under ``passphrase()`` and return it.

        Raises:
            KeyNameError: ``name`` cannot name a key.
            KeyExistsError: there is one of this name.
            KeyStoreFault: the disk refused.
        """
        self._must_be_free(name)
        return self._add(name, PrivateKey.generate(algorithm), passphrase())

    def load(
        self,
        name: str,
        pem: bytes,
        passphrase: Passphrase,
        *,
        new_passphrase: Passphrase | None = None,
    ) -> StoredKey:
        """Import the private key in ``pem``; it is stored encrypted whatever form it came in.

        ``passphrase`` opens it, ``new_passphrase`` (or again ``passphrase``) seals the stored copy.

        Raises:
            KeyFileError: ``pem`` is not a private key.
            PassphraseError: ``passphrase`` does not open it.
            KeyNameError, KeyExistsError, KeyStoreFault: as for ``generate``.
        """
        self._must_be_free(name)
        asked: list[bytes] = []

        def once() -> bytes:
            asked.append(passphrase())
            return asked[-1]

        key = PrivateKey.from_pem(pem, once, where=name)
        if new_passphrase is not None:
            return self._add(name, key, new_passphrase())
        return self._add(name, key, asked[0] if asked else passphrase())

    def list(self) -> tuple[StoredKey, ...]:
        """All keys, sorted by name; needs no passphrase.

        Raises:
            KeyStoreFault: the folder cannot be read.
            KeyFileError: a stored public key is damaged.
        """
        with key_store(self._folder):
            try:
                files = [entry.name for entry in self._folder.iterdir()]
            except FileNotFoundError:
                return ()
        names = (name.removesuffix(".key") for name in files if name.endswith(".key"))
        return tuple(self._stored(name) for name in sorted(names) if _NAME.match(name))

    def get(self, name: str) -> StoredKey:
        """The key called ``name``; raises ``KeyNameError`` or ``KeyUnknownError``."""
        if not self._path(name, "key").exists():
            known = ", ".join(key.name for key in self.list()) or "none yet"
            raise KeyUnknownError(
                f"no key called {name!r}",
                fix=f"keys here: {known}; `lading trust key generate {name}` makes one",
            )
        return self._stored(name)

    def private(self, name: str, passphrase: Passphrase) -> PrivateKey:
        """Open the private key called ``name``.

        Raises:
            KeyUnknownError: there is none.
            PassphraseError: ``passphrase`` does not open it.
            KeyFileError: the file is damaged.
        """
        path = self.get(name).private_path
        return PrivateKey.from_pem(read_key_file(path), passphrase, where=str(path))

    def rm(self, name: str) -> StoredKey:
        """Remove the key called ``name`` and return what it was; raises ``KeyUnknownError``."""
        with self._locked():
            stored = self.get(name)
            with key_store(stored.private_path):
                # The key goes first: what an interruption leaves is a .pub, which does not count.
                stored.private_path.unlink()
                stored.certificate_path.unlink(missing_ok=True)
                stored.public_path.unlink(missing_ok=True)
                sync_folder(self._folder)
        return stored

    def rotate(
        self, name: str, passphrase: Passphrase, *, algorithm: Algorithm | None = None
    ) -> tuple[StoredKey, StoredKey]:
        """Give ``name`` a new key, encrypted under ``passphrase()``; the old one and its
        certificate become ``<name>.<n>``. Returns the old one and the new one.

        ``algorithm`` is the old key's unless it is told. After an interruption the old key is
        there under one of the names or both, and ``rotate`` or ``generate`` goes on.

        Raises:
            KeyUnknownError: there is none. KeyNameError: the old one's new name would be too long.
            KeyStoreFault: the disk refused.
        """
        fresh = PrivateKey.generate(algorithm or self.get(name).public.algorithm)
        sealed = fresh.to_pem(passphrase())
        with self._locked():
            current = self.get(name)
            old = self._retired(name)
            with key_store(current.private_path):
                for part in _PARTS:
                    _link(self._path(name, part), self._path(old, part))
                sync_folder(self._folder)
                current.private_path.unlink()
                current.certificate_path.unlink(missing_ok=True)
                sync_folder(self._folder)
            _write(current.public_path, fresh.public.pem)
            _write(current.private_path, sealed)
        return self._stored(old), self._stored(name)

    def certify(self, name: str, pem: bytes) -> StoredKey:
        """Keep certificates of the key called ``name`` beside it, in place of those that are there.

        Whether they are for this key is not looked at. Raises ``KeyUnknownError``.
        """
        with self._locked():
            stored = self.get(name)
            _write(stored.certificate_path, pem)
        return stored

    def _retired(self, name: str) -> str:
        """The name under which the present key is kept: the first number that is free, or that an
        interrupted rotation gave it.
        """
        current = self._path(name, "key")
        for number in itertools.count(1):
            path = self._path(f"{name}.{number}", "key")
            if not path.exists() or path.samefile(current):
                return f"{name}.{number}"
        raise AssertionError("there is always another number")

    def _path(self, name: str, suffix: str) -> Path:
        if not _NAME.match(name):
            raise KeyNameError(
                f"invalid key name {name[:80]!r}",
                fix="use 1 to 64 of A-Z a-z 0-9 . _ -, starting with a letter or digit",
            )
        return self._folder / f"{name}.{suffix}"

    def _must_be_free(self, name: str) -> None:
        path = self._path(name, "key")
        if path.exists():
            raise KeyExistsError(
                f"a key called {name!r} exists",
                where=str(path),
                fix=f"choose another name, or remove it with `lading trust key rm {name}`",
            )

    def _add(self, name: str, key: PrivateKey, passphrase: bytes) -> StoredKey:
        sealed = key.to_pem(passphrase)
        with self._locked():
            self._must_be_free(name)
            _write(self._path(name, "pub"), key.public.pem)
            _write(self._path(name, "key"), sealed)
        return self._stored(name)

    def _stored(self, name: str) -> StoredKey:
        public = self._path(name, "pub")
        key = PublicKey.from_pem(read_key_file(public), where=str(public))
        return StoredKey(name, key, self._path(name, "key"), public, self._path(name, "crt"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with key_store(self._folder):
            for folder in (self._folder.parent, self._folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _link(path: Path, to: Path) -> None:
    """A second name for a file that need not be there; the name's trace of before goes."""
    if path.exists() and to.exists() and path.samefile(to):
        return
    to.unlink(missing_ok=True)
    if path.exists():
        to.hardlink_to(path)


def _write(path: Path, data: bytes) -> None:
    with key_store(path):
        write_durably(path, data)
