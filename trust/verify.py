"""The one choke point (design D10): return if an image satisfies the policy, raise if not.

Everything comes in: the policy, the signatures, the time, the way to read a key file. Nothing here
touches the network, the clock or the environment, and the same arguments always give the same
verdict.

``verify(reference, digest, policy, signatures)``:

1. The policy names the requirements for the reference (``Policy.decide``). All must hold.
2. ``insecureAcceptAnything`` holds. ``reject`` and what cannot be checked here do not.
3. ``sigstoreSigned`` holds if **one** signature passes all of these (``trust.claims``), in order:
   a. it has the shape of its format, within its limits;
   b. its bytes were signed by one of the requirement's keys;
   c. what was signed says what an image signature says, and nothing else;
   d. the digest it names is ``digest``;
   e. the name it names is acceptable for ``reference`` (``trust.identity``);
   f. it is young enough, if the policy says how old it may be.
   A threshold counts different keys, never signatures.
4. A statement of notation's policy holds if one envelope passes ``trust.notation.verify``, and
   ``signedBy`` if one OpenPGP message passes c to e (``trust.simple``). Trust data as docker uses
   it, which was believed already (``trust.tuf``), has to release this digest under this name.
5. If none does, the error is that of the signature that came furthest, since that is the one meant
   for us.

What the caller must do: pass the digest of the very bytes it will use, resolved once and not again,
and the reference as the user gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from images.digest import Digest
from images.reference import Reference
from records import Record
from trust.claims import authenticate, check_age, check_claim, check_evidence
from trust.errors import (
    MalformedSignatureError,
    RejectedByPolicyError,
    StaleSignatureError,
    ThresholdError,
    TooManySignaturesError,
    UnsignedError,
    UnsupportedRequirementError,
    UnsupportedSignatureError,
    VerificationError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.identity import MatchClaimed
from trust.keys import PublicKey
from trust.policy import Decision, Policy
from trust.policyfile import read_key as read_key_file
from trust.requirements import (
    NotarySigned,
    NotationSigned,
    OpenPgpSigned,
    Reject,
    SignatureFormat,
    SigstoreSigned,
    Unsupported,
)
from trust.signature import (
    MAX_SIGNATURES,
    BundleSignature,
    Claim,
    NotaryEvidence,
    NotationSignature,
    OpenPgpSignature,
    Signature,
    SignatureSource,
)

if TYPE_CHECKING:
    from trust.notation.policy import StoreName

T = TypeVar("T")

ReadStore = Callable[[str, "StoreName"], Sequence[Any]]
"""Reads a trust store: (configuration folder, store) to its X.509 certificates."""

_DISTANCE: tuple[type[VerificationError], ...] = (
    MalformedSignatureError,
    UnsupportedSignatureError,
    WrongKeyError,
    WrongDigestError,
    WrongIdentityError,
    StaleSignatureError,
)
"""How far a refused signature came, in the order of step 3."""


def verify(
    reference: Reference,
    digest: Digest,
    policy: Policy,
    signatures: SignatureSource,
    *,
    now: datetime | None = None,
    read_key: Callable[[str], bytes] = read_key_file,
    read_store: ReadStore | None = None,
) -> None:
    """Return if the manifest ``digest`` may be used as ``reference``; the module says by which
    steps.

    ``now`` is aware; without it nothing passes that depends on the time. ``read_store`` reads the
    trust stores of notation's policies.

    Raises:
        RejectedByPolicyError: the policy refuses the name.
        UnsupportedRequirementError: the policy asks for what cannot be checked here.
        UnsignedError: no signature at all, of the kind that is asked for.
        TooManySignaturesError: more than ``MAX_SIGNATURES``.
        ThresholdError: signed, but by too few of the keys.
        VerificationError: a subclass that says why the best signature does not count.
        KeyFileError: a key or trust store of the policy cannot be read.
    """
    decision = policy.decide(reference)
    for requirement in decision.requirements:
        if isinstance(requirement, Reject):
            _rejected(decision)
        if isinstance(requirement, Unsupported):
            _unsupported(decision, requirement)
    if not decision.needs_signatures:
        return
    found = _bounded(signatures.signatures(reference, digest), reference)
    trial = _Trial(decision, digest, now)
    for requirement in decision.requirements:
        if isinstance(requirement, SigstoreSigned):
            trial.keyed(requirement, requirement_keys(requirement, read_key=read_key), found)
        elif isinstance(requirement, NotationSigned) and not requirement.statement.skips:
            trial.notation(requirement, found, read_store)
        elif isinstance(requirement, OpenPgpSigned):
            trial.openpgp(requirement, found, read_key)
        elif isinstance(requirement, NotarySigned):
            trial.notary(requirement, found)


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


class _Trial(Record):
    """One decision being carried out: what all its requirements are judged by."""

    decision: Decision
    digest: Digest
    now: datetime | None

    def keyed(
        self,
        requirement: SigstoreSigned,
        keys: Sequence[PublicKey],
        signatures: Iterable[Signature],
    ) -> None:
        """Return if enough different keys signed."""
        candidates = [item for item in signatures if _format(item) in requirement.formats]
        signers: set[PublicKey] = set()
        failures: list[VerificationError] = []
        for signature in candidates:
            try:
                key, claim = authenticate(signature, keys)
                self._check(claim, requirement)
            except VerificationError as error:
                failures.append(error)
            else:
                signers.add(key)
                if len(signers) >= requirement.threshold:
                    return
        if signers:
            self._too_few(len(signers), requirement)
        self._refuse(failures, requirement)

    def notation(
        self,
        requirement: NotationSigned,
        signatures: Iterable[Signature],
        read_store: ReadStore | None,
    ) -> None:
        """Return if one envelope is good enough for the statement."""
        # X.509 and JWS are loaded by those who use them.
        from trust.notation import store, verify

        anchors = partial(read_store or store.read_store_at, requirement.config)

        def judge(envelope: NotationSignature) -> None:
            if self.now is None:
                raise StaleSignatureError("certificates cannot be judged without the time")
            statement = requirement.statement
            verify.verify(envelope.raw, self.digest, statement, anchors, now=self.now)

        self._any(requirement, _only(NotationSignature, signatures), judge)

    def openpgp(
        self,
        requirement: OpenPgpSigned,
        signatures: Iterable[Signature],
        read_key: Callable[[str], bytes],
    ) -> None:
        """Return if one OpenPGP message is good enough."""
        from trust import simple

        keyrings = [*map(read_key, requirement.key_paths), *requirement.key_data]

        def judge(signature: OpenPgpSignature) -> None:
            claim = simple.claim_of(signature.message, keyrings)
            check_claim(claim, self.decision.reference, self.digest, requirement.identity)

        self._any(requirement, _only(OpenPgpSignature, signatures), judge)

    def notary(self, requirement: NotarySigned, signatures: Iterable[Signature]) -> None:
        """Return if the trust data releases this digest, under this tag, as it is asked for."""
        asked = (requirement.server, requirement.root)
        found = (item for item in _only(NotaryEvidence, signatures) if item.asked == asked)

        def judge(evidence: NotaryEvidence) -> None:
            check_evidence(evidence, self.decision.reference, self.digest, self.now)
            missing = [name for name in requirement.signers if name not in evidence.signers]
            if missing:
                raise WrongKeyError(
                    f"{', '.join(missing)} did not sign {evidence.tag} in Notary's trust data",
                    fix="let them sign it: lading trust sign",
                )

        self._any(requirement, found, judge)

    def _any(
        self,
        requirement: NotationSigned | OpenPgpSigned | NotarySigned,
        candidates: Iterable[T],
        judge: Callable[[T], None],
    ) -> None:
        failures: list[VerificationError] = []
        for candidate in candidates:
            try:
                judge(candidate)
            except VerificationError as error:
                failures.append(error)
            else:
                return
        self._refuse(failures, requirement)

    def _check(self, claim: Claim, requirement: SigstoreSigned) -> None:
        check_claim(claim, self.decision.reference, self.digest, requirement.identity)
        if requirement.max_age is not None:
            check_age(claim, requirement.max_age, self.now)

    def _refuse(
        self,
        failures: list[VerificationError],
        requirement: SigstoreSigned | OpenPgpSigned | NotationSigned | NotarySigned,
    ) -> NoReturn:
        reference, rule = self.decision.reference, self.decision.rule
        if not failures:
            raise UnsignedError(
                f"{self.digest} is not signed, and must be {requirement.sentence} ({rule})",
                where=str(reference),
                fix=f"sign it with `lading trust sign --key NAME {reference.familiar}`",
            )
        nearest = max(failures, key=_progress)
        count = len(failures)
        many = f"none of {count} signatures counts; the nearest: " if count > 1 else ""
        raise type(nearest)(
            f"{many}{nearest.what} (required by {rule})", where=str(reference), fix=nearest.fix
        ) from nearest

    def _too_few(self, signed: int, requirement: SigstoreSigned) -> NoReturn:
        raise ThresholdError(
            f"{signed} of the {requirement.threshold} keys that are needed signed "
            f"{self.digest} ({self.decision.rule})",
            where=str(self.decision.reference),
            fix="let another key holder sign it too",
        )


def _format(signature: Signature) -> SignatureFormat | None:
    if isinstance(signature, BundleSignature):
        return SignatureFormat.BUNDLE
    # A source may give plain tuples for cosign's own.
    other = isinstance(signature, (NotationSignature, OpenPgpSignature, NotaryEvidence))
    return None if other else SignatureFormat.COSIGN


def _only(kind: type[T], signatures: Iterable[Signature]) -> Iterator[T]:
    return (signature for signature in signatures if isinstance(signature, kind))


def _progress(error: VerificationError) -> int:
    # What is not listed are the later checks of a certificate, so it came furthest.
    kinds = [*_DISTANCE, type(error)]
    return kinds.index(type(error))


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
