"""Statements beside the files they are about, in ``type=local`` and ``type=tar``, as BuildKit has
them: ``provenance.json`` and ``sbom.spdx.json``, in-toto statements whose subjects are the files.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from engine.attestations.statement import STATEMENT_TYPE
from engine.builds.delivery.outputs import OutputError
from images.layers import entry as kinds
from images.layers.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from engine.attestations.statement import Statement

MODE: Final = 0o600
"""BuildKit's: arguments of a build are not everybody's business."""
CHUNK: Final = 1 << 20
_NAMES: Final = {
    "https://slsa.dev/provenance": "provenance.json",
    "https://spdx.dev/Document": "sbom.spdx.json",
}


def statement_entries(
    statements: Sequence[Statement],
    files: Iterable[Entry],
    *,
    prefix: str = "",
    platform: str = "",
    mtime: int = 0,
) -> Iterator[Entry]:
    """The statements as files about ``files``; ``platform`` tells them apart in one directory.

    Raises:
        OutputError: the result has a file of that name itself.
    """
    if not statements:
        return
    found = list(files)
    subjects = list(_subjects(found))
    taken = {entry.path for entry in found}
    for statement in statements:
        name = prefix + _file_name(statement.predicate_type, platform)
        if name in taken:
            raise OutputError(
                f"the result has a file {name} itself",
                where="--output",
                fix="add attestation-prefix=TEXT, which stands before the names of statements",
            )
        document = {
            "_type": STATEMENT_TYPE,
            "predicateType": statement.predicate_type,
            "subject": subjects,
            "predicate": statement.predicate,
        }
        raw = json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace")
        yield Entry(name, kinds.FILE, MODE, size=len(raw), mtime=mtime, source=raw)


def _file_name(predicate_type: str, platform: str) -> str:
    named = (name for start, name in _NAMES.items() if predicate_type.startswith(start))
    stem, dot, suffix = next(named, "statement.json").rpartition(".")
    return f"{stem}.{platform.replace('/', '_')}.{suffix}" if platform else stem + dot + suffix


def _subjects(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """Every regular file with the digest of its bytes; a hard link is one as well."""
    known: dict[str, str] = {}
    for entry in entries:
        if entry.kind == kinds.FILE:
            known[entry.path] = _digest(entry)
        elif entry.kind == kinds.HARDLINK and entry.linkname in known:
            known[entry.path] = known[entry.linkname]
        else:
            continue
        name = entry.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        yield {"name": name, "digest": {"sha256": known[entry.path]}}


def _digest(entry: Entry) -> str:
    digest = hashlib.sha256()
    with entry.open_source() as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()
