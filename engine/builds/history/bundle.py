"""Records of builds on their way to another machine: one file that its lading takes in.

A bundle is JSON: a record with its log, or an object with ``format`` and ``builds``, a list of
those; compressed with gzip or not. What buildx exports is read as well. Whoever reads one trusts
it with nothing: every field that anything here looks at has its type checked, and what else is in
it is left out.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from typing import TYPE_CHECKING, Any, Final

from builder.errors import BuildInputError
from engine.builds.history.archive import (
    ATTACHED,
    ATTACHED_SUFFIX,
    RECORD_SUFFIX,
    entries,
    folder_of,
)
from engine.builds.history.document import (
    CANCELED,
    COMPLETED,
    FAILED,
    FORMAT,
    INTERRUPTED,
    TEXT_LIMIT,
)
from engine.builds.history.journal import GZIP, LOG_SUFFIX, write_log
from records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.builds.history.archive import Entry
    from engine.builds.history.document import Document

LIMIT: Final = 256 << 20
"""Bytes of a bundle, unpacked."""
STEPS: Final = 100_000
"""Steps of one build."""
_REF: Final = re.compile(r"[0-9a-z]{25}")
_OVER: Final = (COMPLETED, FAILED, CANCELED, INTERRUPTED)
_OUTCOMES: Final = ("cached", "executed", FAILED, CANCELED, INTERRUPTED, "running")
_MAGIC: Final = b"\x1f\x8b"
_LATEST: Final = 253402300799.0
"""The end of the year 9999, beyond which there are no dates."""


class BundleError(BuildInputError):
    """What was given is no bundle, or a damaged one."""

    code = "history-bundle"


def bundled(chosen: Iterable[Entry]) -> dict[str, Any]:
    """The builds as one value for JSON; those that cannot be read are left out."""
    found = [record_of(entry) for entry in chosen]
    return {"format": FORMAT, "builds": [one for one in found if one is not None]}


def record_of(entry: Entry) -> dict[str, Any] | None:
    """One build with its log, as JSON values."""
    document = entry.document()
    if document is None:
        return None
    lines = [[line.step, line.time, line.stream, line.text] for line in entry.log()]
    attached = entry.attached()
    return document | {"log": lines} | ({"attached": attached} if attached else {})


class Packed(Record):
    """A build on its way: its record, the rows of its log, and documents that it made."""

    document: Document
    log: list[list[Any]]
    attached: list[dict[str, str]]


def read_bundle(data: bytes, where: str) -> list[Packed]:
    """The records in a bundle.

    Raises:
        BundleError: it is none; ``where`` is to blame.
    """
    builds = _values(_unpacked(data, where), where)
    return [_checked(one, f"{where}: build {number}") for number, one in enumerate(builds, 1)]


def _values(data: bytes, where: str) -> list[Any]:
    from engine.builds.history.dockerbuild import DockerbuildError, is_archive, read_archive

    try:
        if is_archive(data):
            return read_archive(data)
        value = json.loads(data)
    except DockerbuildError as error:
        raise BundleError(
            str(error), where=where, fix="export it again: docker buildx history export"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(
            "not a record of builds",
            where=where,
            fix="give what `lading history builds export` or `docker buildx history export` wrote",
        ) from error
    builds = value.get("builds") if isinstance(value, dict) and "builds" in value else [value]
    if not isinstance(builds, list):
        raise BundleError("builds is no list", where=where)
    return builds


def take_in(root: str, builds: Iterable[Packed]) -> tuple[list[str], int]:
    """Put records beside those of a store; returns the references that are new, and how many were
    there already.

    Raises:
        OSError: they cannot be written.
    """
    folder = folder_of(root)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    known = {entry.ref for entry in entries(root)}
    taken: list[str] = []
    there = 0
    for packed in builds:
        document = packed.document
        ref = document["ref"]
        if ref in known:
            there += 1
            continue
        known.add(ref)
        stem = os.path.join(folder, f"{int(document['started'] * 1000):013d}-{ref}")
        if packed.log:
            write_log(f"{stem}{LOG_SUFFIX}", packed.log)
        if packed.attached:
            write_log(f"{stem}{ATTACHED_SUFFIX}", [list(it.items()) for it in packed.attached])
        _write(f"{stem}{RECORD_SUFFIX}", json.dumps(document).encode())
        taken.append(ref)
    return taken, there


def _write(path: str, data: bytes) -> None:
    stage = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(stage, flags, 0o600), "wb") as file:
        file.write(data)
    os.rename(stage, path)


def _unpacked(data: bytes, where: str) -> bytes:
    if data.startswith(_MAGIC):
        reader = zlib.decompressobj(wbits=GZIP)
        try:
            data = reader.decompress(data, LIMIT + 1)
        except zlib.error as error:
            raise BundleError("the archive is damaged", where=where) from error
    if len(data) > LIMIT:
        raise BundleError(f"more than {LIMIT >> 20} MiB of records", where=where)
    return data


def _checked(value: Any, where: str) -> Packed:
    """A record with the fields that are known here, its log, and what is attached.

    Raises:
        BundleError: a field is missing or of another type.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise BundleError("not a record of a build", where=where, fix="export it again")
    field = _Fields(value, where)
    document: Document = {
        "format": FORMAT,
        "ref": field.take("ref", _is_ref),
        "name": field.take("name", _is_text),
        "status": field.take("status", lambda it: it in _OVER),
        "started": field.take("started", _is_time),
        "ended": field.take("ended", _is_time, missing=value["started"]),
        "request": _request(field.take("request", _is_object, missing={}), where),
        "steps": _steps(field.take("steps", _is_object, missing={}), where),
        "warnings": field.take("warnings", _are_warnings, missing=[]),
        "materials": [_texts(one) for one in field.take("materials", _are_objects, missing=[])],
    }
    for name in ("error", "definition"):
        if name in value:
            document[name] = _texts(field.take(name, _is_object))
    if isinstance(value.get("cached"), bool):
        document["cached"] = value["cached"]
    if "result" in value:
        document["result"] = _result(field.take("result", _is_object), where)
    if "context" in value:
        context = field.take("context", _is_object)
        document["context"] = {key: it for key, it in context.items() if _is_count(it)}
    log = field.take("log", _is_log, missing=[])
    if log:
        document["log"] = {"bytes": sum(len(row[3]) for row in log), "dropped": 0}
    attached = field.take("attached", _are_attached, missing=[])
    return Packed(document, log, [{name: one[name] for name in ATTACHED} for one in attached])


class _Fields:
    """An object's fields, each with a test."""

    def __init__(self, value: dict[str, Any], where: str) -> None:
        self._value = value
        self._where = where

    def take(self, name: str, test: Callable[[Any], bool], *, missing: Any = ...) -> Any:
        """A field's value; ``missing`` where there is none, and it may be."""
        value = self._value.get(name)
        if value is None and missing is not ...:
            return missing
        if not test(value):
            raise BundleError(f"{name} is missing or not what it should be", where=self._where)
        return value


def _request(value: dict[str, Any], where: str) -> dict[str, Any]:
    field = _Fields(value, where)
    known: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("context", "target", "network"), _is_text),
        **dict.fromkeys(
            ("platforms", "tags", "secrets", "ssh", "contexts", "no_cache_stages", "allow"),
            _are_texts,
        ),
        **dict.fromkeys(("args", "labels"), _is_mapping),
        **dict.fromkeys(("no_cache", "pull"), lambda it: isinstance(it, bool)),
    }
    return {name: field.take(name, test) for name, test in known.items() if name in value}


def _steps(value: dict[str, Any], where: str) -> dict[str, Any]:
    if len(value) > STEPS:
        raise BundleError(f"more than {STEPS} steps", where=where)
    return {
        str(step["number"]): step
        for step in (_step(one, f"{where}: step {key}") for key, one in value.items())
    }


def _step(value: Any, where: str) -> dict[str, Any]:
    if not _is_object(value):
        raise BundleError("not a step", where=where)
    field = _Fields(value, where)
    step: dict[str, Any] = {
        "number": field.take("number", _is_count),
        "name": field.take("name", _is_text),
        "outcome": field.take("outcome", lambda it: it in _OUTCOMES),
        "started": field.take("started", _is_time),
        "ended": field.take("ended", _is_time, missing=None),
    }
    optional: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("where", "reason", "layer", "error"), _is_text),
        "inputs": lambda it: isinstance(it, list) and all(map(_is_count, it)),
        "changes": _are_changes,
        "size": _is_count,
    }
    return step | {name: field.take(name, it) for name, it in optional.items() if name in value}


def _result(value: dict[str, Any], where: str) -> dict[str, Any]:
    field = _Fields(value, where)
    images = field.take("images", _are_objects, missing=[])
    return {**_texts(value), "images": [_texts(one) for one in images]}


def _texts(value: dict[str, Any]) -> dict[str, str]:
    return {key: text for key, text in value.items() if _is_text(text)}


def _is_text(value: Any) -> bool:
    # Surrogates alone are JSON, and no text that could be written.
    if not isinstance(value, str) or len(value) > 2 * TEXT_LIMIT:
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _is_ref(value: Any) -> bool:
    return isinstance(value, str) and _REF.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_time(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= _LATEST


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and _are_texts(list(value.values()))


def _are_warnings(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 2 and _is_text(one[0]) and _is_text(one[1] or "")
        for one in value
    )


def _are_changes(value: Any) -> bool:
    return isinstance(value, list) and all(_are_texts(one) and len(one) == 3 for one in value)


def _are_attached(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ATTACHED)
        for one in value
    )


def _is_log(value: Any) -> bool:
    return isinstance(value, list) and all(_is_row(row) for row in value)


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    step, moment, stream, text = row
    return _is_count(step) and _is_time(moment) and _is_count(stream) and isinstance(text, str)
