"""What the handlers need of storage, index and rights, split by capability.

Files, SQLite and htpasswd stand behind these today; an object store, another database or a token
service fits behind the same few methods. Methods without ``async`` may block and are called from
worker threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from images.digest import Digest
from registry.access.identity import Grant, Identity
from registry.access.policy import Rights
from registry.access.refresh import Login
from registry.access.settings import AccessSettings
from registry.database import Database
from registry.guard import Guard
from registry.records import BlobLink, ManifestRow, NewManifest, TagEvent, UploadRow
from registry.simple_signatures import SimpleSignature

if TYPE_CHECKING:
    from registry.access.certificates.clients import ClientCertificates
    from registry.access.oidc.browser import BrowserLogins, Ticket

T = TypeVar("T")


class BlobReader(Protocol):
    """Reads content by digest; whether a repository may is the index's matter."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading; raises ``images.errors.BlobUnknownError``."""
        ...

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """Read and verify a small blob; raises ``BlobUnknownError`` or ``InternalError``."""
        ...


class BlobPutter(Protocol):
    """Stores small content in one step."""

    def put(self, data: bytes, digest: Digest) -> None:
        """Store bytes that hash to ``digest``; returns when they are durable."""
        ...

    def keep(self, data: bytes, digest: Digest) -> Callable[[], None]:
        """The same, but for what it returns: a write for the transaction that links them."""
        ...


class Stage(Protocol):
    """The bytes of one upload, before they are a blob. Used by one request at a time."""

    @property
    def size(self) -> int:
        """How many bytes have been taken so far."""
        ...

    @property
    def touched(self) -> float:
        """When bytes last came, in seconds since the epoch."""
        ...

    def acquire(self) -> bool:
        """Take the stage for one request; False when another request or process has it.

        Raises FileNotFoundError when the stage is gone.
        """
        ...

    def release(self) -> None:
        """Give the stage back; harmless when it is not held."""
        ...

    def append(self, buffers: Sequence[bytes]) -> None:
        """Take bytes; all of them or, when the disk fails, none."""
        ...

    def commit(self, digest: Digest) -> int:
        """Verify, make durable and publish; returns the size in bytes.

        Raises ``images.errors.DigestMismatchError`` and publishes nothing.
        """
        ...

    def prepare(self, digest: Digest) -> int:
        """What ``commit`` does, but for what ``settle`` writes."""
        ...

    def settle(self) -> None:
        """Publish what was prepared. Write: in the transaction that links the blob.

        After it was committed comes ``ended``; when it was not, ``publish`` may be tried.
        """
        ...

    def ended(self) -> None:
        """The transaction of ``settle`` was committed; ``release`` comes next."""
        ...

    def publish(self) -> None:
        """``settle`` in a transaction of its own, and ``ended``."""
        ...

    def announce(self) -> None:
        """Tell other processes of a stage that was just begun. Write."""
        ...

    def discard(self) -> None:
        """Remove the bytes."""
        ...


class Staging(Protocol):
    """Where uploads grow."""

    def create(self, upload: str, algorithm: str) -> Stage:
        """Begin the stage of a new upload."""
        ...

    def begin(self, upload: str, algorithm: str) -> Stage:
        """The same, but for what ``Stage.announce`` writes."""
        ...

    def resume(self, upload: str, algorithm: str) -> Stage:
        """The stage of an upload begun before, perhaps by another process."""
        ...

    def sweep(self, *, before: float) -> int:
        """Remove stages that nobody touched since ``before``; returns how many."""
        ...


class Collectable(Staging, Protocol):
    """What a collection needs: to list content, and to remove what was not touched lately."""

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there; renews nothing."""
        ...

    def size(self, digest: Digest) -> int | None:
        """The size in bytes, None when the bytes are not there."""
        ...

    def digests(self) -> Iterator[Digest]:
        """Every blob, in no order."""
        ...

    def set_aside(self, digest: Digest, folder: Path) -> None:
        """Move damaged bytes into ``folder``, where nobody reads them."""
        ...

    def reclaimable(self, digest: Digest, *, before: float) -> int | None:
        """The bytes that ``retire`` would free; None when it would spare the blob."""
        ...

    def retire(self, digest: Digest, *, before: float) -> int | None:
        """Take a blob out of sight unless it was touched since; returns the bytes, or None."""
        ...

    def empty_trash(self) -> None:
        """Free what was retired."""
        ...

    def idle(self, *, before: float) -> Iterator[str]:
        """Uploads whose stages nobody touched since ``before``."""
        ...

    def sweep_stages(self) -> int:
        """Remove leftovers of content that was half written; returns the bytes freed."""
        ...


class Holder(Protocol):
    """Tells what is there to who writes to the index."""

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are there; called under the index's write lock, so it is quick."""
        ...


class Storage(BlobReader, BlobPutter, Collectable, Protocol):
    """All of it: what one registry is given."""

    @property
    def holder(self) -> Holder:
        """What the guard of the index asks."""
        ...

    @property
    def place(self) -> str | None:
        """What an index calls the place of the bytes (``registry.storage.PLACE``)."""
        ...

    def attach(self, index: Database) -> None:
        """Share the transactions of this index; comes before anything else."""
        ...

    def is_empty(self) -> bool:
        """Whether nothing at all is in the place of the bytes; asks it."""
        ...

    def recover(self) -> None:
        """Tell an index that was made anew what there is, as far as it has to know."""
        ...

    def recorded(self, digests: Sequence[Digest]) -> Mapping[Digest, int]:
        """The sizes in bytes of those that are there, as far as that is known without a request."""
        ...

    def put_all(self, blobs: Mapping[Digest, bytes]) -> None:
        """Store small blobs that are known to hash to their digests, durably."""
        ...

    def take(self, pieces: Iterable[bytes], digest: Digest, size: int) -> None:
        """Store content from elsewhere, durably.

        Raises DigestMismatchError, SizeLimitError.
        """
        ...


class BlobLinks(Protocol):
    """Which repository has which blobs. Methods marked "write" run inside an ``IndexWriter``."""

    def room(self, repository: str) -> int | None:
        """How many bytes the rules would still let it grow; None for any number."""
        ...

    def blob(self, repository: str, digest: str) -> BlobLink | None:
        """The link of ``repository`` to this blob."""
        ...

    def blob_holders(self, digest: str, *, limit: int) -> list[str]:
        """Some repositories that have this blob."""
        ...

    def link_blob(self, repository: str, digest: str, size: int) -> None:
        """Give ``repository`` a blob whose bytes are durable. Write."""
        ...

    def mount_blob(self, source: str, repository: str, digest: str) -> bool:
        """Link a blob that ``source`` has; False when it has not. Write."""
        ...

    def renew_blob(self, repository: str, digest: str) -> bool:
        """Begin the lease of a blob anew; False when it is gone. Write."""
        ...

    def unlink_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from ``repository`` only; False when it had none. Write."""
        ...


class Manifests(Protocol):
    """Which repository has which manifests, and who refers to them."""

    def manifest(self, repository: str, digest: str) -> ManifestRow | None:
        """The manifest of this digest."""
        ...

    def tagged_manifest(self, repository: str, tag: str) -> ManifestRow | None:
        """The manifest that ``tag`` points to."""
        ...

    def current(self, repository: str, reference: str) -> str | None:
        """The digest under a tag or digest, as this transaction sees it; None for none. Write."""
        ...

    def put_manifest(
        self,
        repository: str,
        manifest: NewManifest,
        tags: Iterable[str],
        *,
        sparse: bool = False,
        actor: str = "",
    ) -> None:
        """Record a manifest and its tags, put by ``actor``. Write.

        Raises MissingContentError, WrongSizeError.
        """
        ...

    def renew_manifest(self, repository: str, digest: str) -> bool:
        """Begin the lease of a manifest anew; False when it is gone. Write."""
        ...

    def delete_manifest(self, repository: str, digest: str, *, actor: str = "") -> bool:
        """Remove a manifest with its tags; False when there is none. Write."""
        ...

    def referrers(
        self, repository: str, subject: str, *, artifact_type: str | None, last: str, limit: int
    ) -> list[tuple[str, bytes]]:
        """Up to ``limit`` (digest, descriptor JSON) after ``last``, ordered by digest."""
        ...


class Listings(Protocol):
    """Names in byte order, a page at a time."""

    def has_repository(self, repository: str) -> bool:
        """Whether anything was ever pushed there."""
        ...

    def catalog(self, *, last: str, limit: int) -> list[str]:
        """Up to ``limit`` repositories after ``last``."""
        ...

    def tags(self, repository: str, *, last: str, limit: int) -> list[str] | None:
        """Up to ``limit`` tags after ``last``; None: no such repository."""
        ...

    def delete_tag(self, repository: str, tag: str, *, actor: str = "") -> bool:
        """Remove a tag and nothing else; False when there is none. Write."""
        ...

    def retag(self, repository: str, tag: str, digest: str) -> bool:
        """Point a tag at a manifest that is here; False when it is not. Write."""
        ...

    def tag_history(self, repository: str, tag: str, *, limit: int) -> list[TagEvent]:
        """The latest moves of a tag, newest first."""
        ...


class UploadSessions(Protocol):
    """Sessions, as every process of the registry sees them."""

    def create_upload(self, upload: UploadRow) -> None:
        """Remember a new session. Write."""
        ...

    def upload(self, upload_id: str) -> UploadRow | None:
        """The session of this id."""
        ...

    def delete_upload(self, upload_id: str) -> bool:
        """End a session; False when it had already ended. Write."""
        ...

    def old_uploads(self, *, before: int, limit: int) -> list[UploadRow]:
        """Sessions begun before that moment, oldest first."""
        ...


class Followed(Protocol):
    """The changes that followers take (``registry.outbox``)."""

    def set_followed(self, *, followed: bool) -> None:
        """Write changes down for followers, or do not, from the next one on."""
        ...

    def drop_events(self, *, through: int) -> int:
        """Forget the events up to this one; returns how many. Write."""
        ...


class SimpleSignatures(Protocol):
    """OpenPGP signatures of manifests."""

    def simple_signatures(self, repository: str, digest: str) -> list[SimpleSignature]:
        """The signatures of one manifest, ordered by name."""
        ...

    def add_simple_signature(
        self, repository: str, digest: str, signature: SimpleSignature, *, actor: str = ""
    ) -> bool:
        """Keep a signature of a manifest; False when it was kept already. Write.

        Raises ``ApiError``.
        """
        ...


class Index(BlobLinks, Manifests, Listings, UploadSessions, Followed, SimpleSignatures, Protocol):
    """All of it: the one source of truth about who has what."""

    def set_guard(self, guard: Guard) -> None:
        """Judge writes by other rules from the next one on."""
        ...

    def trouble(self) -> str:
        """Why this process should get no requests, "" where nothing is wrong; blocks."""
        ...

    def close(self) -> None:
        """Release what it holds open."""
        ...


class IndexWriter(Protocol):
    """Runs writes in transactions."""

    async def write(
        self, repository: str, operation: Callable[[], T], *, durable: bool = True
    ) -> T:
        """Run ``operation``, which calls write methods; returns when it is committed."""
        ...

    def close(self) -> None:
        """Finish what is under way."""
        ...


class Freshness(Protocol):
    """Tells caches when a repository changed."""

    def current(self, repository: str) -> int:
        """A number that every write to ``repository`` changes; odd while one is under way."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What a request wants: an action, and the repository where it has one.

    ``action`` is ``base``, ``pull``, ``push``, ``delete``, ``admin`` or ``catalog``; ``open`` is
    what is asked of nobody.
    """

    action: str
    repository: str = ""


class Caller(Protocol):
    """Who sent a request, as far as the request itself says."""

    @property
    def authorization(self) -> str | None:
        """The header of that name."""
        ...

    @property
    def address(self) -> str:
        """The client's IP address, "" where there is none."""
        ...

    @property
    def certificate(self) -> bytes | None:
        """The certificate (DER) that the client showed in the handshake, None where it has none."""
        ...

    @property
    def led_here(self) -> bool:
        """Whether a browser says that a page of another site is behind this request."""
        ...

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host[:port]s by which this registry is named before image names."""
        ...

    @property
    def origin(self) -> str:
        """scheme://host[:port] of this registry, as the client reaches it."""
        ...


class Authorizer(Protocol):
    """Decides who may do what. All methods are called from the event loop."""

    async def authorize(self, caller: Caller, access: Access) -> Grant:
        """Who it is and by which rule it may go on.

        Raises ``ApiError`` UNAUTHORIZED with a challenge, DENIED, or TOOMANYREQUESTS.
        """
        ...

    async def permits(self, caller: Caller, access: Access) -> bool:
        """Whether ``authorize`` would let it pass, where a refusal is no error."""
        ...

    def challenge(self, caller: Caller, access: Access) -> Mapping[str, str] | None:
        """The headers that ask for credentials; None if some were shown, or nobody has any."""
        ...

    def rights(self, identity: Identity) -> Rights | None:
        """Everything the rules say about a caller; None: it may everything."""
        ...

    async def login(self, caller: Caller, user: str, secret: bytes) -> Login:
        """Check a password or a robot's secret. Raises ``ApiError`` as ``authorize`` does."""
        ...

    @property
    def browser_logins(self) -> BrowserLogins | None:
        """The issuers at which people log in with browsers; None where there are none."""
        ...

    async def browser_login(
        self, name: str, ticket: Ticket, answer: Mapping[str, Sequence[str]]
    ) -> Login:
        """Who came back from an issuer. Raises ``TokenError``, or ``ApiError`` TOOMANYREQUESTS."""
        ...

    def vouches_on(self, identity: Identity) -> bool:
        """Whether it can be known later, too, that somebody is still who logged in now."""
        ...

    async def certified(self, caller: Caller) -> Login | None:
        """Who a client certificate names; None for nobody. Raises ``ApiError`` DENIED for one
        that does not count.
        """
        ...

    def admit(self, caller: Caller, identity: Identity) -> None:
        """Count a request that is not authorized. Raises ``ApiError`` TOOMANYREQUESTS."""
        ...

    async def reload(
        self, settings: AccessSettings, certificates: ClientCertificates | None = None
    ) -> None:
        """Take new settings and read all files again; what is unusable stays as it was."""
        ...

    def close(self) -> None:
        """Release what is held open; blocks."""
        ...
