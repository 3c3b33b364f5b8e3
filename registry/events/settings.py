"""Settings of webhooks: where events go, which ones, and how hard is tried."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from records import Record
from registry.configuration.declare import Duration, file_problems, refuse
from registry.errors import RegistryConfigError
from registry.rules import repository_problems

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_FIELD_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?\Z")
_OURS: Final = ("webhook-", "ce-", "content-", "transfer-encoding", "host", "connection")
"""Fields that the delivery itself sets."""


class EventKind(enum.Enum):
    """What a webhook may ask for."""

    PUSH = "push"
    """A manifest was put."""
    TAG = "tag"
    """A tag was set or moved."""
    UNTAG = "untag"
    """A tag was removed."""
    DELETE = "delete"
    """A manifest was deleted."""
    PULL = "pull"
    """A manifest was pulled; told only where it is asked for."""


class EventMode(enum.Enum):
    """How a CloudEvent becomes a request (CloudEvents HTTP binding 1.0, section 3)."""

    STRUCTURED = "structured"
    BINARY = "binary"


CHANGES: Final = tuple(kind for kind in EventKind if kind is not EventKind.PULL)


class EventSettings(Record):
    """How events speak of this registry."""

    source: Annotated[
        str | None, "URL by which clients reach this registry; scheme, host and port by default"
    ] = None

    pull_interval: Annotated[
        Duration, "For how long the same image, pulled by the same caller, is one event"
    ] = 60.0

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if self.source is not None:
            yield from _url_problems(self.source, "source")
        if self.pull_interval < 1:
            yield RegistryConfigError("pulls are told once a second at most", where="pull_interval")


class HeaderSettings(Record):
    """A header of every request to a webhook; its value is given here or in a file."""

    name: Annotated[str, "Name of the header"]
    value: Annotated[str | None, "Its value"] = None
    file: Annotated[Path | None, "File with its value; read again on SIGHUP"] = None

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not _FIELD_NAME.match(self.name):
            yield RegistryConfigError(f"{self.name!r} cannot name a header", where="name")
        elif self.name.lower().startswith(_OURS):
            yield RegistryConfigError(f"{self.name} is set by the delivery itself", where="name")
        if (self.value is None) == (self.file is None):
            yield RegistryConfigError(
                "a header has a value or a file with it", where="name", fix="set one of the two"
            )
        if self.value is not None and not is_header_value(self.value):
            yield RegistryConfigError("the value is not printable ASCII", where="value")


class WebhookSettings(Record):
    """One receiver of events."""

    name: Annotated[str, "Name of the webhook, for the queue, the metrics and the log"]
    url: Annotated[str, "Where events are posted to; redirects are not followed"]
    events: Annotated[
        tuple[EventKind, ...], "What is sent; every change by default, pulls only when named"
    ] = CHANGES
    repositories: Annotated[tuple[str, ...], "Patterns of repositories"] = ("**",)
    mode: Annotated[EventMode, "One JSON document, or attributes as ce- headers"] = (
        EventMode.STRUCTURED
    )
    secret_file: Annotated[
        Path | None, "Secrets that sign (Standard Webhooks), one a line; read again on SIGHUP"
    ] = None
    headers: Annotated[tuple[HeaderSettings, ...], "Headers of every request"] = ()
    ca: Annotated[Path | None, "Authorities that its certificate may come from (PEM)"] = None
    insecure: Annotated[bool, "Allow plain HTTP to another machine"] = False
    timeout: Annotated[Duration, "How long a request may take"] = 10.0
    attempts: Annotated[int, "How often an event is tried before it is dead"] = 24
    expiry: Annotated[Duration, "How old an event may get before a failure makes it dead"] = 86400.0
    parallel: Annotated[int, "Most requests at once; a repository has one"] = 4
    limit: Annotated[int, "Most events kept; dead ones go first, then the oldest"] = 10_000

    def __post_init__(self) -> None:
        refuse(self._problems())

    @property
    def address(self) -> str:
        """Scheme, host and port: the rest of a URL may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def _problems(self) -> Iterator[RegistryConfigError]:
        if not _NAME.match(self.name):
            yield RegistryConfigError(
                f"{self.name!r} cannot name a webhook",
                where="name",
                fix="use up to 63 of a-z, 0-9, dot, dash and underscore",
            )
        yield from _url_problems(self.url, "url")
        if not self.insecure and urlsplit(self.url).scheme == "http" and not _is_local(self.url):
            yield RegistryConfigError(
                "plain HTTP shows events to whoever is on the way",
                where="url",
                fix="use https, or set insecure = true if the network is yours alone",
            )
        for pattern in self.repositories:
            yield from repository_problems(pattern)
        for name in ("events", "repositories"):
            if not getattr(self, name):
                yield RegistryConfigError(f"{name} is empty: nothing would be sent", where=name)
        for name in ("timeout", "attempts", "expiry", "parallel", "limit"):
            if getattr(self, name) <= 0:
                yield RegistryConfigError(f"{name} must be positive", where=name)


def webhook_problems(webhooks: Iterable[WebhookSettings]) -> Iterator[RegistryConfigError]:
    """What is wrong with webhooks together: names that are used twice, files that are missing."""
    seen: set[str] = set()
    for place, webhook in enumerate(webhooks):
        where = f"webhook[{place}]"
        if webhook.name in seen:
            yield RegistryConfigError(
                f"two webhooks are called {webhook.name}", where=f"{where}.name"
            )
        seen.add(webhook.name)
        files = [("secret_file", webhook.secret_file), ("ca", webhook.ca)]
        files += [
            (f"headers[{number}].file", header.file)
            for number, header in enumerate(webhook.headers)
        ]
        for name, path in files:
            yield from file_problems(f"{where}.{name}", path)


def is_header_value(text: str) -> bool:
    """Whether ``text`` may be the value of a header field (RFC 9110, section 5.5, ASCII only)."""
    return _FIELD_VALUE.match(text) is not None


def _url_problems(url: str, where: str) -> Iterator[RegistryConfigError]:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url or parts.fragment:
        yield RegistryConfigError(
            "not a URL of http or https",
            where=where,
            fix="write https://host[:port]/path, without a fragment",
        )
    elif "@" in parts.netloc:
        yield RegistryConfigError(
            "a URL with a password ends up in logs",
            where=where,
            fix="put an Authorization header with a file under headers",
        )


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
