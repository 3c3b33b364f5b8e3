"""The signed head of a log: how many entries, under which root, said by whom.

C2SP tlog-checkpoint inside a C2SP signed-note, with Ed25519 keys, so that other tools read it:

    registry.example.com/log
    1234
    <base64 of the root>

    — registry.example.com/log <base64 of key hash and signature>

The key hash says which key to look up and proves nothing by itself. Lines of keys that are not
known are passed over, so that witnesses may add theirs.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from trust.errors import CheckpointError, WrongKeyError
from trust.fields import FieldError, canonical_base64
from trust.keys import Algorithm, PrivateKey, PublicKey

MAX_CHECKPOINT: Final = 16 << 10
_ED25519: Final = b"\x01"
_NAME: Final = re.compile(r"[^\s+]{1,255}\Z")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}\Z")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's state. ``root`` is 32 bytes; ``origin`` names the log for good."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """The bytes that are signed."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\n".encode()


def sign(checkpoint: Checkpoint, key: PrivateKey) -> bytes:
    """The note: the checkpoint with the signature of ``key``, which goes by the origin's name.

    Raises:
        CheckpointError: the key is not Ed25519, or the origin cannot be a name.
    """
    if not _NAME.match(checkpoint.origin):
        raise CheckpointError(f"{checkpoint.origin[:80]!r} cannot name a log")
    marked = _key_hash(checkpoint.origin, key.public) + key.sign(checkpoint.text)
    line = f"\n— {checkpoint.origin} {base64.b64encode(marked).decode()}\n"
    return checkpoint.text + line.encode()


def verify(note: bytes, *, origin: str, key: PublicKey) -> Checkpoint:
    """Read a note that ``key`` signed for the log ``origin``.

    Raises:
        CheckpointError: damaged, of another log, or without a good signature of ``key``.
    """
    text, signatures = _split(note)
    expected = _key_hash(origin, key)
    for name, marked in signatures:
        if name == origin and marked[:4] == expected:
            try:
                key.verify(marked[4:], text)
            except WrongKeyError as error:
                raise _bad("its signature does not hold") from error
            return _parse(text, origin)
    raise _bad("the key that is pinned for this log did not sign it")


def _parse(text: bytes, origin: str) -> Checkpoint:
    lines = text.decode("utf-8").split("\n")
    if len(lines) < 4:
        raise _bad("it has no size and root")
    named, size, root = lines[:3]
    if named != origin:
        raise _bad(f"it is of the log {named[:80]!r}")
    if not _SIZE.match(size):
        raise _bad("its size is no number")
    try:
        hashed = canonical_base64(root, at="the root")
    except FieldError as error:
        raise _bad(str(error)) from error
    if len(hashed) != 32:
        raise _bad("its root is no SHA-256")
    return Checkpoint(named, int(size), hashed)


def _split(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """The signed text, and the signature lines as (key name, hash and signature)."""
    if len(note) > MAX_CHECKPOINT:
        raise _bad(f"it is longer than {MAX_CHECKPOINT} bytes")
    text, blank, block = note.rpartition(b"\n\n")
    try:
        lines = block.decode("utf-8").split("\n")
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad("it is not UTF-8") from error
    if not blank or lines.pop() != "":
        raise _bad("it is no signed note")
    signatures: list[tuple[str, bytes]] = []
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—":
            raise _bad("a signature line is damaged")
        try:
            signatures.append((parts[1], canonical_base64(parts[2], at="a signature")))
        except FieldError as error:
            raise _bad(str(error)) from error
    return text + b"\n", signatures


def _key_hash(name: str, key: PublicKey) -> bytes:
    if key.algorithm is not Algorithm.ED25519:
        raise CheckpointError(
            f"heads of logs are signed with {Algorithm.ED25519}, not {key.algorithm}",
            fix="give an Ed25519 key",
        )
    # An Ed25519 SubjectPublicKeyInfo ends with the 32 bytes of the key (RFC 8410, section 4).
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + key.der[-32:]).digest()[:4]


def _bad(why: str) -> CheckpointError:
    return CheckpointError(
        f"the head of the log is not to be believed: {why}",
        fix="compare the log's name and its pinned key with what its owner publishes",
    )
