"""Our trust verbs against Docker's own Notary server, which knows nothing of us.

Images lie in a registry of ours; their trust data in notary-server, in memory, with its keys of its
own (Ed25519) and its own rules about what may be published.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection

import pytest

from registry.config import RegistryConfig
from tests.conftest import require_program
from tests.lading.conftest import Lading, ok
from tests.ports import free_port
from tests.registry.running import Running, certificate

pytestmark = pytest.mark.peer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a notary-server."""
    folder = tmp_path / "notary"
    folder.mkdir()
    cert, key = certificate(folder)
    port = free_port()
    settings = {
        "server": {
            "http_addr": f"127.0.0.1:{port}",
            "tls_key_file": str(key),
            "tls_cert_file": str(cert),
        },
        "trust_service": {"type": "local"},
        "storage": {"backend": "memory"},
        "repositories": {"gun_prefixes": []},
    }
    (folder / "server.json").write_text(json.dumps(settings))
    command = [require_program("notary-server"), "-config", str(folder / "server.json")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield f"https://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def name(
    tmp_path: Path, server: str, lading: Lading, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An image that was pushed and signed with content trust on."""
    monkeypatch.setenv("LADING_PASSPHRASE", "correct horse")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST", "1")
    monkeypatch.setenv("DOCKER_CONTENT_TRUST_SERVER", server)
    with Running(RegistryConfig(root=tmp_path / "served", port=0, workers=1)) as bound:
        image = f"{bound.authority}/lib/app:v1"
        ok(lading("import", rootfs, image))
        ok(lading("push", image))
        yield image


def seen(lading: Lading, image: str) -> dict[str, object]:
    (found,) = json.loads(ok(lading("trust", "inspect", image)))
    return dict(found)


def fresh_client(lading: Lading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows is done by somebody who never saw the repository."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "another"))
    monkeypatch.setenv("LADING_ROOT", str(tmp_path / "another-root"))


def test_signed_there_and_pulled_by_a_stranger(name, lading, tmp_path, monkeypatch):
    assert [row["SignedTag"] for row in seen(lading, name)["SignedTags"]] == ["v1"]
    fresh_client(lading, tmp_path, monkeypatch)
    ok(lading("pull", name))
    status, _, err = lading("pull", name.replace(":v1", ":v2"))
    assert (status, "v2" in err) == (1, True)


@pytest.mark.parametrize(
    "rotation",
    [
        ("targets",),
        ("snapshot", "--server"),
        ("snapshot",),
        ("timestamp", "--server"),
        ("root",),
    ],
    ids=" ".join,
)
def test_each_role_gets_a_new_key(name, lading, tmp_path, monkeypatch, rotation):
    repository = name.rpartition(":")[0]
    role, *more = rotation
    ok(lading("pull", name))
    ok(lading("trust", "key", "rotate", repository, "--role", role, *more))
    ok(lading("pull", name))
    ok(lading("trust", "sign", "--format", "notary", name))
    fresh_client(lading, tmp_path, monkeypatch)
    ok(lading("pull", name))


def test_a_signer_comes_and_goes(name, lading, tmp_path):
    repository = name.rpartition(":")[0]
    ok(lading("trust", "key", "generate", "alice", "--dir", tmp_path))
    ok(lading("trust", "signer", "add", "--key", tmp_path / "alice.pub", "alice", repository))
    ok(lading("trust", "sign", "--format", "notary", name))
    found = seen(lading, name)
    assert found["SignedTags"][0]["Signers"] == ["alice"]
    assert [signer["Name"] for signer in found["Signers"]] == ["alice"]
    ok(lading("trust", "signer", "remove", "--force", "alice", repository))
    assert seen(lading, name)["Signers"] == []


def test_a_delegation_of_our_own_making(name, lading, tmp_path):
    repository = name.rpartition(":")[0]
    ok(lading("trust", "key", "generate", "qa", "--dir", tmp_path))
    delegation = ("trust", "delegation")
    ok(lading(*delegation, "add", repository, "qa", "--key", tmp_path / "qa.pub", "--path", "rc-"))
    rows = ok(lading(*delegation, "list", "--format", "json", repository)).splitlines()
    assert [json.loads(row)["Role"] for row in rows] == ["targets/qa"]
    ok(lading(*delegation, "remove", repository, "qa"))
    assert ok(lading(*delegation, "list", "--format", "json", repository)) == ""


def test_what_was_revoked_is_not_pulled(name, lading):
    ok(lading("pull", name))
    ok(lading("trust", "revoke", "--yes", name))
    status, _, err = lading("pull", name)
    assert (status, "v1" in err) == (1, True)
