"""Caches that are missing, broken, hostile, or interrupted: the build goes on without them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from builder.remote.index import CacheIndex, decode, manifest_of
from builder.solver.records import StoredLayer
from images.client import ClientOptions, RegistryClient
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from records import replace
from tests.e2e.conftest import Lading, Registry, files_below
from tests.e2e.remote_cache_kit import build, machine, make_context
from tests.waiting import eventually

pytestmark = pytest.mark.root


def slow(size: int, *, seconds: int) -> str:
    """A Dockerfile with a layer of random bytes, and a step that takes time on top of it."""
    return f"FROM {{base}}\nRUN head -c {size} /dev/urandom > /file\nRUN sleep {seconds}\n"


@pytest.fixture
def base(lading: Lading, registry: Registry) -> str:
    """A base image in the registry."""
    name = f"{registry.address}/base/busybox"
    lading("tag", "busybox", name)
    lading("push", name)
    return name


def test_a_cache_that_is_not_there_is_a_warning_unless_it_must_be(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={registry.address}/nothing:here"
    found = build(lading, context, "--cache-from", cache)
    assert "is not used" in found.log
    assert "has no such image" in found.log
    for nothing in (f"type=local,src={tmp_path}/nothing", "type=registry,ref=127.0.0.1:1/x"):
        (context / "app").write_text(nothing)
        assert "is not used" in build(lading, context, "--cache-from", nothing).log
    # What is not asked for is not looked at.
    assert "importing" not in build(lading, context, "--no-cache", "--cache-from", cache).log
    failed = lading(
        "build", "--no-cache-filter=tools", "--cache-from", f"{cache},ignore-error=false", context,
        status=None,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "the cache cannot be used" in failed.stderr


def test_a_cache_that_cannot_be_written_is_a_warning_unless_it_must_be(
    lading: Lading, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    (tmp_path / "file").touch()
    target = f"type=local,dest={tmp_path}/file/below"
    assert "was not written" in build(lading, context, "--cache-to", target).log
    failed = lading("build", "--cache-to", f"{target},ignore-error=false", context, status=None)
    assert failed.returncode == 1
    assert "the cache cannot be written" in failed.stderr


def test_a_cache_that_must_be_signed_and_is_not_is_not_used(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={registry.address}/app:cache"
    build(lading, context, "--cache-to", f"{cache},mode=max")
    accepted = {f"{registry.address}/base": [{"type": "insecureAcceptAnything"}]}
    rules = {"default": [{"type": "reject"}], "transports": {"docker": accepted}}
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(rules))
    with machine(tmp_path / "second") as second:
        flags = ("--policy", str(policy), "--cache-from")
        refused = build(second, context, *flags, f"{cache},verify=true")
        assert "the policy refuses this image" in refused.log
        assert refused.executed == ["RUN", "COPY", "COPY", "RUN"]


async def tampered(host: str, change: Callable[[CacheIndex], CacheIndex]) -> None:
    """Replace a cache's index by what a hostile registry would serve."""
    at = Reference.parse(f"{host}/app:cache")
    async with RegistryClient(options=ClientOptions(frozenset({host}))) as client:
        served = (await client.read_manifest(at)).document
        assert isinstance(served, Manifest)
        raw, own = manifest_of(change(decode(await client.read_blob(at, served.config))))
        await client.put_blob(at, raw)
        await client.put_manifest(at, own.raw, OCI_MANIFEST)


async def test_layers_that_are_not_what_they_are_said_to_be(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={registry.address}/app:cache"
    build(lading, context, "--cache-to", f"{cache},mode=max")

    def lie(index: CacheIndex) -> CacheIndex:
        records = (
            replace(it, layers=tuple(wrong(layer) for layer in it.layers)) for it in index.records
        )
        return replace(index, records=tuple(records))

    def wrong(layer: StoredLayer) -> StoredLayer:
        other = Digest.of(b"something else")
        return layer if layer.created == "" else StoredLayer(other, layer.descriptor, "x")

    await tampered(registry.address, lie)
    (context / "app").write_text("two")
    with machine(tmp_path / "second") as second:
        found = build(second, context, "-t", "app", "--cache-from", cache)
        assert "is not used any more" in found.log
        # The copy was begun on what the cache had; then everything was done from the start.
        assert found.executed == ["COPY", "RUN", "COPY", "COPY", "RUN"]
        assert second("run", "--rm", "app", "cat", "/result").stdout == "two"


def test_layers_that_are_gone_are_made_again(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={registry.address}/app:cache"
    build(lading, context, "--cache-to", f"{cache},mode=max")
    blobs = files_below(registry.storage / "blobs" / "sha256")
    largest = max(
        (path for path in blobs if 250_000 < path.stat().st_size < 350_000),
        key=lambda path: path.stat().st_size,
    )
    largest.write_bytes(bytes(largest.stat().st_size))
    with machine(tmp_path / "second") as second:
        found = build(second, context, "-t", "app", "--cache-from", cache)
        assert "is not used any more" in found.log
        assert second("run", "--rm", "app", "cat", "/result").stdout == "one"


def test_layers_go_out_while_the_build_runs_and_a_kill_leaves_the_old_cache(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    cache = f"type=registry,ref={registry.address}/app:cache,mode=max"
    short = make_context(tmp_path / "short", base, slow(300_000, seconds=0))
    build(lading, short, "--cache-to", cache)
    long = make_context(tmp_path / "long", base, slow(900_000, seconds=60))
    old = manifest(registry)
    running = lading.start("build", "--cache-to", cache, long)
    wait_until(lambda: has_blob_of(registry, 900_000), running)
    running.kill()
    running.communicate()
    assert manifest(registry) == old
    with machine(tmp_path / "second") as second:
        source = f"{registry.address}/app:cache"
        assert build(second, short, "-t", "app", "--cache-from", source).executed == []
    # The next build goes on where the killed one was.
    for file in long.iterdir():
        file.write_text(file.read_text().replace("sleep 60", "sleep 0"))
    assert build(lading, long, "--cache-to", cache).executed == ["RUN"]


def test_two_jobs_at_once_lose_nothing_of_each_other(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    cache = f"type=registry,ref={registry.address}/app:cache"
    contexts = [
        make_context(
            tmp_path / f"context{number}", base, f"FROM {{base}}\nRUN echo {number} > /number\n"
        )
        for number in range(4)
    ]
    jobs = [lading.start("build", "--cache-to", cache, context) for context in contexts]
    for job in jobs:
        _, log = job.communicate(timeout=100)
        assert job.returncode == 0, log
    with machine(tmp_path / "second") as second:
        for context in contexts:
            assert build(second, context, "--cache-from", cache).executed == []


def manifest(registry: Registry) -> bytes:
    """What the tag of the cache names."""
    url = f"http://{registry.address}/v2/app/manifests/cache"
    request = urllib.request.Request(url, headers={"Accept": OCI_MANIFEST})
    with urllib.request.urlopen(request) as answer:
        raw: bytes = answer.read()
    return raw


def has_blob_of(registry: Registry, size: int) -> bool:
    """Whether a committed blob has about so many bytes; random ones do not compress."""
    blobs = files_below(registry.storage / "blobs" / "sha256")
    return any(size < path.stat().st_size < size + 5000 for path in blobs)


def wait_until(condition: Callable[[], bool], running: Popen[str]) -> None:
    def arrived() -> bool:
        if condition():
            return True
        assert running.poll() is None, running.communicate()
        return False

    eventually(arrived)
