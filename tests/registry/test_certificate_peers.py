"""Real clients with certificates of their own: curl, skopeo, podman and docker."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.registry.service_kit import Service
from tests.registry.test_access_peers import fails
from tests.registry.test_client_certificates import ELSEWHERE, config, serving
from tests.registry.test_peers import dockerd, layout, run
from tests.registry.tls_kit import Authority, Pair

__all__ = ["layout"]

pytestmark = pytest.mark.peer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def registry(authority: Authority, tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path, config(authority)) as running:
        yield running


@pytest.fixture
def builder(authority: Authority) -> Pair:
    return authority.issue("host7", units=["builders"])


def test_curl(registry: Service, authority: Authority, builder: Pair) -> None:
    curl = (require_program("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}")
    trusting = (*curl, "--cacert", authority.file)
    address = f"https://localhost:{registry.port}/v2/apps/a/tags/list"
    shown = ("--cert", builder.cert_file, "--key", builder.key_file)
    assert run(*trusting, *shown, address) == "404"
    assert run(*trusting, address) == "401"
    for version in ("--tls-max", "1.2"), ("--tlsv1.3",):
        assert run(*trusting, *shown, *version, address) == "404"


def test_skopeo_pushes_and_pulls(
    registry: Service, authority: Authority, builder: Pair, layout: Path, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    there = f"docker://localhost:{registry.port}/apps/a:1"
    run(skopeo, "copy", "--dest-cert-dir", builder.folder, f"oci:{layout}:t", there)
    run(skopeo, "copy", "--src-cert-dir", builder.folder, there, f"dir:{tmp_path / 'copy'}")
    other = authority.issue("host9")
    said = fails(skopeo, "copy", "--src-cert-dir", other.folder, there, f"dir:{tmp_path / 'x'}")
    assert "denied" in said
    only_trusting = tmp_path / "trusting"
    only_trusting.mkdir()
    shutil.copy(authority.file, only_trusting / "ca.crt")
    said = fails(skopeo, "inspect", "--no-creds", "--cert-dir", only_trusting, there)
    assert "uthorized" in said


@pytest.mark.root
@pytest.mark.slow
def test_docker_pushes_and_pulls(
    authority: Authority,
    builder: Pair,
    layout: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    ip = require_program("ip")
    run(ip, "address", "replace", f"{ELSEWHERE}/32", "dev", "lo")
    request.addfinalizer(partial(run, ip, "address", "del", f"{ELSEWHERE}/32", "dev", "lo"))
    text = 'host = "0.0.0.0"\n' + config(authority)
    with serving(tmp_path, text) as registry:
        _push_and_pull(f"{ELSEWHERE}:{registry.port}", builder, layout, tmp_path, request)


def _push_and_pull(
    host: str, builder: Pair, layout: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    skopeo, docker = require_program("skopeo"), require_program("docker")
    known = Path("/etc/docker/certs.d") / host
    known.mkdir(parents=True)
    request.addfinalizer(partial(shutil.rmtree, known, ignore_errors=True))
    for file in builder.folder.iterdir():
        shutil.copy(file, known / file.name)
    name, foreign = f"{host}/apps/a:1", f"{host}/own/a:1"
    archive = tmp_path / "image.tar"
    run(skopeo, "copy", f"oci:{layout}:t", f"docker-archive:{archive}:{name}")
    folder = tmp_path / "d"
    folder.mkdir()
    nobody = {"DOCKER_CONFIG": str(tmp_path / "config")}
    with dockerd(folder) as address:
        client = (docker, "-H", address)
        run(*client, "load", "-i", archive)
        run(*client, "push", name, **nobody)
        run(*client, "rmi", name)
        run(*client, "pull", name, **nobody)
        run(*client, "tag", name, foreign)
        assert "denied" in fails(*client, "push", foreign, **nobody)
