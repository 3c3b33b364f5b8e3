"""Runs of mirrors between real registries: what is copied, what is not, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from images.digest import Digest
from images.reference import Reference
from registry.config import RegistryConfig
from registry.errors import RegistryConfigError
from registry.mirroring.front import is_due
from registry.mirroring.report import Report, read
from registry.mirroring.settings import Direction, MirrorRule
from registry.proxy.settings import ProxyRule
from registry.service import open_registry
from tests.registry.conftest import StartRegistry
from tests.registry.kit import Client, digest_of, index, manifest
from trust import cosign
from trust.keys import Algorithm, PrivateKey

LAYER = b"layer" * 1000
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

Run = Callable[..., Awaitable[Report]]


@pytest.fixture
async def there(start: StartRegistry, tmp_path: Path) -> Client:
    """The other registry."""
    return await start(root=tmp_path / "there")


@pytest.fixture
async def here(start: StartRegistry, tmp_path: Path) -> Client:
    """Our registry, which serves while mirrors run beside it."""
    return await start(root=tmp_path / "here")


@pytest.fixture
def run(tmp_path: Path, there: Client) -> Run:
    """Run a mirror once, beside the server."""

    async def run(**fields: Any) -> Report:
        authority = there.base.removeprefix("http://")
        fields = {"repositories": ("team/app",), "prefix": "copy/", **fields}
        make = partial(MirrorRule, name="m", upstream=authority, **fields)
        rule = await asyncio.to_thread(make)
        config = RegistryConfig(root=tmp_path / "here", mirror=(rule,))
        registry = await asyncio.to_thread(open_registry, config)
        assert registry.mirrors is not None
        try:
            return await registry.mirrors.run(registry, rule)
        finally:
            await registry.mirrors.close()
            await asyncio.to_thread(registry.close)

    return run


async def get(client: Client, path: str) -> bytes | None:
    answer = await client.send("GET", f"/v2/{path}")
    return answer.body if answer.status == 200 else None


async def test_an_index_comes_with_all_that_belongs_to_it_once(
    there: Client, here: Client, run: Run
) -> None:
    child = await there.push_image("team/app", layers=[LAYER])
    both = index([child])
    await there.push_manifest("team/app", both, "1.0", media_type=OCI_INDEX)
    subject = {"mediaType": OCI_INDEX, "digest": digest_of(both), "size": len(both)}
    sbom = manifest(subject=subject, artifactType="application/spdx+json")
    await there.push_manifest("team/app", sbom)
    report = await run()
    assert (report.error, report.manifests, report.blobs) == ("", 3, 2)
    assert await get(here, "copy/team/app/manifests/1.0") == both
    assert await get(here, f"copy/team/app/manifests/{digest_of(child)}") == child
    assert await get(here, f"copy/team/app/blobs/{digest_of(LAYER)}") == LAYER
    found = await here.send("GET", f"/v2/copy/team/app/referrers/{digest_of(both)}")
    assert [item["digest"] for item in found.json["manifests"]] == [digest_of(sbom)]
    again = await run()
    assert (again.runs, again.manifests, again.blobs) == (2, 3, 2), "nothing is copied twice"
    history = await here.send("GET", "/v2/copy/team/app/tags/list")
    assert history.json["tags"] == ["1.0"]


async def test_patterns_choose_tags_and_a_moved_one_is_followed(
    there: Client, here: Client, run: Run
) -> None:
    for tag in ("1.0", "1.1", "2.0", "nightly"):
        await there.push_image("team/app", tag, layers=[tag.encode()])
    await run(tags=("1.*", "night*"))
    tags = (await here.send("GET", "/v2/copy/team/app/tags/list")).json["tags"]
    assert tags == ["1.0", "1.1", "nightly"]
    await run(versions=">1.1", prefix="new/")
    assert (await here.send("GET", "/v2/new/team/app/tags/list")).json["tags"] == ["2.0"]
    new = await there.push_image("team/app", "nightly", layers=[b"new"])
    await run(tags=("1.*", "night*"))
    assert await get(here, "copy/team/app/manifests/nightly") == new


async def test_tags_go_when_that_is_asked_for(there: Client, here: Client, run: Run) -> None:
    await there.push_image("team/app", "1.0", "1.1", "2.0")
    await here.push_image("copy/team/app", "mine")
    await run()
    await there.send("DELETE", "/v2/team/app/manifests/1.1")
    assert (await run()).deleted == 0
    assert (await run(delete=True, tags=("1.*",))).deleted == 1
    tags = (await here.send("GET", "/v2/copy/team/app/tags/list")).json["tags"]
    assert tags == ["1.0", "2.0", "mine"]


async def test_what_goes_wrong_is_told_and_stops_nothing_else(
    there: Client, here: Client, run: Run, tmp_path: Path
) -> None:
    await there.push_image("team/app", "1.0")
    report = await run(repositories=("team/none", "team/app"))
    assert "team/none" in report.error
    assert (report.failures, report.succeeded) == (1, 0)
    assert await get(here, "copy/team/app/manifests/1.0") is not None
    kept = await asyncio.to_thread(read, tmp_path / "here", "m")
    assert kept == report


async def test_only_what_satisfies_the_policy_becomes_visible(
    there: Client, here: Client, run: Run, tmp_path: Path
) -> None:
    host = there.base.removeprefix("http://")
    key = PrivateKey.generate(Algorithm.ED25519)
    policy = tmp_path / "policy.toml"
    text = [
        'default = "reject"',
        "[[rule]]",
        'name = "ours"',
        f'scopes = ["{host}"]',
        'require = "signed"',
        'keys = ["release.pub"]',
    ]
    (tmp_path / "release.pub").write_bytes(key.public.pem)
    policy.write_text("\n".join(text) + "\n")
    signed = await there.push_image("team/app", "good", layers=[b"good"])
    other = await there.push_image("team/app", "moved", layers=[b"moved"])
    unsigned = await there.push_image("team/app", "bad", layers=[b"bad"])
    for raw, tag in ((signed, "good"), (other, "other")):
        name = Reference.parse(f"{host}/team/app:{tag}")
        made = cosign.sign(key, name, Digest.of(raw))
        document, config = cosign.append(None, made)
        for blob in (config, made.payload):
            await there.push_blob("team/app", blob)
        place = cosign.signature_tag(Digest.of(raw))
        await there.push_manifest("team/app", document.raw, place)
    report = await run(policy=policy)
    assert report.refused == 2
    tags = (await here.send("GET", "/v2/copy/team/app/tags/list")).json["tags"]
    assert tags == ["good", cosign.signature_tag(Digest.of(signed))]
    assert await get(here, f"copy/team/app/manifests/{digest_of(unsigned)}") is None
    assert await get(here, f"copy/team/app/blobs/{digest_of(b'bad')}") is None


async def test_push_brings_images_and_their_signatures_there(
    there: Client, here: Client, run: Run
) -> None:
    child = await here.push_image("copy/team/app", layers=[LAYER])
    both = index([child])
    await here.push_manifest("copy/team/app", both, "1.0", media_type=OCI_INDEX)
    await here.push_image("copy/team/app", "dev")
    await here.push_image("elsewhere", "1.0")
    subject = {"mediaType": OCI_INDEX, "digest": digest_of(both), "size": len(both)}
    sbom = manifest(subject=subject, artifactType="application/spdx+json")
    await here.push_manifest("copy/team/app", sbom)
    push = {"direction": Direction.PUSH, "repositories": ("team/*",), "tags": ("1.*",)}
    report = await run(**push)
    assert (report.error, report.manifests) == ("", 3)
    assert await get(there, "team/app/manifests/1.0") == both
    assert await get(there, f"team/app/blobs/{digest_of(LAYER)}") == LAYER
    found = await there.send("GET", f"/v2/team/app/referrers/{digest_of(both)}")
    assert [item["digest"] for item in found.json["manifests"]] == [digest_of(sbom)]
    assert (await there.send("GET", "/v2/team/app/tags/list")).json["tags"] == ["1.0"]
    assert (await run(**push)).manifests == 3, "nothing is sent twice"


async def test_the_schedule_runs_what_is_due(
    start: StartRegistry, there: Client, tmp_path: Path
) -> None:
    raw = await there.push_image("team/app", "1.0")
    rule = MirrorRule(
        name="m", upstream=there.base.removeprefix("http://"), repositories=("team/app",)
    )
    front = await start(root=tmp_path / "scheduled", mirror=(rule,))
    async with asyncio.timeout(60):
        while await get(front, "team/app/manifests/1.0") != raw:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (Report(), 5000.0, True),
        (Report(started=1000, ended=1010), 4500.0, False),
        (Report(started=1000, ended=1010), 4600.0, True),
        (Report(started=1000, ended=1010, error="no"), 1299.0, False),
        (Report(started=1000, ended=1010, error="no"), 1300.0, True),
        (Report(started=1000, ended=900), 1300.0, True),
    ],
    ids=["new", "early", "due", "failed", "again", "cut short"],
)
def test_when_a_run_is_due(last: Report, now: float, *, due: bool) -> None:
    rule = MirrorRule("m", "example.com", repositories=("app",), interval=3600.0)
    assert is_due(last, rule, now) is due


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": "A B"}, "name"),
        ({"upstream": "https://x"}, "upstream"),
        ({"repositories": ()}, "repositories"),
        ({"repositories": ("team/*",)}, "repositories"),
        ({"direction": Direction.PUSH, "delete": True}, "delete"),
        ({"versions": ">=1.2-rc1"}, "versions"),
        ({"username": "ada"}, "password_file"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, Any], where: str) -> None:
    good = {"name": "m", "upstream": "example.com", "repositories": ("app",)}
    with pytest.raises(RegistryConfigError) as caught:
        MirrorRule(**{**good, **fields})
    assert caught.value.where == where


def test_a_mirror_does_not_bring_to_where_a_cache_does(tmp_path: Path) -> None:
    mirror = MirrorRule("m", "example.com", prefix="hub", repositories=("app",))
    with pytest.raises(RegistryConfigError, match="proxy"):
        RegistryConfig(
            root=tmp_path,
            mirror=(mirror,),
            proxy=(ProxyRule(upstream="docker.io", prefix="hub/"),),
        )
