"""What ``lading trust inspect`` shows: who signed an image, and the policy's verdict with its
reason.

Every signature found is listed, also those that do not count, each with why. The JSON has the
members of ``docker trust inspect`` (SignedTags, Signers, AdministrativeKeys) and lading's
Signatures and Policy beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.signatures import Found, fetch_bundles, fetch_notation, fetch_tag_signatures
from engine.trusting import Format, TrustData, fetch_evidence, utc_now
from images.descriptor import Descriptor
from images.digest import Digest
from images.reference import Reference
from trust.claims import authenticate, check_claim
from trust.errors import UnsignedError, VerificationError
from trust.identity import MatchClaimed
from trust.keys import PublicKey
from trust.policy import Decision, Policy
from trust.policyfile import read_key as read_key_file
from trust.requirements import SigstoreSigned
from trust.signature import BundleSignature, Claim, NotationSignature, Signature, Signatures
from trust.verify import requirement_keys, verify

if TYPE_CHECKING:
    from engine.content_trust.report import CollectionReport
    from images.client import RegistryClient

UNKNOWN: str = "(unknown key)"
"""Who made a signature that none of our keys opens."""

_TAG_WIDTH, _DIGEST_WIDTH = 20, 68


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """One signature: ``signer`` and ``key_id`` are None for a key we do not have.

    ``problem`` says why it does not speak for this image, None if it does.
    """

    format: Format
    signer: str | None
    key_id: str | None
    signed_as: str | None
    annotations: Mapping[str, Any]
    problem: str | None

    def to_json(self) -> dict[str, Any]:
        """The object of the Signatures list."""
        return {
            "Format": self.format.value,
            "Signer": self.signer,
            "KeyID": self.key_id,
            "Reference": self.signed_as,
            "Annotations": dict(self.annotations),
            "Problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that is known about the trust in one image; without ``refusal`` the policy accepts it."""

    reference: Reference
    descriptor: Descriptor
    signatures: tuple[SignatureReport, ...]
    decision: Decision
    refusal: VerificationError | None

    @property
    def signers(self) -> dict[str, str]:
        """Name to key id, of the signatures that speak for this image."""
        good = (item for item in self.signatures if item.problem is None)
        return {item.signer or UNKNOWN: item.key_id or "" for item in good}

    def to_json(self) -> dict[str, Any]:
        """One object of the list that ``lading trust inspect`` prints."""
        signers = sorted(self.signers)
        tags = [
            {
                "SignedTag": self.reference.tag or str(self.reference.digest),
                "Digest": self.descriptor.digest.hex,
                "Signers": signers,
            }
        ]
        return {
            "Name": self.reference.familiar,
            "SignedTags": tags if signers else [],
            "Signers": [
                {"Name": name, "Keys": [{"ID": key}]} for name, key in sorted(self.signers.items())
            ],
            "AdministrativeKeys": [],
            "Digest": str(self.descriptor.digest),
            "MediaType": self.descriptor.media_type,
            "Signatures": [item.to_json() for item in self.signatures],
            "Policy": {
                "Rule": self.decision.rule,
                "Requires": [item.sentence for item in self.decision.requirements],
                "Accepted": self.refusal is None,
                "Code": None if self.refusal is None else self.refusal.code,
                "Reason": None if self.refusal is None else self.refusal.what,
                "Fix": None if self.refusal is None else self.refusal.fix,
            },
        }

    def pretty(self) -> str:
        """The tables of ``docker trust inspect --pretty``, with the policy's verdict below."""
        name = self.reference.familiar
        return "\n".join((*self._signed(name), "", *self._others(), *self._verdict(), ""))

    def _signed(self, name: str) -> list[str]:
        if not self.signers:
            return ["", f"No signatures for {name}"]
        tag = self.reference.tag or "(digest)"
        row = _row(tag, self.descriptor.digest.hex, ", ".join(sorted(self.signers)))
        keys = [f"{who:<{_TAG_WIDTH}}{key[:12]}" for who, key in sorted(self.signers.items())]
        return [
            "",
            f"Signatures for {name}",
            "",
            _row("SIGNED TAG", "DIGEST", "SIGNERS"),
            row,
            "",
            f"List of signers and their keys for {name}",
            "",
            f"{'SIGNER':<{_TAG_WIDTH}}KEYS",
            *keys,
        ]

    def _others(self) -> list[str]:
        others = [item for item in self.signatures if item.problem is not None]
        if not others:
            return []
        lines = (f"  {item.format.value}: {item.problem}" for item in others)
        return ["Signatures that do not count:", "", *lines, ""]

    def _verdict(self) -> list[str]:
        word = "accepted" if self.refusal is None else f"refused ({self.refusal.code})"
        lines = [f"Policy: {word}", f"  decided by {self.decision.rule}"]
        lines += [f"  requires: {item.sentence}" for item in self.decision.requirements]
        if self.refusal is not None:
            lines.append(f"  reason: {self.refusal.what}")
            lines.append(f"  to fix: {self.refusal.fix}")
        return lines


async def inspect(
    client: RegistryClient,
    reference: Reference,
    policy: Policy,
    *,
    known: Mapping[str, PublicKey],
    read_key: Callable[[str], bytes] = read_key_file,
    notary: TrustData | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Inspection:
    """Look at all signatures of ``reference``. ``known`` names keys beside those of the policy.

    Raises:
        KeyFileError: a key of the policy cannot be read.
        RegistryError: the registry's side.
    """
    descriptor = await client.resolve(reference)
    try:
        found = await fetch_tag_signatures(client, reference, descriptor.digest)
        found += await fetch_bundles(client, reference, descriptor.digest)
        found += await fetch_notation(client, reference, descriptor.digest)
    except VerificationError as error:
        return Inspection(reference, descriptor, (), policy.decide(reference), error)
    decision = policy.decide(reference)
    said = await fetch_evidence(decision, reference, descriptor.digest, notary)
    judge = partial(_verdict, reference, descriptor.digest, policy, found, said)
    return await asyncio.to_thread(
        _report,
        reference,
        descriptor,
        decision,
        found,
        judge,
        known=known,
        read_key=read_key,
        now=now(),
    )


async def inspect_if_there(
    client: RegistryClient,
    reference: Reference,
    policy: Policy,
    *,
    known: Mapping[str, PublicKey],
    notary: TrustData | None = None,
) -> Inspection | None:
    """Like ``inspect``; None when the registry has no such image."""
    from images.client.errors import ManifestUnknownError

    try:
        return await inspect(client, reference, policy, known=known, notary=notary)
    except ManifestUnknownError:
        return None


@dataclass(frozen=True, slots=True)
class JoinedInspection:
    """What Notary trust data says of a repository, with what is signed beside the image itself."""

    collection: CollectionReport
    image: Inspection | None

    def to_json(self) -> dict[str, Any]:
        """Docker's members from the trust data, lading's own from the image."""
        own = {} if self.image is None else self.image.to_json()
        return {**own, **self.collection.to_json()}

    def pretty(self) -> str:
        """Docker's tables, and then the image's."""
        tables = self.collection.pretty()
        return tables if self.image is None else f"{tables}{self.image.pretty()}"


def joined(
    image: Inspection | None, collection: CollectionReport | None, name: str
) -> Inspection | JoinedInspection:
    """Both views of what ``name`` stands for, as far as they exist.

    Raises:
        UnsignedError: there is neither an image nor trust data.
    """
    if collection is not None:
        return JoinedInspection(collection, image)
    if image is None:
        raise UnsignedError(f"no signatures or cannot access {name}", fix="check the spelling")
    return image


def _report(
    reference: Reference,
    descriptor: Descriptor,
    decision: Decision,
    found: Found,
    judge: Callable[..., VerificationError | None],
    *,
    known: Mapping[str, PublicKey],
    read_key: Callable[[str], bytes],
    now: datetime,
) -> Inspection:
    names = {key: name for name, key in _policy_keys(decision, read_key).items()}
    names |= {key: name for name, key in known.items()}
    reports = [_examine(item, names, reference, descriptor.digest) for item in found.items]
    reports += [
        SignatureReport(Format.TAG, None, None, None, {}, str(error)) for error in found.damage
    ]
    refusal = judge(now=now, read_key=read_key)
    return Inspection(reference, descriptor, tuple(reports), decision, refusal)


def _verdict(
    reference: Reference,
    digest: Digest,
    policy: Policy,
    found: Found,
    said: Found,
    *,
    now: datetime,
    read_key: Callable[[str], bytes],
) -> VerificationError | None:
    """Why the policy refuses, in view of the signatures and of what trust data said."""
    signatures = Signatures((*found.items, *said.items))
    try:
        verify(reference, digest, policy, signatures, now=now, read_key=read_key)
    except UnsignedError as error:
        return said.damage[0] if said.damage else error
    except VerificationError as error:
        return error
    return None


def _examine(
    signature: Signature, names: Mapping[PublicKey, str], reference: Reference, digest: Digest
) -> SignatureReport:
    if isinstance(signature, NotationSignature):
        return _examine_envelope(signature, digest)
    kind = Format.BUNDLE if isinstance(signature, BundleSignature) else Format.TAG
    try:
        key, claim = authenticate(signature, list(names))
    except VerificationError as error:
        return SignatureReport(kind, None, None, None, {}, error.what)
    return SignatureReport(
        kind,
        names[key],
        key.key_id,
        None if claim.reference is None else claim.reference.familiar,
        claim.annotations,
        _problem(claim, reference, digest),
    )


def _examine_envelope(signature: NotationSignature, digest: Digest) -> SignatureReport:
    """What the envelope says of itself; whether its chain is trusted is the policy's matter."""
    from trust.notation.certificates import thumbprint
    from trust.notation.envelope import open_envelope

    try:
        opened = open_envelope(signature.raw)
    except VerificationError as error:
        return SignatureReport(Format.NOTATION, None, None, None, {}, error.what)
    other = f"it is for {opened.target.digest}" if opened.target.digest != digest else None
    return SignatureReport(
        Format.NOTATION,
        opened.chain[0].subject.rfc4514_string(),
        thumbprint(opened.chain[0]),
        None,
        opened.target.annotations,
        other,
    )


def _problem(claim: Claim, reference: Reference, digest: Digest) -> str | None:
    try:
        check_claim(claim, reference, digest, MatchClaimed())
    except VerificationError as error:
        return error.what
    return None


def _policy_keys(decision: Decision, read_key: Callable[[str], bytes]) -> dict[str, PublicKey]:
    """The policy's keys under their key ids, since a file's name is not a person's."""
    return {
        key.key_id[:12]: key
        for requirement in decision.requirements
        if isinstance(requirement, SigstoreSigned)
        for key in requirement_keys(requirement, read_key=read_key)
    }


def _row(tag: str, digest: str, signers: str) -> str:
    return f"{tag:<{_TAG_WIDTH}}{digest:<{_DIGEST_WIDTH}}{signers}"
