"""Image configs: what a container of the image looks like, and what its layers contain.

OCI image specification, config.md, with Docker's additions (Healthcheck, OnBuild, Shell), which are
kept because the ``config`` object is handed on as it is. The SHA-256 digest of the raw bytes is
Docker's IMAGE ID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from images import strictjson
from images.descriptor import Descriptor
from images.digest import Digest
from images.errors import InvalidManifestError
from images.mediatype import OCI_CONFIG
from images.platform import Platform
from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self


class HistoryEntry(Record):
    """One line of ``history``: how a layer, or an empty one, came to be."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one history object.

        Raises:
            InvalidManifestError: a field has the wrong type.
        """
        if not isinstance(data, dict):
            raise InvalidManifestError("a history entry must be an object")
        texts = {
            key: strictjson.string(data.get(key), what=f"history {key}")
            for key in ("created", "created_by", "author", "comment")
        }
        return cls(
            created=texts["created"] or None,
            created_by=texts["created_by"],
            author=texts["author"],
            comment=texts["comment"],
            empty_layer=data.get("empty_layer") is True,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, with empty fields left out."""
        data = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
        }
        return {key: value for key, value in data.items() if value}


class ImageConfig(Record):
    """A parsed image config beside its raw bytes.

    ``config`` is the inner object as it stands in the document: Env, Cmd, Entrypoint, User and so
    on in Docker's spelling. ``created`` is RFC 3339 text.
    """

    raw: bytes
    platform: Platform
    diff_ids: tuple[Digest, ...]
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    history: tuple[HistoryEntry, ...] = ()
    created: str | None = None
    author: str = ""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse an image config.

        Raises:
            InvalidManifestError: malformed, or the config of something that is not an image.
            SizeLimitError: longer than 4 MiB.
        """
        document = strictjson.loads(raw, what="image config")
        rootfs = document.get("rootfs")
        if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
            raise InvalidManifestError("image config has no rootfs of layers")
        inner = document.get("config")
        if inner is not None and not isinstance(inner, dict):
            raise InvalidManifestError("config of the image config must be an object")
        diff_ids = strictjson.sequence(rootfs.get("diff_ids"), what="diff_ids")
        history = strictjson.sequence(document.get("history"), what="history")
        return cls(
            raw=raw,
            platform=Platform.from_json(document),
            diff_ids=tuple(Digest.parse(strictjson.string(d, what="diff_id")) for d in diff_ids),
            config=inner or {},
            history=tuple(HistoryEntry.from_json(item) for item in history),
            created=strictjson.string(document.get("created"), what="created") or None,
            author=strictjson.string(document.get("author"), what="author"),
        )

    @classmethod
    def build(
        cls,
        platform: Platform,
        diff_ids: Sequence[Digest],
        *,
        config: Mapping[str, Any] | None = None,
        history: Sequence[HistoryEntry] = (),
        created: str | None = None,
        author: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a config whose ``raw`` is canonical; ``extra`` adds top-level fields."""
        document: dict[str, Any] = {**(extra or {}), **platform.to_json()}
        document["rootfs"] = {"type": "layers", "diff_ids": [str(d) for d in diff_ids]}
        document["config"] = dict(config or {})
        if history:
            document["history"] = [entry.to_json() for entry in history]
        if created is not None:
            document["created"] = created
        if author:
            document["author"] = author
        return cls.parse(strictjson.dumps(document))

    @property
    def digest(self) -> Digest:
        """The SHA-256 digest of the raw bytes: the image id."""
        return Digest.of(self.raw)

    def descriptor(self, media_type: str = OCI_CONFIG) -> Descriptor:
        """A descriptor that points to this config."""
        return Descriptor(media_type, self.digest, len(self.raw))

    def to_json(self) -> dict[str, Any]:
        """The whole document, unknown fields included."""
        return strictjson.loads(self.raw, what="image config")


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """The chain id of each layer on top of those before it (OCI config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
