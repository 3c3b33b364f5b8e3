"""The parsers of Notary trust data, of docker's key files, and of what clients publish."""

from __future__ import annotations

from engine.content_trust.server import multipart as written
from registry.notary import multipart
from registry.notary.errors import NotaryError
from registry.notary.publishing import check_upload
from tests.fuzz.harness import Target
from tests.trust.tuf.kit import DAY, GUN, NOW, key, signed_repository
from trust.errors import KeyFileError, PassphraseError
from trust.tuf import keyfile
from trust.tuf.errors import TufError
from trust.tuf.metadata import Envelope
from trust.tuf.publickey import read_public_key
from trust.tuf.trusted import TrustedSet

BOUNDARY = "b0undary"
TOKENS = (
    b'"signed"',
    b'"signatures"',
    b'"version"',
    b'"keys"',
    b'"expires"',
    b"null",
    b"-1",
    b"[]",
    b"{}",
)


def metadata() -> list[bytes]:
    """One good file of each role."""
    return list(signed_repository().files.values())


def read_metadata(data: bytes) -> None:
    """As any role; what is read must be written as it was signed."""
    envelope = Envelope.parse(data, role="root")
    refusals = 0
    for read in (envelope.root, envelope.targets, envelope.snapshot, envelope.timestamp):
        try:
            read()
        except TufError:
            refusals += 1
    if refusals == 4:
        raise TufError("it is no role's")


def believe(data: bytes) -> None:
    """A first root from anybody."""
    TrustedSet.begin(GUN, data, now=NOW)


def open_key(data: bytes) -> None:
    """A key file with the right passphrase."""
    keyfile.load(keyfile.parse(data), b"secret")


def upload(data: bytes) -> None:
    """A publish, up to its rules."""
    check_upload(multipart.parse(data, BOUNDARY.encode()))


def key_files() -> list[bytes]:
    """Sealed and plain."""
    return [
        keyfile.write(key("alice"), secret, role="alice", rounds=9) for secret in (b"secret", b"")
    ]


def public_keys() -> list[bytes]:
    """A key and a certificate."""
    certified = key("alice").certified(GUN, start=NOW, end=NOW + DAY)
    return [key("alice").key.public_key().pem, certified.key.public]


TARGETS = (
    Target("tuf-metadata", read_metadata, (TufError,), metadata, tokens=TOKENS),
    Target("tuf-root", believe, (TufError,), lambda: metadata()[:1], tokens=TOKENS),
    Target(
        "tuf-key-file",
        open_key,
        (KeyFileError, PassphraseError),
        key_files,
        tokens=(b"role: ", b"\n\n"),
    ),
    Target("tuf-public-key", read_public_key, (KeyFileError,), public_keys),
    Target(
        "notary-upload",
        upload,
        (NotaryError,),
        lambda: [written(signed_repository().files, BOUNDARY)],
        tokens=(b"--b0undary", b"\r\n", b'filename="root"', *TOKENS),
        size=16384,
    ),
)
