"""One bucket: the requests that the registry makes of an object store, and nothing else of its SDK.

Names here are without the configured prefix. The SDK signs, and repeats what a busy or failing
server refuses (SlowDown, 5xx, broken connections) with growing pauses; what still fails then is an
``ObjectStoreError``, which clients are told as 503. Everything blocks; any thread may call.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from registry.errors import ObjectStoreError
from registry.s3.fetching import Body, Fetcher
from registry.s3.silence import SILENT, Silence

_MISSING: Final = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})
_MOST_PARTS: Final = 10_000
_COPIES: Final = 8
"""Parts that are copied at once."""

_DELETED_AT_ONCE: Final = 1000

_CROSSED: Final = "ExistingObjectIsDirectory"
"""What a store over folders answers where a delete empties the folder that a new object goes to."""
_ATTEMPTS: Final = 5
_CONTENT_TYPE: Final = "application/octet-stream"


class ObjectUnknownError(ObjectStoreError):
    """No object, or no multipart upload, has this name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart upload; ``size`` in bytes."""

    number: int
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing; ``size`` in bytes."""

    name: str
    size: int


class Bucket:
    """A bucket under a prefix. ``final`` adds the storage class: it is for blobs, not for stages.

    ``presigner`` signs URLs for clients, who may reach the store by another endpoint; ``fetcher``
    reads objects as far as it can.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        *,
        prefix: str = "",
        presigner: Any = None,
        fetcher: Fetcher | None = None,
        encryption: dict[str, str] | None = None,
        storage_class: str | None = None,
        copy_part_size: int = 128 << 20,
        patience: float = 30.0,
    ) -> None:
        self._silence = Silence(patience)
        self._client = client
        self._presigner = client if presigner is None else presigner
        self._fetcher = fetcher
        self._bucket = bucket
        self._prefix = prefix
        self._made = {"ContentType": _CONTENT_TYPE, **(encryption or {})}
        self._final = self._made | ({"StorageClass": storage_class} if storage_class else {})
        self._copy_part_size = copy_part_size

    @property
    def place(self) -> str:
        """Bucket and prefix, as people write them."""
        return f"{self._bucket}/{self._prefix}"

    def probe(self) -> None:
        """List the bucket: unlike a HEAD, the answer says what is wrong.

        Raises:
            ClientError, BotoCoreError: what the server or the SDK says to that.
        """
        self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def size(self, name: str) -> int | None:
        """The size of an object in bytes; None when there is none."""
        try:
            return int(self._call("head_object", name)["ContentLength"])
        except ObjectUnknownError:
            return None

    def get(self, name: str, first: int, last: int) -> Body:
        """Bytes ``first`` to ``last`` of an object, both included; ``ObjectUnknownError``."""
        key = self._prefix + name
        body: Body | None = None
        # One question, whichever way it is asked: only an answer says that the store is not silent.
        with self._asked("get_object"):
            if self._fetcher is not None:
                body = self._fetcher.fetch(key, first, last)
            if body is None:
                span = f"bytes={first}-{last}"
                body = self._client.get_object(Bucket=self._bucket, Key=key, Range=span)["Body"]
        return body

    def put(self, name: str, data: bytes, *, final: bool = False) -> None:
        """Make an object of these bytes."""
        options = self._final if final else self._made
        self._call("put_object", name, Body=data, **options)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        keys = [{"Key": self._prefix + name} for name in names]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            chosen = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            with self._asked("delete_objects"):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=chosen)
            for failed in answer.get("Errors", ()):
                if failed.get("Code") not in _MISSING:
                    raise ObjectStoreError(f"an object was not deleted: {failed.get('Code')}")

    def objects(self, prefix: str) -> Iterator[list[Listed]]:
        """Objects whose names begin so, a page at a time."""
        for page in self._pages("list_objects_v2", prefix):
            found = page.get("Contents", ())
            yield [Listed(self._short(item["Key"]), int(item["Size"])) for item in found]

    def uploads(self, prefix: str) -> Iterator[list[tuple[str, str]]]:
        """Multipart uploads on their way, (name, id), a page at a time."""
        for page in self._pages("list_multipart_uploads", prefix):
            found = page.get("Uploads", ())
            yield [(self._short(item["Key"]), item["UploadId"]) for item in found]

    def begin(self, name: str, *, final: bool = False) -> str:
        """Begin a multipart upload; returns its id."""
        options = self._final if final else self._made
        return str(self._call("create_multipart_upload", name, **options)["UploadId"])

    def part(self, name: str, upload: str, number: int, data: bytes) -> str:
        """Upload a part; returns its ETag."""
        answer = self._call("upload_part", name, UploadId=upload, PartNumber=number, Body=data)
        return str(answer["ETag"])

    def part_of(
        self, name: str, upload: str, number: int, source: str, span: tuple[int, int] | None = None
    ) -> str:
        """Make a part of another object, or of bytes (first, last) of it; returns its ETag."""
        chosen = {} if span is None else {"CopySourceRange": f"bytes={span[0]}-{span[1]}"}
        answer = self._call(
            "upload_part_copy",
            name,
            UploadId=upload,
            PartNumber=number,
            CopySource=self._source(source),
            **chosen,
        )
        return str(answer["CopyPartResult"]["ETag"])

    def complete(self, name: str, upload: str, parts: Sequence[Part]) -> None:
        """Make the object of its parts; raises ``ObjectUnknownError`` when that was done before."""
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        chosen = {"Parts": listed}
        self._call("complete_multipart_upload", name, UploadId=upload, MultipartUpload=chosen)

    def abort(self, name: str, upload: str) -> None:
        """Drop a multipart upload with its parts; one that is gone is no error."""
        with suppress(ObjectUnknownError):
            self._call("abort_multipart_upload", name, UploadId=upload)

    def copy(self, source: str, name: str, size: int) -> None:
        """Make a blob of a staged object of ``size`` bytes, inside the store.

        What is longer than one copied part is copied part by part, several at once: one CopyObject
        takes no more than 5 GiB and answers when all is done.
        """
        if size <= self._copy_part_size:
            self._call("copy_object", name, CopySource=self._source(source), **self._final)
            return
        step = max(self._copy_part_size, -(-size // _MOST_PARTS))
        spans = [(first, min(first + step, size) - 1) for first in range(0, size, step)]
        upload = self.begin(name, final=True)

        def part_of(number: int) -> Part:
            span = spans[number - 1]
            etag = self.part_of(name, upload, number, source, span)
            return Part(number, etag, span[1] - span[0] + 1)

        try:
            with ThreadPoolExecutor(min(_COPIES, len(spans))) as pool:
                parts = list(pool.map(part_of, range(1, len(spans) + 1)))
            self.complete(name, upload, parts)
        except BaseException:
            with suppress(ObjectStoreError):
                self.abort(name, upload)
            raise

    def url(self, name: str, *, expiry: float) -> str:
        """A URL by which anybody may GET the object for ``expiry`` seconds."""
        parameters = {"Bucket": self._bucket, "Key": self._prefix + name}
        with _told("presign"):
            return str(
                self._presigner.generate_presigned_url(
                    "get_object", Params=parameters, ExpiresIn=int(expiry)
                )
            )

    @contextmanager
    def _asked(self, operation: str) -> Iterator[None]:
        """One request, unless the store was silent a moment ago; errors are told."""
        self._silence.check()
        with _told(operation):
            try:
                yield
            except SILENT:
                self._silence.unheard()
                raise
            except ClientError:
                self._silence.heard()
                raise
        self._silence.heard()

    def _call(self, operation: str, name: str, **options: Any) -> Any:
        call = getattr(self._client, operation)
        with self._asked(operation):
            for _ in range(_ATTEMPTS - 1):
                try:
                    return call(Bucket=self._bucket, Key=self._prefix + name, **options)
                except ClientError as error:
                    if _code(error) != _CROSSED:
                        raise
            return call(Bucket=self._bucket, Key=self._prefix + name, **options)

    def _pages(self, operation: str, prefix: str) -> Iterator[Any]:
        paginator = self._client.get_paginator(operation)
        pages = iter(paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix))
        while True:
            with self._asked(operation):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _source(self, name: str) -> str:
        return urllib.parse.quote(f"{self._bucket}/{self._prefix}{name}")

    def _short(self, key: str) -> str:
        return key.removeprefix(self._prefix)


@contextmanager
def _told(operation: str) -> Iterator[None]:
    """Errors of the SDK as ours; they name the operation and never a secret."""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _MISSING:
            what = f"the object store does not know what {operation} is about"
            raise ObjectUnknownError(what) from error
        raise ObjectStoreError(f"the object store refused {operation}: {code}") from error
    except BotoCoreError as error:
        what = f"the object store cannot be reached for {operation}: {type(error).__name__}"
        raise ObjectStoreError(what) from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
