"""Which signed name is good for which wanted name."""

from __future__ import annotations

import pytest

from images.digest import Digest
from images.reference import Reference
from trust.identity import (
    ExactReference,
    ExactRepository,
    MatchClaimed,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
    SignedIdentity,
)

AT = f"@{Digest.of(b'x')}"
AT_OTHER = f"@{Digest.of(b'y')}"


def name(text: str) -> Reference:
    return Reference.parse(text, default_tag=None)


REMAP = RemapIdentity("mirror:5000/quay", "quay.io")
TO_HOST = RemapIdentity("mirror:5000", "quay.io/team")


@pytest.mark.parametrize(
    ("rule", "wanted", "signed", "good"),
    [
        (MatchExact(), "q.io/a:1", "q.io/a:1", True),
        (MatchExact(), "q.io/a:1", "q.io/a:2", False),
        (MatchExact(), "q.io/a:1", "q.io/a", False),
        (MatchExact(), "q.io/a", "q.io/a", False),
        (MatchExact(), f"q.io/a{AT}", f"q.io/a{AT}", True),
        (MatchExact(), f"q.io/a{AT}", f"q.io/a{AT_OTHER}", False),
        (MatchRepoDigestOrExact(), "q.io/a:1", "q.io/a:1", True),
        (MatchRepoDigestOrExact(), "q.io/a:1", "q.io/a:2", False),
        (MatchRepoDigestOrExact(), "q.io/a:1", "q.io/a", False),
        (MatchRepoDigestOrExact(), f"q.io/a{AT}", "q.io/a:2", True),
        (MatchRepoDigestOrExact(), f"q.io/a{AT}", "q.io/b:2", False),
        (MatchRepoDigestOrExact(), f"q.io/a:1{AT}", "q.io/a:2", False),
        (MatchRepoDigestOrExact(), f"q.io/a:1{AT}", "q.io/a:1", True),
        (MatchRepoDigestOrExact(), "q.io/a", "q.io/a", False),
        (MatchRepository(), "q.io/a:1", "q.io/a:2", True),
        (MatchRepository(), "q.io/a:1", "q.io/a", True),
        (MatchRepository(), "q.io/a:1", "q.io/ab:1", False),
        (MatchClaimed(), "q.io/a:1", "q.io/a:1", True),
        (MatchClaimed(), "q.io/a:1", "q.io/a:2", False),
        (MatchClaimed(), "q.io/a:1", "q.io/a", True),
        (MatchClaimed(), "q.io/a:1", f"q.io/a{AT}", True),
        (MatchClaimed(), f"q.io/a{AT}", "q.io/a:2", True),
        (MatchClaimed(), "q.io/a:1", "q.io/b:1", False),
        (MatchClaimed(), "q.io/a:1", "q.io/b", False),
        (ExactReference(name("q.io/a:1")), "x.io/z:9", "q.io/a:1", True),
        (ExactReference(name("q.io/a:1")), "q.io/a:1", "q.io/a:2", False),
        (ExactRepository(name("q.io/a")), "x.io/z:9", "q.io/a:7", True),
        (ExactRepository(name("q.io/a")), "q.io/a:1", "q.io/b:1", False),
        (REMAP, "mirror:5000/quay/a:1", "quay.io/a:1", True),
        (REMAP, "mirror:5000/quay/a:1", "quay.io/a:2", False),
        (REMAP, "mirror:5000/quay/a:1", "mirror:5000/quay/a:1", False),
        (REMAP, "mirror:5000/quayle/a:1", "quay.iole/a:1", False),
        (REMAP, "mirror:5000/quayle/a:1", "mirror:5000/quayle/a:1", True),
        (RemapIdentity("m.io/a", "q.io/b/a"), "m.io/a:1", "q.io/b/a:1", True),
        (TO_HOST, "mirror:5000/a:1", "quay.io/team/a:1", True),
        (TO_HOST, "mirror:50001/a:1", "quay.io/team/a:1", False),
    ],
)
def test_rule(rule: SignedIdentity, wanted: str, signed: str, good: bool) -> None:
    assert rule.accepts(name(wanted), name(signed)) is good


def test_dockers_short_names_are_the_long_ones() -> None:
    assert MatchExact().accepts(name("debian:12"), name("index.docker.io/library/debian:12"))


def test_every_rule_says_what_it_wants() -> None:
    rules = (MatchExact(), MatchRepoDigestOrExact(), MatchRepository(), REMAP)
    exact = (ExactReference(name("q.io/a:1")), ExactRepository(name("q.io/a")))
    assert len({rule.rule for rule in (*rules, *exact)}) == 6
    assert not MatchClaimed().needs_name
