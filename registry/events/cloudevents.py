"""A change of the registry as a CloudEvent 1.0, and a CloudEvent as an HTTP request.

What is queued is the structured JSON form, whole; binary mode takes it apart when it is sent, so a
webhook may change its mode while events wait. An id is made of what the event says and stays the
same whenever and however often it is sent. ``sequence`` is CloudEvents' extension of that name:
compared as text it orders the events of one index.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import orjson

from registry.events.settings import EventKind, EventMode
from registry.outbox import Change, Event
from registry.records import ManifestRow

SPEC_VERSION: Final = "1.0"
STRUCTURED_TYPE: Final = "application/cloudevents+json; charset=utf-8"
DATA_TYPE: Final = "application/json"

KINDS: Final = MappingProxyType(
    {
        Change.MANIFEST: EventKind.PUSH,
        Change.TAG: EventKind.TAG,
        Change.UNTAG: EventKind.UNTAG,
        Change.DELETE: EventKind.DELETE,
        Change.PULL: EventKind.PULL,
    }
)
"""What each change is called in a webhook's ``events``."""

TYPES: Final = MappingProxyType(
    {
        Change.MANIFEST: "dev.lading.registry.manifest.pushed",
        Change.TAG: "dev.lading.registry.tag.set",
        Change.UNTAG: "dev.lading.registry.tag.removed",
        Change.DELETE: "dev.lading.registry.manifest.deleted",
        Change.PULL: "dev.lading.registry.manifest.pulled",
    }
)

_LONGEST: Final = 255
"""A media type that is longer (RFC 6838, section 4.2) is left out: what is queued is bounded."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One CloudEvent: its id, and the whole of it as JSON."""

    id: str
    body: bytes


def envelope(event: Event, source: str, manifest: ManifestRow | None) -> Envelope:
    """The CloudEvent of a change; ``manifest`` is the row of what it names, if it is there yet."""
    moment = datetime.fromtimestamp(event.moment, UTC)
    identifier = event_id(event)
    document = {
        "specversion": SPEC_VERSION,
        "id": identifier,
        "source": source,
        "type": TYPES[event.change],
        "subject": _subject(event),
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "sequence": f"{event.id:020d}",
        "datacontenttype": DATA_TYPE,
        "data": _data(event, source, manifest),
    }
    return Envelope(identifier, orjson.dumps(document))


def event_id(event: Event) -> str:
    """32 hex digits of everything that the outbox says: a store made anew repeats no id."""
    said = (event.id, event.change.value, event.repository, event.digest, event.tag)
    more = (event.previous, event.actor, event.moment)
    return hashlib.sha256(orjson.dumps((*said, *more))).hexdigest()[:32]


def request(body: bytes, mode: EventMode) -> tuple[dict[str, str], bytes]:
    """The headers and the body that carry a queued event (HTTP protocol binding 1.0)."""
    if mode is EventMode.STRUCTURED:
        return {"Content-Type": STRUCTURED_TYPE}, body
    attributes: dict[str, Any] = orjson.loads(body)
    data = attributes.pop("data")
    headers = {"Content-Type": attributes.pop("datacontenttype")}
    for name, value in attributes.items():
        # Section 3.1.3.2: what is not printable ASCII, and the blank, quote and percent.
        headers[f"ce-{name}"] = quote(value, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return headers, orjson.dumps(data)


def _subject(event: Event) -> str:
    """``repository:tag`` for what happens to a tag, ``repository@digest`` for a manifest."""
    return f"{event.repository}:{event.tag}" if event.tag else f"{event.repository}@{event.digest}"


def _data(event: Event, source: str, manifest: ManifestRow | None) -> dict[str, Any]:
    """The facts; what is not known or does not apply is left out."""
    is_push = event.change is Change.MANIFEST
    data: dict[str, Any] = {
        "repository": event.repository,
        "tag": event.tag,
        "digest": event.digest,
        "previous": "" if is_push else event.previous,
        # Of a manifest that was put, the outbox keeps its subject in this column.
        "subject": event.previous if is_push else "",
        "artifactType": event.artifact_type if len(event.artifact_type) <= _LONGEST else "",
        "actor": event.actor,
    }
    if manifest is not None:
        data |= {"mediaType": manifest.media_type, "size": manifest.size}
    if event.change in (Change.MANIFEST, Change.TAG, Change.PULL):
        data["url"] = f"{source.rstrip('/')}/v2/{event.repository}/manifests/{event.digest}"
    return {name: value for name, value in data.items() if value != ""}
