"""Builds under a policy of their own, and with a lock, against a registry that changes its mind."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import trusting
from images.client import ClientOptions, RegistryClient
from images.mediatype import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from images.reference import Reference
from lading.main import main
from registry.config import RegistryConfig
from tests.registry.crashmodel import exchange
from tests.registry.kit import descriptor, digest_of
from tests.registry.running import Running
from trust.keys import Algorithm, PrivateKey


@dataclass
class World:
    """A registry, a client's folder, a context, a key."""

    folder: Path
    port: int
    key: PrivateKey
    capsys: pytest.CaptureFixture[str]

    @property
    def base(self) -> str:
        return f"127.0.0.1:{self.port}/base:1"

    @property
    def lock(self) -> Path:
        return self.folder / "lading.lock"

    def push(self, content: bytes, tag: str = "1") -> str:
        """An image of one file under ``base:TAG``; returns its digest."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo("file")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        layer = gzip.compress(tar.getvalue(), mtime=0)
        diff_id = "sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()
        system = {"architecture": "amd64", "os": "linux"}
        config = json.dumps({**system, "rootfs": {"type": "layers", "diff_ids": [diff_id]}})
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": descriptor(config.encode(), OCI_CONFIG),
                "layers": [descriptor(layer, OCI_LAYER_GZIP)],
            }
        ).encode()
        for blob in (config.encode(), layer):
            path = f"/v2/base/blobs/uploads/?digest={digest_of(blob)}"
            assert exchange(self.port, "POST", path, blob, {})[0] == 201
        headers = {"Content-Type": OCI_MANIFEST}
        path = f"/v2/base/manifests/{tag}"
        assert exchange(self.port, "PUT", path, raw, headers)[0] == 201
        return digest_of(raw)

    def sign(self) -> None:
        async def signed() -> None:
            async with RegistryClient(options=ClientOptions()) as client:
                await trusting.sign(client, Reference.parse(self.base), self.key)

        asyncio.run(signed())

    def build(self, dockerfile: str, *flags: str | Path) -> str:
        """Build for amd64; returns the error's text, "" for none."""
        context = self.folder / "context"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(dockerfile)
        words = ["--root", self.folder / "root", "build", "-t", "made:1", "--progress", "plain"]
        words += ["--platform", "linux/amd64", *flags, context]
        status = main([str(word) for word in words])
        said = self.capsys.readouterr().err
        assert status == 0 or "named made" not in said
        return "" if status == 0 else said

    def policy(self, *rules: str, default: str = "reject") -> tuple[str, Path]:
        path = self.folder / "policy.toml"
        path.write_text("\n".join([f'default = "{default}"', *rules]))
        return "--policy", path

    @property
    def verify_key(self) -> tuple[str, Path]:
        path = self.folder / "release.pub"
        path.write_bytes(self.key.public.pem)
        return "--verify-key", path

    def locked(self) -> dict[str, dict[str, object]]:
        document: dict[str, dict[str, object]] = json.loads(self.lock.read_text())
        return document


@pytest.fixture
def world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setenv("LADING_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with Running(RegistryConfig(root=tmp_path / "registry", port=0)) as bound:
        yield World(tmp_path, bound.port, PrivateKey.generate(Algorithm.ED25519), capsys)


def labelled(base: str) -> str:
    return f"FROM {base}\nLABEL a=b\n"


def test_what_is_stored_is_verified_when_a_key_is_named(world: World) -> None:
    world.push(b"one")
    text = labelled(world.base)
    assert world.build(text) == "", "the usual policy takes it, and it is stored now"
    for _ in range(2):
        refused = world.build(text, *world.verify_key)
        assert "is not signed" in refused, "neither the store nor the record of the build answers"
    world.sign()
    assert world.build(text, *world.verify_key) == ""
    world.push(b"two")
    assert "is not signed" in world.build(text, *world.verify_key)
    assert world.build(text) == "", "without the flag the store is believed, as before"


def test_the_verified_content_is_used_and_not_what_the_name_meant_here(world: World) -> None:
    world.push(b"old")
    assert world.build(labelled(world.base)) == ""
    new = world.push(b"new")
    world.sign()
    text = f"FROM scratch\nCOPY --from={world.base} /file /\n"
    assert world.build(text, *world.verify_key, "--lock", world.lock) == ""
    assert world.locked()["images"] == {world.base: {"linux/amd64": new}}


def test_a_policy_that_accepts_a_name_uses_what_is_stored(world: World) -> None:
    world.push(b"one")
    assert world.build(labelled(world.base)) == ""
    rule = f'[[rule]]\nscopes = ["127.0.0.1:{world.port}"]\nrequire = '
    exchange(world.port, "DELETE", "/v2/base/manifests/1", b"", {})
    assert world.build(labelled(world.base), *world.policy(rule + '"accept"')) == ""
    refused = world.build(labelled(world.base), *world.policy(rule + '"reject"'))
    assert "the policy refuses this image" in refused
    assert "(" in world.build("FROM made:1\nLABEL c=d\n", *world.policy()), "built here, too"


def test_images_of_copy_are_judged_as_well(world: World) -> None:
    world.push(b"one")
    text = f"FROM scratch\nCOPY --from={world.base} /file /\n"
    assert world.build(text) == ""
    assert "is not signed" in world.build(text, *world.verify_key)


@pytest.fixture
def url(world: World) -> str:
    """A file that changes when the tag ``file`` moves."""
    world.push(b"served", "file")
    return f"http://127.0.0.1:{world.port}/v2/base/manifests/file"


def test_files_need_a_checksum_or_a_rule(world: World, url: str) -> None:
    text = f"FROM scratch\nADD {url} /\n"
    assert world.build(text) == ""
    assert "wants the checksum" in world.build(text, *world.policy())
    assert "wants the checksum" in world.build(text, *world.verify_key)
    assert world.build(text, *world.policy(default="accept")) == ""
    host = f"http://127.0.0.1:{world.port}"
    accept = f'[[rule]]\nname = "ours"\nscopes = ["{host}/v2/"]\nrequire = "accept"'
    assert world.build(text, *world.policy(accept)) == ""
    elsewhere = accept.replace("/v2/", "/v3/")
    assert "wants the checksum" in world.build(text, *world.policy(elsewhere))
    reject = accept.replace("accept", "reject")
    digest = world.push(b"served", "file")
    pinned = f"FROM scratch\nADD --checksum={digest} {url} /\n"
    assert world.build(pinned, *world.policy()) == ""
    for _ in range(2):
        # The second time a record of the whole build is there, and does not answer.
        assert 'rule "ours"' in world.build(pinned, *world.policy(reject))
        assert world.build(pinned) == ""


def test_a_lock_holds_names_and_files_to_what_they_meant(world: World, url: str) -> None:
    old, file = world.push(b"old"), world.push(b"served", "file")
    text = f"FROM {world.base}\nADD {url} /\n"
    lock = ("--lock", world.lock)
    assert world.build(text, *lock) == ""
    before = world.lock.read_bytes()
    assert world.locked() == {
        "version": 1,
        "images": {world.base: {"linux/amd64": old}},
        "urls": {url: file},
    }
    new = world.push(b"new")
    assert world.build(text, *lock) == ""
    # Another machine, which has nothing: the digest is pulled, not the tag.
    (world.folder / "root").rename(world.folder / "old-root")
    assert world.build(text, *lock, "--locked") == ""
    assert world.lock.read_bytes() == before
    assert world.build(text, *lock, "--pull") == ""
    assert world.locked()["images"] == {world.base: {"linux/amd64": new}}


def test_a_file_that_changed_is_refused_under_a_lock(world: World, url: str) -> None:
    text = f"FROM scratch\nADD {url} /\n"
    assert world.build(text, "--lock", world.lock) == ""
    changed = world.push(b"changed", "file")
    (world.folder / "root").rename(world.folder / "old-root")
    assert "find out who changed it" in world.build(text, "--lock", world.lock)
    assert world.build(text, "--lock", world.lock, "--pull") == ""
    assert world.locked()["urls"] == {url: changed}


def test_a_locked_digest_is_still_verified(world: World) -> None:
    world.push(b"one")
    text = labelled(world.base)
    assert world.build(text, "--lock", world.lock) == ""
    assert "is not signed" in world.build(text, "--lock", world.lock, *world.verify_key)
    world.sign()
    assert world.build(text, "--lock", world.lock, *world.verify_key) == ""


def test_locked_refuses_what_is_not_in_the_file(world: World) -> None:
    world.push(b"one")
    text = labelled(world.base)
    locked = ("--lock", world.lock, "--locked")
    assert "there is no lock file" in world.build(text, *locked)
    assert world.build("FROM scratch\nLABEL a=b\n", "--lock", world.lock) == ""
    assert "is not in the lock" in world.build(text, *locked)
    assert "no lock file is named" in world.build(text, "--locked")
    assert "--pull changes the lock" in world.build(text, *locked, "--pull")
    assert world.locked()["images"] == {}


def test_a_build_that_fails_and_a_plan_write_no_lock(world: World) -> None:
    world.push(b"one")
    assert world.build(f"{labelled(world.base)}COPY missing /\n", "--lock", world.lock)
    assert world.build(labelled(world.base), "--lock", world.lock, "--plan", "text") == ""
    assert not world.lock.exists()
