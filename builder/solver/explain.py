"""Why a step is not answered from the cache, told from the components of its key.

The components of the latest execution of each place (context, Dockerfile, stage, number) are kept;
on a miss they are compared with the new ones and the first difference is told.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.keys import KeyField, KeyValue

NO_RECORD = "no record"
_TEXTS = {
    "op": "the instruction changed",
    "args": "the command changed",
    "cwd": "the working directory changed",
    "user": "the user changed",
    "manifest": "the base image changed",
    "sources": "the sources changed",
    "mounts": "the mounts changed",
    "heredocs": "the inline file changed",
    "epoch": "SOURCE_DATE_EPOCH changed",
    "parent": "an earlier step changed",
    "inputs": "a stage it reads changed",
}


@dataclass(frozen=True, slots=True)
class Components:
    """The named parts of a key in printable form; ``files`` maps source paths to their digests."""

    fields: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As the bytes of a record."""
        document = {"fields": dict(self.fields), "files": dict(self.files)}
        return zlib.compress(json.dumps(document).encode(), 1)

    @classmethod
    def decode(cls, raw: bytes) -> Components:
        """From the bytes of a record."""
        document = json.loads(zlib.decompress(raw))
        return cls(document["fields"], document["files"])


def components(fields: list[KeyField], files: Mapping[str, str]) -> Components:
    """The printable form of key fields."""
    return Components({tag: _printable(value) for tag, value in fields}, files)


def explain_miss(before: Components | None, now: Components) -> str:
    """One reason, in words, why ``now`` is not ``before``."""
    if before is None:
        return NO_RECORD
    changed = {
        tag
        for tag in {*before.fields, *now.fields}
        if before.fields.get(tag) != now.fields.get(tag)
    }
    if before.files != now.files:
        return _changed_files(before.files, now.files)
    if "env" in changed:
        return _changed_environment(before.fields.get("env", "[]"), now.fields.get("env", "[]"))
    for tag in (*_TEXTS, *sorted(changed)):
        if tag in changed:
            return _TEXTS.get(tag, f"{tag} changed")
    return "the recorded layer is no longer in the store"


def _changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    for path in sorted({*before, *now}):
        if before.get(path) == now.get(path):
            continue
        how = "added" if path not in before else "removed" if path not in now else "changed"
        count = sum(before.get(other) != now.get(other) for other in {*before, *now}) - 1
        more = f" and {count} more" if count else ""
        return f"file {path} {how}{more}"
    return "files changed"


def _changed_environment(before: str, now: str) -> str:
    old, new = (dict(pair.split("=", 1) for pair in json.loads(text)) for text in (before, now))
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return f"variable {', '.join(names)} changed" if names else "the order of variables changed"


def _printable(value: KeyValue) -> str:
    return json.dumps(value, default=_bytes_as_text, sort_keys=True)


def _bytes_as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a key")
