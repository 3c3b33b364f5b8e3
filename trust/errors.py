"""What can go wrong with keys, policies and signatures: one class per reason, each with its way
out.

Rule: callers tell reasons apart by class and ``code``, never by text. Two families: the key and
policy files are bad (``KeyFileError``, ``PolicyFileError`` ...), or an image does not verify
(``VerificationError`` and its leaves, the only errors that ``trust.verify`` raises for content).
"""

from __future__ import annotations

from images.errors import ImagesError


class TrustError(ImagesError):
    """Base of every error of this package."""

    code = "trust"


class KeyFileError(TrustError):
    """The bytes are not a key that is read here, or not one that is safe to use."""

    code = "key-invalid"


class PassphraseError(TrustError):
    """The passphrase does not open the key, or none was given for an encrypted one."""

    code = "passphrase-wrong"


class KeyNameError(TrustError):
    """The name cannot be the name of a stored key."""

    code = "key-name-invalid"


class KeyExistsError(TrustError):
    """A key of this name is stored already; keys are never overwritten."""

    code = "key-exists"


class KeyUnknownError(TrustError):
    """No key of this name is stored."""

    code = "key-unknown"


class KeyStoreFault(TrustError):
    """This machine cannot read or write the key store."""

    code = "key-store"


class PolicyFileError(TrustError):
    """The policy file is not one that is understood completely; ``where`` is the file and the
    place.
    """

    code = "policy-invalid"


class SigningError(TrustError):
    """What was asked to be signed cannot be signed in this format."""

    code = "signing"


class NothingToRevokeError(TrustError):
    """There is no signature of the kind that was asked to be removed."""

    code = "nothing-to-revoke"


class VerificationError(TrustError):
    """Base of the reasons why an image is refused."""

    code = "verification"


class UnsignedError(VerificationError):
    """The policy wants a signature and the image has none."""

    code = "unsigned"


class WrongKeyError(VerificationError):
    """No accepted key made any of the signatures."""

    code = "wrong-key"


class WrongDigestError(VerificationError):
    """The signature is good but speaks of another manifest."""

    code = "wrong-digest"


class WrongIdentityError(VerificationError):
    """The signature is good but speaks of another image name."""

    code = "wrong-identity"


class ThresholdError(VerificationError):
    """Good signatures, but by fewer different keys than the policy wants."""

    code = "threshold"


class StaleSignatureError(VerificationError):
    """The signature is older than the policy allows, or does not say when it was made."""

    code = "signature-stale"


class MalformedSignatureError(VerificationError):
    """The signature, its payload, its bundle or the manifest that holds it breaks its format."""

    code = "signature-malformed"


class UnsupportedSignatureError(VerificationError):
    """The signature is of a kind that is not verified here, such as one by a certificate."""

    code = "signature-unsupported"


class TooManySignaturesError(VerificationError):
    """More signatures than any honest image has; looking at them all would let the registry choose
    our work.
    """

    code = "too-many-signatures"


class CertificateError(VerificationError):
    """A certificate of the signature breaks the rules for signing images, or is not valid now."""

    code = "certificate-invalid"


class UntrustedChainError(VerificationError):
    """No certificate of the signature's chain is in the trust stores of the policy."""

    code = "chain-untrusted"


class ExpiredSignatureError(VerificationError):
    """The signature says of itself that its time is over."""

    code = "signature-expired"


class RevocationUnknownError(VerificationError):
    """A certificate may have been revoked, and nobody could be asked."""

    code = "revocation-unknown"


class UnpinnedSourceError(VerificationError):
    """The policy wants a file's checksum to be stated, and nobody stated it."""

    code = "source-unpinned"


class LogProofError(TrustError):
    """A proof about a transparency log does not hold, or cannot be made."""

    code = "log-proof"


class CheckpointError(TrustError):
    """The signed head of a transparency log is damaged, foreign or not signed by its key."""

    code = "log-checkpoint"


class RejectedByPolicyError(VerificationError):
    """The policy says ``reject`` for this image."""

    code = "rejected-by-policy"


class UnsupportedRequirementError(VerificationError):
    """The policy decides by a means that is not available here, so nothing can satisfy it."""

    code = "requirement-unsupported"
