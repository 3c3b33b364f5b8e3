"""What is done to JWTs (RFC 8725) and to the keys that they are checked with, each by its name."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.access.identity import Identity
from registry.access.jwt import TokenError, encode_bytes, encode_token, parse_token
from registry.access.keys import SigningKey
from registry.access.oidc.issuers import Issuers
from registry.access.oidc.keysets import KeySet
from registry.access.oidc.mapping import identity_of
from registry.access.oidc.settings import IssuerSettings, OutsideAlgorithm
from registry.access.oidc.verifiers import parse_jwks
from registry.access.settings import Algorithm
from tests.registry.oidc_kit import OutsideIssuer, outside_issuer

Judge = Callable[[str], Any]


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[OutsideIssuer]:
    with outside_issuer(tmp_path) as started:
        yield started


@pytest.fixture
def second(tmp_path: Path) -> Iterator[OutsideIssuer]:
    with outside_issuer(tmp_path / "second") as started:
        yield started


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def threads() -> AsyncIterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(2)
    yield pool
    pool.shutdown(wait=False)


@pytest.fixture
def judge(issuer: OutsideIssuer, threads: ThreadPoolExecutor, clock: Clock) -> Judge:
    """Who a token is."""
    issuers = Issuers([issuer.settings()], threads, monotonic=clock)

    async def identity(token: str) -> Identity:
        return (await issuers.verified(parse_token(token), now=time.time())).identity

    return identity


def _pem(key: SigningKey) -> bytes:
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    return key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


async def test_a_good_token(issuer: OutsideIssuer, judge: Judge) -> None:
    identity = await judge(issuer.token())
    assert str(identity) == "outside:ci/repo:our-org/app:ref:refs/heads/main"
    assert identity.groups == ("ci/builders", "ci/ops")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "HS512", "dir"])
async def test_alg_none_and_shared_secrets(
    issuer: OutsideIssuer, judge: Judge, algorithm: str
) -> None:
    key = issuer.keys[0]

    def mac(message: bytes) -> bytes:
        return hmac.digest(_pem(key), message, hashlib.sha256)

    token = issuer.forged({"alg": algorithm, "kid": key.kid}, mac)
    with pytest.raises(TokenError, match="not allowed"):
        await judge(token)


async def test_a_shared_secret_in_the_set_verifies_nothing(
    issuer: OutsideIssuer, judge: Judge
) -> None:
    secret = {"kty": "oct", "kid": "s", "k": encode_bytes(b"x" * 32), "alg": "HS256"}
    issuer.documents["/keys"] = json.dumps({"keys": [secret]}).encode()
    token = issuer.forged(
        {"alg": "HS256", "kid": "s"}, lambda m: hmac.digest(b"x" * 32, m, hashlib.sha256)
    )
    with pytest.raises(TokenError):
        await judge(token)


async def test_rs_and_es_are_not_mixed_up(issuer: OutsideIssuer, judge: Judge) -> None:
    key = issuer.keys[0]
    with pytest.raises(TokenError, match="another way"):
        await judge(issuer.forged({"alg": "RS256", "kid": key.kid}, key.sign))


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
async def test_keys_that_a_token_brings_along_are_ignored(
    issuer: OutsideIssuer, judge: Judge, member: str
) -> None:
    known = issuer.keys[0]
    theirs = await asyncio.to_thread(issuer.rotate)
    evil = f"{issuer.url}/evil"
    issuer.documents["/evil"] = issuer.jwks()
    issuer.keys = [known]
    value = {"jwk": theirs.jwk(), "x5c": [base64.b64encode(_pem(theirs)).decode()]}
    for kid in (known.kid, theirs.kid):
        header = {"alg": "ES256", "kid": kid, member: value.get(member, evil)}
        with pytest.raises(TokenError):
            await judge(issuer.forged(header, theirs.sign))


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "/dev/null", "' OR 1=1", "\0", "", None, 7, ["x"], {"a": 1}]
)
async def test_kid_names_a_key_and_nothing_else(
    issuer: OutsideIssuer, judge: Judge, kid: Any
) -> None:
    with pytest.raises(TokenError, match="key"):
        await judge(issuer.forged({"alg": "ES256", "kid": kid}, issuer.keys[0].sign))


@pytest.mark.parametrize("member", ["crit", "b64"])
async def test_critical_members_are_refused(
    issuer: OutsideIssuer, judge: Judge, member: str
) -> None:
    key = issuer.keys[0]
    header = {"alg": "ES256", "kid": key.kid, member: ["x"]}
    with pytest.raises(TokenError):
        await judge(issuer.forged(header, key.sign))


@pytest.mark.parametrize(
    ("offsets", "good"),
    [
        ({"exp": -50}, True),
        ({"exp": -61}, False),
        ({"nbf": 50}, True),
        ({"nbf": 65}, False),
        ({"iat": 50}, True),
        ({"iat": 65}, False),
    ],
)
async def test_times_and_their_skew(
    issuer: OutsideIssuer, judge: Judge, offsets: dict[str, int], good: bool
) -> None:
    token = issuer.token(**{name: int(time.time()) + by for name, by in offsets.items()})
    if good:
        assert await judge(token)
    else:
        with pytest.raises(TokenError, match=r"expired|not valid yet"):
            await judge(token)


@pytest.mark.parametrize("name", ["exp", "iat"])
@pytest.mark.parametrize("value", [None, "never", True, 1e300, 10**400, [1]])
async def test_times_that_are_none(
    issuer: OutsideIssuer, judge: Judge, name: str, value: Any
) -> None:
    with pytest.raises(TokenError, match=name):
        await judge(issuer.token(**{name: value}))


@pytest.mark.parametrize("audience", ["other", "lading2", "", None, ["other"], {"lading": 1}, 1])
async def test_tokens_for_others(issuer: OutsideIssuer, judge: Judge, audience: Any) -> None:
    with pytest.raises(TokenError, match="aud"):
        await judge(issuer.token(aud=audience))


@pytest.mark.parametrize("name", ["https://evil.example", "", None, 1, ["x"]])
async def test_other_issuers(issuer: OutsideIssuer, judge: Judge, name: Any) -> None:
    with pytest.raises(TokenError, match="not configured"):
        await judge(issuer.token(iss=name))
    with pytest.raises(TokenError, match="not configured"):
        await judge(issuer.token(iss=issuer.url + "/"))


async def test_one_issuers_key_does_not_sign_for_another(
    issuer: OutsideIssuer, second: OutsideIssuer, threads: ThreadPoolExecutor, clock: Clock
) -> None:
    known = [issuer.settings(), second.settings(name="second")]
    issuers = Issuers(known, threads, monotonic=clock)
    token = encode_token(issuer.claims(), second.keys[0])
    with pytest.raises(TokenError, match="does not have"):
        await issuers.verified(parse_token(token), now=time.time())


@pytest.mark.parametrize("subject", ["repo:other/app", "repo:our-org", "", None, 1])
async def test_subjects_that_are_not_taken(
    issuer: OutsideIssuer, judge: Judge, subject: Any
) -> None:
    with pytest.raises(TokenError, match="sub"):
        await judge(issuer.token(sub=subject))


async def test_duplicate_names_and_oversize(issuer: OutsideIssuer, judge: Judge) -> None:
    key = issuer.keys[0]
    head = encode_bytes(json.dumps({"alg": "ES256", "kid": key.kid}).encode())
    body = json.dumps(issuer.claims())[:-1] + ', "sub": "repo:our-org/x"}'
    message = f"{head}.{encode_bytes(body.encode())}"
    with pytest.raises(TokenError, match="JSON"):
        await judge(f"{message}.{encode_bytes(key.sign(message.encode()))}")
    with pytest.raises(TokenError, match="not a signed token"):
        await judge(issuer.token(pad="x" * 20_000))


async def test_a_changed_bit(issuer: OutsideIssuer, judge: Judge) -> None:
    head, _, signature = issuer.token().split(".")
    other = issuer.token(sub="repo:our-org/other").split(".")[1]
    with pytest.raises(TokenError, match="signature"):
        await judge(f"{head}.{other}.{signature}")


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_every_way_to_sign(issuer: OutsideIssuer, judge: Judge, algorithm: Algorithm) -> None:
    await asyncio.to_thread(issuer.rotate, algorithm)
    assert await judge(issuer.token())


class TestKeys:
    """Where keys come from, and how long they count."""

    @pytest.fixture
    def keys(self, issuer: OutsideIssuer, threads: ThreadPoolExecutor, clock: Clock) -> KeySet:
        return KeySet(issuer.settings(), threads, monotonic=clock)

    async def test_rotation_is_noticed_by_the_unknown_kid(
        self, issuer: OutsideIssuer, keys: KeySet, clock: Clock
    ) -> None:
        old = issuer.keys[0].kid
        await keys.verifier(old, "ES256")
        new = (await asyncio.to_thread(issuer.rotate)).kid
        clock.now += 6
        await keys.verifier(new, "ES256")
        with pytest.raises(TokenError, match="does not have"):
            await keys.verifier(old, "ES256")

    async def test_a_key_that_was_taken_back_ends_within_the_refresh(
        self, issuer: OutsideIssuer, keys: KeySet, clock: Clock
    ) -> None:
        old = issuer.keys[0].kid
        await keys.verifier(old, "ES256")
        await asyncio.to_thread(issuer.rotate)
        clock.now += 61
        with pytest.raises(TokenError, match="does not have"):
            await keys.verifier(old, "ES256")

    async def test_unknown_kids_do_not_make_us_ask_and_ask(
        self, issuer: OutsideIssuer, keys: KeySet, clock: Clock
    ) -> None:
        for number in range(50):
            clock.now += 0.1
            with pytest.raises(TokenError):
                await keys.verifier(f"k{number}", "ES256")
        assert issuer.asked <= 2

    async def test_known_keys_count_for_a_while_when_it_is_down(
        self, issuer: OutsideIssuer, keys: KeySet, clock: Clock
    ) -> None:
        kid = issuer.keys[0].kid
        await keys.verifier(kid, "ES256")
        issuer.status = 503
        clock.now += 61
        await keys.verifier(kid, "ES256")
        clock.now += 3600
        with pytest.raises(TokenError, match="503"):
            await keys.verifier(kid, "ES256")
        issuer.status = 200
        clock.now += 6
        with pytest.raises(TokenError, match="does not have"):
            await keys.verifier("unknown", "ES256")
        await keys.verifier(kid, "ES256")

    @pytest.mark.parametrize(
        "document",
        [b"", b"[]", b"{}", b'{"keys": 1}', b"[" * 10_000, b'{"keys": [' + b" " * 600_000 + b"]}"],
    )
    async def test_documents_that_are_none(
        self, issuer: OutsideIssuer, keys: KeySet, document: bytes
    ) -> None:
        issuer.documents["/keys"] = document
        with pytest.raises(TokenError, match="cannot be had"):
            await keys.verifier(issuer.keys[0].kid, "ES256")

    async def test_a_discovery_document_of_another(
        self, issuer: OutsideIssuer, keys: KeySet
    ) -> None:
        document = {"issuer": "https://evil.example", "jwks_uri": f"{issuer.url}/keys"}
        path = "/.well-known/openid-configuration"
        issuer.documents[path] = json.dumps(document).encode()
        with pytest.raises(TokenError, match="another issuer's"):
            await keys.verifier(issuer.keys[0].kid, "ES256")
        issuer.documents[path] = json.dumps(
            {"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}
        ).encode()

    async def test_keys_of_a_file(
        self, issuer: OutsideIssuer, tmp_path: Path, threads: ThreadPoolExecutor, clock: Clock
    ) -> None:
        path = tmp_path / "jwks.json"
        keys = KeySet(issuer.settings(jwks_file=path), threads, monotonic=clock)
        with pytest.raises(TokenError, match=r"jwks\.json"):
            await keys.verifier(issuer.keys[0].kid, "ES256")
        path.write_bytes(issuer.jwks())
        clock.now += 2
        assert (await keys.verifier(issuer.keys[0].kid, "ES256")).algorithm == "ES256"
        assert issuer.asked == 0


def test_keys_that_are_passed_over(issuer: OutsideIssuer) -> None:
    good = issuer.keys[0].jwk()
    short = {"kty": "RSA", "kid": "short", "n": encode_bytes(b"\xff" * 128), "e": "AQAB"}
    entries: list[Any] = [
        good,
        short,
        {**good, "kid": "off", "y": good["x"]},
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "ops", "key_ops": ["sign"]},
        {**good, "kid": "alg", "alg": "HS256"},
        {**good, "kid": "twice"},
        {**good, "kid": "twice"},
        {**good, "kid": 7},
        {"kid": "nothing"},
        {"kid": "odd", "kty": ["EC"]},
        "text",
    ]
    assert list(parse_jwks(json.dumps({"keys": entries}).encode())) == [good["kid"]]
    with pytest.raises(ValueError, match="more than"):
        parse_jwks(json.dumps({"keys": [good] * 65}).encode())


def _settings(**changes: Any) -> IssuerSettings:
    fields = {"name": "gl", "issuer": "x", "audience": "lading", "subjects": ("*",)}
    return IssuerSettings(**{**fields, "jwks_file": Path("keys"), **changes})


@pytest.mark.parametrize(
    ("changes", "claims", "expected"),
    [
        ({"user": "{ns}/{id}"}, {"sub": "s", "ns": "a", "id": 7}, "gl/a/7"),
        ({"user": "{ns}"}, {"sub": "s"}, "ns is missing"),
        ({"user": "{ns}"}, {"sub": "s", "ns": ["a"]}, "no plain text"),
        ({"user": "{ns}"}, {"sub": "s", "ns": "a\nb"}, "no plain text"),
        ({"user": "{ns}"}, {"sub": "s", "ns": "{sub}"}, "gl/{sub}"),
        ({"user": "{email}"}, {"sub": "s", "email": "a@b", "email_verified": False}, "email"),
        ({"user": "{email}"}, {"sub": "s", "email": "a@b", "email_verified": True}, "gl/a@b"),
        ({"require": ("ref=refs/heads/*",)}, {"sub": "s", "ref": "refs/heads/x"}, "gl/s"),
        ({"require": ("ref=refs/heads/*",)}, {"sub": "s", "ref": "refs/tags/x"}, "ref is not"),
        ({"require": ("ref=refs/heads/*",)}, {"sub": "s"}, "ref is not"),
    ],
)
def test_names_made_of_claims(
    changes: dict[str, Any], claims: dict[str, Any], expected: str
) -> None:
    if expected.startswith("gl/"):
        assert identity_of(_settings(**changes), claims).name == expected
    else:
        with pytest.raises(TokenError, match=expected):
            identity_of(_settings(**changes), claims)


def test_groups_made_of_claims() -> None:
    settings = _settings(groups=("owner-{o}", "x-{missing}"), groups_claim="realm.roles")
    claims = {"sub": "s", "o": "us", "realm": {"roles": ["dev", "a\tb", 7, "", "x" * 300]}}
    assert identity_of(settings, claims).groups == ("gl/dev", "gl/owner-us")
    with pytest.raises(TokenError, match="more than"):
        identity_of(settings, {"sub": "s", "realm": {"roles": ["g"] * 201}})


def test_only_public_key_algorithms_can_be_configured() -> None:
    assert not {a.value for a in OutsideAlgorithm} & {"none", "HS256", "HS384", "HS512"}
