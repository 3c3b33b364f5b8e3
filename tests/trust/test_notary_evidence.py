"""The verdict on evidence from trust data: pure, and each way to be wrong has its error."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from images.digest import Digest
from images.reference import Reference
from trust.errors import (
    StaleSignatureError,
    UnsignedError,
    VerificationError,
    WrongDigestError,
    WrongIdentityError,
    WrongKeyError,
)
from trust.policy import Policy
from trust.requirements import NotarySigned
from trust.signature import NotaryEvidence, Signatures
from trust.verify import verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = Digest.of(b"image")
NAME = Reference.parse("registry.example.com/team/web:1")
GOOD = NotaryEvidence(NAME.name, "1", DIGEST, frozenset({"alice"}), NOW + timedelta(days=14))

ANYBODY = NotarySigned()


def judge(
    *evidence: NotaryEvidence,
    wanted: NotarySigned = ANYBODY,
    reference: Reference = NAME,
    now: datetime | None = NOW,
) -> None:
    verify(reference, DIGEST, Policy((wanted,)), Signatures(evidence), now=now)


def test_what_is_released_holds() -> None:
    judge(GOOD)
    judge(GOOD, wanted=NotarySigned(("alice",)))
    judge(replace(GOOD, tag="2"), GOOD)
    judge(GOOD, reference=replace(NAME, tag=None, digest=DIGEST))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"repository": "registry.example.com/team/other"}, WrongIdentityError),
        ({"tag": "2"}, WrongIdentityError),
        ({"digest": Digest.of(b"other")}, WrongDigestError),
        ({"expires": NOW}, StaleSignatureError),
        ({"signers": frozenset({"bob"})}, WrongKeyError),
        ({"asked": ("https://other.example.com", "")}, UnsignedError),
        ({"asked": ("", "0" * 64)}, UnsignedError),
    ],
)
def test_evidence_of_something_else_does_not_count(
    change: dict[str, Any], error: type[VerificationError]
) -> None:
    with pytest.raises(error):
        judge(replace(GOOD, **change), wanted=NotarySigned(("alice",)))


def test_without_evidence_or_time_nothing_holds() -> None:
    with pytest.raises(UnsignedError):
        judge()
    with pytest.raises(StaleSignatureError):
        judge(GOOD, now=None)
