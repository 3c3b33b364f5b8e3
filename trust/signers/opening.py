"""From what a user writes after ``--key`` to a signer.

``pkcs11:…`` is a token's key, ``command:…`` an external program, anything else a key of the store.
"""

from __future__ import annotations

from trust.keys import Passphrase
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
    return store.private(location, passphrase)
