"""Where blobs are kept: in files under ``root``, or in a bucket of an object store."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from records import Record
from registry.configuration.declare import Duration, Size, file_problems, refuse
from registry.errors import RegistryConfigError

LEAST_PART: Final = 5 << 20
"""Smallest part of a multipart upload but the last (S3 user guide, "multipart upload limits")."""

MOST_PART: Final = 5 << 30
"""Largest part, and largest object that one CopyObject takes."""

_LONGEST_EXPIRY: Final = 7 * 24 * 3600
"""A presigned URL of version 4 ends after a week."""

_LONGEST_SILENCE: Final = 600
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}\Z")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/-]*\Z")


class StorageType(enum.Enum):
    """Where the bytes are."""

    FILES = "files"
    S3 = "s3"


class Encryption(enum.Enum):
    """What the object store encrypts with (``x-amz-server-side-encryption``)."""

    AES256 = "AES256"
    KMS = "aws:kms"


class StorageSettings(Record):
    """The store of blobs; everything but ``type`` is about ``s3``."""

    type: Annotated[StorageType, "Where blobs are; the index stays under root"] = StorageType.FILES
    bucket: Annotated[str, "Bucket, which must exist"] = ""
    prefix: Annotated[str, "What names of objects begin with, such as registry/"] = ""
    endpoint: Annotated[str | None, "URL of a compatible server; unset is AWS"] = None
    region: Annotated[str | None, "Region; unset is what the environment or profile says"] = None
    path_style: Annotated[bool, "Name the bucket in the path instead of the host"] = False
    credentials_file: Annotated[Path | None, "Credentials in the format of ~/.aws/credentials"] = (
        None
    )
    profile: Annotated[str | None, "Profile of the files of credentials and configuration"] = None
    encryption: Annotated[Encryption | None, "Encryption at rest that is asked for"] = None
    kms_key: Annotated[str | None, "Key of aws:kms; unset is the account's own"] = None
    storage_class: Annotated[str | None, "Storage class of blobs, such as INTELLIGENT_TIERING"] = (
        None
    )
    part_size: Annotated[Size, "Bytes of a part; an upload takes about three in memory"] = 8 << 20
    copy_part_size: Annotated[Size, "Bytes that the store copies at once"] = 128 << 20
    checksums: Annotated[bool, "Send checksums with uploads; some old servers refuse them"] = True
    timeout: Annotated[
        Duration, "How long the store may keep silent; it is asked once more, then clients get 503"
    ] = 30.0
    redirect: Annotated[bool, "Send clients to the store for blobs, by presigned URLs"] = False
    redirect_expiry: Annotated[Duration, "How long a presigned URL is good for"] = 20 * 60.0
    redirect_endpoint: Annotated[str | None, "The endpoint as clients reach it"] = None

    def __post_init__(self) -> None:
        if self.type is StorageType.S3:
            refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not _BUCKET.match(self.bucket):
            yield RegistryConfigError(
                f"{self.bucket!r} is no name of a bucket", where="bucket", fix="name the bucket"
            )
        if not _PREFIX.match(self.prefix) or self.prefix.startswith("/"):
            yield RegistryConfigError(
                "a prefix has letters, digits and !_.*'()/-, and no slash before it", where="prefix"
            )
        for name in ("endpoint", "redirect_endpoint"):
            url = getattr(self, name)
            if url is not None and not _is_endpoint(url):
                yield RegistryConfigError(
                    f"{url!r} is no endpoint", where=name, fix="write https://host[:port]"
                )
        yield from file_problems("credentials_file", self.credentials_file)
        if self.kms_key is not None and self.encryption is not Encryption.KMS:
            yield RegistryConfigError(
                "a KMS key needs its encryption", where="kms_key", fix='set encryption = "aws:kms"'
            )
        for name in ("part_size", "copy_part_size"):
            if not LEAST_PART <= getattr(self, name) <= MOST_PART:
                yield RegistryConfigError(f"{name} is from 5MiB to 5GiB", where=name)
        if not 1 <= self.timeout <= _LONGEST_SILENCE:
            yield RegistryConfigError("timeout is from 1s to 10m", where="timeout")
        if not 1 <= self.redirect_expiry <= _LONGEST_EXPIRY:
            yield RegistryConfigError("a URL lives from 1s to 7d", where="redirect_expiry")


def _is_endpoint(url: str) -> bool:
    parts = urlsplit(url)
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment or parts.username)
    )
