"""Signatures of webhook requests as Standard Webhooks has them, version ``v1`` (symmetric).

HMAC-SHA256 over ``id.timestamp.body``, base64, in ``webhook-signature``; a receiver refuses
timestamps that are old, and so a recorded request. Several secrets make several signatures, which
is how a secret is replaced without a gap. https://www.standardwebhooks.com, "Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from registry.errors import RegistryConfigError

PREFIX: Final = "whsec_"
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_FILE_LIMIT: Final = 4096


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of a file, one a line: ``whsec_`` and the base64 of 24 to 64 bytes.

    Raises:
        RegistryConfigError: the file cannot be read, has none, or one that is malformed.
    """
    lines = [line.strip() for line in read_small(path).split("\n")]
    secrets = tuple(_secret(line, path) for line in lines if line)
    if not secrets:
        raise _refusal("there is no secret", path)
    return secrets


def read_small(path: Path) -> str:
    """The text of a file with a secret; raises ``RegistryConfigError``."""
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
        if len(data) <= _FILE_LIMIT:
            return data.decode("ascii")
    except OSError as error:
        raise RegistryConfigError(f"cannot read it: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise RegistryConfigError("it is not ASCII text", where=str(path)) from error
    raise RegistryConfigError(f"it is longer than {_FILE_LIMIT} bytes", where=str(path))


def sign(secrets: Sequence[bytes], identifier: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    made = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return " ".join("v1," + base64.b64encode(code).decode() for code in made)


def _secret(line: str, path: Path) -> bytes:
    try:
        secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise _refusal("a line is not base64", path) from error
    if not line.startswith(PREFIX) or not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise _refusal(f"a secret has {PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes", path)
    return secret


def _refusal(what: str, path: Path) -> RegistryConfigError:
    fix = f'make one: echo "{PREFIX}$(openssl rand -base64 32)" > {path}'
    return RegistryConfigError(what, where=str(path), fix=fix)
