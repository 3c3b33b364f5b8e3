"""Users of an htpasswd file, anonymous pulls, and what a stranger sees."""

from __future__ import annotations

import base64
from pathlib import Path

import bcrypt
import pytest

from registry.access.passwords import load_htpasswd, parse_basic
from registry.access.settings import Challenge
from registry.config import AccessSettings, RegistryConfig
from registry.errors import RegistryConfigError
from tests.registry.conftest import StartRegistry
from tests.registry.kit import digest_of

REALM = 'Basic realm="lading registry"'


def basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    hashes = {user: bcrypt.hashpw(user.encode() * 2, bcrypt.gensalt(4)) for user in ("ada", "bob")}
    lines = [b"# people", b"", *(user.encode() + b":" + h for user, h in hashes.items())]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


async def test_everything_needs_a_user(start: StartRegistry, htpasswd: Path) -> None:
    client = await start(access=AccessSettings(htpasswd, challenge=Challenge.BASIC))
    for method, path in [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/a/manifests/1"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("DELETE", "/v2/a/manifests/1"),
    ]:
        answer = await client.send(method, path)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"] == REALM
        assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    "headers",
    [
        basic("ada", "wrong"),
        basic("ada", ""),
        basic("ada", "adaada\0"),
        basic("nobody", "adaada"),
        basic("", ""),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic é"},
        {"Authorization": "Basic " + base64.b64encode(b"ada").decode()},
        {"Authorization": "Bearer abc"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:x").decode()},
    ],
)
async def test_wrong_credentials(
    start: StartRegistry, htpasswd: Path, headers: dict[str, str]
) -> None:
    client = await start(access=AccessSettings(htpasswd))
    answer = await client.send("GET", "/v2/", headers=headers)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


async def test_users_push_and_pull(start: StartRegistry, htpasswd: Path) -> None:
    client = await start(access=AccessSettings(htpasswd))
    client.headers.update(basic("ada", "adaada"))
    image = await client.push_image("a", "1")
    client.headers.update(basic("bob", "bobbob"))
    assert (await client.send("GET", "/v2/a/manifests/1")).body == image


async def test_anonymous_pull(start: StartRegistry, htpasswd: Path) -> None:
    client = await start(access=AccessSettings(htpasswd, anonymous_pull=True))
    image = await client.send("GET", "/v2/")
    assert image.status == 401, "clients decide at /v2/ whether to send credentials"
    client.headers.update(basic("ada", "adaada"))
    raw = await client.push_image("a", "1")
    client.headers.clear()
    assert (await client.send("GET", "/v2/a/manifests/1")).body == raw
    assert (await client.send("GET", f"/v2/a/blobs/{digest_of(b'{}')}")).status == 200
    assert (await client.send("GET", "/v2/a/tags/list")).status == 200
    for method, path in [
        ("PUT", "/v2/a/manifests/1"),
        ("POST", "/v2/a/blobs/uploads/"),
        ("DELETE", "/v2/a/manifests/1"),
        ("GET", "/v2/_catalog"),
    ]:
        assert (await client.send(method, path)).status == 401
    empty = await client.send("GET", "/v2/a/manifests/1", headers=basic("", ""))
    assert empty.status == 200, "skopeo without credentials answers a challenge with none"
    wrong = await client.send("GET", "/v2/a/manifests/1", headers=basic("ada", "no"))
    assert wrong.status == 401, "bad credentials are not anonymous"


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        (basic("a", "b:c")["Authorization"], ("a", b"b:c")),
        ("basic " + base64.b64encode(b"a:b").decode(), ("a", b"b")),
        ("Digest x", None),
        ("", None),
    ],
)
def test_parse_basic(header: str, parsed: tuple[str, bytes] | None) -> None:
    assert parse_basic(header) == parsed


@pytest.mark.parametrize(
    "text", ["", "\n", "ada\n", "ada:{SHA}x\n", "ada:$apr1$x$y\n", ":$2y$05$x\n"]
)
def test_unusable_htpasswd(tmp_path: Path, text: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(text)
    with pytest.raises(RegistryConfigError) as caught:
        load_htpasswd(path)
    assert str(path) in str(caught.value.where)
    assert "htpasswd" in str(caught.value.fix)


def test_a_directory_is_no_htpasswd(tmp_path: Path) -> None:
    with pytest.raises(RegistryConfigError):
        load_htpasswd(tmp_path)
    with pytest.raises(RegistryConfigError):
        RegistryConfig(root=tmp_path, access=AccessSettings(tmp_path / "none"))
