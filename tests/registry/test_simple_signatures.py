"""The signature extension: kept as they come, with their manifest, and read by podman's library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry.config import RegistryConfig
from registry.simple_signatures import MOST
from tests.registry.kit import MISSING, Client, digest_of
from tests.registry.running import Running


def signature(digest: str, suffix: str = "a" * 32, **changes: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "name": f"{digest}@{suffix}",
        "type": "atomic",
        "content": base64.b64encode(b"openpgp").decode(),
        **changes,
    }
    return json.dumps(document).encode()


def place(repository: str, digest: str) -> str:
    return f"/extensions/v2/{repository}/signatures/{digest}"


async def test_signatures_are_kept_in_order(client: Client) -> None:
    assert (await client.send("GET", "/v2/")).headers["X-Registry-Supports-Signatures"] == "1"
    digest = digest_of(await client.push_image("team/web", "1"))
    assert (await client.send("GET", place("team/web", digest))).json == {"signatures": []}
    for suffix in ("b", "a", "a"):
        put = await client.send("PUT", place("team/web", digest), data=signature(digest, suffix))
        assert put.status == 201
    found = (await client.send("GET", place("team/web", digest))).json["signatures"]
    assert found == [json.loads(signature(digest, suffix)) for suffix in ("a", "b")]


async def test_they_go_with_their_manifest(client: Client) -> None:
    digest = digest_of(await client.push_image("team/web", "1"))
    await client.send("PUT", place("team/web", digest), data=signature(digest))
    await client.send("DELETE", f"/v2/team/web/manifests/{digest}")
    assert (await client.send("GET", place("team/web", digest))).json == {"signatures": []}
    await client.push_image("team/web", "1")
    assert (await client.send("GET", place("team/web", digest))).json == {"signatures": []}


async def test_another_repository_has_its_own(client: Client) -> None:
    digest = digest_of(await client.push_image("one", "1"))
    await client.push_image("two", "1")
    await client.send("PUT", place("one", digest), data=signature(digest))
    assert (await client.send("GET", place("two", digest))).json == {"signatures": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"type": "other"},
        {"content": "*"},
        {"content": None},
        {"name": MISSING + "@a"},
        {"name": "a"},
    ],
)
async def test_nonsense_is_refused(client: Client, changes: dict[str, Any]) -> None:
    digest = digest_of(await client.push_image("web", "1"))
    put = await client.send("PUT", place("web", digest), data=signature(digest, **changes))
    assert (put.status, put.code) == (400, "MANIFEST_INVALID")


async def test_bounds(client: Client) -> None:
    digest = digest_of(await client.push_image("web", "1"))
    huge = signature(digest, content="A" * (200 << 10))
    assert (await client.send("PUT", place("web", digest), data=huge)).status == 413
    for number in range(MOST):
        put = await client.send("PUT", place("web", digest), data=signature(digest, str(number)))
        assert put.status == 201
    assert (await client.send("PUT", place("web", digest), data=signature(digest))).status == 403
    other = signature(digest, "0", content="AAAA")
    assert (await client.send("PUT", place("web", digest), data=other)).status == 409


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (place("web", MISSING), 404),
        (place("web", "sha256:x"), 400),
        (place("We b", MISSING), 400),
        (place("a%2Fb", MISSING), 400),
        ("/extensions/v2/web/other", 404),
    ],
)
async def test_what_is_not_there(client: Client, path: str, status: int) -> None:
    await client.push_image("web", "1")
    assert (await client.send("PUT", path, data=signature(MISSING))).status == status


@pytest.mark.peer
def test_skopeo_signs_and_verifies_without_a_lookaside(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    skopeo, gpg = shutil.which("skopeo"), shutil.which("gpg")
    if skopeo is None or gpg is None:
        pytest.skip("skopeo or gpg is not installed")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    environ = {**os.environ, "GNUPGHOME": str(home), "HOME": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, env=environ, capture_output=True, text=True, check=False)

    batch = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "")
    made = run(gpg, *batch, "--quick-gen-key", "ann@example.com", "rsa2048", "sign")
    assert made.returncode == 0, made.stderr
    (tmp_path / "ann.gpg").write_text(run(gpg, "--armor", "--export", "ann@example.com").stdout)
    # The key is in memory of an agent that nobody else would end.
    request.addfinalizer(lambda: run("gpgconf", "--kill", "all"))
    layout = tmp_path / "layout"
    _image_layout(layout)
    with Running(RegistryConfig(root=tmp_path / "registry", port=0)) as address:
        name = f"127.0.0.1:{address.port}/team/web:1"
        plain = ("--dest-tls-verify=false", "--insecure-policy")
        pushed = run(
            skopeo,
            "copy",
            *plain,
            "--sign-by",
            "ann@example.com",
            f"oci:{layout}:1",
            f"docker://{name}",
        )
        assert pushed.returncode == 0, pushed.stderr
        requirement = {
            "type": "signedBy",
            "keyType": "GPGKeys",
            "keyPath": str(tmp_path / "ann.gpg"),
        }
        policy = tmp_path / "policy.json"
        policy.write_text(json.dumps({"default": [requirement]}))
        checked = ("--policy", str(policy), "copy", "--src-tls-verify=false")
        pulled = run(skopeo, *checked, f"docker://{name}", f"dir:{tmp_path / 'pulled'}")
        assert pulled.returncode == 0, pulled.stderr
        environ |= {"LADING_ROOT": str(tmp_path / "root"), "LADING_RUNTIME_DIR": str(tmp_path)}
        lading = (sys.executable, "-m", "lading.main", "pull", "--policy", str(policy))
        ours = run(*lading, name)
        assert ours.returncode == 0, ours.stderr
        moved = name.replace("web:1", "web:2")
        assert run(skopeo, "copy", *plain, f"oci:{layout}:1", f"docker://{moved}").returncode == 0
        refused = run(skopeo, *checked, f"docker://{moved}", f"dir:{tmp_path / 'refused'}")
        assert refused.returncode != 0
        assert "identity" in refused.stderr or "signature" in refused.stderr
        assert "signed as" in run(*lading, moved).stderr


def _image_layout(folder: Path) -> None:
    """An OCI layout of one image without layers, tagged 1."""
    from images.digest import Digest
    from images.mediatype import OCI_CONFIG, OCI_MANIFEST

    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, Any]:
        digest = Digest.of(data)
        (blobs / digest.hex).write_bytes(data)
        return {"digest": str(digest), "size": len(data)}

    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, **put(json.dumps(config).encode())},
        "layers": [],
    }
    entry = {
        "mediaType": OCI_MANIFEST,
        **put(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
