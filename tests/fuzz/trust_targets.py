"""The parsers of signatures, policies, keys and of what a transparency log says."""

from __future__ import annotations

from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from images.digest import Digest
from images.reference import Reference
from tests.fuzz.harness import Target
from tests.trust.notation_kit import NOW, TARGET, identity
from trust import bundle, cosign
from trust.errors import (
    CheckpointError,
    KeyFileError,
    LogProofError,
    PassphraseError,
    PolicyFileError,
    VerificationError,
)
from trust.keys import Algorithm, KeyForm, PrivateKey
from trust.notation.envelope import open_envelope, sign_envelope
from trust.notation.policy import TrustPolicy
from trust.policy import Decider, Policy
from trust.transparency import checkpoint
from trust.transparency.checkpoint import Checkpoint
from trust.transparency.entry import Entry, Event
from trust.transparency.pin import Pin
from trust.tuf.pinfile import PinFile, PinFileError

DIGEST = Digest.of(b"image")
IMAGE = Reference.parse("registry.example.com/team/web:1")
KEY = PrivateKey.generate()
LOG_KEY = PrivateKey.generate(Algorithm.ED25519)
ORIGIN = "registry.example.com"
JSON = (b"null", b"[]", b"{}", b'""', b"-1", b"1e9", b'"\\ud800"', b'"a":', b"\\u0000")
RULES = b"""default = "reject"
import = ["other.json"]
[keys]
release = "release.pub"
[[rule]]
name = "ours"
scopes = ["registry.example.com/team", "*.example.com"]
require = "signed"
keys = ["release", "qa.pub"]
threshold = 2
formats = ["cosign"]
identity = { prefix = "mirror.example.com", signed-prefix = "registry.example.com" }
max-age = "90d"
[[rule]]
scopes = ["registry.example.com/theirs"]
require = "notation"
stores = ["ca:acme"]
identities = ["x509.subject: C=DE, ST=Hamburg, O=Acme"]
level = "strict"
override = { revocation = "skip" }
[[rule]]
scopes = ["registry.example.com/docker"]
require = "notary"
signers = ["alice"]
server = "https://notary.example.com"
root = "root.crt"
"""
STATEMENTS = b"""{"version": "1.0", "trustPolicies": [{"name": "acme", "registryScopes": ["r.io/a"],
"signatureVerification": {"level": "permissive", "override": {"expiry": "log"},
"verifyTimestamp": "afterCertExpiry"}, "trustStores": ["ca:acme", "tsa:clock"],
"trustedIdentities": ["x509.subject: C=DE, ST=Hamburg, O=Acme"]}]}"""


def payloads() -> list[bytes]:
    """cosign's, with annotations and without."""
    return [
        cosign.payload(IMAGE, DIGEST),
        cosign.payload(IMAGE, DIGEST, annotations={"timestamp": "1"}),
    ]


def read_bundle(data: bytes) -> None:
    """As far as what it claims."""
    bundle.parse_statement(bundle.parse_bundle(data))


def envelopes() -> list[bytes]:
    """One with a chain of a leaf and a root."""
    signer = identity()
    later = NOW + timedelta(days=1)
    return [sign_envelope(signer.key, signer.chain, TARGET, signed_at=NOW, expiry=later)]


def read_rules(data: bytes) -> None:
    """lading's own policy, asked about an image; imports are answered by nothing."""

    def imported(_path: str) -> Decider:
        return Policy.accept_anything()

    Policy.parse(data, source="policy.toml", imported=imported).explain(IMAGE)


def notes() -> list[bytes]:
    """The signed head of a log."""
    return [checkpoint.sign(Checkpoint(ORIGIN, 7, bytes(32)), LOG_KEY)]


def read_note(data: bytes) -> None:
    """A head from the log that is watched."""
    checkpoint.verify(data, origin=ORIGIN, key=LOG_KEY.public)


def entries() -> list[bytes]:
    """One entry in canonical form."""
    made = Entry(
        event=Event.TAG,
        time="2026-01-01T00:00:00Z",
        repository="team/web",
        digest=str(DIGEST),
        tag="1",
    )
    return [made.data]


def read_pin(data: bytes) -> None:
    """What was remembered of a log."""
    Pin.from_json(data, where="here")


def key_files() -> list[bytes]:
    """Every form that is read, sealed and plain."""
    forms = [KEY.to_pem(b"secret", form) for form in KeyForm]
    plain = KEY.native.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    old = KEY.native.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return [*forms, plain, old]


def read_key(data: bytes) -> None:
    """With the passphrase that opens the corpus."""
    PrivateKey.from_pem(data, lambda: b"secret", where="here")


def pins() -> list[bytes]:
    """All that a file of pins can say."""
    return [
        b'{"certs": {"r.io/*": ["%b"]}, "ca": {"": "a.pem"}, "disable_tofu": true}' % (b"a" * 64)
    ]


def _bundles() -> list[bytes]:
    return [bundle.sign(KEY, IMAGE, DIGEST).raw]


TARGETS = (
    Target("cosign-payload", cosign.parse_payload, (VerificationError,), payloads, tokens=JSON),
    Target("sigstore-bundle", read_bundle, (VerificationError,), _bundles, tokens=JSON),
    Target(
        "notation-envelope",
        open_envelope,
        (VerificationError, KeyFileError),
        envelopes,
        tokens=JSON,
        size=16384,
    ),
    Target("notation-policy", TrustPolicy.parse, (PolicyFileError,), lambda: [STATEMENTS]),
    Target("policy-toml", read_rules, (PolicyFileError,), lambda: [RULES]),
    Target("log-checkpoint", read_note, (CheckpointError,), notes),
    Target("log-entry", Entry.parse, (LogProofError,), entries, tokens=JSON),
    Target(
        "log-pin",
        read_pin,
        (CheckpointError,),
        lambda: [Pin.first(note, LOG_KEY.public).to_json() for note in notes()],
        tokens=JSON,
    ),
    Target(
        "signing-key",
        read_key,
        (KeyFileError, PassphraseError),
        key_files,
        # An honest file costs one scrypt with up to N = 2^17.
        base_seconds=5.0,
    ),
    Target(
        "root-pins",
        lambda data: PinFile.parse(data, where="here"),
        (PinFileError,),
        pins,
        tokens=JSON,
    ),
)
