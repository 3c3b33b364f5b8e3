"""The one choke point (design D10): return if an image satisfies the policy, raise if not.

Everything comes in: the policy, the signatures, the way to read a key file. Nothing here touches
the network, the clock or the environment, and the same arguments always give the same verdict.

``verify(reference, digest, policy, signatures)``:

1. The policy names the requirements for the reference (``Policy.decide``). All must hold.
2. ``insecureAcceptAnything`` holds. ``reject`` and what cannot be checked here do not.
3. ``sigstoreSigned`` holds if **one** signature passes all of these, in this order:
   a. it has the shape of its format, within its limits;
   b. its bytes were signed by one of the requirement's keys;
   c. what was signed says what an image signature says, and nothing else;
   d. the digest it names is ``digest``;
   e. the name it names is acceptable for ``reference`` (``trust.identity``).
4. If none does, the error is that of the signature that came furthest, since that is the one meant
   for us.

What the caller must do: pass the digest of the very bytes it will use, resolved once and not again,
and the reference as the user gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NoReturn

from images.digest import Digest
from images.reference import Reference
from trust import bundle, cosign
from trust.errors import (
    MalformedSignatureError,
    RejectedByPolicyError,
    TooManySignaturesError,
    UnsignedError,
    UnsupportedRequirementError,
    UnsupportedSignatureError,
    VerificationError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.identity import MatchClaimed, SignedIdentity
from trust.keys import PublicKey
from trust.policy import Decision, Policy, Reject, SigstoreSigned, Unsupported
from trust.policyfile import read_key as read_key_file
from trust.signature import (
    MAX_PAYLOAD,
    MAX_SIGNATURES,
    BundleSignature,
    Claim,
    Signature,
    SignatureSource,
)

_DISTANCE: tuple[type[VerificationError], ...] = (
    MalformedSignatureError,
    UnsupportedSignatureError,
    WrongKeyError,
    WrongDigestError,
    WrongIdentityError,
)
"""How far a refused signature came, in the order of step 3."""


def verify(
    reference: Reference,
    digest: Digest,
    policy: Policy,
    signatures: SignatureSource,
    *,
    read_key: Callable[[str], bytes] = read_key_file,
) -> None:
    """Return if the manifest ``digest`` may be used as ``reference``; the module says by which
    steps.

    Raises:
        RejectedByPolicyError: the policy refuses the name.
        UnsupportedRequirementError: the policy asks for what cannot be checked here.
        UnsignedError: no signature at all.
        TooManySignaturesError: more than ``MAX_SIGNATURES``.
        WrongIdentityError, WrongDigestError, WrongKeyError, UnsupportedSignatureError,
        MalformedSignatureError: why the best signature does not count.
        KeyFileError: a key of the policy cannot be read.
    """
    decision = policy.decide(reference)
    signed: list[SigstoreSigned] = []
    for requirement in decision.requirements:
        if isinstance(requirement, Reject):
            _rejected(decision)
        if isinstance(requirement, Unsupported):
            _unsupported(decision, requirement)
        if isinstance(requirement, SigstoreSigned):
            signed.append(requirement)
    if not signed:
        return
    found = _bounded(signatures.signatures(reference, digest), reference)
    for requirement in signed:
        keys = requirement_keys(requirement, read_key=read_key)
        _satisfy(requirement, keys, found, reference, digest, decision)


def policy_of_key(
    *keys: PublicKey, files: Sequence[str] = (), source: str = "--verify-key"
) -> Policy:
    """The policy that explicit keys stand for: everything must be signed by one of them.

    ``files`` are public key files, read when they are needed. The name must match as far as the
    signature claims one, so that what cosign signs passes too.
    """
    inline = tuple(key.pem for key in keys)
    return Policy((SigstoreSigned(tuple(files), inline, MatchClaimed()),), source=source)


def requirement_keys(
    requirement: SigstoreSigned, *, read_key: Callable[[str], bytes] = read_key_file
) -> tuple[PublicKey, ...]:
    """The keys a requirement accepts; raises ``KeyFileError``."""
    files = (PublicKey.from_pem(read_key(path), where=path) for path in requirement.key_paths)
    inline = (PublicKey.from_pem(pem, where="keyData") for pem in requirement.key_data)
    return (*files, *inline)


def authenticate(signature: Signature, keys: Sequence[PublicKey]) -> tuple[PublicKey, Claim]:
    """Steps a to c: which of ``keys`` made ``signature``, and what it claims.

    Raises:
        MalformedSignatureError, UnsupportedSignatureError, WrongKeyError
    """
    if isinstance(signature, BundleSignature):
        envelope = bundle.parse_bundle(signature.raw)
        named = [key for key in keys if _hinted(envelope, key)]
        key = _signer(named, envelope.signature, envelope.signed_bytes)
        return key, bundle.parse_statement(envelope)
    payload, encoded, _ = signature
    if len(payload) > MAX_PAYLOAD:
        raise MalformedSignatureError(f"a payload is longer than {MAX_PAYLOAD} bytes")
    key = _signer(keys, cosign.decode_signature(encoded), payload)
    return key, cosign.parse_payload(payload)


def check_claim(
    claim: Claim, reference: Reference, digest: Digest, identity: SignedIdentity
) -> None:
    """Steps d and e: raises ``WrongDigestError`` or ``WrongIdentityError``."""
    if digest not in claim.digests:
        named = ", ".join(sorted(str(item) for item in claim.digests)) or "no digest"
        raise WrongDigestError(
            f"the signature is for {named}, not for {digest}",
            where=str(reference),
            fix="the tag was moved after signing: sign the new image, or pull the signed digest",
        )
    if claim.reference is None:
        if identity.needs_name:
            raise WrongIdentityError(
                f"the signature names no image, but must be {identity.rule}",
                where=str(reference),
                fix="sign with `lading trust sign`, which records the name",
            )
    elif not identity.accepts(reference, claim.reference):
        raise WrongIdentityError(
            f"the signature is for {claim.reference}, but must be {identity.rule}",
            where=str(reference),
            fix="pull it by the name it was signed as, sign it under this name, "
            "or set signedIdentity in the policy",
        )


def _satisfy(
    requirement: SigstoreSigned,
    keys: Sequence[PublicKey],
    signatures: tuple[Signature, ...],
    reference: Reference,
    digest: Digest,
    decision: Decision,
) -> None:
    if not signatures:
        raise UnsignedError(
            f"{digest} is not signed, and must be {requirement.sentence} ({decision.rule})",
            where=str(reference),
            fix=f"sign it with `lading trust sign --key NAME {reference.familiar}`",
        )
    failures: list[VerificationError] = []
    for signature in signatures:
        try:
            _, claim = authenticate(signature, keys)
            check_claim(claim, reference, digest, requirement.identity)
        except VerificationError as error:
            failures.append(error)
        else:
            return
    _refuse(max(failures, key=_progress), failures, reference, decision)


def _refuse(
    nearest: VerificationError,
    failures: list[VerificationError],
    reference: Reference,
    decision: Decision,
) -> NoReturn:
    count = f"none of {len(failures)} signatures counts; the nearest: " if len(failures) > 1 else ""
    raise type(nearest)(
        f"{count}{nearest.what} (required by {decision.rule})",
        where=str(reference),
        fix=nearest.fix,
    ) from nearest


def _progress(error: VerificationError) -> int:
    return _DISTANCE.index(type(error))


def _signer(keys: Iterable[PublicKey], signature: bytes, message: bytes) -> PublicKey:
    for key in keys:
        try:
            key.verify(signature, message)
        except WrongKeyError:
            continue
        return key
    raise WrongKeyError(
        "the signature was made by none of the accepted keys",
        fix="ask the publisher for the public key; if the key is right, do not use the image",
    )


def _hinted(envelope: bundle.Envelope, key: PublicKey) -> bool:
    # The hint may be left out; where there is one it must be the key's, and so must the key id.
    return envelope.hint in ("", key.hint) and envelope.key_id in ("", envelope.hint)


def _bounded(found: Iterable[Signature], reference: Reference) -> tuple[Signature, ...]:
    signatures = tuple(islice(found, MAX_SIGNATURES + 1))
    if len(signatures) > MAX_SIGNATURES:
        raise TooManySignaturesError(
            f"the image has more than {MAX_SIGNATURES} signatures",
            where=str(reference),
            fix="delete the signature tag in the registry and sign the image again",
        )
    return signatures


def _rejected(decision: Decision) -> NoReturn:
    raise RejectedByPolicyError(
        f"the policy refuses this image ({decision.rule})",
        where=str(decision.reference),
        fix="pull from an allowed place, or change that rule; "
        f"`lading trust policy explain {decision.reference.familiar}` shows it",
    )


def _unsupported(decision: Decision, requirement: Unsupported) -> NoReturn:
    raise UnsupportedRequirementError(
        f"the policy wants {requirement.kind} by {requirement.means}, which lading cannot check "
        f"({decision.rule})",
        where=str(decision.reference),
        fix="add a scope for this image with sigstoreSigned and a key, "
        "or give another policy in $LADING_TRUST_POLICY",
    )
