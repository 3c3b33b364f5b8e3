"""``.sig`` tags under many signers at once: none is lost, and none of them can hurt (abuse 30)."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from engine import trusting
from engine.signatures import fetch_tag_signatures
from engine.trusting import Format
from images.client import ClientOptions, RegistryClient
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from registry.config import RegistryConfig
from tests.registry import kit
from tests.registry.contract import holds
from tests.registry.crashmodel import exchange
from tests.registry.kit import Client, digest_of
from tests.registry.running import Running
from trust.keys import Algorithm, PrivateKey

SIGNED = "sha256-" + "a" * 64 + ".sig"
PATH = f"/v2/a/manifests/{SIGNED}"
LAYER = kit.descriptor(b"{}", "application/vnd.dev.cosign.simplesigning.v1+json")


async def append(client: Client, number: int, gate: asyncio.Semaphore) -> int:
    """Add one signature as cosign does, under the condition that nobody else did; the attempts.

    ``gate`` bounds how many are between reading and writing at a moment.
    """
    rng = random.Random(number)
    for attempt in range(1, 1000):
        async with gate:
            if await attempt_append(client, number):
                return attempt
        await asyncio.sleep(rng.uniform(0, min(0.01 * 2**attempt, 2.0)))
    raise AssertionError("never got through")


async def attempt_append(client: Client, number: int) -> bool:
    """Read, change and write; False when somebody wrote in between."""
    found = await client.send("GET", PATH)
    headers = {"Content-Type": OCI_MANIFEST}
    layers = []
    if found.status == 404:
        headers["If-None-Match"] = "*"
    else:
        headers["If-Match"] = found.headers["ETag"]
        layers = found.json["layers"]
    layers.append({**LAYER, "annotations": {"signature": str(number)}})
    raw = kit.replaced(kit.manifest(), layers=layers)
    answer = await client.send("PUT", PATH, data=raw, headers=headers)
    assert answer.status in (201, 412)
    return answer.status == 201


THOUSAND = pytest.param(1000, 6, marks=[pytest.mark.soak, pytest.mark.timeout(900)])


@holds("A conditional write replaces what its client read.")
@pytest.mark.parametrize(("count", "at_once"), [(50, 50), THOUSAND])
async def test_abuse_30_parallel_appends_lose_none(
    client: Client, count: int, at_once: int
) -> None:
    await client.push_blob("a", b"{}")
    gate = asyncio.Semaphore(at_once)
    attempts = await asyncio.gather(*(append(client, number, gate) for number in range(count)))
    assert max(attempts) > 1, "nobody ever collided, so this proved nothing"
    layers = (await client.send("GET", PATH)).json["layers"]
    signatures = [layer["annotations"]["signature"] for layer in layers]
    assert sorted(map(int, signatures)) == list(range(count))
    assert (await client.send("DELETE", PATH)).status == 202


def test_abuse_30_signers_at_once(tmp_path: Path) -> None:
    """lading's own signers, each a client of its own, against a registry on a socket."""
    keys = [PrivateKey.generate(Algorithm.ED25519) for _ in range(16)]
    with Running(RegistryConfig(root=tmp_path / "registry", port=0)) as bound:
        raw = kit.manifest()
        for path, body in ((f"blobs/uploads/?digest={digest_of(b'{}')}", b"{}"), ("", raw)):
            method = "POST" if path else "PUT"
            where = f"/v2/demo/{path or 'manifests/1'}"
            headers = {"Content-Type": OCI_MANIFEST}
            assert exchange(bound.port, method, where, body, headers)[0] == 201
        reference = Reference.parse(f"127.0.0.1:{bound.port}/demo:1")

        async def sign(key: PrivateKey) -> None:
            async with RegistryClient(options=ClientOptions()) as client:
                await trusting.sign(client, reference, key, formats=[Format.TAG])

        async def everybody() -> int:
            await asyncio.gather(*map(sign, keys))
            async with RegistryClient(options=ClientOptions()) as client:
                descriptor = await client.resolve(reference)
                found = await fetch_tag_signatures(client, reference, descriptor.digest)
                assert not found.damage
                return len(found.items)

        assert asyncio.run(everybody()) == len(keys)


async def test_abuse_30_a_crowded_tag_is_one_manifest_like_any_other(client: Client) -> None:
    """Thousands of layers of one blob: pushed, listed and deleted in linear work."""
    await client.push_blob("a", b"{}")
    layers = [{**LAYER, "annotations": {"n": str(n)}} for n in range(9000)]
    raw = json.dumps({**json.loads(kit.manifest()), "layers": layers}).encode()
    await client.push_manifest("a", raw, SIGNED)
    assert (await client.send("GET", PATH)).body == raw
    assert (await client.send("DELETE", f"/v2/a/manifests/{digest_of(raw)}")).status == 202
    assert (await client.send("GET", PATH)).status == 404
