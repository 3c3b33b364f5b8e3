"""What tests of the gate share: a gated registry, and somebody who signs for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from images.descriptor import Descriptor
from images.digest import Digest
from images.mediatype import OCI_MANIFEST
from images.reference import Reference
from registry.gate.settings import GateRule
from tests.registry import kit
from tests.registry.kit import Answer, Client
from trust import bundle, cosign
from trust.keys import Algorithm, PrivateKey

HOST = "registry.example.com"
REPOSITORY = "prod/web"


def policy(folder: Path, key: PrivateKey, **more: Any) -> Path:
    """A policy.toml that wants everything of our host signed by ``key``."""
    (folder / "release.pub").write_bytes(key.public.pem)
    lines = [f"{name} = {json.dumps(value)}" for name, value in more.items()]
    text = [
        'default = "reject"',
        "[[rule]]",
        'name = "ours"',
        f'scopes = ["{HOST}"]',
        'require = "signed"',
        'keys = ["release.pub"]',
        *lines,
    ]
    path = folder / "policy.toml"
    path.write_text("\n".join(text) + "\n")
    return path


def gate(folder: Path, key: PrivateKey, **fields: Any) -> tuple[GateRule, ...]:
    """One rule for ``prod/**``."""
    path = fields.pop("policy", None) or policy(folder, key)
    return (GateRule(repositories="prod/**", policy=path, name=HOST, **fields),)


def new_key() -> PrivateKey:
    return PrivateKey.generate(Algorithm.ED25519)


def named(reference: str) -> Reference:
    """``:1`` or ``@sha256:...`` of our repository."""
    return Reference.parse(f"{HOST}/{REPOSITORY}{reference}")


@dataclass
class Signer:
    """Puts signatures into a registry as cosign does."""

    client: Client
    key: PrivateKey
    repository: str = REPOSITORY

    async def tag(self, raw: bytes, name: str, *, under: bytes | None = None) -> str:
        """Sign under the ``.sig`` tag, of ``under`` if the signature is to lie in a wrong place."""
        made = cosign.sign(self.key, named(name), Digest.of(raw))
        manifest, config = cosign.append(None, made)
        for blob in (config, made.payload):
            await self.client.push_blob(self.repository, blob)
        tag = cosign.signature_tag(Digest.of(raw if under is None else under))
        await self.client.push_manifest(self.repository, manifest.raw, tag)
        return tag

    async def bundle(
        self, raw: bytes, name: str, *, subject: bytes | None = None, media_type: str = OCI_MANIFEST
    ) -> str:
        """Attach a bundle, to ``subject`` if it is to be attached to something else."""
        made = bundle.sign(self.key, named(name), Digest.of(raw))
        target = raw if subject is None else subject
        to = Descriptor(media_type, Digest.of(target), len(target))
        manifest, config = bundle.referrer(made, to, created=datetime(2026, 1, 1, tzinfo=UTC))
        for blob in (config, made.raw):
            await self.client.push_blob(self.repository, blob)
        return await self.client.push_manifest(self.repository, manifest.raw)


async def pull(client: Client, reference: str, method: str = "GET", **more: Any) -> Answer:
    path = f"/v2/{REPOSITORY}/manifests/{reference}"
    return await client.send(method, path, **more)


async def refused(client: Client, reference: str) -> str:
    """Why; asserts that GET and HEAD agree."""
    answer = await pull(client, reference)
    assert answer.status == 403, answer
    assert answer.code == "DENIED"
    assert (await pull(client, reference, "HEAD")).status == 403
    return str(answer.json["errors"][0]["message"])


async def served(client: Client, reference: str, raw: bytes) -> None:
    answer = await pull(client, reference)
    assert answer.status == 200, answer
    assert answer.body == raw
    assert (await pull(client, reference, "HEAD")).status == 200


def image(number: int = 0) -> bytes:
    return kit.manifest(annotations={"number": str(number)})
