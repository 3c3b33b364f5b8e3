"""May a manifest of a gated repository be served? Plain blocking code over index and storage.

``Judge.check`` returns or raises (design D10). A manifest passes, by the first of these,

1. if it is an attachment: a signature, an SBOM, provenance (``registry.gate.attachments``);
2. if ``trust.verify`` accepts it under the name that is asked for; a digest may also be accepted
   under a tag that points at it now, since clients resolve a tag and then fetch its digest;
3. asked for by digest, if an index of this repository lists it and passes 2, or is listed by such a
   one in turn.

A tag is never served because an index lists what it points at: it would let whoever may push move
it to a part of an older release.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from images import manifest as manifests
from images.digest import Digest
from images.errors import ImagesError
from images.manifest import Index, Manifest
from images.reference import Reference
from registry.gate.attachments import BLOCK, is_attachment
from registry.gate.policies import LoadedPolicy
from registry.gate.relations import lists_of, tags_of
from registry.gate.settings import GateRule
from registry.gate.signatures import StoredSignatures
from registry.gate.weighing import weigh
from registry.index import SqlIndex
from registry.protocols import BlobReader
from registry.records import ManifestRow
from trust.errors import UnsignedError, VerificationError
from trust.requirements import AcceptAnything, Reject, SigstoreSigned, Unsupported
from trust.signature import OpenPgpSignature, Signature
from trust.verify import verify

_TAGS: Final = 16
_LISTS: Final = 32
_TRIALS: Final = 32
"""How often signatures are verified for one request, whatever is stored."""

_REMEMBERED: Final = 1024
_MINUTE: Final = 60
_DEPTH: Final = 4
"""How many indexes may lie within each other."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The manifest that a request asks for; ``tag`` is None when it names the digest."""

    tag: str | None
    digest: Digest
    media_type: str
    raw: bytes


class Judge:
    """The judge of one rule."""

    def __init__(
        self, rule: GateRule, loaded: LoadedPolicy, index: SqlIndex, storage: BlobReader
    ) -> None:
        self.rule = rule
        self._loaded = loaded
        self._index = index
        self._storage = storage
        self._weighed = lru_cache(_REMEMBERED)(self._weigh)

    @property
    def depends_on_time(self) -> bool:
        """Whether a verdict may change although nothing in the repository did."""
        policy = self._loaded.policy
        scoped = (item for rule in policy.scopes.values() for item in rule.requirements)
        # Certificates and OpenPGP keys expire.
        return bool(policy.imports) or not all(
            isinstance(item, (AcceptAnything, Reject, Unsupported))
            or (isinstance(item, SigstoreSigned) and item.max_age is None)
            for item in (*(policy.default or ()), *scoped)
        )

    def check(self, repository: str, wanted: Wanted, *, now: datetime) -> None:
        """Return if it may be served.

        Raises:
            VerificationError: it may not.
        """
        reader = self._index.reader()
        tags = [wanted.tag] if wanted.tag is not None else []
        if wanted.tag is None:
            tags = tags_of(reader, repository, str(wanted.digest), limit=_TAGS)
        parsed = manifests.parse(wanted.raw, wanted.media_type)
        if isinstance(parsed, Manifest) and is_attachment(parsed, tags, self._head):
            return
        case = _Case(self.rule.name, repository, self._loaded, self._index, self._storage, now)
        try:
            case.accept(wanted.tag, wanted.digest)
        except VerificationError:
            if wanted.tag is not None or not case.listed(wanted.digest):
                raise

    def weigh(
        self,
        repository: str,
        tag: str | None,
        digest: Digest,
        signature: Signature,
        *,
        now: datetime,
    ) -> bool:
        """Whether the policy asks for signatures like this one, which counts.

        Raises:
            VerificationError: it does, and this one does not count.
        """
        name = Reference(self.rule.name, repository, tag, digest if tag is None else None)
        if not isinstance(signature, OpenPgpSignature):
            return weigh(self._loaded, name, digest, signature, now=now)
        found = self._weighed(name, digest, signature, int(now.timestamp() // _MINUTE))
        if isinstance(found, VerificationError):
            raise found
        return found

    def _weigh(
        self, name: Reference, digest: Digest, signature: OpenPgpSignature, minute: int
    ) -> bool | VerificationError:
        """As ``weigh``, remembered: each takes a process."""
        now = datetime.fromtimestamp(minute * _MINUTE, UTC)
        try:
            return weigh(self._loaded, name, digest, signature, now=now)
        except VerificationError as error:
            return error

    def _head(self, digest: Digest) -> bytes:
        with self._storage.open(digest) as file:
            return file.read(BLOCK)


@dataclass(slots=True)
class _Case:
    """One request being judged; its work is bounded over everything it looks at."""

    host: str
    repository: str
    loaded: LoadedPolicy
    index: SqlIndex
    storage: BlobReader
    now: datetime
    left: int = _TRIALS

    def accept(self, tag: str | None, digest: Digest) -> None:
        """Return if the policy accepts ``digest`` as ``tag``, or under any name that it has.

        Raises:
            VerificationError: for the name that was asked for.
        """
        names: list[str | None] = [tag]
        if tag is None:
            reader = self.index.reader()
            names += tags_of(reader, self.repository, str(digest), limit=_TAGS)
        first: VerificationError | None = None
        for name in names:
            try:
                self._verify(name, digest)
            except VerificationError as error:
                first = first or error
            else:
                return
        assert first is not None, "there is one name at least"
        raise first

    def listed(self, digest: Digest) -> bool:
        """Whether an index that is accepted lists ``digest``, directly or through others."""
        level = [digest]
        seen = {digest}
        for _ in range(_DEPTH):
            level, children = [], level
            for child in children:
                for row in lists_of(self.index.reader(), self.repository, str(child), limit=_LISTS):
                    parent = Digest.parse(row.digest)
                    if parent in seen or len(seen) > _LISTS or not self._lists(row, child):
                        continue
                    if self._accepted(parent):
                        return True
                    seen.add(parent)
                    level.append(parent)
        return False

    def _accepted(self, digest: Digest) -> bool:
        try:
            self.accept(None, digest)
        except VerificationError:
            return False
        return True

    def _lists(self, row: ManifestRow, digest: Digest) -> bool:
        """Whether this is an index with ``digest`` in its list, rather than as its subject."""
        try:
            raw = self.storage.read(Digest.parse(row.digest), limit=row.size)
            parsed = manifests.parse(raw, row.media_type)
        except ImagesError:
            return False
        return isinstance(parsed, Index) and any(d.digest == digest for d in parsed.manifests)

    def _verify(self, tag: str | None, digest: Digest) -> None:
        if self.left <= 0:
            raise UnsignedError(f"{digest} has more names than are looked at")
        self.left -= 1
        name = Reference(self.host, self.repository, tag, digest if tag is None else None)
        decision = self.loaded.policy.decide(name)
        source = StoredSignatures(decision, self.repository, self.index, self.storage)
        try:
            verify(
                name,
                digest,
                self.loaded.policy,
                source,
                now=self.now,
                read_key=self.loaded.read_key,
            )
        except UnsignedError as error:
            if source.damage:
                error.add_note(f"damaged: {source.damage[0]}")
            raise
