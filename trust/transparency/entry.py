"""What a log records: one event of a repository as canonical bytes.

The bytes are JSON with sorted members and no blanks, so that everybody hashes the same ones. An
entry is read as strictly as it is written: what would not be written again byte for byte is none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trust.errors import LogProofError
from trust.fields import FieldError, members, parse, text

MAX_ENTRY: Final = 64 << 10


class Event(StrEnum):
    """What happened."""

    TAG = "tag"
    """A tag was set or moved to ``digest``; ``previous`` is where it pointed before."""
    UNTAG = "untag"
    """A tag that pointed to ``previous`` was removed."""
    SIGN = "sign"
    """The signature ``digest`` was attached to ``previous``."""
    DELETE = "delete"
    """The manifest ``digest`` was deleted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. ``time`` is RFC 3339 in UTC; digests are ``algorithm:hex``; "" stands for none."""

    event: Event
    repository: str
    time: str
    digest: str = ""
    tag: str = ""
    previous: str = ""
    actor: str = ""

    @property
    def data(self) -> bytes:
        """The canonical bytes, which the log hashes."""
        fields = {
            "actor": self.actor,
            "digest": self.digest,
            "event": self.event.value,
            "previous": self.previous,
            "repository": self.repository,
            "tag": self.tag,
            "time": self.time,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    @classmethod
    def parse(cls, data: bytes) -> Entry:
        """Read canonical bytes; raises ``LogProofError``."""
        names = ("actor", "digest", "event", "previous", "repository", "tag", "time")
        try:
            found = members(
                parse(data, what="the entry", limit=MAX_ENTRY), required=names, at="the entry"
            )
            fields = {name: text(found[name], at=name) for name in names}
            entry = cls(event=Event(fields.pop("event")), **fields)
        except (FieldError, ValueError) as error:
            raise LogProofError(f"an entry of the log is damaged: {error}") from error
        if entry.data != data:
            raise LogProofError("an entry of the log is not in canonical form")
        return entry
