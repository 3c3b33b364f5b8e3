"""Real clients in front of a gate: they show why, sign with a login, and pull what is signed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from engine import trusting
from images.client import ClientOptions, RegistryClient
from images.credentials import Credentials, CredentialStore
from images.reference import Reference
from registry.config import AccessSettings, RegistryConfig
from registry.gate.settings import GateRule
from tests.conftest import require_program
from tests.ports import free_port
from tests.registry.access_kit import users_file
from tests.registry.gate.gatekit import new_key
from tests.registry.running import Running
from tests.registry.test_peers import dockerd, layout, run
from trust.keys import PrivateKey

pytestmark = pytest.mark.peer
__all__ = ["layout"]

WHY = "the gate of prod/** does not serve this"


@pytest.fixture
def key() -> PrivateKey:
    return new_key()


@pytest.fixture
def name(tmp_path: Path, layout: Path, key: PrivateKey) -> Iterator[str]:
    """An unsigned image in a gated repository; ada may push, everybody may pull."""
    port = free_port()
    path = tmp_path / "policy.toml"
    (tmp_path / "release.pub").write_bytes(key.public.pem)
    path.write_text(
        f'default = "reject"\n[[rule]]\nname = "ours"\nscopes = ["127.0.0.1:{port}"]\n'
        'require = "signed"\nkeys = ["release.pub"]\n'
    )
    rule = GateRule(repositories="prod/**", policy=path, name=f"127.0.0.1:{port}")
    access = AccessSettings(htpasswd=users_file(tmp_path / "users", "ada"), anonymous_pull=True)
    config = RegistryConfig(root=tmp_path / "registry", port=port, access=access, gate=(rule,))
    with Running(config):
        made = f"127.0.0.1:{port}/prod/web:1"
        skopeo = require_program("skopeo")
        login = ["--dest-tls-verify=false", "--dest-creds", "ada:adaada"]
        run(skopeo, "copy", *login, f"oci:{layout}:t", f"docker://{made}")
        yield made


def sign(name: str, key: PrivateKey, folder: Path) -> None:
    """Sign as ada."""
    store = CredentialStore(folder / "config.json")
    store.store(name.partition("/")[0], Credentials("ada", "adaada"))

    async def signed() -> None:
        async with RegistryClient(credentials=store, options=ClientOptions()) as client:
            await trusting.sign(client, Reference.parse(name), key)

    asyncio.run(signed())


def test_skopeo_shows_why_and_pulls_what_is_signed(
    name: str, key: PrivateKey, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    command = [skopeo, "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/out"]
    with pytest.raises(AssertionError, match="denied") as refused:
        run(*command)
    assert WHY in str(refused.value)
    sign(name, key, tmp_path)
    run(*command)


def test_podman_shows_why_and_pulls_what_is_signed(
    name: str, key: PrivateKey, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run_root = tempfile.mkdtemp(prefix="podman-")  # podman refuses more than 50 characters
    request.addfinalizer(partial(shutil.rmtree, run_root, ignore_errors=True))
    podman = [require_program("podman"), "--root", tmp_path / "storage", "--runroot", run_root]
    pull = [*podman, "--storage-driver", "vfs", "pull", "--tls-verify=false", name]
    with pytest.raises(AssertionError, match="denied") as refused:
        run(*pull)
    assert WHY in str(refused.value)
    sign(name, key, tmp_path)
    run(*pull)


@pytest.mark.root
@pytest.mark.slow
def test_docker_shows_why_and_pulls_what_is_signed(
    name: str, key: PrivateKey, tmp_path: Path
) -> None:
    docker = require_program("docker")
    folder = tmp_path / "d"
    folder.mkdir()
    with dockerd(folder) as address:
        with pytest.raises(AssertionError, match="denied") as refused:
            run(docker, "-H", address, "pull", name)
        assert WHY in str(refused.value)
        sign(name, key, tmp_path)
        run(docker, "-H", address, "pull", name)
