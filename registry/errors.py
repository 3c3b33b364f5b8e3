"""What the registry answers when it refuses: every wire code with its status, in one table.

OCI distribution specification 1.1, "Error Codes"; the codes below the line are Docker's, which
clients know as well. Faults of configuration and start-up are ``RegistryError``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from images.errors import EnvironmentFault, ImagesError


class RegistryError(ImagesError):
    """Base of what goes wrong outside of a request."""

    code = "registry"


class RegistryConfigError(RegistryError):
    """The configuration cannot be served; ``where`` names the field, or its file and line.

    ``problems`` holds the single errors when several were found at once; each is a note, too.
    """

    code = "registry-config"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        problems: Sequence[RegistryConfigError] = (),
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.problems = tuple(problems)
        for problem in self.problems:
            self.add_note(str(problem) if problem.fix is None else f"{problem}; {problem.fix}")


class RegistryStartError(RegistryError):
    """The server cannot start: address in use, certificate unreadable, store locked."""

    code = "registry-start"


class IndexFormatError(RegistryError):
    """The index on disk was written by another, newer version."""

    code = "registry-index-format"


class RepositoryUnknownError(RegistryError):
    """The store has no repository of that name."""

    code = "registry-repository-unknown"


class MissingContentError(RegistryError):
    """A manifest names content that its repository does not have; ``digests`` lists it."""

    code = "registry-content-missing"

    def __init__(self, digests: Sequence[str]) -> None:
        self.digests = tuple(digests)
        super().__init__(f"{len(self.digests)} referenced digests are not in this repository")


class WrongSizeError(RegistryError):
    """A manifest states a size that its content does not have."""

    code = "registry-size-mismatch"

    def __init__(self, digest: str, stated: int, actual: int) -> None:
        self.digest = digest
        super().__init__(f"{digest} has {actual} bytes, the manifest says {stated}")


class CollectionBusyError(RegistryError):
    """Another process or thread collects in this store."""

    code = "registry-collection-busy"


class UndoError(RegistryError):
    """A tag cannot go back: its history or what it pointed to is gone."""

    code = "registry-undo"


class StoreBusyError(RegistryError):
    """The store must be used by nobody else for this, and somebody uses it."""

    code = "registry-store-busy"


class ImportSourceError(RegistryError):
    """The folder holds no storage of a registry that is known here."""

    code = "registry-import-source"


class BackupError(RegistryError):
    """The folder is no copy of a store, or no place for one."""

    code = "registry-backup"


class PolicyError(RegistryError):
    """A rule of the configuration forbids this; clients are told DENIED."""

    code = "registry-policy"


class ImmutableTagError(PolicyError):
    """The tag may neither move nor go; ``rule`` is the pattern that says so."""

    code = "registry-tag-immutable"

    def __init__(self, tag: str, rule: str) -> None:
        self.rule = rule
        super().__init__(
            f"tag {tag} is immutable by the rule {rule}",
            fix="push under another tag, or change the rule",
        )


class QuotaError(PolicyError):
    """The repository has no room left; ``unit`` is ``bytes`` or ``tags``."""

    code = "registry-quota"

    def __init__(self, pattern: str, unit: str, limit: int, wanted: int) -> None:
        self.unit = unit
        super().__init__(
            f"the quota of {pattern} is {limit} {unit}, this would make it {wanted}",
            fix="delete tags or manifests and let a collection run, or raise the quota",
        )


class GateError(PolicyError):
    """A rule does not serve a manifest that does not satisfy its policy.

    ``login_helps`` says that the rule lets those through who may push.
    """

    code = "registry-gate"

    def __init__(self, what: str, *, fix: str | None, login_helps: bool) -> None:
        self.login_helps = login_helps
        super().__init__(what, fix=fix)


class ContentVanishedError(EnvironmentFault):
    """Bytes were collected while an upload of them stood still for longer than the lease."""

    code = "registry-content-vanished"


class StoreMovingError(EnvironmentFault):
    """The store is being moved elsewhere and takes no writes for a moment."""

    code = "registry-store-moving"


class StoreMovedError(StoreMovingError):
    """The store was moved elsewhere and takes no writes any more."""

    code = "registry-store-moved"


class OutgrownError(EnvironmentFault):
    """A newer release brought the database to a format that this process does not write."""

    code = "registry-outgrown"

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            f"the database has format {found}, this process writes {known}: a newer release has"
            " taken over",
            where=where,
            fix="stop this process, or start it with the newer release",
        )


class MigrationError(RegistryError):
    """A store cannot be moved like this."""

    code = "registry-migration"


class StoreFailedError(EnvironmentFault):
    """The store could not be read or written: a full disk, a failing one, a busy index."""

    code = "registry-store-failed"


class ObjectStoreError(EnvironmentFault):
    """The object store refused or failed, also when asked again."""

    code = "registry-object-store"


@dataclass(frozen=True, slots=True)
class WireCode:
    """One row of the table: the HTTP status it usually comes with, and its English message."""

    status: int
    message: str


CODES: Final[Mapping[str, WireCode]] = MappingProxyType(
    {
        "BLOB_UNKNOWN": WireCode(404, "blob unknown to registry"),
        "BLOB_UPLOAD_INVALID": WireCode(400, "blob upload invalid"),
        "BLOB_UPLOAD_UNKNOWN": WireCode(404, "blob upload unknown to registry"),
        "DIGEST_INVALID": WireCode(400, "provided digest did not match uploaded content"),
        "MANIFEST_BLOB_UNKNOWN": WireCode(400, "manifest references content unknown to repository"),
        "MANIFEST_INVALID": WireCode(400, "manifest invalid"),
        "MANIFEST_UNKNOWN": WireCode(404, "manifest unknown to registry"),
        "NAME_INVALID": WireCode(400, "invalid repository name"),
        "NAME_UNKNOWN": WireCode(404, "repository name not known to registry"),
        "SIZE_INVALID": WireCode(400, "provided length did not match content length"),
        "UNAUTHORIZED": WireCode(401, "authentication required"),
        "DENIED": WireCode(403, "requested access to the resource is denied"),
        "UNSUPPORTED": WireCode(405, "the operation is unsupported"),
        "TOOMANYREQUESTS": WireCode(429, "too many requests"),
        # Docker's extras
        "UNKNOWN": WireCode(500, "unknown error"),
        "UNAVAILABLE": WireCode(503, "service unavailable"),
        "PRECONDITION_FAILED": WireCode(412, "what is there is not what the request expects"),
        "RANGE_INVALID": WireCode(416, "invalid content range"),
        "TAG_INVALID": WireCode(400, "manifest tag did not match URI"),
        "PAGINATION_NUMBER_INVALID": WireCode(400, "invalid number of results requested"),
    }
)


class ApiError(Exception):
    """A refusal on its way to the client.

    ``code`` is a key of ``CODES``; ``status`` and ``message`` replace the table's where the
    specification gives one code several statuses.
    """

    def __init__(
        self,
        code: str,
        *,
        detail: Any = None,
        status: int | None = None,
        message: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        row = CODES[code]
        self.code = code
        self.status = row.status if status is None else status
        self.message = row.message if message is None else message
        self.detail = detail
        self.headers: Mapping[str, str] = headers or {}
        super().__init__(f"{code}: {self.message}")

    def body(self) -> bytes:
        """The JSON body that the specification prescribes."""
        import orjson

        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return orjson.dumps({"errors": [error]})
