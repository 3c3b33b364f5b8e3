"""Real clients with tokens, unchanged: docker 28, podman, skopeo, buildah, curl and our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from registry.access.robots import create_robot, parse_permission
from registry.access.settings import AuditSettings
from registry.config import AccessSettings, RegistryConfig
from tests.conftest import require_program
from tests.registry.access_kit import rule, users_file
from tests.registry.running import Running
from tests.registry.test_peers import dockerd, layout, run

__all__ = ["layout"]

pytestmark = pytest.mark.peer

PLAIN = "--tls-verify=false"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """host:port of a registry where ada owns ada/** and everybody may pull open/**."""
    users = users_file(tmp_path / "htpasswd", "ada", "bob")
    rules = (rule("{user}/** open/**", "*", users=("*",)), rule("open/**", "pull", anonymous=True))
    audit = AuditSettings(tmp_path / "audit.log")
    access = AccessSettings(users, rules=rules, audit=audit)
    config = RegistryConfig(root=tmp_path / "registry", port=0, access=access)
    with Running(config) as bound:
        yield f"localhost:{bound.port}"


def fails(*command: str | Path, **environment: str) -> str:
    """Run what must not work; returns what it said."""
    with pytest.raises(AssertionError) as caught:
        run(*command, **environment)
    return str(caught.value)


def log_in(program: str, host: str, auth: Path, password: str, *flags: str) -> str:
    done = subprocess.run(
        [program, "login", *flags, "-u", "ada", "--password-stdin", host],
        input=password,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/sbin", "REGISTRY_AUTH_FILE": str(auth), "HOME": "/root"},
    )
    return "ok" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("name", ["skopeo", "podman", "buildah"])
def test_login(guarded: str, tmp_path: Path, name: str) -> None:
    program = require_program(name)
    auth = tmp_path / "auth.json"
    assert log_in(program, guarded, auth, "adaada", PLAIN) == "ok"
    assert guarded in json.loads(auth.read_text())["auths"]
    said = log_in(program, guarded, tmp_path / "other.json", "wrong", PLAIN)
    assert "invalid username/password" in said


def test_skopeo_by_rights(guarded: str, layout: Path, tmp_path: Path) -> None:
    skopeo = require_program("skopeo")
    ada, bob = ("--dest-creds=ada:adaada", "--dest-creds=bob:bobbob")
    to, source = f"docker://{guarded}", f"oci:{layout}:t"
    plain = ("--dest-tls-verify=false",)
    run(skopeo, "copy", *plain, ada, source, f"{to}/ada/app:1")
    assert "denied" in fails(skopeo, "copy", *plain, bob, source, f"{to}/ada/app:2")
    both = (*plain, "--src-tls-verify=false")
    # What is copied is mounted: one token has both repositories.
    copy = (skopeo, "copy", *both, "--src-creds=ada:adaada", ada)
    run(*copy, f"{to}/ada/app:1", f"{to}/open/app:1")
    run(skopeo, "inspect", PLAIN, "--no-creds", f"{to}/open/app:1")
    assert "uthorized" in fails(skopeo, "inspect", PLAIN, "--no-creds", f"{to}/ada/app:1")
    fails(skopeo, "delete", PLAIN, "--no-creds", f"{to}/open/app:1")
    run(skopeo, "delete", PLAIN, "--creds=ada:adaada", f"{to}/open/app:1")


def test_a_robot_pushes_with_buildah(guarded: str, layout: Path, tmp_path: Path) -> None:
    buildah = require_program("buildah")
    robots = tmp_path / "registry" / "access" / "robots.json"
    secret = create_robot(robots, "ci", [parse_permission("ci/**:pull,push")], now=0.0)
    storage = ("--root", tmp_path / "storage", "--runroot", tmp_path / "run")
    program = (buildah, *storage, "--storage-driver", "vfs")
    image = run(*program, "pull", "-q", f"oci:{layout}:t").strip().splitlines()[-1]
    push = (*program, "push", PLAIN, "--creds", f"ci:{secret}", image)
    run(*push, f"docker://{guarded}/ci/app:1")
    assert "denied" in fails(*push, f"docker://{guarded}/other/app:1")


def test_podman_pulls_what_it_may(
    guarded: str, layout: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program, skopeo = require_program("podman"), require_program("skopeo")
    run_root = tempfile.mkdtemp(prefix="podman-")  # podman refuses more than 50 characters
    request.addfinalizer(partial(shutil.rmtree, run_root, ignore_errors=True))
    podman = (program, "--root", tmp_path / "storage", "--runroot", run_root)
    podman = (*podman, "--storage-driver", "vfs")
    for name in ("ada/app", "open/app"):
        there = f"docker://{guarded}/{name}:1"
        run(
            skopeo,
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds=ada:adaada",
            f"oci:{layout}:t",
            there,
        )
    (tmp_path / "none.json").write_text("{}")
    nobody = {"REGISTRY_AUTH_FILE": str(tmp_path / "none.json")}
    run(*podman, "pull", PLAIN, f"{guarded}/open/app:1", **nobody)
    assert "uthorized" in fails(*podman, "pull", PLAIN, f"{guarded}/ada/app:1", **nobody)
    run(*podman, "pull", PLAIN, "--creds", "ada:adaada", f"{guarded}/ada/app:1")


def test_curl_takes_a_token_or_a_password(guarded: str) -> None:
    curl = require_program("curl")
    base = f"http://{guarded}"
    scope = f"{base}/auth/token?service=lading&scope=repository:ada/app:pull"
    token = json.loads(run(curl, "-sf", "-u", "ada:adaada", scope))["token"]
    status = (curl, "-s", "-o", "/dev/null", "-w", "%{http_code}")
    manifest = f"{base}/v2/ada/app/manifests/1"
    assert run(*status, "-H", f"Authorization: Bearer {token}", manifest) == "404"
    assert run(*status, "-u", "ada:adaada", manifest) == "404"
    assert run(*status, "-u", "bob:bobbob", manifest) == "403"
    assert run(*status, manifest) == "401"


def test_our_own_client_logs_in_and_pulls(guarded: str, layout: Path, tmp_path: Path) -> None:
    skopeo = require_program("skopeo")
    there = f"docker://{guarded}/ada/app:1"
    creds = ("--dest-tls-verify=false", "--dest-creds=ada:adaada")
    run(skopeo, "copy", *creds, f"oci:{layout}:t", there)
    lading = (sys.executable, "-m", "lading", "--root", tmp_path / "lading")
    folder = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    fails(*lading, "pull", f"{guarded}/ada/app:1", **folder)
    run(*lading, "login", "-u", "ada", "-p", "adaada", guarded, **folder)
    run(*lading, "pull", f"{guarded}/ada/app:1", **folder)


def test_docker_logs_in_without_a_daemon(guarded: str, tmp_path: Path) -> None:
    docker = require_program("docker")
    nowhere = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    login = (docker, "login", "-u", "ada", guarded)
    assert "unauthorized" in fails(*login, "-p", "wrong", **nowhere)
    assert "Login Succeeded" in run(*login, "-p", "adaada", **nowhere)
    stored = json.loads((tmp_path / "config.json").read_text())["auths"][guarded]
    assert stored["identitytoken"].startswith("lading_refresh_"), "no password is stored"
    skopeo = require_program("skopeo")
    file = ("--authfile", tmp_path / "config.json")
    assert "name unknown" in fails(skopeo, "inspect", PLAIN, *file, f"docker://{guarded}/ada/app:1")


@pytest.mark.root
@pytest.mark.slow
def test_docker_pushes_and_pulls_with_what_login_stored(
    guarded: str, layout: Path, tmp_path: Path
) -> None:
    skopeo, docker = require_program("skopeo"), require_program("docker")
    host = guarded.replace("localhost", "127.0.0.1")
    name, foreign = f"{host}/ada/app:1", f"{host}/bob/app:1"
    archive = tmp_path / "image.tar"
    run(skopeo, "copy", f"oci:{layout}:t", f"docker-archive:{archive}:{name}")
    folder = tmp_path / "d"
    folder.mkdir()
    config = {"DOCKER_CONFIG": str(tmp_path / "config")}
    with dockerd(folder) as address:
        client = (docker, "-H", address)
        run(*client, "load", "-i", archive)
        fails(*client, "push", name, **config)
        run(*client, "login", "-u", "ada", "-p", "adaada", host, **config)
        run(*client, "push", name, **config)
        run(*client, "tag", name, foreign)
        assert "denied" in (said := fails(*client, "push", foreign, **config)) or "uthor" in said
        run(*client, "rmi", name, foreign)
        run(*client, "pull", name, **config)
        assert run(*client, "images", "-q").strip()
