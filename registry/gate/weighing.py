"""What a gate's policy says of one signature alone, for people who look at it.

The gate itself asks whether all that is there is enough. Here each requirement that signatures of
this format can meet is asked for by itself, so a threshold of two does not make a good signature
look bad. Plain blocking code, bounded by whoever calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from images.digest import Digest
from images.reference import Reference
from registry.gate.policies import LoadedPolicy
from trust.errors import VerificationError
from trust.policy import Policy
from trust.requirements import NotationSigned, OpenPgpSigned, Requirement, SigstoreSigned
from trust.signature import NotationSignature, OpenPgpSignature, Signature
from trust.verify import verify


def weigh(
    loaded: LoadedPolicy, name: Reference, digest: Digest, signature: Signature, *, now: datetime
) -> bool:
    """Whether ``signature`` is one that the policy asks for; False when it asks for none like it.

    Raises:
        VerificationError: it asks for such, and this one does not count.
        KeyFileError: a key or trust store of the policy cannot be read.
    """
    failure: VerificationError | None = None
    for requirement in loaded.policy.decide(name).requirements:
        alone = _alone(requirement, signature)
        if alone is None:
            continue
        policy = Policy((alone,), source=loaded.policy.source)
        try:
            verify(name, digest, policy, _Only(signature), now=now, read_key=loaded.read_key)
        except VerificationError as error:
            failure = failure or error
        else:
            return True
    if failure is not None:
        raise failure
    return False


@dataclass(frozen=True, slots=True)
class _Only:
    """A ``trust.signature.SignatureSource`` of a single signature."""

    signature: Signature

    def signatures(self, reference: Reference, digest: Digest) -> Iterator[Signature]:
        yield self.signature


def _alone(requirement: Requirement, signature: Signature) -> Requirement | None:
    """The requirement as one signature can meet it; None for those of other formats."""
    if isinstance(signature, NotationSignature):
        asked = isinstance(requirement, NotationSigned) and not requirement.statement.skips
        return requirement if asked else None
    if isinstance(signature, OpenPgpSignature):
        return requirement if isinstance(requirement, OpenPgpSigned) else None
    return replace(requirement, threshold=1) if isinstance(requirement, SigstoreSigned) else None
