"""What nobody can run, and what somebody could."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile

import pytest
import zstandard

from images.digest import Digest
from images.errors import BlobUnknownError
from images.manifest import Manifest
from images.mediatype import OCI_CONFIG, OCI_EMPTY, OCI_LAYER_GZIP, OCI_MANIFEST
from registry.gate.attachments import BLOCK, can_be_unpacked, is_attachment
from tests.registry import kit

SIG = "sha256-" + "0" * 64 + ".sig"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
SUBJECT = kit.descriptor(b"{}", OCI_MANIFEST)
PAYLOAD = b'{"critical": "' + b"x" * 600 + b'"}'


def archive(form: int, name: str = "file") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        entry = tarfile.TarInfo(name)
        entry.size = 3
        file.addfile(entry, io.BytesIO(b"abc"))
    return out.getvalue()


TAR = archive(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    "data",
    [
        TAR,
        archive(tarfile.GNU_FORMAT),
        archive(tarfile.PAX_FORMAT, "\u00e9" * 80),
        archive(tarfile.USTAR_FORMAT, '{"critical": "'),
        gzip.compress(TAR, mtime=0),
        bz2.compress(TAR),
        lzma.compress(TAR),
        zstandard.compress(TAR),
        b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + zstandard.compress(TAR),
    ],
)
def test_what_unpackers_recognise(data: bytes) -> None:
    assert can_be_unpacked(data[:BLOCK])


@pytest.mark.parametrize("data", [b"", b"{}", PAYLOAD, b"SPDXVersion: SPDX-2.3\n" * 40, bytes(512)])
def test_what_they_do_not(data: bytes) -> None:
    assert not can_be_unpacked(data[:BLOCK])


def attached(
    *layers: bytes,
    config: str = OCI_CONFIG,
    kind: str = SIMPLE,
    tag: str = "",
    subject: bool = False,
) -> bool:
    document = json.loads(kit.manifest())
    document["config"]["mediaType"] = config
    document["layers"] = [kit.descriptor(layer, kind) for layer in layers]
    if subject:
        document["subject"] = SUBJECT
    blobs = {Digest.of(layer): layer for layer in layers if layer != b"missing"}

    def head(digest: Digest) -> bytes:
        if digest not in blobs:
            raise BlobUnknownError("no such blob")
        return blobs[digest][:BLOCK]

    manifest = Manifest.parse(json.dumps(document).encode(), OCI_MANIFEST)
    return is_attachment(manifest, [tag] if tag else [], head)


def test_signatures_sboms_and_provenance_pass() -> None:
    assert attached(PAYLOAD, PAYLOAD + b" ", tag=SIG)
    assert attached(b"SPDXVersion: SPDX-2.3", kind="text/spdx", tag=SIG.replace("sig", "sbom"))
    assert attached(PAYLOAD, kind="application/vnd.in-toto+json", subject=True)
    assert attached(PAYLOAD, config=OCI_EMPTY, subject=True)
    assert attached(gzip.compress(b"sbom"), config=OCI_EMPTY, kind="a/sbom+gzip", subject=True)


def test_images_do_not() -> None:
    assert not attached(PAYLOAD), "neither a subject nor a tag of cosign's"
    assert not attached(PAYLOAD, tag=SIG.replace("sig", "exe"))
    for data in (TAR, gzip.compress(TAR)):
        assert not attached(PAYLOAD, data, tag=SIG)
        assert not attached(PAYLOAD, data, subject=True)
    assert not attached(TAR, config=OCI_EMPTY, kind=OCI_LAYER_GZIP, subject=True)
    assert not attached(subject=True), "an image of no layers is an image"
    assert not attached(b"missing", tag=SIG), "nobody knows what it would be"
