"""What travels with a cache and what does not: directories, cache mounts, compressions, secrets."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from builder.remote.index import CacheIndex
from engine.builds.remote_cache.in_directory import DirectoryCache
from images.mediatype import OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from tests.e2e.conftest import Lading, Registry
from tests.e2e.remote_cache_kit import build, machine, make_context

pytestmark = pytest.mark.root


@pytest.fixture
def base(lading: Lading, registry: Registry) -> str:
    """A base image in a registry."""
    name = f"{registry.address}/base/busybox"
    lading("tag", "busybox", name)
    lading("push", name)
    return name


def index(folder: Path, tag: str = "latest") -> CacheIndex:
    """What a cache in a directory knows."""
    return DirectoryCache(folder, tag).read()


def blobs(folder: Path) -> set[str]:
    """The blobs of a cache in a directory."""
    return {path.name for path in (folder / "blobs" / "sha256").iterdir()}


def test_a_directory_goes_from_one_machine_to_the_other(
    lading: Lading, base: str, tmp_path: Path
) -> None:
    context, cache = make_context(tmp_path / "context", base), tmp_path / "cache"
    first = build(lading, context, "--cache-to", f"type=local,dest={cache},mode=max")
    with machine(tmp_path / "second") as second:
        found = build(second, context, "--cache-from", f"type=local,src={cache}")
        assert (found.executed, found.image) == ([], first.image)
        digest = json.loads((cache / "index.json").read_text())["manifests"][0]["digest"]
        pinned = f"type=local,src={cache},digest={digest}"
        assert build(second, context, "--cache-from", pinned).executed == []


def test_a_directory_does_not_grow_for_ever(lading: Lading, base: str, tmp_path: Path) -> None:
    context, cache = make_context(tmp_path / "context", base), tmp_path / "cache"
    target = f"type=local,dest={cache}"
    build(lading, context, "--cache-to", target)
    build(lading, context, "--cache-to", f"{target},tag=other")
    before = blobs(cache)
    (context / "app").write_text("two")
    build(lading, context, "--cache-to", target)
    # Earlier steps are kept; the index that named them is not.
    assert len(index(cache).records) == 5
    assert len(blobs(cache) - before) == 4
    build(lading, context, "--cache-to", f"{target},reset=true")
    found = index(cache)
    assert len(found.records) == 3
    kept = {digest.hex for digest in found.kept()}
    assert kept < blobs(cache)
    assert len(blobs(cache)) == len(kept) + 2
    with pytest.raises(Exception, match="no cache under the tag other"):
        index(cache, "other")


def test_cache_mounts_travel_when_they_are_asked_to(
    lading: Lading, registry: Registry, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    cache = f"type=registry,ref={registry.address}/app:cache"
    build(lading, context, "--cache-to", f"{cache},mode=max,mounts=true")
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("echo cached", "echo again"))
    with machine(tmp_path / "second") as second:
        found = build(second, context, "-t", "app", "--cache-from", cache)
        assert "restoring cache mount /cache" in found.log
        assert second("run", "--rm", "app", "cat", "/opt/runs").stdout == "cached\nagain\n"
        # A mount that has something is left alone.
        dockerfile.write_text(dockerfile.read_text().replace("echo again", "echo third"))
        found = build(second, context, "-t", "app", "--cache-from", cache)
        assert "restoring" not in found.log
        assert second("run", "--rm", "app", "cat", "/opt/runs").stdout == "cached\nagain\nthird\n"
        # Whoever wants an empty one gets an empty one.
        build(second, context, "-t", "app", "--no-cache-filter", "tools", "--cache-from", cache)
        assert second("run", "--rm", "app", "cat", "/opt/runs").stdout == "third\n"
    with machine(tmp_path / "third") as third:
        build(third, context, "-t", "app", "--cache-from", cache)
        assert third("run", "--rm", "app", "cat", "/opt/runs").stdout == "cached\nthird\n"


def test_layers_are_compressed_again_only_when_that_is_forced(
    lading: Lading, base: str, tmp_path: Path
) -> None:
    context = make_context(tmp_path / "context", base)
    for flags, wanted in (
        ("", OCI_LAYER_GZIP),
        (",compression=zstd", OCI_LAYER_GZIP),
        (",compression=zstd,compression-level=9,force-compression=true", OCI_LAYER_ZSTD),
    ):
        cache = tmp_path / f"cache{len(flags)}"
        build(lading, context, "--cache-to", f"type=local,dest={cache}{flags}")
        assert {blob.media_type for blob in index(cache).kept().values()} == {wanted}
    with machine(tmp_path / "second") as second:
        found = build(second, context, "-t", "app", "--cache-from", f"type=local,src={cache}")
        assert found.executed == []
        assert second("run", "--rm", "app", "cat", "/result").stdout == "one"


def test_steps_that_depend_on_a_secret_stay_where_they_are(
    lading: Lading, base: str, tmp_path: Path
) -> None:
    dockerfile = (
        "FROM {base} AS secret\nRUN --mount=type=secret,id=x cat /run/secrets/x > /x\n"
        "FROM {base}\nRUN echo plain > /plain\nCOPY --from=secret /x /x\n"
    )
    context, cache = make_context(tmp_path / "context", base, dockerfile), tmp_path / "cache"
    (tmp_path / "x").write_text("hush")
    secret = ("--secret", f"id=x,src={tmp_path}/x,cache=digest")
    build(lading, context, *secret, "--cache-to", f"type=local,dest={cache},mode=max")
    assert [it.description for it in index(cache).records] == [
        "[stage-1 2/3] RUN echo plain > /plain"
    ]
    with machine(tmp_path / "second") as second:
        found = build(second, context, *secret, "--cache-from", f"type=local,src={cache}")
        assert found.executed == ["RUN", "COPY"]


def test_keys_hold_nothing_of_the_machine(lading: Lading, base: str, tmp_path: Path) -> None:
    dockerfile = (
        "FROM {base} AS a\nWORKDIR /w\nCOPY . .\nADD app /added\n"
        "RUN --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t cat /ctx/app\n"
        "FROM {base}\nCOPY --link --from=a /w /linked\n"
        "RUN --mount=from=a,source=/w,target=/m ls /m\n"
    )
    keys = []
    for name in ("here", "there"):
        context = make_context(tmp_path / name / "context", base, dockerfile)
        os.utime(context / "app", (time.time(), 1_600_000_000))
        cache = tmp_path / name / "cache"
        flags = ("--build-arg", "SOURCE_DATE_EPOCH=1700000000")
        with machine(tmp_path / name / "machine") as user:
            build(user, context, *flags, "--cache-to", f"type=local,dest={cache},mode=max")
        keys.append({key for record in index(cache).records for key in record.keys})
    assert keys[0] == keys[1]
    assert len(keys[0]) >= 10
