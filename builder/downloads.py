"""Files that ADD takes from web servers: fetched once per build, kept as blobs between builds.

A download is revalidated by ETag or Last-Modified on every build, so a file that has not changed is
not sent again; with ``--checksum`` a known file needs no network at all. Everything is verified and
limited while it streams (design D6). Most builds fetch nothing, so what speaks HTTP is imported
when the first file is asked for.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from builder.errors import BuildInputError, DownloadError
from builder.keys import key_of
from builder.plan.sources import file_name
from builder.request import Material
from builder.sources.credentials import Credentials
from builder.sources.public import public_url
from images.digest import Digest
from images.errors import DigestMismatchError, ImagesError
from records import Record

if TYPE_CHECKING:
    from pathlib import Path

    from builder.solver.records import KeyValueStore
    from images.blobs import BlobStore

TIMEOUT_SECONDS: Final = 60.0
"""Longest silence of a server."""
SIZE_LIMIT: Final = 64 << 30
CHUNK: Final = 1 << 20


class Download(Record):
    """A fetched file: its blob, the name from its URL, its date in seconds (0 when unknown)."""

    digest: Digest
    name: str
    modified: int


class DownloadJudge(Protocol):
    """Decides what may be fetched, and holds it to what it was before."""

    def admit(self, url: str, checksum: str | None) -> str | None:
        """The checksum to require, None for none; raises an ``ImagesError`` to refuse."""

    def admit_repository(self, url: str, commit: str | None) -> None:
        """Whether a repository may be used; ``commit`` is None where a branch or tag is named.

        Raises an ``ImagesError`` to refuse.
        """

    def fetched(self, url: str, digest: Digest) -> None:
        """A file was fetched for which the build states no checksum."""


class Downloads:
    """The downloads of one build; safe to use from several threads."""

    def __init__(
        self,
        values: KeyValueStore,
        blobs: BlobStore,
        *,
        judge: DownloadJudge | None = None,
        credentials: Credentials | None = None,
        opener: Callable[..., Any] | None = None,
    ) -> None:
        """``credentials`` open servers; ``opener`` stands in for ``urllib.request.urlopen``."""
        self._values = values
        self._blobs = blobs
        self._judge = judge
        self._credentials = credentials or Credentials()
        self._opener = opener
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str | None], Download] = {}

    def fetch(self, url: str, checksum: str | None = None) -> Download:
        """The file at ``url``; ``checksum`` is ``sha256:<hex>``.

        Raises:
            DownloadError: the server cannot be reached, refuses, or sends something else.
            BuildInputError: ``checksum`` is malformed.
            ImagesError: the judge refuses.
        """
        with self._lock:
            known = self._done.get((url, checksum))
            if known is None:
                wanted = self._judge.admit(url, checksum) if self._judge else checksum
                expected = _stated(wanted) if wanted is not None else None
                known = self._done[url, checksum] = self._fetch(url, expected)
                if self._judge is not None and checksum is None:
                    self._judge.fetched(url, known.digest)
            return known

    def materials(self) -> tuple[Material, ...]:
        """What was fetched, or would have been if it had changed."""
        with self._lock:
            done = [(url, download.digest) for (url, _), download in self._done.items()]
        return tuple(Material("http", public_url(url), str(digest)) for url, digest in done)

    def path(self, download: Download) -> Path:
        """Where the bytes are."""
        return self._blobs.path(download.digest)

    def _fetch(self, url: str, expected: Digest | None) -> Download:
        key = key_of("download", [("url", url)])
        raw = self._values.get(key)
        record: dict[str, Any] = json.loads(raw) if raw is not None else {}
        kept = Digest.parse(record["digest"]) if record else None
        if kept is not None and not self._blobs.has(kept):
            record, kept = {}, None
        if kept is not None and kept == expected:
            return Download(kept, file_name(url), record["modified"])
        return self._ask(key, url, expected, kept, record)

    def _ask(
        self,
        key: bytes,
        url: str,
        expected: Digest | None,
        kept: Digest | None,
        record: Mapping[str, Any],
    ) -> Download:
        """Ask the server, which may answer that what was ``kept`` is still right."""
        import urllib.error
        import urllib.request
        from http import HTTPStatus
        from http.client import HTTPException

        request = urllib.request.Request(public_url(url))
        _authorize(request, self._credentials.for_http(url))
        for header, field in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
            if record.get(field) and expected is None:
                request.add_header(header, record[field])
        opener = self._opener or _opener(self._credentials, careful=self._judge is not None)
        try:
            with opener(request, timeout=TIMEOUT_SECONDS) as response:
                return self._store(key, url, response, expected)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == HTTPStatus.NOT_MODIFIED and kept is not None:
                return Download(kept, file_name(url), record["modified"])
            raise DownloadError(
                f"{public_url(url)}: the server answered {error.code} {error.reason}",
                fix=_advice(url, error.code),
            ) from error
        except DigestMismatchError as error:
            raise DownloadError(
                f"{public_url(url)}: {error.what}",
                fix="find out who changed it, then correct --checksum, or lock it anew with --pull",
            ) from error
        except ImagesError:
            raise
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise DownloadError(
                f"{public_url(url)}: {reason}", fix="check the URL and the network"
            ) from error

    def _store(self, key: bytes, url: str, response: Any, expected: Digest | None) -> Download:
        with self._blobs.writer(expected=expected, limit=SIZE_LIMIT) as writer:
            while chunk := response.read(CHUNK):
                writer.write(chunk)
            digest = writer.commit()
        written = response.headers.get("Last-Modified") or ""
        modified = _seconds(written)
        record = {
            "digest": str(digest),
            "etag": response.headers.get("ETag") or "",
            "last-modified": written,
            "modified": modified,
        }
        self._values.put(key, "download", json.dumps(record).encode(), [digest])
        return Download(digest, file_name(url), modified)


def _stated(checksum: str) -> Digest:
    try:
        return Digest.parse(checksum)
    except ImagesError as error:
        raise BuildInputError(f"invalid checksum digest format: {error}", fix=error.fix) from error


def _opener(credentials: Credentials, *, careful: bool) -> Callable[..., Any]:
    """``urlopen`` that gives each host its own secret on redirects, and no other's.

    A ``careful`` one follows no redirect from TLS to plain HTTP, where anybody could answer.
    """
    import urllib.error
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        """Refuses such a redirect as what the server answered."""

        def redirect_request(
            self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> Any:
            """See ``urllib.request``; ``newurl`` is absolute."""
            if careful and req.type == "https" and not newurl.lower().startswith("https:"):
                reason = f"and redirects to {newurl}, without TLS"
                raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
            following = super().redirect_request(req, fp, code, msg, headers, newurl)
            _authorize(following, credentials.for_http(newurl))
            return following

    return urllib.request.build_opener(Redirects).open


def _advice(url: str, status: int) -> str:
    if status not in (401, 403):
        return "check the URL"
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"pass a token: --secret id=HTTP_AUTH_TOKEN_{host},env=VARIABLE"


def _authorize(request: Any, header: str | None) -> None:
    """Add a header that no redirect takes along."""
    if request is not None and header is not None:
        request.add_unredirected_header("Authorization", header)


def _seconds(date: str) -> int:
    import email.utils

    try:
        return int(email.utils.parsedate_to_datetime(date).timestamp()) if date else 0
    except (ValueError, OverflowError):
        return 0
