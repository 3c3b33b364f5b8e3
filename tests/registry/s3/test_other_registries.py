"""A cache and mirrors of other registries whose own content is in a bucket."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.registry import kit
from tests.registry.s3.kit import PART, Server, lading
from tests.registry.service_kit import Service, call, service
from tests.waiting import eventually

pytestmark = pytest.mark.peer

LAYER = os.urandom(2 * PART + 7)
IMAGE = kit.manifest(layers=[LAYER])
OCI = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
BLOB = f"/v2/hub/team/app/blobs/{kit.digest_of(LAYER)}"


def push(found: Service, repository: str) -> None:
    for data in (b"{}", LAYER):
        path = f"/v2/{repository}/blobs/uploads/?digest={kit.digest_of(data)}"
        assert call(found.port, "POST", path, data)[0] == 201
    assert call(found.port, "PUT", f"/v2/{repository}/manifests/1", IMAGE, OCI)[0] == 201


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made


def proxy(upstream: Service) -> str:
    text = '[[proxy]]\nprefix = "hub/"\nupstream = "127.0.0.1:{}"\ncheck_interval = "1s"\n'
    return text.format(upstream.port)


def test_a_cache_fetches_once_and_goes_on_without_its_upstream(
    s3_server: Server, tmp_path: Path
) -> None:
    front = folder(tmp_path, "front")
    storage = s3_server.settings(f"{tmp_path.name}/")
    with service(folder(tmp_path, "behind"), workers=1) as upstream:
        push(upstream, "team/app")
        config = storage + proxy(upstream)
        with service(front, config, environment=s3_server.environment, workers=2) as cache:
            with ThreadPoolExecutor(8) as pool:
                for wanted, path in ((IMAGE, "/v2/hub/team/app/manifests/1"), (LAYER, BLOB)):
                    asked = [pool.submit(call, cache.port, "GET", path) for _ in range(8)]
                    assert all(one.result()[::2] == (200, wanted) for one in asked)
            sent = 'http_requests_total{code="200",kind="blob",method="GET"'
            # An answer is counted after its last byte was sent.
            eventually(lambda: upstream.metric(sent) >= 1)
            assert upstream.metric(sent) == 1
            assert cache.metric("proxy_received_bytes_total") == len(IMAGE) + len(LAYER)
            missed = cache.metric("proxy_misses_total")
            assert 2 <= missed <= 16
            assert cache.metric("proxy_hits_total") == 16 - missed
            assert call(cache.port, "GET", BLOB)[2] == LAYER
            assert cache.metric("proxy_misses_total") == missed
            upstream.process.terminate()
            upstream.process.wait(60)

            def stale() -> bool:
                status, headers, body = call(cache.port, "GET", "/v2/hub/team/app/manifests/1")
                assert (status, body) == (200, IMAGE)
                return "Warning" in headers

            eventually(stale)
            assert cache.metric("proxy_stale_total") >= 1
            assert cache.metric("proxy_upstream_errors_total") >= 1
    assert lading(s3_server, "check", "-c", front / "registry.toml")[0] == 0


def test_mirrors_bring_and_send(s3_server: Server, tmp_path: Path) -> None:
    here = folder(tmp_path, "here")
    with (
        service(folder(tmp_path, "there"), workers=1) as there,
        service(folder(tmp_path, "branch"), workers=1) as branch,
    ):
        push(there, "team/app")
        mirror = '[[mirror]]\nname = "{}"\nupstream = "127.0.0.1:{}"\ndirection = "{}"\n'
        config = (
            s3_server.settings(f"{tmp_path.name}/")
            + mirror.format("in", there.port, "pull")
            + 'prefix = "copy/"\nrepositories = ["team/app"]\n'
            + mirror.format("out", branch.port, "push")
            + 'prefix = "copy/"\nrepositories = ["team/*"]\n'
        )
        with service(here, config, environment=s3_server.environment, workers=1) as found:
            file = here / "registry.toml"
            for name in ("in", "out"):
                status, said = lading(s3_server, "mirror", "run", name, "-c", file)
                assert status == 0, said
            for port, repository in ((found.port, "copy/team/app"), (branch.port, "team/app")):
                path = f"/v2/{repository}/manifests/1"
                assert call(port, "GET", path)[::2] == (200, IMAGE)
                path = f"/v2/{repository}/blobs/{kit.digest_of(LAYER)}"
                assert call(port, "GET", path)[::2] == (200, LAYER)
            assert found.metric('mirror_bytes_total{mirror="in"') == len(LAYER) + 2
        assert lading(s3_server, "check", "-c", file)[0] == 0
