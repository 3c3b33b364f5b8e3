"""OpenPGP messages: signed by gpg, with its agent and its keys, and judged by gpgv.

gpgv is GnuPG's verifier for exactly this: it takes the keys it is given and no other, keeps no
state, asks no agent and no network. What it says is read from its status lines, never from its
text. Writing OpenPGP ourselves would be larger than all formats here together, and less looked at.
"""

from __future__ import annotations

import base64
import binascii
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trust.errors import (
    KeyFileError,
    MalformedSignatureError,
    SigningError,
    UnsupportedSignatureError,
    WrongKeyError,
)
from trust.signature import MAX_PAYLOAD

PROGRAM: Final = "gpgv"
SIGNER: Final = "gpg"
TIMEOUT: Final = 20.0
SIGNING_TIMEOUT: Final = 120.0
"""Seconds: somebody may have to type a passphrase into the agent's window."""
MAX_MESSAGE: Final = 96 << 10
"""Bytes of one signature with its payload; they are about 1 KiB."""

_BEGIN: Final = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END: Final = b"-----END PGP PUBLIC KEY BLOCK-----"


def verified_payload(message: bytes, keyrings: Sequence[bytes]) -> bytes:
    """The payload inside ``message``, if a key of ``keyrings`` (armoured or binary) signed it.

    Raises:
        WrongKeyError: none of the keys did, or the one that did has expired or is revoked.
        MalformedSignatureError: no signed message, or a longer one than any honest one.
        KeyFileError: a keyring is none.
        UnsupportedSignatureError: gpgv is not installed.
    """
    import shutil
    import tempfile

    program = shutil.which(PROGRAM)
    if program is None:
        raise UnsupportedSignatureError(
            "OpenPGP signatures are verified by gpgv, which is not installed",
            fix="install gpgv, or ask for sigstoreSigned in the policy",
        )
    if len(message) > MAX_MESSAGE:
        raise MalformedSignatureError(f"a signature is longer than {MAX_MESSAGE} bytes")
    with tempfile.TemporaryDirectory(prefix="lading-gpgv-") as name:
        folder = Path(name)
        arguments = [program, "--homedir", name, "--status-fd", "2", "--output", "-"]
        for number, keyring in enumerate(keyrings):
            path = folder / f"{number}.gpg"
            path.write_bytes(dearmored(keyring))
            arguments += ["--keyring", str(path)]
        (folder / "message").write_bytes(message)
        payload, status = _run([*arguments, f"{name}/message"], folder / "status")
    _check(*status)
    if not payload:
        raise MalformedSignatureError("the signature carries no payload")
    return payload


def signed_message(payload: bytes, key: str) -> bytes:
    """The payload in a message signed by ``key``, as ``gpg --local-user`` takes it.

    Raises:
        SigningError: gpg is not there, has no such key, or was not given its passphrase.
    """
    import shutil
    import subprocess

    program = shutil.which(SIGNER)
    if program is None:
        raise SigningError("OpenPGP signatures are made by gpg", fix="install gnupg")
    arguments = [program, "--batch", "--no-tty", "--local-user", key, "--sign", "--output", "-"]
    try:
        done = subprocess.run(
            arguments, input=payload, capture_output=True, timeout=SIGNING_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SigningError("gpg was given no passphrase in time", where=key) from error
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip()[:500]
        raise SigningError(
            f"gpg does not sign: {said}", where=key, fix="`gpg --list-secret-keys` shows the keys"
        )
    return done.stdout


def _run(arguments: Sequence[str], log: Path) -> tuple[bytes, tuple[int, bytes]]:
    """What gpgv wrote, and its exit status with its status lines.

    A message may be compressed, so that a short one stands for gigabytes: the payload is read up to
    its limit, and the program is ended there.
    """
    import subprocess

    with (
        log.open("wb") as errors,
        subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        ) as program,
    ):
        assert program.stdout is not None
        too_slow = threading.Timer(TIMEOUT, program.kill)
        too_slow.start()
        try:
            payload = program.stdout.read(MAX_PAYLOAD + 1)
            if len(payload) > MAX_PAYLOAD:
                raise MalformedSignatureError(f"a payload is longer than {MAX_PAYLOAD} bytes")
            returned = program.wait()
        finally:
            too_slow.cancel()
            program.kill()
    if returned == -signal.SIGKILL:
        raise MalformedSignatureError(f"gpgv took longer than {TIMEOUT:.0f} s over a signature")
    return payload, (returned, log.read_bytes())


def dearmored(keyring: bytes) -> bytes:
    """The packets of a public key block, armoured (RFC 4880, section 6.2) or not.

    Raises:
        KeyFileError: the armour is damaged.
    """
    if _BEGIN not in keyring:
        return keyring
    found = bytearray()
    for block in keyring.split(_BEGIN)[1:]:
        body, end, _ = block.partition(_END)
        # Headers end at the first empty line; the checksum line begins with "=".
        _, blank, data = body.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
        text = data if blank else body
        lines = [line for line in text.split(b"\n") if not line.startswith(b"=")]
        try:
            found += base64.b64decode(b"".join(lines), validate=True)
        except binascii.Error as error:
            raise KeyFileError("the armour of an OpenPGP key is damaged") from error
        if not end:
            raise KeyFileError("the armour of an OpenPGP key is cut short")
    return bytes(found)


def _check(returned: int, said: bytes) -> None:
    status = {
        line.split()[1]
        for line in said.decode("utf-8", "replace").splitlines()
        if line.startswith("[GNUPG:] ") and len(line.split()) > 1
    }
    if returned == 0 and {"GOODSIG", "VALIDSIG"} <= status:
        return
    if status & {"NODATA", "UNEXPECTED"} or not status:
        raise MalformedSignatureError("this is no OpenPGP message with a signature")
    if status & {"EXPKEYSIG", "REVKEYSIG", "EXPSIG"}:
        raise WrongKeyError(
            "the key has expired or is revoked, or its signature has expired",
            fix="sign the image again with a valid key",
        )
    raise WrongKeyError(
        "the signature was made by none of the accepted OpenPGP keys",
        fix="ask the publisher for the public key; if the key is right, do not use the image",
    )
