"""policy.json: what is read, what is refused, which scope decides and how that is explained."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from images.digest import Digest
from images.reference import Reference
from trust.errors import PolicyFileError
from trust.identity import (
    ExactReference,
    ExactRepository,
    MatchExact,
    MatchRepoDigestOrExact,
    MatchRepository,
    RemapIdentity,
)
from trust.policy import Policy, scopes_of
from trust.requirements import AcceptAnything, Reject, SigstoreSigned, Unsupported

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
SIGNED = {"type": "sigstoreSigned", "keyPath": "/k.pub"}
DIGEST = Digest.of(b"x")


def policy(default: Any = ACCEPT, **docker: Any) -> Policy:
    return Policy.parse(json.dumps({"default": default, "transports": {"docker": docker}}).encode())


def requirement(value: dict[str, Any]) -> Any:
    return policy([value]).default[0]


def test_scopes_from_special_to_general() -> None:
    reference = Reference.parse(f"registry.dev.example.com:5000/team/app/web:1@{DIGEST}")
    host = "registry.dev.example.com:5000"
    assert list(scopes_of(reference)) == [
        f"{host}/team/app/web@{DIGEST}",
        f"{host}/team/app/web:1",
        f"{host}/team/app/web",
        f"{host}/team/app",
        f"{host}/team",
        host,
        "*.dev.example.com",
        "*.example.com",
        "*.com",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("quay.io/team/app:1", "quay.io/team/app:1"),
        ("quay.io/team/app:2", "quay.io/team/app"),
        ("quay.io/team/apple:2", "quay.io/team"),
        ("quay.io/teamster/app", "quay.io"),
        ("cdn.quay.io/team/app", "*.quay.io"),
        ("debian", "docker.io/library"),
        ("localhost:5000/x", ""),
    ],
)
def test_most_specific_scope_decides_alone(name: str, scope: str) -> None:
    rules = [
        "quay.io/team/app:1",
        "quay.io/team/app",
        "quay.io/team",
        "quay.io",
        "*.quay.io",
        "docker.io/library",
    ]
    decided = policy(REJECT, **dict.fromkeys((*rules, ""), ACCEPT))
    assert decided.decide(Reference.parse(name)).scope == scope


def test_default_decides_where_no_scope_does() -> None:
    decision = policy(REJECT, **{"quay.io": ACCEPT}).decide(Reference.parse("debian"))
    assert decision.scope is None
    assert decision.requirements == (Reject(),)


def test_other_transports_are_checked_and_do_not_decide() -> None:
    document = {"default": REJECT, "transports": {"atomic": {"": ACCEPT}, "dir": {"/tmp": ACCEPT}}}
    parsed = Policy.parse(json.dumps(document).encode())
    assert parsed.decide(Reference.parse("debian")).requirements == (Reject(),)
    document["transports"]["dir"]["/tmp"] = [{"type": "nonsense"}]  # type: ignore[index]
    with pytest.raises(PolicyFileError, match="nonsense"):
        Policy.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not valid JSON"),
        ("[]", "object"),
        ("{}", "no 'default'"),
        ('{"default":[]}', "no requirements"),
        ('{"default":{}}', "array"),
        ('{"default":[{}]}', "type must be a string"),
        ('{"default":[{"type":"accept"}]}', "unknown type 'accept'"),
        ('{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}', "duplicate"),
        ('{"default":[{"type":"reject","Type":"x"}]}', "unknown member 'Type'"),
        ('{"default":[{"type":"reject"}],"transport":{}}', "unknown member 'transport'"),
        ('{"default":[{"type":"reject"}],"transports":{"docker":[]}}', "transports.docker must"),
        ('{"default":[{"type":"sigstoreSigned"}]}', "exactly one of keyPath"),
        (
            '{"default":[{"type":"sigstoreSigned","keyPath":"a","keyData":"YQ=="}]}',
            "exactly one of",
        ),
        ('{"default":[{"type":"sigstoreSigned","keyPaths":[]}]}', "names no key"),
        ('{"default":[{"type":"sigstoreSigned","keyData":"YR=="}]}', "canonical"),
        ('{"default":[{"type":"sigstoreSigned","keyPath":7}]}', "string"),
        (
            '{"default":[{"type":"sigstoreSigned","keyPath":"a","rekorPublicKeyPath":"b",'
            '"rekorPublicKeyData":"YQ=="}]}',
            "more than one of rekor",
        ),
        ('{"default":[{"type":"signedBy","keyPath":"a"}]}', "no 'keyType'"),
        ('{"default":[{"type":"signedBy","keyType":"X","keyPath":"a"}]}', "keyType is unknown"),
        ("{" + '"default":[{"type":"reject"}],"x":' + "[" * 9999, ""),
    ],
)
def test_what_is_not_understood_is_refused_whole(text: str, says: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        Policy.parse(text.encode(), source="p.json")
    assert says in caught.value.what
    assert caught.value.where == "p.json"
    assert caught.value.fix


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"type": "matchWhatever"},
        {"type": "matchExact", "x": 1},
        {"type": "exactReference", "dockerReference": "quay.io/app"},
        {"type": "exactReference", "dockerReference": "UPPER"},
        {"type": "exactRepository"},
        {"type": "remapIdentity", "prefix": "quay.io"},
        {"type": "remapIdentity", "prefix": "", "signedPrefix": "quay.io"},
        {"type": "remapIdentity", "prefix": "team", "signedPrefix": "quay.io"},
        {"type": "remapIdentity", "prefix": "quay.io/", "signedPrefix": "quay.io"},
        "matchExact",
    ],
)
def test_bad_identity_is_refused(identity: object) -> None:
    with pytest.raises(PolicyFileError, match="signedIdentity"):
        requirement({**SIGNED, "signedIdentity": identity})


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (None, MatchRepoDigestOrExact()),
        ({"type": "matchRepoDigestOrExact"}, MatchRepoDigestOrExact()),
        ({"type": "matchExact"}, MatchExact()),
        ({"type": "matchRepository"}, MatchRepository()),
        (
            {"type": "exactReference", "dockerReference": "quay.io/app:1"},
            ExactReference(Reference.parse("quay.io/app:1")),
        ),
        (
            {"type": "exactRepository", "dockerRepository": "quay.io/app"},
            ExactRepository(Reference.parse("quay.io/app", default_tag=None)),
        ),
        (
            {"type": "remapIdentity", "prefix": "mirror:5000", "signedPrefix": "quay.io/team"},
            RemapIdentity("mirror:5000", "quay.io/team"),
        ),
    ],
)
def test_identities(identity: object, expected: object) -> None:
    assert requirement({**SIGNED, "signedIdentity": identity}).identity == expected


def test_keys_from_files_and_from_the_policy() -> None:
    data = base64.b64encode(b"pem").decode()
    for member, paths, inline in (
        ({"keyPath": "/a"}, ("/a",), ()),
        ({"keyPaths": ["/a", "/b"]}, ("/a", "/b"), ()),
        ({"keyData": data}, (), (b"pem",)),
        ({"keyDatas": [data, data]}, (), (b"pem", b"pem")),
    ):
        found = requirement({"type": "sigstoreSigned", **member})
        assert isinstance(found, SigstoreSigned)
        assert (found.key_paths, found.key_data) == (paths, inline)


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ({"type": "signedBy", "keyType": "signedByX509CAs", "keyPath": "/a"}, "certificate"),
        ({"type": "signedBy", "keyType": "X509Certificates", "keyPaths": ["/a"]}, "certificate"),
        ({"type": "sigstoreSigned", "fulcio": {"caPath": "/a"}}, "fulcio"),
        ({"type": "sigstoreSigned", "pki": {"caRootsPath": "/a"}}, "pki"),
        ({**SIGNED, "rekorPublicKeyPath": "/r.pub"}, "transparency log"),
    ],
)
def test_requirements_that_cannot_be_checked_are_read_and_named(
    value: dict[str, Any], means: str
) -> None:
    found = requirement(value)
    assert isinstance(found, Unsupported)
    assert means in found.sentence
    assert "cannot check" in found.sentence


def test_only_what_rests_on_signatures_needs_them() -> None:
    reference = Reference.parse("debian")
    for requirements, needs in (
        (ACCEPT, False),
        (REJECT, False),
        ([SIGNED], True),
        ([*ACCEPT, SIGNED], True),
        ([SIGNED, *REJECT], False),
    ):
        assert policy(requirements).decide(reference).needs_signatures is needs


def test_explanation_names_rule_reason_and_requirement() -> None:
    decided = policy(REJECT, **{"quay.io": [SIGNED]})
    assert decided.explain(Reference.parse("quay.io/team/app")) == (
        "quay.io/team/app:latest\n"
        '  decided by policy.json: transports.docker["quay.io"] '
        "('quay.io' is the most specific scope that covers this name)\n"
        "  requires: signed by /k.pub, for this name and tag, "
        "or for this repository when pulled by digest"
    )
    assert "policy.json: default" in decided.explain(Reference.parse("debian"))


def test_without_a_policy_anything_goes() -> None:
    decision = Policy.accept_anything().decide(Reference.parse("debian"))
    assert decision.requirements == (AcceptAnything(),)
    assert "no policy file" in decision.rule


@pytest.mark.parametrize(
    ("asked", "free"),
    [
        (ACCEPT, True),
        ([*ACCEPT, *ACCEPT], True),
        (REJECT, False),
        ([*ACCEPT, *REJECT], False),
        ([SIGNED], False),
        ([*ACCEPT, SIGNED], False),
        ([{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg"}], False),
    ],
)
def test_only_what_asks_for_nothing_is_accepted_unseen(asked: Any, free: bool) -> None:
    decision = policy(asked).decide(Reference.parse("quay.io/team/app:1"))
    assert decision.accepts_anything is free
