"""The token server as clients see it: challenges, grants, refresh tokens, keys, rotation."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from registry.access.jwt import Expected, decode_bytes, decode_token
from registry.access.keys import load_ring, rotate
from registry.access.settings import Algorithm, Challenge, TokenSettings
from registry.config import AccessSettings
from tests.registry.access_kit import (
    ask_token,
    basic,
    bearer,
    post_form,
    rule,
    token_for,
    users_file,
)
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return users_file(tmp_path / "htpasswd", "ada", "bob")


@pytest.fixture
async def guarded(start: StartRegistry, users: Path) -> Client:
    return await start(access=AccessSettings(users))


async def test_the_challenge_names_our_token_server(guarded: Client) -> None:
    host = re.escape(guarded.base)
    for method, path, scope in [
        ("GET", "/v2/", None),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
        ("GET", "/v2/a/b/manifests/1", "repository:a/b:pull"),
        ("POST", "/v2/a/b/blobs/uploads/", "repository:a/b:pull,push"),
        ("DELETE", "/v2/a/b/manifests/1", "repository:a/b:delete"),
    ]:
        answer = await guarded.send(method, path)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
        expected = f'Bearer realm="{host}/auth/token",service="lading"'
        expected += "" if scope is None else f',scope="{re.escape(scope)}"'
        assert re.fullmatch(expected, answer.headers["WWW-Authenticate"])


async def test_a_token_is_for_what_was_asked(guarded: Client) -> None:
    answer = await ask_token(guarded, "repository:a/b:pull,push", headers=basic("ada"))
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["token"] == answer.json["access_token"]
    assert answer.json["expires_in"] >= 60
    assert time.strptime(answer.json["issued_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert "refresh_token" not in answer.json
    headers = bearer(answer.json["token"])
    guarded.headers.update(headers)
    await guarded.push_image("a/b", "1")
    assert (await guarded.send("GET", "/v2/")).status == 200
    for method, path in [
        ("GET", "/v2/a/manifests/1"),
        ("GET", "/v2/a/b/c/manifests/1"),
        ("DELETE", "/v2/a/b/manifests/1"),
        ("GET", "/v2/_catalog"),
    ]:
        refused = await guarded.send(method, path)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


async def test_a_wildcard_is_all_that_one_may(start: StartRegistry, users: Path) -> None:
    rules = (rule("a/**", "pull,delete", users=("ada",)),)
    client = await start(access=AccessSettings(users, rules=rules))
    answer = await post_form(
        client,
        [
            ("grant_type", "password"),
            ("service", "lading"),
            ("client_id", "test"),
            ("username", "ada"),
            ("password", "adaada"),
            ("scope", "repository:a/b:* repository:c:* repository:a/c:push registry:catalog:*"),
        ],
    )
    assert answer.status == 200
    assert answer.json["scope"] == "repository:a/b:delete,pull registry:catalog:*"
    assert "refresh_token" not in answer.json


async def test_a_refresh_token_stands_for_the_login(guarded: Client, users: Path) -> None:
    first = await ask_token(guarded, headers=basic("ada"), offline_token="true", client_id="docker")
    refresh = first.json["refresh_token"]

    async def again() -> int:
        answer = await post_form(
            guarded,
            [
                ("grant_type", "refresh_token"),
                ("service", "lading"),
                ("refresh_token", refresh),
                ("scope", "repository:a:pull"),
            ],
        )
        if answer.status == 200:
            assert answer.json["refresh_token"] == refresh
            assert answer.json["scope"] == "repository:a:pull"
        return answer.status

    assert await again() == 200
    await asyncio.to_thread(users_file, users, "ada", "bob")
    assert await again() == 401, "a new password ends what the old one was good for"


async def test_offline_access_by_password(guarded: Client) -> None:
    form = [("grant_type", "password"), ("username", "ada"), ("access_type", "offline")]
    wrong = await post_form(guarded, [*form, ("password", "no")])
    assert (wrong.status, wrong.code) == (401, "UNAUTHORIZED")
    right = await post_form(guarded, [*form, ("password", "adaada")])
    assert right.json["refresh_token"].startswith("lading_refresh_")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 400),
        ([("grant_type", "client_credentials")], 400),
        ([("grant_type", "password"), ("username", "ada")], 400),
        ([("grant_type", "refresh_token")], 401),
        ([("grant_type", "refresh_token"), ("refresh_token", "x")], 401),
        ([("grant_type", "password"), ("service", "elsewhere")], 400),
    ],
)
async def test_bad_forms(guarded: Client, fields: list[tuple[str, str]], status: int) -> None:
    assert (await post_form(guarded, fields)).status == status


async def test_bad_questions(guarded: Client) -> None:
    wrong = await ask_token(guarded, headers=basic("ada", "no"))
    assert wrong.status == 401
    assert wrong.headers["WWW-Authenticate"].startswith("Basic ")
    assert (await ask_token(guarded, headers=bearer("x"))).status == 401
    assert (await guarded.send("GET", "/auth/token?service=elsewhere")).status == 400
    many = await ask_token(guarded, *(f"repository:r{n}:pull" for n in range(100)))
    assert many.status == 400
    odd = await ask_token(guarded, "nonsense", "a::", ":::", "repository:../x:pull")
    assert odd.status == 200, "what is no scope is dropped"
    big = await guarded.send("POST", "/auth/token", data=b"x" * 100_000)
    assert big.status == 413


async def test_anonymous_tokens(start: StartRegistry, users: Path) -> None:
    client = await start(access=AccessSettings(users, anonymous_pull=True))
    client.headers.update(basic("ada"))
    raw = await client.push_image("a", "1")
    client.headers.clear()
    headers = await token_for(client, "", "repository:a:pull,push", "registry:catalog:*")
    assert (await client.send("GET", "/v2/", headers=headers)).status == 200
    assert (await client.send("GET", "/v2/a/manifests/1", headers=headers)).body == raw
    push = await client.send("POST", "/v2/a/blobs/uploads/", headers=headers)
    assert push.status == 401
    assert (await client.send("GET", "/v2/_catalog", headers=headers)).status == 401
    empty = await ask_token(client, headers=basic("", ""))
    assert empty.status == 200, "skopeo without credentials shows none"


async def test_a_registry_without_users_makes_no_tokens(client: Client) -> None:
    assert (await ask_token(client, "repository:a:pull")).status == 404
    assert (await client.send("GET", "/auth/keys")).json == {"keys": []}


async def test_public_keys(guarded: Client) -> None:
    answer = await guarded.send("GET", "/auth/keys")
    (key,) = answer.json["keys"]
    assert answer.headers["Content-Type"] == "application/jwk-set+json"
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}, "no private member"
    x, y = (int.from_bytes(decode_bytes(key[name]), "big") for name in "xy")
    assert ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_every_algorithm(start: StartRegistry, users: Path, algorithm: Algorithm) -> None:
    tokens = TokenSettings(algorithm=algorithm)
    client = await start(access=AccessSettings(users, tokens=tokens))
    headers = await token_for(client, "ada", "repository:a:pull")
    assert (await client.send("GET", "/v2/a/manifests/1", headers=headers)).status == 404
    (key,) = (await client.send("GET", "/auth/keys")).json["keys"]
    assert key["alg"] == algorithm.value


async def test_tokens_outlive_a_rotation_but_not_their_key(
    start: StartRegistry, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.access.control._LOOK_SECONDS", 0.0)
    client = await start(access=AccessSettings(users))
    folder = tmp_path / "registry" / "access" / "keys"
    old = await token_for(client, "ada", "repository:a:pull")
    (first,) = await asyncio.to_thread(lambda: list(folder.glob("*.pem")))
    assert first.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    await asyncio.to_thread(rotate, folder, TokenSettings(), now=time.time())
    new = await token_for(client, "ada", "repository:a:pull")
    for headers in (old, new):
        assert (await client.send("GET", "/v2/a/manifests/1", headers=headers)).status == 404
    assert len((await client.send("GET", "/auth/keys")).json["keys"]) == 2
    await asyncio.to_thread(first.unlink)
    assert (await client.send("GET", "/v2/a/manifests/1", headers=old)).status == 401
    assert (await client.send("GET", "/v2/a/manifests/1", headers=new)).status == 404


def test_a_key_is_replaced_when_it_is_due_and_removed_when_it_is_over(tmp_path: Path) -> None:
    settings = TokenSettings(key_lifetime=1000.0)
    first = load_ring(tmp_path, settings, now=10_000.0).signer
    assert load_ring(tmp_path, settings, now=10_999.0).signer.kid == first.kid
    both = load_ring(tmp_path, settings, now=11_000.0)
    assert both.signer.kid != first.kid
    assert first.kid in both.keys, "its last token is still good"
    later = load_ring(tmp_path, settings, now=12_000.0)
    assert first.kid not in later.keys
    assert len(list(tmp_path.glob("*.pem"))) == 2


async def test_a_second_process_takes_the_first_ones_tokens(
    start: StartRegistry, users: Path
) -> None:
    one = await start(access=AccessSettings(users))
    two = await start(access=AccessSettings(users))
    headers = await token_for(one, "ada", "repository:a:pull")
    assert (await two.send("GET", "/v2/a/manifests/1", headers=headers)).status == 404
    offline = await ask_token(one, headers=basic("ada"), offline_token="true")
    form = [("grant_type", "refresh_token"), ("refresh_token", offline.json["refresh_token"])]
    assert (await post_form(two, form)).status == 200


async def test_a_configured_key_signs(start: StartRegistry, users: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    ring = await asyncio.to_thread(load_ring, folder, TokenSettings(), now=0.0)
    (path,) = folder.glob("*.pem")
    client = await start(access=AccessSettings(users, tokens=TokenSettings(key=path)))
    answer = await ask_token(client, "repository:a:pull", headers=basic("ada"))
    claims = decode_token(
        answer.json["token"], ring.keys, Expected("lading", "lading"), now=time.time()
    )
    assert claims["sub"] == "user:ada"
    assert claims["access"] == [{"type": "repository", "name": "a", "actions": ["pull"]}]


async def test_basic_is_taken_beside_tokens(guarded: Client) -> None:
    assert (await guarded.send("GET", "/v2/", headers=basic("ada"))).status == 200
    assert (await guarded.send("GET", "/v2/", headers=basic("ada", "x"))).status == 401


async def test_a_basic_challenge_where_it_is_wanted(start: StartRegistry, users: Path) -> None:
    client = await start(access=AccessSettings(users, challenge=Challenge.BASIC))
    answer = await client.send("GET", "/v2/")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="lading registry"'
    headers = await token_for(client, "ada", "repository:a:pull")
    assert (await client.send("GET", "/v2/a/manifests/1", headers=headers)).status == 404
