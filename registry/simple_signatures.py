"""Simple signing's signatures, kept beside the manifests they speak of.

The signature extension of containers/image (``X-Registry-Supports-Signatures``): opaque OpenPGP
messages by name, which podman, skopeo and buildah write with ``--sign-by`` and read under a
``signedBy`` policy. They go with their manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from registry.database import Database
from registry.errors import ApiError

MOST: Final = 256
"""Signatures of one manifest; nobody looks at more."""

ARTIFACT_TYPE: Final = "application/vnd.containers.simple-signature"
"""What followers are told that such a signature is, which is no manifest with a type of its own."""

_REPOSITORY: Final = "(SELECT id FROM repositories WHERE name = ?)"
_OF_MANIFEST: Final = (
    f"SELECT name, content FROM simple_signatures WHERE repository = {_REPOSITORY} AND digest = ?"
)


@dataclass(frozen=True, slots=True)
class SimpleSignature:
    """One signature: ``name`` is ``<digest>@<suffix>``, ``content`` an OpenPGP message."""

    name: str
    content: bytes


class SimpleSignatureRows(Database):
    """The part of the index that keeps them."""

    def simple_signatures(self, repository: str, digest: str) -> list[SimpleSignature]:
        """The signatures of one manifest, ordered by name."""
        rows = self.reader().execute(f"{_OF_MANIFEST} ORDER BY name", (repository, digest))
        return [SimpleSignature(*row) for row in rows]

    def add_simple_signature(
        self, repository: str, digest: str, signature: SimpleSignature, *, actor: str = ""
    ) -> bool:
        """Keep a signature of a manifest that is here; False when it was kept already. Write.

        Raises:
            ApiError: MANIFEST_UNKNOWN; another signature has its name; there are too many.
        """
        place = (repository, digest)
        sql = f"SELECT 1 FROM manifests WHERE repository = {_REPOSITORY} AND digest = ?"
        if self.writer.execute(sql, place).fetchone() is None:
            raise ApiError("MANIFEST_UNKNOWN", detail={"reference": digest})
        held = dict(self.writer.execute(_OF_MANIFEST, place).fetchall())
        if held.get(signature.name, signature.content) != signature.content:
            raise ApiError("DENIED", status=409, message="another signature has this name")
        if len(held) >= MOST and signature.name not in held:
            raise ApiError("DENIED", message=f"the manifest has {MOST} signatures already")
        cursor = self.writer.execute(
            "INSERT INTO simple_signatures (repository, digest, name, content)"
            f" VALUES ({_REPOSITORY}, ?, ?, ?) ON CONFLICT DO NOTHING",
            (*place, signature.name, signature.content),
        )
        return cursor.rowcount > 0
