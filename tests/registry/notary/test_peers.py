"""The stock clients against our trust service, and ours against what they signed.

docker (every version installed) and notary speak to a registry with TLS on loopback; docker's push
and pull go through a dockerd of our own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.access.settings import AccessSettings, Right, RuleSettings
from registry.config import RegistryConfig
from registry.settings import TlsSettings
from tests.bench.peers import Docker, dockerd
from tests.conftest import require_program
from tests.registry.running import Running, certificate

pytestmark = [pytest.mark.peer, pytest.mark.usefixtures("real_clock")]

SECRETS = {
    "DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE": "root secret",
    "DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE": "repository secret",
    "NOTARY_ROOT_PASSPHRASE": "root secret",
    "NOTARY_TARGETS_PASSPHRASE": "repository secret",
    "NOTARY_SNAPSHOT_PASSPHRASE": "repository secret",
    "NOTARY_DELEGATION_PASSPHRASE": "repository secret",
    "LADING_PASSPHRASE": "repository secret",
}
LADING = Path(sys.executable).with_name("lading")
DOCKERS = [path for path in ("/usr/local/bin/docker", "/usr/bin/docker") if os.path.exists(path)]


@pytest.fixture
def real_clock() -> None:
    """These programs have no other clock."""


@dataclass
class World:
    """A served registry, and a home for its clients."""

    folder: Path
    host: str
    daemon: Docker | None = None

    def run(self, *argv: object, home: str = "home", check: bool = True, **more: str) -> str:
        """Run a program as the user of ``home``; returns what it printed."""
        folder = self.folder / home
        (folder / "docker").mkdir(parents=True, exist_ok=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "docker"),
            "LADING_ROOT": str(folder / "lading"),
            "LADING_RUNTIME_DIR": str(folder / "run"),
            **SECRETS,
            **({} if self.daemon is None else {"DOCKER_HOST": f"unix://{self.daemon.socket}"}),
            **more,
        }
        words = [str(word) for word in argv]
        done = subprocess.run(
            words, env=environ, capture_output=True, text=True, check=False, timeout=120, cwd=folder
        )
        text = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{text}"
        return text

    def lading(self, *argv: object, **more: object) -> str:
        return self.run(LADING, *argv, **more)

    def notary(self, *argv: object, home: str = "home", stdin: str = "") -> str:
        folder = self.folder / home
        folder.mkdir(exist_ok=True)
        settings = {
            "remote_server": {
                "url": f"https://{self.host}",
                "root_ca": str(self.folder / "cert.pem"),
            },
            "trust_dir": str(folder / "docker/trust"),
        }
        (folder / "notary.json").write_text(json.dumps(settings))
        script = f"printf '{stdin}' | notary -c notary.json \"$@\""
        return self.run("sh", "-c", script, "notary", *argv, home=home)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config = RegistryConfig(
        root=tmp_path / "registry", port=0, workers=1, tls=TlsSettings(*certificate(tmp_path))
    )
    with Running(config) as bound:
        yield World(tmp_path, f"localhost:{bound.port}")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Docker]:
    require_program("dockerd")
    with dockerd() as running:
        yield running


def push_something(world: World, name: str, *, home: str = "home", word: str = "hello") -> None:
    """An image in the registry, unsigned."""
    layer = world.folder / "layer"
    layer.mkdir(exist_ok=True)
    (layer / "word").write_text(word)
    world.run("tar", "-C", layer, "-cf", world.folder / "layer.tar", ".", home=home)
    world.lading("import", world.folder / "layer.tar", name, home=home)
    world.lading("push", name, home=home)


def test_notary_makes_rotates_delegates_and_deletes(world: World) -> None:
    require_program("notary")
    gun = f"{world.host}/lib/app"
    (world.folder / "home").mkdir()
    (world.folder / "home/file").write_text("content")
    world.notary("init", gun)
    world.notary("add", gun, "v1", "file")
    world.notary("publish", gun)
    for rotation in (("snapshot", "-r"), ("timestamp", "-r"), ("targets",), ("snapshot",)):
        world.notary("key", "rotate", gun, *rotation)
    world.notary("key", "rotate", gun, "root", stdin="yes\\n")
    for home in ("home", "fresh"):
        assert "v1" in world.notary("list", gun, home=home)
    world.lading("trust", "key", "generate", "alice", "--output", ".")
    certified(world, "alice")
    world.notary("delegation", "add", gun, "targets/alice", "alice.crt", "--all-paths")
    world.notary("publish", gun)
    assert "targets/alice" in world.notary("delegation", "list", gun)
    world.notary("remove", gun, "v1")
    world.notary("publish", gun)
    assert "No targets" in world.notary("list", gun)
    world.notary("delete", gun, "--remote")
    assert "does not have trust data" in world.run(
        "notary", "-c", "notary.json", "list", gun, check=False
    )


def certified(world: World, name: str) -> None:
    script = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        f"-keyout {name}.pem -out {name}.crt -days 9 -subj /CN={name}"
    )
    world.run("sh", "-c", script)


def test_our_client_goes_on_with_notarys_keys_and_cache(world: World) -> None:
    require_program("notary")
    name = f"{world.host}/lib/app:v1"
    push_something(world, name)
    world.notary("init", f"{world.host}/lib/app", "-p")
    assert "Successfully signed" in world.lading("trust", "sign", name)
    assert "v1" in world.notary("list", f"{world.host}/lib/app", home="fresh")
    world.lading("pull", name, home="fresh", DOCKER_CONTENT_TRUST="1")


@pytest.mark.parametrize("docker", DOCKERS[:1])
def test_docker_reads_what_we_signed(world: World, docker: str) -> None:
    name = f"{world.host}/lib/app"
    push_something(world, f"{name}:v1")
    world.lading("trust", "key", "generate", "alice", "--dir", ".")
    world.lading("trust", "signer", "add", "--key", "alice.pub", "alice", name)
    world.lading("trust", "sign", f"{name}:v1")
    (seen,) = json.loads(world.run(docker, "trust", "inspect", name, home="fresh"))
    (ours,) = json.loads(world.lading("trust", "inspect", name))
    assert seen["SignedTags"][0]["Signers"] == ["alice"]
    assert {member: ours[member] for member in seen} == seen
    pretty = world.run(docker, "trust", "inspect", "--pretty", name, home="fresh")
    assert words(pretty) == words(world.lading("trust", "inspect", "--pretty", name, home="fresh"))
    # Docker signs with the keys that we made, below the passphrases that we gave them.
    world.run(docker, "trust", "revoke", f"{name}:v1")
    assert json.loads(world.lading("trust", "inspect", name))[0]["SignedTags"] == []


def words(text: str) -> list[str]:
    """The words of docker's tables; its columns are laid out by another rule."""
    return text.split("Policy:")[0].split()


@pytest.mark.root
@pytest.mark.parametrize("docker", DOCKERS)
def test_docker_signs_pushes_and_pulls(world: World, daemon: Docker, docker: str) -> None:
    world.daemon = daemon
    name = f"{world.host}/lib/{Path(docker).parts[2]}"
    on = {"DOCKER_CONTENT_TRUST": "1"}
    (world.folder / "layer").mkdir()
    for word in ("one", "two"):
        (world.folder / "layer/word").write_text(word)
        world.run("tar", "-C", world.folder / "layer", "-cf", world.folder / "l.tar", ".")
        world.run(docker, "import", world.folder / "l.tar", f"{name}:{word}")
    assert "Successfully signed" in world.run(docker, "push", f"{name}:one", **on)
    world.run(docker, "push", f"{name}:two")
    world.run(docker, "trust", "key", "generate", "alice")
    world.run(docker, "trust", "signer", "add", "--key", "alice.pub", "alice", name)
    world.run(docker, "trust", "sign", f"{name}:one")
    world.run(docker, "rmi", f"{name}:one", f"{name}:two")
    pulled = world.run(docker, "pull", f"{name}:one", home="fresh", **on)
    assert "Pull (1 of 1)" in pulled
    refused = world.run(docker, "pull", f"{name}:two", home="fresh", check=False, **on)
    assert "No valid trust data for two" in refused
    # And so do we, by what docker signed.
    assert "Pull (1 of 1)" in world.lading("pull", f"{name}:one", home="ours", **on)
    assert "no valid trust data for two" in world.lading(
        "pull", f"{name}:two", home="ours", check=False, **on
    )
    (seen,) = json.loads(world.lading("trust", "inspect", name, home="ours"))
    assert [tag["Signers"] for tag in seen["SignedTags"]] == [["alice"]]
    world.run(docker, "rmi", f"{name}:one")


def test_with_content_trust_a_tag_is_what_was_signed(world: World) -> None:
    """The tag is moved behind the signer's back; who verifies gets what was signed."""
    name, on = f"{world.host}/lib/app:v1", {"DOCKER_CONTENT_TRUST": "1"}
    push_something(world, name, word="signed")
    world.lading("trust", "sign", name)
    push_something(world, name, word="moved", home="mallory")
    world.lading("pull", name, home="fresh", **on)
    signed = world.lading("inspect", "-f", "{{.Id}}", name)
    moved = world.lading("inspect", "-f", "{{.Id}}", name, home="mallory")
    assert world.lading("inspect", "-f", "{{.Id}}", name, home="fresh") == signed != moved
    # What is here under the name does not count either: FROM takes the signed image.
    world.lading("pull", name, home="fresh")
    assert world.lading("inspect", "-f", "{{.Id}}", name, home="fresh") == moved
    context = world.folder / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {name}\nLABEL a=b\n")
    world.lading("build", "-q", "-t", "app", context, home="fresh", **on)
    assert world.lading("inspect", "-f", "{{.Id}}", name, home="fresh") == signed
    unsigned = f"{world.host}/lib/other:v1"
    push_something(world, unsigned, home="fresh")
    (context / "Dockerfile").write_text(f"FROM {unsigned}\n")
    text = world.lading("build", "-q", context, home="fresh", check=False, **on)
    assert "remote trust data does not exist" in text
    text = world.lading("run", "--rm", unsigned, "/x", home="fresh", check=False, **on)
    assert "remote trust data does not exist" in text


def test_users_sign_and_anybody_verifies(tmp_path: Path) -> None:
    """Rights are asked for under the name with its host, and granted without it."""
    import bcrypt

    docker = DOCKERS[0] if DOCKERS else require_program("docker")
    users = tmp_path / "users"
    users.write_text(f"alice:{bcrypt.hashpw(b'wonderland', bcrypt.gensalt(4)).decode()}\n")
    rules = (
        RuleSettings(repositories=("lib/*",), actions=(Right.PULL, Right.PUSH), users=("alice",)),
        RuleSettings(repositories=("lib/*",), actions=(Right.PULL,), anonymous=True),
    )
    config = RegistryConfig(
        root=tmp_path / "registry",
        port=0,
        workers=1,
        tls=TlsSettings(*certificate(tmp_path)),
        access=AccessSettings(htpasswd=users, rules=rules),
    )
    with Running(config) as bound:
        world = World(tmp_path, f"localhost:{bound.port}")
        name = f"{world.host}/lib/app:v1"
        world.run(
            "sh", "-c", f"echo wonderland | {LADING} login -u alice --password-stdin {world.host}"
        )
        push_something(world, name)
        assert "Created signer: alice" in world.lading("trust", "sign", name)
        (seen,) = json.loads(world.run(docker, "trust", "inspect", name, home="anybody"))
        assert seen["SignedTags"][0]["Signers"] == ["alice"]
        world.lading("pull", name, home="anybody", DOCKER_CONTENT_TRUST="1")
        world.run(docker, "trust", "revoke", name)
        world.lading("trust", "key", "generate", "bob", "--dir", ".", home="anybody")
        add = ("trust", "signer", "add", "--key", "bob.pub", "bob", f"{world.host}/lib/new")
        assert "wants a login" in world.lading(*add, home="anybody", check=False)
