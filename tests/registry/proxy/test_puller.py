"""Pulling through: what is asked of an upstream, what is answered from here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from lading.cli import run_command
from registry.proxy import memory
from registry.proxy.settings import ProxyRule
from tests.registry.conftest import StartRegistry
from tests.registry.kit import MISSING, Answer, Client, digest_of, index, manifest
from tests.registry.proxy.conftest import Lying, StartLying

Cached = Callable[..., Awaitable[Client]]
LAYER = os.urandom(3 << 20)


async def test_an_image_comes_through_and_is_ordinary_content_afterwards(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    raw = await upstream.push_image("lib/app", "v1", layers=[LAYER])
    front = await cached(watched.authority)
    by_tag = await front.send("GET", "/v2/hub/lib/app/manifests/v1")
    blob = await front.send("GET", f"/v2/hub/lib/app/blobs/{digest_of(LAYER)}")
    assert (by_tag.status, by_tag.body) == (200, raw)
    assert (blob.status, blob.body) == (200, LAYER)
    asked = len(watched.requests)
    again = await front.send("GET", f"/v2/hub/lib/app/manifests/{digest_of(raw)}")
    tagged = await front.send("HEAD", "/v2/hub/lib/app/manifests/v1")
    part = await front.send(
        "GET", f"/v2/hub/lib/app/blobs/{digest_of(LAYER)}", headers={"Range": "bytes=5-9"}
    )
    assert (again.body, tagged.status, part.body) == (raw, 200, LAYER[5:10])
    assert "Warning" not in tagged.headers
    assert len(watched.requests) == asked, "all of it is here"
    catalog = await front.send("GET", "/v2/_catalog")
    assert catalog.json == {"repositories": ["hub/lib/app"]}


async def test_one_request_upstream_serves_many_clients(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1", layers=[LAYER])
    front = await cached(watched.authority)
    digest = digest_of(LAYER)
    paths = ["/v2/hub/app/manifests/v1"] * 20
    assert {a.status for a in await _all(front, paths)} == {200}
    blobs = await _all(front, [f"/v2/hub/app/blobs/{digest}"] * 20)
    assert {blob.body for blob in blobs} == {LAYER}
    assert watched.asked("GET", "/manifests/v1") == 1
    assert watched.asked("GET", f"/blobs/{digest}") == 1
    assert watched.asked("HEAD", f"/blobs/{digest}") == 0, "its manifest told the size"


async def _all(front: Client, paths: list[str]) -> list[Answer]:
    return await asyncio.gather(*(front.send("GET", path) for path in paths))


async def test_a_client_that_goes_away_stops_nobody(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1", layers=[LAYER])
    released = asyncio.Event()
    ordinary = watched.answer
    assert ordinary is not None

    async def slow(request: web.Request) -> web.StreamResponse:
        if "/blobs/" in request.path:
            response = web.StreamResponse(headers={"Content-Length": str(len(LAYER))})
            await response.prepare(request)
            await response.write(LAYER[: 1 << 20])
            await released.wait()
            await response.write(LAYER[1 << 20 :])
            return response
        return await ordinary(request)

    watched.answer = slow
    front = await cached(watched.authority)
    await front.send("GET", "/v2/hub/app/manifests/v1")
    url = f"{front.base}/v2/hub/app/blobs/{digest_of(LAYER)}"
    first = await front.session.get(url)
    assert await first.content.readexactly(1 << 19) == LAYER[: 1 << 19], "bytes come at once"
    second = await front.session.get(url)
    first.close()
    released.set()
    assert await second.read() == LAYER
    assert watched.asked("GET", "/blobs/") == 1


async def test_a_moved_tag_is_noticed_after_the_interval(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    old = await upstream.push_image("app", "v1", layers=[b"old"])
    front = await cached(watched.authority, check_interval=0.0)
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).body == old
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).body == old
    assert watched.asked("HEAD", "/manifests/v1") == 1
    assert watched.asked("GET", "/manifests/v1") == 1, "the same digest is not fetched again"
    new = await upstream.push_image("app", "v1", layers=[b"new"])
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).body == new
    assert (await front.send("GET", f"/v2/hub/app/manifests/{digest_of(old)}")).body == old


async def test_content_that_another_repository_has_is_not_fetched_again(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1", layers=[LAYER])
    front = await cached(watched.authority)
    await front.push_blob("mine", LAYER)
    got = await front.send("GET", f"/v2/hub/app/blobs/{digest_of(LAYER)}")
    assert got.body == LAYER
    assert watched.asked("GET", "/blobs/") == 0
    assert watched.asked("HEAD", "/blobs/") == 1, "the upstream said that this repository has it"
    refused = await front.send("GET", f"/v2/hub/other/blobs/{digest_of(LAYER)}")
    assert refused.code == "BLOB_UNKNOWN", "and it did not say so of others (CVE-2024-39897)"


async def test_head_of_a_blob_fetches_nothing(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1", layers=[LAYER])
    front = await cached(watched.authority)
    told = await front.send("HEAD", f"/v2/hub/app/blobs/{digest_of(LAYER)}")
    assert (told.status, told.headers["Content-Length"]) == (200, str(len(LAYER)))
    assert watched.asked("GET", "/blobs/") == 0


async def test_what_is_not_there_is_asked_for_once_in_a_while(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1")
    front = await cached(watched.authority)
    for _ in range(3):
        no_tag = await front.send("GET", "/v2/hub/app/manifests/v2")
        no_blob = await front.send("GET", f"/v2/hub/app/blobs/{MISSING}")
        assert (no_tag.status, no_tag.code) == (404, "MANIFEST_UNKNOWN")
        assert (no_blob.status, no_blob.code) == (404, "BLOB_UNKNOWN")
    assert watched.asked("GET", "/manifests/v2") == 1
    assert watched.asked("HEAD", f"/blobs/{MISSING}") == 1


async def test_a_tag_that_its_upstream_deleted_is_gone_here(
    upstream: Client, cached: Cached
) -> None:
    raw = await upstream.push_image("app", "v1")
    front = await cached(upstream.base.removeprefix("http://"), check_interval=0.0)
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).status == 200
    await upstream.send("DELETE", "/v2/app/manifests/v1")
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).status == 404
    assert (await front.send("GET", f"/v2/hub/app/manifests/{digest_of(raw)}")).status == 200


async def test_an_index_brings_its_children_as_they_are_asked_for(
    upstream: Client, cached: Cached
) -> None:
    child = await upstream.push_image("app")
    both = index([child])
    await upstream.push_manifest(
        "app", both, "multi", media_type="application/vnd.oci.image.index.v1+json"
    )
    front = await cached(upstream.base.removeprefix("http://"))
    assert (await front.send("GET", "/v2/hub/app/manifests/multi")).body == both
    assert (await front.send("GET", f"/v2/hub/app/manifests/{digest_of(child)}")).body == child


async def test_nothing_is_pushed_below_a_prefix_and_all_else_is_ordinary(
    upstream: Client, cached: Cached
) -> None:
    front = await cached(upstream.base.removeprefix("http://"))
    upload = await front.send("POST", "/v2/hub/app/blobs/uploads/")
    put = await front.send("PUT", "/v2/hub/app/manifests/v1", data=b"{}")
    assert {upload.code, put.code} == {"DENIED"}
    assert "is a cache of" in upload.json["errors"][0]["message"]
    raw = await front.push_image("hubble/app", "v1")
    assert (await front.send("GET", "/v2/hubble/app/manifests/v1")).body == raw


async def test_patterns_say_what_may_be_asked_for(upstream: Client, cached: Cached) -> None:
    for name in ("lib/app", "lib/secret", "other"):
        await upstream.push_image(name, "v1")
    authority = upstream.base.removeprefix("http://")
    front = await cached(authority, allow=("lib/*",), deny=("lib/secret",))
    answers = [
        await front.send("GET", f"/v2/hub/{name}/manifests/v1")
        for name in ("lib/app", "lib/secret", "other")
    ]
    assert [answer.status for answer in answers] == [200, 403, 403]
    assert "may be pulled" in answers[1].json["errors"][0]["message"]


async def test_the_longest_prefix_decides_and_an_upstream_may_be_a_part(
    upstream: Client, start: StartRegistry, tmp_path: Path
) -> None:
    await upstream.push_image("team/app", "v1")
    authority = upstream.base.removeprefix("http://")
    rules = (
        ProxyRule(upstream="registry.invalid", prefix="hub"),
        ProxyRule(upstream=f"{authority}/team", prefix="hub/team/"),
    )
    front = await start(root=tmp_path / "front", proxy=rules)
    assert (await front.send("GET", "/v2/hub/team/app/manifests/v1")).status == 200


async def test_while_the_upstream_fails_what_is_here_is_served_with_a_warning(
    upstream: Client, watched: Lying, cached: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PAUSE", 600.0)
    raw = await upstream.push_image("app", "v1", layers=[LAYER])
    front = await cached(watched.authority, check_interval=0.0)
    await front.send("GET", "/v2/hub/app/manifests/v1")
    watched.answer = _failing
    for _ in range(3):
        stale = await front.send("GET", "/v2/hub/app/manifests/v1")
        assert (stale.status, stale.body) == (200, raw)
        assert stale.headers["Warning"].startswith("110 - ")
        assert "111 - " in stale.headers["Warning"]
    assert watched.asked("HEAD", "/manifests/v1") <= 2, "a failing upstream is left alone"
    absent = await front.send("GET", "/v2/hub/app/manifests/v2")
    blob = await front.send("GET", f"/v2/hub/app/blobs/{digest_of(LAYER)}")
    assert (absent.status, absent.code, blob.status) == (503, "UNAVAILABLE", 503)
    assert "limits the rate of requests" in absent.json["errors"][0]["message"]


async def _failing(request: web.Request) -> web.StreamResponse:
    error = {"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}
    return web.json_response(error, status=429)


async def test_stale_content_may_be_forbidden(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1")
    front = await cached(watched.authority, check_interval=0.0, stale_if_error=False)
    await front.send("GET", "/v2/hub/app/manifests/v1")
    watched.answer = _failing
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).status == 503


async def test_an_upstream_that_is_not_there_is_503(cached: Cached, lying: StartLying) -> None:
    front = await cached("registry.invalid")
    answer = await front.send("GET", "/v2/hub/app/manifests/v1")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert answer.json["errors"][0]["message"] == "registry.invalid cannot be reached"


async def test_offline_asks_for_nothing(
    upstream: Client, watched: Lying, cached: Cached, start: StartRegistry, tmp_path: Path
) -> None:
    raw = await upstream.push_image("app", "v1", layers=[b"layer"])
    online = await cached(watched.authority)
    await online.send("GET", "/v2/hub/app/manifests/v1")
    asked = len(watched.requests)
    offline = await cached(watched.authority, offline=True)
    assert (await offline.send("GET", "/v2/hub/app/manifests/v1")).body == raw
    digest = digest_of(b"layer")
    assert (await offline.send("GET", f"/v2/hub/app/blobs/{digest}")).code == "BLOB_UNKNOWN"
    assert (await offline.send("GET", "/v2/hub/app/tags/list")).json["tags"] == ["v1"]
    assert len(watched.requests) == asked


async def test_tags_and_referrers_are_those_of_the_upstream(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    raw = await upstream.push_image("app", "v1", "v2", "v3")
    subject = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest_of(raw),
        "size": len(raw),
    }
    signature = manifest(subject=subject, artifactType="application/x.sign")
    await upstream.push_manifest("app", signature)
    front = await cached(watched.authority)
    page = await front.send("GET", "/v2/hub/app/tags/list?n=2")
    assert page.json == {"name": "hub/app", "tags": ["v1", "v2"]}
    assert page.headers["Link"] == '</v2/hub/app/tags/list?n=2&last=v2>; rel="next"'
    rest = await front.send("GET", "/v2/hub/app/tags/list?n=2&last=v2")
    assert rest.json["tags"] == ["v3"]
    path = f"/v2/hub/app/referrers/{digest_of(raw)}?artifactType=application/x.sign"
    found = await front.send("GET", path)
    assert [item["digest"] for item in found.json["manifests"]] == [digest_of(signature)]
    asked = len(watched.requests)
    watched.answer = _failing
    assert (await front.send("GET", path)).json == found.json
    assert len(watched.requests) == asked, "answers are kept for the interval"
    unknown = await front.send("GET", f"/v2/hub/app/referrers/{MISSING}")
    assert (unknown.status, unknown.json["manifests"]) == (200, [])
    assert unknown.headers["Warning"].startswith("110 - ")


async def test_a_registry_that_is_read_only_brings_nothing(
    upstream: Client, watched: Lying, cached: Cached
) -> None:
    await upstream.push_image("app", "v1")
    front = await cached(watched.authority, {"read_only": True})
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).status == 404
    assert watched.requests == []


async def test_a_rule_without_a_prefix_covers_all_other_names(
    upstream: Client, start: StartRegistry, tmp_path: Path
) -> None:
    raw = await upstream.push_image("library/app", "v1")
    rule = ProxyRule(upstream=upstream.base.removeprefix("http://"))
    front = await start(root=tmp_path / "front", proxy=(rule,))
    assert (await front.send("GET", "/v2/library/app/manifests/v1?ns=docker.io")).body == raw
    assert (await front.send("POST", "/v2/mine/blobs/uploads/")).code == "DENIED"
    assert (await front.send("GET", "/v2/")).status == 200


async def test_a_collection_keeps_what_a_tag_needs_and_takes_what_it_does_not(
    upstream: Client, watched: Lying, cached: Cached, tmp_path: Path
) -> None:
    raw = await upstream.push_image("app", "v1", layers=[LAYER, b"not fetched yet"])
    await upstream.push_blob("app", b"stray")
    front = await cached(watched.authority)
    await front.send("GET", "/v2/hub/app/manifests/v1")
    for blob in (LAYER, b"stray"):
        await front.send("GET", f"/v2/hub/app/blobs/{digest_of(blob)}")
    asked = len(watched.requests)
    command = ["registry", "gc", "--storage", str(tmp_path / "front"), "--lease", "0s"]
    await asyncio.sleep(2)  # moments in the index are whole seconds
    assert await asyncio.to_thread(run_command, command) == 0
    assert (await front.send("GET", "/v2/hub/app/manifests/v1")).body == raw
    assert (await front.send("GET", f"/v2/hub/app/blobs/{digest_of(LAYER)}")).body == LAYER
    assert len(watched.requests) == asked
    assert (await front.send("GET", f"/v2/hub/app/blobs/{digest_of(b'stray')}")).status == 200
    assert len(watched.requests) > asked, "it was collected, and came again"
