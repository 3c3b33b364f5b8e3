"""Real parties on both sides: Debian's docker-registry and ours behind, real clients before."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from registry.access.settings import AccessSettings
from registry.config import RegistryConfig
from registry.proxy.settings import ProxyRule
from tests.conftest import require_program
from tests.images.test_client_peers import distribution
from tests.registry.access_kit import rule, users_file
from tests.registry.running import Running
from tests.registry.test_peers import dockerd, layout, run

__all__ = ["layout"]

pytestmark = pytest.mark.peer

PLAIN = "--tls-verify=false"


@pytest.fixture(params=["distribution", "lading"])
def private(request: pytest.FixtureRequest, tmp_path: Path, layout: Path) -> Iterator[str]:
    """A registry with the image team/app:1, which only ada may pull: by password, or by token."""
    skopeo = require_program("skopeo")
    if request.param == "distribution":
        behind = distribution(tmp_path / "behind", user="ada")
        secret = "s3cret"
    else:
        users = users_file(tmp_path / "users", "ada")
        access = AccessSettings(users, rules=(rule("**", "*", users=("ada",)),))
        behind = _ours(RegistryConfig(root=tmp_path / "behind", port=0, access=access))
        secret = "adaada"
    (tmp_path / "password").write_text(secret + "\n")
    with behind as host:
        source, there = f"oci:{layout}:t", f"docker://{host}/team/app:1"
        login = ("--dest-creds", f"ada:{secret}", "--dest-tls-verify=false")
        run(skopeo, "copy", "--format", "v2s2", *login, source, there)
        yield host


@contextmanager
def _ours(config: RegistryConfig) -> Iterator[str]:
    with Running(config) as bound:
        yield f"127.0.0.1:{bound.port}"


@pytest.fixture
def front(private: str, tmp_path: Path) -> Iterator[str]:
    """A registry that caches the private one below hub/, and that everybody may pull from."""
    cached = ProxyRule(
        upstream=private,
        prefix="hub/",
        username="ada",
        password_file=tmp_path / "password",
    )
    config = RegistryConfig(root=tmp_path / "front", port=0, proxy=(cached,))
    with Running(config) as bound:
        yield f"localhost:{bound.port}"


def test_skopeo_and_podman_pull_through(
    front: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    skopeo, podman = require_program("skopeo"), require_program("podman")
    there = f"docker://{front}/hub/team/app:1"
    run(skopeo, "copy", "--src-tls-verify=false", there, f"dir:{tmp_path}/out")
    details = json.loads(run(skopeo, "inspect", PLAIN, there))
    assert details["RepoTags"] == ["1"]
    run_root = tempfile.mkdtemp(prefix="podman-")
    request.addfinalizer(partial(shutil.rmtree, run_root, ignore_errors=True))
    command: list[str | Path] = [podman, "--root", tmp_path / "storage", "--runroot", run_root]
    command += ["--storage-driver", "vfs"]
    assert run(*command, "pull", "-q", PLAIN, f"{front}/hub/team/app:1").strip()


@pytest.mark.root
@pytest.mark.slow
def test_docker_pulls_through(front: str, tmp_path: Path) -> None:
    docker = require_program("docker")
    name = f"{front.replace('localhost', '127.0.0.1')}/hub/team/app:1"
    folder = tmp_path / "d"
    folder.mkdir()
    with dockerd(folder) as address:
        run(docker, "-H", address, "pull", name)
        assert run(docker, "-H", address, "images", "-q").strip()
