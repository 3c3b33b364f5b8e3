"""Records of builds that buildx and Docker Desktop write: ``.dockerbuild`` files.

An OCI layout as a tar, with one manifest for each build. Its config
(``application/vnd.buildkit.historyrecord.v0``) is BuildKit's record (BuildHistoryRecord in
api/services/control/control.proto) as JSON with what buildx knows of it; its layers are the
progress (``engine.builds.history.status_stream``), statements and what they are about. Every blob
must have its digest; types of fields are for ``engine.builds.history.bundle`` to check.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from typing import TYPE_CHECKING, Any, Final

from engine.builds.history.document import (
    CANCELED,
    COMPLETED,
    FAILED,
    FORMAT,
    MASKED,
    TEXT_LIMIT,
    sounds_secret,
)
from engine.builds.history.status_stream import Output, Vertex, Warned, messages
from images.digest import Digest
from images.errors import ImagesError
from images.mediatype import INDEXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.builds.history.document import Document

RECORD_TYPE: Final = "application/vnd.buildkit.historyrecord.v0"
REAL_TYPE: Final = "vnd.export-build.descriptor.mediatype"
"""The annotation that has the type of what is called JSON there."""
PREDICATE: Final = "in-toto.io/predicate-type"
MEMBERS: Final = 100_000
"""Files in an archive."""
_TAR: Final = slice(257, 262)
_GRPC_CANCELED: Final = 1


class DockerbuildError(ValueError):
    """The archive does not hold together; the text says where."""


def is_archive(data: bytes) -> bool:
    """Whether this begins as a tar does."""
    return data[_TAR] == b"ustar"


def read_archive(data: bytes) -> list[dict[str, Any]]:
    """The records as ``engine.builds.history.bundle`` takes them, unchecked.

    Raises:
        DockerbuildError: it is something else, or damaged.
    """
    try:
        blobs = _Blobs.read(data)
        return [_record(blobs, manifest) for manifest in blobs.manifests()]
    except DockerbuildError:
        raise
    except (tarfile.TarError, ImagesError, ValueError, KeyError, TypeError) as error:
        raise DockerbuildError(f"the archive is damaged: {error!r}") from error
    except (AttributeError, RecursionError) as error:
        raise DockerbuildError("a document in the archive is not what it should be") from error


class _Blobs:
    """The blobs of a layout in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    @classmethod
    def read(cls, data: bytes) -> _Blobs:
        files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                if len(files) >= MEMBERS:
                    raise DockerbuildError(f"more than {MEMBERS} files in the archive")
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    files[member.name] = content.read()
        return cls(files)

    def get(self, text: str) -> bytes:
        digest = Digest.parse(text)
        found = self._files.get(f"blobs/{digest.algorithm}/{digest.hex}")
        if found is None:
            raise DockerbuildError(f"the archive lacks {digest}")
        if Digest.of(found, digest.algorithm) != digest:
            raise DockerbuildError(f"{digest} has another content")
        return found

    def manifests(self) -> Iterator[dict[str, Any]]:
        """Of each build; several are in an index below that of the layout."""
        top = self._files.get("index.json")
        if top is None:
            raise DockerbuildError("no index.json in the archive")
        for entry in json.loads(top)["manifests"]:
            document = json.loads(self.get(entry["digest"]))
            if entry["mediaType"] not in INDEXES:
                yield document
                continue
            for below in document["manifests"]:
                yield json.loads(self.get(below["digest"]))


def _record(blobs: _Blobs, manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest["config"]["mediaType"] != RECORD_TYPE:
        raise DockerbuildError(f"{manifest['config']['mediaType']} is no record of a build")
    record = json.loads(blobs.get(manifest["config"]["digest"]))
    started = _moment(record["CreatedAt"])
    ended = _moment(record.get("CompletedAt") or record["CreatedAt"])
    request = _request(record)
    document: Document = {
        "format": FORMAT,
        "ref": record["Ref"],
        "name": _name(request),
        "status": _status(record.get("error")),
        "started": started,
        "ended": ended,
        "request": request,
        "result": _result(record),
        "materials": [],
        "attached": list(_attached(blobs, record)),
    }
    if record.get("error"):
        document["error"] = {"message": str(record["error"].get("message", ""))[:TEXT_LIMIT]}
    logs = record.get("logs")
    stream = blobs.get(logs["digest"]) if logs else b""
    told = _Told(started, ended)
    for message in messages(stream):
        told.take(message)
    document |= told.fields()
    _from_provenance(document)
    return {key: value for key, value in document.items() if value}


def _request(record: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, out of the attributes of BuildKit's frontend."""
    attributes: dict[str, str] = record.get("FrontendAttrs") or {}
    state: dict[str, str] = record.get("localState") or {}
    names = [exporter.get("Attrs", {}).get("name", "") for exporter in record.get("Exporters", ())]
    uncached = attributes.get("no-cache")
    asked = {
        "context": state.get("LocalPath") or attributes.get("context", ""),
        "target": attributes.get("target", ""),
        "platforms": _listed(attributes.get("platform")),
        "tags": list(dict.fromkeys(tag for text in names for tag in _listed(text))),
        "args": {
            name: MASKED if sounds_secret(name) else value
            for name, value in _below(attributes, "build-arg:")
        },
        "labels": dict(_below(attributes, "label:")),
        "contexts": [name for name, _ in _below(attributes, "context:")],
        "network": attributes.get("force-network-mode", ""),
        "no_cache": uncached == "",
        "no_cache_stages": _listed(uncached),
        "pull": attributes.get("image-resolve-mode") == "pull",
    }
    return {name: value for name, value in asked.items() if value}


def _name(request: dict[str, Any]) -> str:
    if request.get("tags"):
        return str(request["tags"][0])
    base = re.split(r"[/\\]", request.get("context", "").rstrip("/\\"))[-1] or "-"
    target = request.get("target")
    return f"{base} ({target})" if target else base


def _status(error: dict[str, Any] | None) -> str:
    if not error:
        return COMPLETED
    return CANCELED if error.get("code") == _GRPC_CANCELED else FAILED


def _result(record: dict[str, Any]) -> dict[str, Any]:
    """What the build ended in: the first thing that an exporter wrote."""
    made = (record.get("Result") or {}).get("Results") or {}
    if not made:
        return {}
    first = made[min(made, key=int)]
    answer = record.get("ExporterResponse") or {}
    found = {"digest": first["digest"], "media_type": first["media_type"], "images": []}
    config = answer.get("containerimage.config.digest")
    if config:
        found["images"] = [{"digest": first["digest"], "image_id": config}]
    return found


def _attached(blobs: _Blobs, record: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Statements, and what was made, as texts."""
    results = {"": record.get("Result") or {}, **(record.get("Results") or {})}
    for platform, result in results.items():
        made = (result.get("Results") or {}).values()
        for item in (*made, *(result.get("Attestations") or ())):
            notes = item.get("annotations") or {}
            yield {
                "type": notes.get(PREDICATE) or notes.get(REAL_TYPE) or item["media_type"],
                "digest": item["digest"],
                "platform": platform,
                "text": blobs.get(item["digest"]).decode("utf-8", "replace"),
            }


class _Told:
    """What the progress comes to: steps, their logs, warnings and the file that they are about."""

    def __init__(self, started: float, ended: float) -> None:
        self._started = started
        self._ended = ended
        self._steps: dict[str, dict[str, Any]] = {}
        self._below: dict[str, tuple[str, ...]] = {}
        self._log: list[tuple[str, float, int, str]] = []
        self._warnings: list[list[str]] = []
        self._definition: dict[str, str] = {}

    def take(self, message: Vertex | Output | Warned) -> None:
        if isinstance(message, Vertex):
            self._vertex(message)
        elif isinstance(message, Output):
            text = message.data.decode("utf-8", "replace")
            moment = message.time or self._started
            self._log.append((message.vertex, moment, message.stream, text))
        else:
            place = f"{message.filename}:{message.line}" if message.line else message.filename
            self._warnings.append([message.text[:TEXT_LIMIT], place])
            if message.content and not self._definition:
                self._definition = definition_of(message.filename, message.content)

    def fields(self) -> dict[str, Any]:
        """For the document. Steps that never began are left out, as buildx shows none of them."""
        numbers = self._numbers()
        steps = []
        for key, number in numbers.items():
            step = self._steps[key]
            inputs = {numbers[below] for below in self._below[key] if below in numbers}
            steps.append({"number": number, **step, "inputs": sorted(inputs)})
            if step["outcome"] == "running":
                steps[-1].update(outcome=CANCELED, ended=self._ended)
        return {
            "steps": {str(step["number"]): step for step in steps},
            "log": [[numbers[key], *rest] for key, *rest in self._log if key in numbers],
            "warnings": self._warnings,
            "definition": self._definition,
        }

    def _numbers(self) -> dict[str, int]:
        """In the order in which steps began, each behind those it reads."""
        begun = {key: step["started"] for key, step in self._steps.items() if "started" in step}
        numbers: dict[str, int] = {}
        rest = sorted(begun, key=lambda key: begun[key], reverse=True)
        seen: set[str] = set()
        while rest:
            key = rest[-1]
            missing = [it for it in self._below[key] if it in begun and it not in seen]
            seen.add(key)
            rest += missing
            if not missing:
                numbers.setdefault(rest.pop(), len(numbers) + 1)
        return numbers

    def _vertex(self, vertex: Vertex) -> None:
        step = self._steps.setdefault(vertex.digest, {"name": "", "outcome": "running"})
        step["name"] = vertex.name[:TEXT_LIMIT] or step["name"]
        self._below[vertex.digest] = vertex.inputs or self._below.get(vertex.digest, ())
        if vertex.started is not None:
            step["started"] = min(vertex.started, step.get("started", vertex.started))
        if vertex.completed is not None:
            step.setdefault("started", vertex.completed)
            step["ended"] = max(vertex.completed, step["started"])
            step["outcome"] = "cached" if vertex.cached else "executed"
        if vertex.error:
            canceled = vertex.error.endswith("context canceled")
            step.update(outcome=CANCELED if canceled else FAILED, error=vertex.error[:TEXT_LIMIT])


def definition_of(name: str, content: bytes) -> dict[str, str]:
    """A Dockerfile as a document has it."""
    text = content[:TEXT_LIMIT].decode("utf-8", "replace")
    return {"name": name, "digest": str(Digest.of(content)), "text": text}


def _from_provenance(document: Document) -> None:
    """The Dockerfile and the materials, out of a statement that has them."""
    for attached in document["attached"]:
        if not attached["type"].startswith("https://slsa.dev/provenance/"):
            continue
        stated = json.loads(attached["text"])
        listed = (stated.get("buildDefinition") or {}).get("resolvedDependencies")
        for item in listed or stated.get("materials") or ():
            digests = [f"{kind}:{value}" for kind, value in (item.get("digest") or {}).items()]
            material = {"uri": str(item.get("uri", "")), "digest": "".join(digests[:1])}
            if material not in document["materials"]:
                document["materials"].append(material)
        details = stated.get("runDetails") or {}
        metadata = (details.get("metadata") or {}).get("buildkit_metadata") or {}
        for info in (metadata.get("source") or {}).get("infos") or ():
            if not document.get("definition") and info.get("data"):
                content = base64.b64decode(info["data"])
                document["definition"] = definition_of(str(info.get("filename")), content)


def _moment(value: dict[str, int]) -> float:
    return float(value.get("seconds", 0)) + value.get("nanos", 0) * 1e-9


def _listed(text: str | None) -> list[str]:
    return [it for it in (text or "").split(",") if it]


def _below(attributes: dict[str, str], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in attributes.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value
