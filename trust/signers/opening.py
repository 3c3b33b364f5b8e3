"""From what a user writes after ``--key`` to a signer.

``pkcs11:…`` is a token's key, ``command:…`` an external program, the path of a file a private key,
anything else the name of a key of the store.
"""

from __future__ import annotations

from pathlib import Path

from trust.errors import KeyFileError
from trust.keyfile import MAX_KEY_FILE
from trust.keys import Passphrase, PrivateKey
from trust.keystore import KeyStore
from trust.signers.command import PREFIX as COMMAND
from trust.signers.command import CommandSigner
from trust.signers.signer import Signer
from trust.signers.token import PREFIX as TOKEN
from trust.signers.token import TokenSigner


def open_signer(location: str, store: KeyStore, passphrase: Passphrase) -> Signer:
    """The signer at ``location``; ``passphrase`` (or PIN) is asked for if it is needed.

    Raises:
        TrustError: a subclass for the reason; see the implementation of each kind.
    """
    if location.startswith(TOKEN):
        return TokenSigner.open(location, passphrase)
    if location.startswith(COMMAND):
        return CommandSigner.open(location)
    if Path(location).is_file():
        return PrivateKey.from_pem(_read(Path(location)), passphrase, where=location)
    return store.private(location, passphrase)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the key: {error.strerror}", where=str(path)) from error
