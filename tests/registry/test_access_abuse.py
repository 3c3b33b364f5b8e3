"""Attacks on rights that other registries fell for, each by its number in the list of abuses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.access.control import AccessControl
from registry.access.jwt import Expected, TokenError, decode_token, encode_bytes, encode_token
from registry.access.keys import KeyRing, SigningKey, load_ring
from registry.access.robots import create_robot, parse_permission, revoke_robot
from registry.access.settings import Algorithm, GroupSettings, TokenSettings
from registry.access.snapshot import Places, take_snapshot
from registry.access.throttle import Patience
from registry.config import AccessSettings
from registry.errors import RegistryConfigError
from registry.protocols import Access
from registry.workers import Workers
from tests.registry.access_kit import (
    FakeCaller,
    ask_token,
    basic,
    bearer,
    post_form,
    rule,
    token_for,
    users_file,
)
from tests.registry.conftest import StartRegistry
from tests.registry.kit import manifest

NOW = 1_800_000_000.0
EXPECTED = Expected("lading", "lading")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return users_file(tmp_path / "htpasswd", "ada", "bob")


@pytest.fixture(autouse=True)
def changes_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.access.control._LOOK_SECONDS", 0.0)


async def test_18_without_deletion_a_tag_cannot_be_deleted(
    start: StartRegistry, users: Path
) -> None:
    """CVE-2026-41888: neither where deletion is off, nor without the right to delete."""
    rules = (rule("**", "pull,push", users=("*",)),)
    client = await start(access=AccessSettings(users, rules=rules))
    client.headers.update(basic("ada"))
    await client.push_image("a", "1")
    assert (await client.send("DELETE", "/v2/a/manifests/1")).status == 403
    off = await start(access=AccessSettings(users), allow_delete=False)
    off.headers.update(basic("ada"))
    assert (await off.send("DELETE", "/v2/a/manifests/1")).status == 405
    assert (await client.send("GET", "/v2/a/manifests/1")).status == 200


async def test_19_a_token_does_what_it_grants_and_nothing_else(
    start: StartRegistry, users: Path
) -> None:
    """GHSA-qg67-7m6v-qg25: push is not delete, pull is not push, a/b is neither a/b/c nor a."""
    client = await start(access=AccessSettings(users))
    client.headers.update(basic("ada"))
    await client.push_image("a/b", "1")
    await client.push_image("a/b/c", "1")
    session = await client.start_upload("a/b")
    client.headers.clear()
    push = await token_for(client, "ada", "repository:a/b:pull,push")
    pull = await token_for(client, "ada", "repository:a/b:pull")
    assert (await client.send("DELETE", "/v2/a/b/manifests/1", headers=push)).status == 401
    for method, path in [
        ("PATCH", session),
        ("PUT", session),
        ("DELETE", session),
        ("PUT", "/v2/a/b/manifests/2"),
        ("POST", "/v2/a/b/blobs/uploads/"),
        ("GET", "/v2/a/b/c/manifests/1"),
        ("GET", "/v2/a/manifests/1"),
    ]:
        assert (await client.send(method, path, headers=pull)).status == 401, path
    assert (await client.send("GET", "/v2/a/b/manifests/1", headers=pull)).status == 200
    odd = await token_for(
        client, "ada", "repository:*:pull", "repository:a/*:pull", "repository:**:*"
    )
    assert (await client.send("GET", "/v2/a/b/manifests/1", headers=odd)).status == 401


async def test_20_tags_by_query_need_the_same_right(start: StartRegistry, users: Path) -> None:
    """?tag= and latest are tags like any other."""
    rules = (rule("a", "pull", users=("bob",)), rule("a", "*", users=("ada",)))
    client = await start(access=AccessSettings(users, rules=rules))
    client.headers.update(basic("ada"))
    raw = await client.push_image("a", "latest")
    digest = await client.push_manifest("a", raw)
    client.headers.update(basic("bob"))
    for path in (f"/v2/a/manifests/{digest}?tag=latest&tag=new", "/v2/a/manifests/latest"):
        assert (await client.send("PUT", path, data=manifest())).status == 403
    assert (await client.send("GET", "/v2/a/tags/list")).json["tags"] == ["latest"]


def _ring(folder: Path) -> KeyRing:
    return load_ring(folder, TokenSettings(), now=NOW)


def _claims(**changes: Any) -> dict[str, Any]:
    claims = {"iss": "lading", "aud": "lading", "sub": "user:ada", "iat": NOW, "nbf": NOW}
    return {**claims, "exp": NOW + 300, "access": [], **changes}


def _forged(header: dict[str, Any], sign: Callable[[bytes], bytes], **changes: Any) -> str:
    parts = (encode_bytes(json.dumps(value).encode()) for value in (header, _claims(**changes)))
    message = ".".join(parts)
    return f"{message}.{encode_bytes(sign(message.encode()))}"


def _public(key: SigningKey, encoding: Encoding) -> bytes:
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    return key.private.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def test_21_forged_tokens(tmp_path: Path) -> None:
    """No alg none, no HMAC with the public key, no key from the token, no path in kid."""
    ring = _ring(tmp_path)
    mine = _ring(tmp_path / "mine").signer
    kid = ring.signer.kid
    pem = _public(ring.signer, Encoding.PEM)
    forged = [
        _forged({"alg": "none", "kid": kid}, lambda _: b"\0"),
        _forged({"alg": "none"}, lambda _: b"\0"),
        _forged({"alg": "HS256", "kid": kid}, lambda m: hmac.digest(pem, m, hashlib.sha256)),
        _forged({"alg": "ES256", "kid": kid}, mine.sign),
        _forged({"alg": "ES256", "kid": kid, "jwk": mine.jwk()}, mine.sign),
        _forged({"alg": "ES256", "kid": mine.kid, "jwk": mine.jwk()}, mine.sign),
        _forged({"alg": "ES256", "jwk": mine.jwk()}, mine.sign),
        _forged({"alg": "ES256", "x5c": [base64.b64encode(pem).decode()]}, mine.sign),
        _forged({"alg": "ES256", "kid": "../../etc/passwd"}, mine.sign),
        _forged({"alg": "ES256", "kid": ["x"]}, mine.sign),
        _forged({"alg": ["ES256"], "kid": kid}, ring.signer.sign),
        _forged({"alg": "RS256", "kid": kid}, ring.signer.sign),
        _forged({"alg": "ES256", "kid": kid, "crit": ["x"]}, ring.signer.sign),
        _forged({"alg": "ES256", "kid": kid}, lambda _: b"\0" * 64),
        _forged({"alg": "ES256", "kid": kid}, lambda m: ring.signer.sign(m) + b"\0"),
    ]
    for token in forged:
        with pytest.raises(TokenError):
            decode_token(token, ring.keys, EXPECTED, now=NOW)


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"aud": ["other", "lading"]}, True),
        ({"aud": "lading2"}, False),
        ({"aud": ["other"]}, False),
        ({"aud": None}, False),
        ({"iss": "Lading"}, False),
        ({"exp": NOW - 59}, True),
        ({"exp": NOW - 60}, False),
        ({"nbf": NOW + 60}, True),
        ({"nbf": NOW + 61}, False),
        ({"iat": NOW + 61}, False),
        ({"exp": None}, False),
        ({"exp": "never"}, False),
        ({"exp": True}, False),
        ({"nbf": None}, False),
    ],
)
def test_21_claims_at_their_edges(tmp_path: Path, changes: dict[str, Any], good: bool) -> None:
    ring = _ring(tmp_path)
    token = encode_token(_claims(**changes), ring.signer)
    if good:
        assert decode_token(token, ring.keys, EXPECTED, now=NOW)["sub"] == "user:ada"
    else:
        with pytest.raises(TokenError):
            decode_token(token, ring.keys, EXPECTED, now=NOW)


def test_21_malformed_tokens(tmp_path: Path) -> None:
    ring = _ring(tmp_path)
    good = encode_token(_claims(), ring.signer)
    head, body, signature = good.split(".")
    padding = good + "="
    twice = encode_bytes(b'{"alg":"ES256","alg":"none"}')
    for token in (
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{twice}.{body}.{signature}",
        f"{encode_bytes(b'[]')}.{body}.{signature}",
        f"{encode_bytes(b'[' * 5000)}.{body}.{signature}",
        padding,
        good + "\n",
        good.replace("_", "/").replace("-", "+") + "é",
        "x" * 100_000,
    ):
        with pytest.raises(TokenError):
            decode_token(token, ring.keys, EXPECTED, now=NOW)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_21_a_changed_bit_is_noticed(tmp_path: Path, algorithm: Algorithm) -> None:
    ring = load_ring(tmp_path, TokenSettings(algorithm=algorithm), now=NOW)
    token = encode_token(_claims(), ring.signer)
    assert decode_token(token, ring.keys, EXPECTED, now=NOW)
    body = encode_bytes(json.dumps(_claims(sub="user:root")).encode())
    head, _, signature = token.split(".")
    with pytest.raises(TokenError):
        decode_token(f"{head}.{body}.{signature}", ring.keys, EXPECTED, now=NOW)


async def test_22_what_was_revoked_is_honoured_no_more(
    start: StartRegistry, users: Path, tmp_path: Path
) -> None:
    """GHSA-c9p4-xwr9-rfhx: users and robots, by password, token and refresh token."""
    robots = tmp_path / "registry" / "access" / "robots.json"
    client = await start(access=AccessSettings(users))
    secret = await asyncio.to_thread(
        create_robot, robots, "ci", [parse_permission("a:pull")], now=time.time()
    )
    token = await token_for(client, "bob", "repository:a:pull")
    refresh = await ask_token(client, headers=basic("bob"), offline_token="true")
    robot = basic("ci", secret)
    answer = await ask_token(client, "repository:a:pull", headers=robot)
    robot_token = bearer(answer.json["token"])

    async def statuses() -> list[int]:
        found = [
            (await client.send("GET", "/v2/a/manifests/1", headers=headers)).status
            for headers in (basic("bob"), token, robot, robot_token)
        ]
        form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.json["refresh_token"]),
        ]
        return [*found, (await post_form(client, form)).status]

    assert await statuses() == [404, 404, 404, 404, 200]
    await asyncio.to_thread(users_file, users, "ada")
    await asyncio.to_thread(revoke_robot, robots, "ci")
    assert await statuses() == [401] * 5


async def test_22_a_group_that_someone_left(start: StartRegistry, users: Path) -> None:
    """The token still says what it granted; the rules no longer do."""

    def settings(*members: str) -> AccessSettings:
        groups = (GroupSettings("team", members),)
        rules = (rule("a", "pull", groups=("team",)),)
        return AccessSettings(users, rules=rules, groups=groups)

    workers = Workers()
    root = users.parent / "root"
    places = Places(root, settings("bob"))
    snapshot = await asyncio.to_thread(take_snapshot, places, now=time.time())
    control = AccessControl(snapshot, workers, Patience())
    caller = FakeCaller(basic("bob")["Authorization"])
    assert (await control.authorize(caller, Access("pull", "a"))).rule == "rules[0]"
    await control.reload(settings("ada"))
    assert not await control.permits(caller, Access("pull", "a"))
    await asyncio.to_thread(workers.close)


@pytest.mark.parametrize("password", ["Harbor12345", "admin", "admin123", "password"])
def test_24_a_default_password_of_an_administrator(tmp_path: Path, password: str) -> None:
    """CVE-2026-4404: such a registry does not start."""
    users = tmp_path / "htpasswd"
    users.write_bytes(b"admin:" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)))
    places = Places(tmp_path / "root", AccessSettings(users))
    with pytest.raises(RegistryConfigError, match="well-known") as caught:
        take_snapshot(places, now=NOW)
    assert "passwd admin" in str(caught.value.fix)
    users.write_bytes(b"admin:" + bcrypt.hashpw(b"long and own", bcrypt.gensalt(4)))
    assert take_snapshot(places, now=NOW).required
    checked = json.loads(places.checked_passwords.read_bytes())
    assert len(checked) == 1, "remembered, so that the next start is quick"


async def test_24_an_empty_password_lets_nobody_in(start: StartRegistry, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_bytes(b"ada:" + bcrypt.hashpw(b"", bcrypt.gensalt(4)))
    client = await start(access=AccessSettings(users))
    assert (await client.send("GET", "/v2/", headers=basic("ada", ""))).status == 401
    rules = (rule("**", "admin", users=("ada",)),)
    places = Places(tmp_path / "root", AccessSettings(users, rules=rules))
    with pytest.raises(RegistryConfigError, match="empty"):
        await asyncio.to_thread(take_snapshot, places, now=NOW)
