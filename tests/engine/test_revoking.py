"""Revoking against a registry that others write to, that lacks the newer endpoints, or refuses."""

from __future__ import annotations

import pytest

from engine.revoking import revoke
from engine.signatures import fetch_bundles, fetch_notation, fetch_tag_signatures
from engine.trusting import Format, sign
from images.client import RegistryClient
from images.client.errors import DeletionRefusedError
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Manifest
from images.mediatype import OCI_EMPTY, OCI_MANIFEST
from images.reference import Reference
from tests.engine.signing_kit import now
from trust import bundle, cosign
from trust.errors import NothingToRevokeError, SigningError
from trust.keys import PrivateKey
from trust.notation.signing import CertifiedKey, self_signed

ALICE, BOB = PrivateKey.generate(), PrivateKey.generate()
PROVENANCE = "https://slsa.dev/provenance/v1"


async def no_pause(_attempt: int) -> None:
    return None


async def found(client: RegistryClient, web: Reference) -> tuple[int, int, int]:
    digest = (await client.resolve(web)).digest
    kinds = (fetch_tag_signatures, fetch_bundles, fetch_notation)
    return tuple([len((await fetch(client, web, digest)).items) for fetch in kinds])


async def sign_all(client: RegistryClient, web: Reference) -> None:
    subject = "C=DE, ST=Hamburg, O=Acme, CN=alice"
    certified = CertifiedKey.join(ALICE, (self_signed(ALICE, subject, now=now()),), where="here")
    await sign(client, web, ALICE, certified=certified, now=now)
    await sign(client, web, BOB)


@pytest.mark.parametrize("referrers_api", [True, False])
@pytest.mark.parametrize("conditional", [True, False])
async def test_signatures_of_a_key_are_removed(registry, web, client, referrers_api, conditional):
    registry.referrers_api, registry.conditional = referrers_api, conditional
    await sign_all(client, web)
    assert await found(client, web) == (2, 2, 1)
    (done,) = await revoke(client, web, key=ALICE.public)
    assert done.removed == {Format.TAG: 1, Format.BUNDLE: 1, Format.NOTATION: 1}
    assert await found(client, web) == (1, 1, 0)
    await revoke(client, web)
    assert await found(client, web) == (0, 0, 0)
    with pytest.raises(NothingToRevokeError):
        await revoke(client, web)


async def attest(client: RegistryClient, web: Reference, *, named: bool) -> Digest:
    """Attach a bundle that is no signature of the image; its manifest may say so."""
    target = await client.resolve(web)
    raw = b'{"mediaType":"' + bundle.BUNDLE.encode() + b'","certificate":"by an authority"}'
    await client.put_blob(web, raw)
    await client.put_blob(web, b"{}")
    manifest = Manifest.build(
        Descriptor(OCI_EMPTY, Digest.of(b"{}"), 2),
        [Descriptor(bundle.BUNDLE, Digest.of(raw), len(raw))],
        subject=target,
        artifact_type=bundle.BUNDLE,
        annotations={"dev.sigstore.bundle.predicateType": PROVENANCE} if named else {},
    )
    place = Reference.parse(f"{web.name}@{manifest.digest}")
    await client.put_manifest(place, manifest.raw, OCI_MANIFEST)
    return manifest.digest


@pytest.mark.parametrize("named", [True, False])
async def test_attestations_stay(web, client, named):
    await sign(client, web, ALICE)
    digest = await attest(client, web, named=named)
    await revoke(client, web)
    target = await client.resolve(web)
    assert [item.digest for item in await client.referrers(web, target.digest)] == [digest]


async def test_a_signature_that_comes_between_is_kept(registry, web, client):
    await sign(client, web, ALICE, formats=[Format.TAG])
    await sign(client, web, BOB, formats=[Format.TAG])
    tag = cosign.signature_tag((await client.resolve(web)).digest)
    registry.fail(method="PUT", path=f"manifests/{tag}", status=412, times=1)
    await revoke(client, web, key=ALICE.public, pause=no_pause)
    assert (await found(client, web))[0] == 1


async def test_a_tag_that_keeps_moving_is_given_up(registry, web, client):
    await sign(client, web, ALICE, formats=[Format.TAG])
    await sign(client, web, BOB, formats=[Format.TAG])
    tag = cosign.signature_tag((await client.resolve(web)).digest)
    registry.fail(method="PUT", path=f"manifests/{tag}", status=412, times=1000)
    with pytest.raises(SigningError, match="keep overwriting"):
        await revoke(client, web, key=ALICE.public, pause=no_pause)


@pytest.mark.parametrize("status", [400, 405])
async def test_registries_may_refuse(registry, web, client, status):
    await sign(client, web, ALICE)
    registry.fail(method="DELETE", status=status, times=9)
    with pytest.raises(DeletionRefusedError, match="does not let its clients delete"):
        await revoke(client, web)
