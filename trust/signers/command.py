"""An external command that signs, for key services and hardware that lading does not know.

The protocol, for ``command:/path/to/program ARGUMENT...``:

    PROGRAM ARGUMENT... public-key   prints the public key as PEM
    PROGRAM ARGUMENT... sign         reads the message, prints the signature in base64

Exit status 0 is success; anything else refuses, and what the program wrote to standard error is
passed on. No shell is involved. Each signature is verified before it is used, so a program that
signs with another key than it shows is found out here and not by the people who pull.
"""

from __future__ import annotations

import base64
import binascii
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from trust.errors import KeyFileError, SigningError, WrongKeyError
from trust.keys import PublicKey

PREFIX: Final = "command:"
TIMEOUT: Final = 120.0
"""Seconds for one call; somebody may have to touch a token."""

MAX_OUTPUT: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class CommandSigner:
    """A program that holds the key of ``public``."""

    arguments: tuple[str, ...]
    public: PublicKey

    @classmethod
    def open(cls, location: str) -> Self:
        """Ask the program of ``command:PROGRAM ARGUMENT...`` for its public key.

        Raises:
            SigningError: it cannot be run, fails, or takes too long.
            KeyFileError: what it prints is no public key.
        """
        try:
            arguments = tuple(shlex.split(location.removeprefix(PREFIX)))
        except ValueError as error:
            raise KeyFileError(f"cannot split the command: {error}", where=location) from error
        if not arguments:
            raise KeyFileError(
                "no command is named", where=location, fix=f"write {PREFIX}/path/to/program"
            )
        pem = _run((*arguments, "public-key"), b"")
        return cls(arguments, PublicKey.from_pem(pem, where=location))

    def sign(self, message: bytes) -> bytes:
        """Let the program sign; raises ``SigningError``."""
        printed = _run((*self.arguments, "sign"), message)
        try:
            signature = base64.b64decode(printed.strip(), validate=True)
        except (binascii.Error, ValueError) as error:
            raise SigningError(
                "the signing command printed no base64", where=self.arguments[0]
            ) from error
        return checked(signature, message, self.public, where=self.arguments[0])


def checked(signature: bytes, message: bytes, public: PublicKey, *, where: str) -> bytes:
    """Return ``signature`` if ``public`` verifies it; raises ``SigningError``."""
    try:
        public.verify(signature, message)
    except WrongKeyError as error:
        raise SigningError(
            "the signer's answer is no signature of its own key",
            where=where,
            fix="it must sign the message over SHA-256 (Ed25519: as it is), ECDSA in DER",
        ) from error
    return signature


def _run(arguments: Sequence[str], message: bytes) -> bytes:
    try:
        done = subprocess.run(
            arguments, input=message, capture_output=True, timeout=TIMEOUT, check=False
        )
    except OSError as error:
        raise SigningError(
            f"cannot run the signing command: {error.strerror}", where=arguments[0]
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SigningError(
            f"the signing command took longer than {TIMEOUT:.0f} s", where=arguments[0]
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[:500]
        raise SigningError(
            f"the signing command ended with status {done.returncode}: {said}",
            where=arguments[0],
        )
    if len(done.stdout) > MAX_OUTPUT:
        raise SigningError(
            f"the signing command printed more than {MAX_OUTPUT} bytes", where=arguments[0]
        )
    return done.stdout
