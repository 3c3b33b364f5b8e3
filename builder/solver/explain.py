"""Why a step is not answered from the cache, told from the components of its key.

The components of the latest execution of each place (context, Dockerfile, stage, number) and of
each instruction of a stage are kept; on a miss the nearest of them is compared with the new ones.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping

from builder.keys import KeyField, KeyValue
from builder.request import Change
from records import Record, field

NO_RECORD = "no record"
NOT_ASKED = "the cache is not asked"
LOST = "the recorded layer is no longer in the store"
NOT_NEEDED = "a later step is cached"
UNCHANGED = "unchanged"
SAME_FILES = "what it reads is the same"
DONE_ELSEWHERE = "another build has just done it"
_TEXTS = {
    "op": "the instruction changed",
    "args": "the command changed",
    "cwd": "the working directory changed",
    "user": "the user changed",
    "sources": "the sources changed",
    "mounts": "the mounts changed",
    "heredocs": "the inline file changed",
    "scripts": "the inline script changed",
    "secrets": "a secret changed",
    "epoch": "SOURCE_DATE_EPOCH changed",
    "base": "the base image changed",
    "parent": "an earlier step changed",
    "inputs": "a stage it reads changed",
}
_CONSEQUENCES = frozenset({"parent", "inputs"})
"""Parts that change whenever something before the step did."""
_MEASURED_ELSEWHERE = frozenset({"env", "base", "context", *_CONSEQUENCES})


class Components(Record):
    """The named parts of a key in printable form; ``files`` maps source paths to their digests."""

    fields: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As the bytes of a record."""
        from isal import isal_zlib

        document = {"fields": dict(self.fields), "files": dict(self.files.items())}
        return isal_zlib.compress(json.dumps(document).encode(), 1)

    @classmethod
    def decode(cls, raw: bytes) -> Components:
        """From the bytes of a record."""
        document = json.loads(zlib.decompress(raw))
        return cls(document["fields"], document["files"])


def components(fields: list[KeyField], files: Mapping[str, str]) -> Components:
    """The printable form of key fields."""
    return Components({tag: _printable(value) for tag, value in fields}, files)


def nearest(candidates: Iterable[Components], now: Components) -> Components | None:
    """The one that differs from ``now`` in the fewest places; the first of equals."""
    return min(candidates, key=lambda before: len(differences(before, now)), default=None)


def differences(before: Components, now: Components) -> tuple[Change, ...]:
    """Everything that changed; an earlier step only where nothing else did."""
    tags = _changed(before.fields, now.fields)
    found = [Change("file", path, how) for path, how in _changed(before.files, now.files).items()]
    if "env" in tags:
        old, new = (_environment(part.fields.get("env", "[]")) for part in (before, now))
        found += [Change("variable", name, how) for name, how in _changed(old, new).items()]
    if "base" in tags:
        old, new = (_images(part.fields.get("base", "[]")) for part in (before, now))
        found += [Change("base", name, how) for name, how in _changed(old, new).items()]
    found += [
        Change("instruction", tag, how)
        for tag, how in tags.items()
        if tag not in _MEASURED_ELSEWHERE
    ]
    if not found:
        found = [Change("step", tag) for tag in tags if tag in _CONSEQUENCES]
    return tuple(found)


def explain_miss(before: Components | None, now: Components) -> str:
    """One reason, in words, why ``now`` is not ``before``."""
    if before is None:
        return NO_RECORD
    changed = _changed(before.fields, now.fields)
    if files := _changed(before.files, now.files):
        path, how = next(iter(files.items()))
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return f"file {path} {how}{more}"
    if "env" in changed:
        return _changed_environment(before.fields.get("env", "[]"), now.fields.get("env", "[]"))
    if "base" in changed:
        images = [change.name for change in differences(before, now) if change.kind == "base"]
        return f"the base image {', '.join(images)} changed"
    for tag in (*_TEXTS, *changed):
        if tag in changed:
            return _TEXTS.get(tag, f"{tag} changed")
    return LOST


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """What happened to each name whose value is not the same, sorted by name."""
    found = {
        name: "changed" if name in before else "added"
        for name, value in now.items()
        if before.get(name) != value
    }
    found |= dict.fromkeys(before.keys() - now.keys(), "removed")
    return dict(sorted(found.items()))


def _changed_environment(before: str, now: str) -> str:
    names = list(_changed(_environment(before), _environment(now)))
    return f"variable {', '.join(names)} changed" if names else "the order of variables changed"


def _environment(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in json.loads(text))


def _images(text: str) -> dict[str, str]:
    """The digest of each image by its name."""
    return {name: digest for name, _, digest in (pair.partition("@") for pair in json.loads(text))}


def _printable(value: KeyValue) -> str:
    return json.dumps(value, default=_bytes_as_text, sort_keys=True)


def _bytes_as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a key")
